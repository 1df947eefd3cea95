"""The plain calls are the awaited ones: all of them, with their names, arguments and docstrings."""

from __future__ import annotations

import inspect
import subprocess
import sys
from typing import Any

import pytest

import fusewire
import fusewire.kernel as kernel_end
from embedded.filesystems import Flat
from fusewire.embedded import AwaitableKernel
from fusewire.embedded.paths import Paths
from fusewire.filesystems import Memory


def awaited(kind: type) -> dict[str, Any]:
    """The public calls of `kind` that are awaited, by name."""
    return {
        name: member
        for name, member in inspect.getmembers(kind, inspect.iscoroutinefunction)
        if not name.startswith("_")
    }


INSIDE = {"unmap_all"}  # a part of `exit`


@pytest.mark.parametrize(
    ("plain", "of"),
    [(fusewire.Process, kernel_end.Process), (fusewire.Kernel, Paths), (fusewire.Kernel, AwaitableKernel)],
)
def test_every_awaited_call_has_its_plain_one(plain: type, of: type) -> None:
    missing = [name for name in awaited(of) if not callable(getattr(plain, name, None)) and name not in INSIDE]
    assert missing == []


def test_a_plain_call_looks_like_the_awaited_one() -> None:
    for name, member in awaited(kernel_end.Process).items():
        if name not in INSIDE | {"fork"}:  # which returns a process, whose calls are plain as well
            plain = getattr(fusewire.Process, name)
            assert not inspect.iscoroutinefunction(plain), name
            assert plain.__doc__ == member.__doc__, name
            assert plain.__name__ == member.__name__
            assert inspect.signature(plain) == inspect.signature(member), name


def test_the_front_door_imports_nothing_of_the_kernels_end() -> None:
    program = (
        "import sys, fusewire; fusewire.mount, fusewire.Filesystem; "
        "print([name for name in sys.modules if 'fusewire.kernel' in name or 'fusewire.embedded' in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_it_takes_what_a_mount_takes() -> None:
    with fusewire.Kernel({"d": {"a": b"hi"}}, "ro,entry_timeout=5", attr_timeout=0) as kernel:
        assert kernel.read_bytes("/d/a") == b"hi"
        with pytest.raises(OSError, match="Read-only"):
            kernel.write_bytes("/d/b", b"")
        assert kernel.session.timeouts.entry_timeout == 5
    with pytest.raises(ValueError, match="entry_timeut"):
        fusewire.Kernel({}, entry_timeut=5)
    with pytest.raises(TypeError, match="is a class: call it"):
        fusewire.Kernel(Memory)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"runner": "fast"}, "there are 'fixed order', 'threads', 'asyncio'"),
        ({"profile": "bsd"}, "there are 'linux', 'seed2005'"),
        ({"minor": 46}, "there are 12 to 45"),
        ({"threads": 0}, "at least one must serve"),
        ({"requests": -1}, "not negative"),
    ],
)
def test_what_does_not_exist_is_answered_by_what_does(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        fusewire.Kernel(Flat(), **wrong)


def test_files_are_pythons_streams() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        with kernel.open("/t", "w", encoding="latin-1") as file:
            file.write("größe\n")
            print("zwei", file=file)
        assert kernel.read_bytes("/t") == "größe\nzwei\n".encode("latin-1")
        with kernel.open("/t", encoding="latin-1") as file:
            assert list(file) == ["größe\n", "zwei\n"]
        with kernel.open("/t", "r+b") as file:
            file.seek(-5, 2)
            file.write(b"drei")
            file.truncate(8)
        assert kernel.read_text("/t", "latin-1") == "größe\ndr"
        with pytest.raises(FileExistsError):
            kernel.open("/t", "xb")
        with pytest.raises(ValueError, match="invalid mode"):
            kernel.open("/t", "rw")
        assert kernel.leaks() == []


def test_a_stream_that_nobody_closes_stays_open_and_warns() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        kernel.write_bytes("/t", b"")
        with pytest.warns(ResourceWarning, match="it stays open in <Process"):
            kernel.open("/t", "rb", buffering=0)
        assert [leak.kind for leak in kernel.leaks()] == ["handle"]


def test_memory_of_a_process_faults_into_reads() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        kernel.write_bytes("/a", b"hello" * 1000)
        process = kernel.process()
        fd = process.open("/a", 2)
        with process.mmap(fd, 4096) as mapping:
            assert (mapping[0], mapping[1:5]) == (ord("h"), b"ello")
            mapping[0:1] = b"J"
            mapping.flush()
        assert kernel.read_bytes("/a")[:5] == b"Jello"
