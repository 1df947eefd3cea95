"""What every test gets: a private mount namespace, a watchdog, and a look at what it left behind.

The whole run moves into a mount namespace of its own before the first test, so that no mount is seen outside, and
all are gone when the run is, however it ends (`namespaces.py`). Tests marked `kernel` mount on Linux's own FUSE;
those under tests/linux are marked by being there. Where nothing can be mounted they are skipped, with the reason;
with FUSEWIRE_REQUIRE_KERNEL=1 in the environment they fail.

A test may take 30 seconds, or what its mark `limit(seconds)` says; then the watchdog ends it (`watchdog.py`). After
each test its threads must be gone, after a kernel test also its processes, mounts and descriptors; after the run
everything (`leftovers.py`).
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import hypothesis
import pytest

import leftovers
from kernel_mounts import show_connections, why_no_kernel
from leftovers import Things
from namespaces import enter_private_mounts, enter_private_user
from own_run import OwnRun
from watchdog import DEFAULT_LIMIT, Watchdog
from watched_mounts import WatchedMount, watched_mounts

REQUIRE_KERNEL = "FUSEWIRE_REQUIRE_KERNEL"

# One example may be slow because the machine is busy: that is the watchdog's business.
hypothesis.settings.register_profile("fusewire", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("fusewire")


@dataclass
class Harness:
    """What the run keeps from its start to its end."""

    run: OwnRun
    watchdog: Watchdog
    why_no_kernel: str | None


HARNESS = pytest.StashKey[Harness]()


# -- the run -------------------------------------------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Enter the namespace while there is one thread, and start the watchdog in it."""
    heed_ctrl_c()
    private = enter_namespace()
    reason = why_no_kernel()
    if reason is None and os.geteuid() == 0:
        with contextlib.suppress(OSError):  # root of a container may mount FUSE, but not this
            show_connections()
    run = OwnRun.of_this_process(private)
    capture = session.config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():  # its last words must reach the terminal
        watchdog = Watchdog(run)
    session.config.stash[HARNESS] = Harness(run, watchdog, reason)


def heed_ctrl_c() -> None:
    """Heed SIGINT, which a shell ignores for what it starts in the background; programs that are tested inherit it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def enter_namespace() -> bool:
    """Move the run into a mount namespace of its own; False where that is not allowed."""
    try:
        if os.geteuid() == 0:
            enter_private_mounts()
        elif os.access("/dev/fuse", os.R_OK | os.W_OK):  # else there is nothing to gain
            enter_private_user()
        else:
            return False
    except OSError:
        return False
    return True


def pytest_unconfigure(config: pytest.Config) -> None:
    """End the watchdog."""
    if HARNESS in config.stash:
        config.stash[HARNESS].watchdog.stop()


@pytest.fixture(scope="session", autouse=True)
def run_leaves_nothing(pytestconfig: pytest.Config) -> Iterator[None]:
    """Compare the run's end with its beginning: threads, processes, mounts, descriptors, connections."""
    run = pytestconfig.stash[HARNESS].run
    before = leftovers.everything(run)
    connections = leftovers.connections()
    yield
    left = leftovers.remaining(before, lambda: leftovers.everything(run))
    left |= leftovers.remaining(connections, lambda: leftovers.nobodys_new(connections))
    complain("the run", left)


# -- one test ------------------------------------------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Have the watchdog watch one test, its fixtures included."""
    mark = item.get_closest_marker("limit")
    watchdog = item.config.stash[HARNESS].watchdog
    watchdog.arm(mark.args[0] if mark else DEFAULT_LIMIT)
    try:
        return (yield)
    finally:
        watchdog.disarm()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item: pytest.Item) -> Generator[None, object, object]:
    """Skip, or fail, what needs a kernel where there is none."""
    reason = item.config.stash[HARNESS].why_no_kernel
    if reason and item.get_closest_marker("kernel"):
        if os.environ.get(REQUIRE_KERNEL) == "1":
            pytest.fail(f"{REQUIRE_KERNEL} is set, but {reason}", pytrace=False)
        pytest.skip(reason)
    return (yield from tell_of_the_watchdog(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test."""
    return (yield from tell_of_the_watchdog(item))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None, object, object]:
    """Clear up behind a test."""
    return (yield from tell_of_the_watchdog(item))


def tell_of_the_watchdog(item: pytest.Item) -> Generator[None, object, object]:
    """Fail a test that the watchdog had to end, even if it then passed."""
    watchdog = item.config.stash[HARNESS].watchdog
    try:
        return (yield)
    finally:
        deed = watchdog.deed()
        if deed:
            pytest.fail(f"the test took too long, so the watchdog {deed}")


def pytest_enter_pdb(config: pytest.Config) -> None:
    """Let a person who debugs take his time."""
    config.stash[HARNESS].watchdog.disarm()


@pytest.fixture(autouse=True)
def leaves_nothing(request: pytest.FixtureRequest) -> Iterator[None]:
    """Compare what there is after a test with what was before. What wider fixtures hold was before."""
    look = what_to_look_at(request.node)
    before = look()
    yield
    complain("the test", leftovers.remaining(before, look))


@pytest.fixture(autouse=True)
def watched() -> Iterator[list[WatchedMount]]:
    """Look at every embedded kernel as it goes: what must always be true of it, and of what passes its device."""
    with watched_mounts() as mounts:
        yield mounts


def what_to_look_at(item: pytest.Item) -> Callable[[], Things]:
    """Return the look that a test deserves: all of it takes some milliseconds, threads none."""
    run = item.config.stash[HARNESS].run
    return (lambda: leftovers.everything(run)) if item.get_closest_marker("kernel") else leftovers.threads


def complain(culprit: str, left: Things) -> None:
    """Fail, naming what is left, and remove it."""
    leftovers.clear(left)
    if left:
        pytest.fail(f"{culprit} left behind: {', '.join(left.values())}", pytrace=False)


@pytest.fixture
def mountpoint(tmp_path: Path) -> Iterator[Path]:
    """An empty directory to mount on. When the test is over, nothing may be mounted there."""
    path = tmp_path / "mnt"
    path.mkdir()
    yield path
    complain("the test", leftovers.fuse(path))
