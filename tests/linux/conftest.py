"""Tests in this directory mount on Linux's own FUSE: each is marked `kernel`. What that means: tests/conftest.py."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before `-m` chooses by marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark them. The hook is given the tests of other directories, too."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker("kernel")
