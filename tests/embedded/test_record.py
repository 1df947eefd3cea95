"""`kernel.requests`: what was sent, in order, decoded, with what became of it; and it is bounded."""

from __future__ import annotations

import errno
import os

import pytest

import fusewire
from embedded.filesystems import Flat
from fusewire.embedded.recording import DATA
from fusewire.filesystems import Memory
from fusewire.kernel.profile import PROFILES


def test_a_request_has_name_body_caller_reply_and_times() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        process = kernel.process(uid=0, gid=7)
        kernel.advance(5)
        fd = process.open("/a", os.O_RDWR | os.O_CREAT, 0o640)
        process.pwrite(fd, b"hello", 3)
        create, write = (next(it for it in kernel.requests if it.name == name) for name in ("CREATE", "WRITE"))
        assert (create.nodeid, create.names, create.body.mode & 0o777) == (1, ("a",), 0o640)
        assert create.caller == (create.uid, create.gid, create.pid) == (0, 7, process.pid)
        assert [type(struct).__name__ for struct in create.reply] == ["EntryOut", "OpenOut"]
        assert (write.body.offset, write.data, write.size) == (3, b"hello", 5)
        assert (write.reply[0].size, write.error) == (5, 0)
        assert (write.sent, write.read, write.answered) == (5, 5, 5)
        assert repr(create).startswith("<CREATE nodeid=1 'a' flags=")
        assert repr(create).endswith(f"for pid {process.pid}, uid 0: ok>")


def test_errors_are_recorded_by_their_errno() -> None:
    with fusewire.Kernel(Flat()) as kernel:
        assert not kernel.exists("/none")
        assert (kernel.requests[-1].name, kernel.requests[-1].error) == ("LOOKUP", errno.ENOENT)
        assert repr(kernel.requests[-1]).endswith("'none' for pid 100, uid 0: ENOENT>")


@pytest.mark.parametrize("profile", PROFILES)
def test_what_is_told_and_not_asked_is_recorded_once(profile: str) -> None:
    with fusewire.Kernel(Memory(), profile=profile) as kernel:
        kernel.write_bytes("/a", b"")
        kernel.unlink("/a")
        told = [request for request in kernel.requests if request.name in ("FORGET", "BATCH_FORGET")]
        assert len(told) == 1
        assert told[0].read is not None
        assert told[0].error is None
        assert kernel.leaks() == []


def test_a_request_that_is_withdrawn_was_never_read() -> None:
    with fusewire.Kernel(Flat()) as kernel:
        kernel.daemon.hang()
        first, second = (kernel.begin(kernel.awaitable.stat("/")) for _ in range(2))
        kernel.run()
        second.kill()
        read, withdrawn = kernel.requests[-2:]
        assert (read.read is None, read.error) == (False, None)
        assert (withdrawn.read, withdrawn.answered, withdrawn.error) == (None, None, errno.EINTR)
        assert repr(read).endswith("not answered>")
        kernel.daemon.resume()
        assert first.done


def test_data_is_cut_and_its_size_kept() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        kernel.write_bytes("/a", b"x" * 50_000)
        write = next(it for it in kernel.requests if it.name == "WRITE")
        assert (len(write.data), write.size) == (DATA, 50_000)


def test_the_last_ones_are_kept_and_none_if_none_are_wanted() -> None:
    with fusewire.Kernel(Flat(), requests=3) as kernel:
        for _ in range(5):
            kernel.exists("/a")
        assert len(kernel.requests) == 3
        assert kernel.leaks() == []
    with fusewire.Kernel(Flat(), requests=0) as kernel:
        assert kernel.exists("/a")
        for look in (lambda: kernel.requests, kernel.leaks):
            with pytest.raises(RuntimeError, match="requests=0"):
                look()
        assert type(kernel.connection).__name__ == "Connection"  # as if there were no records


def test_what_a_daemon_should_not_have_written_is_recorded() -> None:
    with fusewire.Kernel(Flat()) as kernel:
        with pytest.raises(OSError, match="Invalid argument"):
            kernel.run(kernel.device.write(b"nonsense"))
        assert [violation.rule for violation in kernel.violations] == [2]


def test_what_nobody_waits_for_has_its_answer_noted_too() -> None:
    with fusewire.Kernel(Memory()) as kernel:
        kernel.write_bytes("/a", b"hello")
        kernel.read_bytes("/a")
        noted = {request.name: (request.answered, request.error, request.reply_data) for request in kernel.requests}
        now = kernel.system.clock.now()
        assert (noted["INIT"][:2], noted["RELEASE"][:2]) == ((now, 0), (now, 0))
        assert noted["READ"] == (now, 0, b"hello")  # read ahead
