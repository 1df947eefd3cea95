"""The fuzzer of the kernel's end: a short run of it; that it tries everything, and finds what is planted."""

from __future__ import annotations

import importlib.util
import inspect
import random
import sys
from collections import Counter
from pathlib import Path
from types import ModuleType

import pytest

from fusewire.kernel.device import Device
from fusewire.kernel.locks import Semaphore
from fusewire.kernel.syscalls.process import Process

SEED = 20


@pytest.fixture(scope="module")
def fuzzer() -> ModuleType:
    """fuzz/kernel.py, which is a program."""
    path = Path(__file__).resolve().parents[2] / "fuzz" / "kernel.py"
    spec = importlib.util.spec_from_file_location("fuzz_kernel", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look themselves up
    spec.loader.exec_module(module)
    return module


def test_a_short_run_finds_nothing_and_tries_every_call(fuzzer: ModuleType) -> None:
    tried = Counter[str]()
    for number in range(60):
        fuzzer.round_of(random.Random(f"{SEED}.{number}"), tried)
    assert set(tried) == set(fuzzer.CALLS)


def test_every_call_of_a_process_is_known_to_it_or_makes_no_request(fuzzer: ModuleType) -> None:
    """A system call that is new is to be fuzzed, too."""
    names = {name for name, _ in inspect.getmembers(Process, inspect.iscoroutinefunction) if not name.startswith("_")}
    source = Path(str(fuzzer.__file__)).read_text()
    missing = {name for name in names if f".{name}(" not in source}
    assert missing <= QUIET


QUIET = {  # they ask no daemon, or are made of those that are fuzzed
    *("setuid", "seteuid", "setreuid", "setresuid", "getuid", "geteuid", "getresuid", "setgid", "setegid", "setresgid"),
    *("setgroups", "getgid", "getegid", "getresgid", "getgroups", "getpid", "umask", "fchdir", "getcwdb"),
    *("dup2", "dup_from", "get_flags", "set_flags", "set_blocking", "get_blocking", "set_inheritable"),
    *("get_inheritable", "mkfifo", "makedirs", "removedirs", "renames", "fchmod", "fchown", "lchown", "faccessat"),
    *("fstatvfs", "get_xattr_length", "list_xattr_length", "readv", "preadv", "writev", "pwritev", "scandir"),
    *(
        "posix_fallocate",
        "fdatasync",
        "sync",
        "lockf",
        "link_fd",
        "mprotect",
        "madvise",
        "msync",
        "exec",
        "mount",
        "replace",
        "remove",
        "unmap_all",
    ),
}


@pytest.mark.parametrize(
    ("owner", "name", "wrong"),
    [
        (Semaphore, "release_of", lambda self, task: None),
        (Process, "lstat", lambda self, path: never_made()),
        (Device, "disconnect", lambda self: []),
    ],
    ids=[
        "a semaphore is never given back",
        "a call raises what it may not",
        "a device forgets what it owes",
    ],
)
def test_a_planted_error_is_found(
    fuzzer: ModuleType, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, wrong: object
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    with pytest.raises(SystemExit):
        fuzzer.fuzz(SEED, seconds=20)


async def never_made() -> None:
    raise KeyError("planted")
