"""What tests of local directories share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fusewire.filesystems.local import LocalDirectory


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty directory to serve."""
    path = tmp_path / "source"
    path.mkdir()
    return path


@pytest.fixture(params=[True, False], ids=["handles", "names"])
def local(request: pytest.FixtureRequest, source: Path) -> Iterator[LocalDirectory]:
    """The source, served; its inodes are found again by file handles, or by names."""
    try:
        filesystem = LocalDirectory(source, handles=request.param)
    except OSError as error:
        pytest.skip(f"no file handles here: {error.strerror}")
    yield filesystem
    filesystem.destroy()
