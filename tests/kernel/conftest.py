"""Benches: one of each profile for what they have in common, one of a certain profile for what they have not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from fusewire.kernel.profile import LINUX, PROFILES, SEED2005, Profile
from kernel_end import Bench, bench


@pytest.fixture(params=[*PROFILES.values()], ids=[*PROFILES])
def either(request: pytest.FixtureRequest) -> Iterator[Bench]:
    profile: Profile = request.param
    with bench(profile) as made:
        yield made


@pytest.fixture
def linux() -> Iterator[Bench]:
    with bench(LINUX) as made:
        yield made


@pytest.fixture
def seed2005() -> Iterator[Bench]:
    with bench(SEED2005) as made:
        yield made
