"""Notifications: what the daemon tells the kernel unasked."""

from __future__ import annotations

import errno

import pytest

from file_daemon import FILE, PAGE, PLAIN, WRITEBACK, FileDaemon, errno_of
from fusewire.kernel.waitq import WaitQueue
from fusewire.wire import (
    ExpireFlags,
    NotifyDeleteOut,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPollWakeupOut,
    NotifyPruneOut,
    NotifyRetrieveOut,
    NotifyStoreOut,
    OutHeader,
    encode_notification,
    pack_nodeids,
)

ROOT = 1


def inval_inode(offset: int = 0, length: int = 0, nodeid: int = FILE) -> bytes:
    return encode_notification("INVAL_INODE", NotifyInvalInodeOut(nodeid, offset, length))


def inval_entry(name: bytes = b"file", flags: int = 0, parent: int = ROOT) -> bytes:
    return encode_notification("INVAL_ENTRY", NotifyInvalEntryOut(parent, len(name), flags), [name])


def delete(child: int, name: bytes = b"file") -> bytes:
    return encode_notification("DELETE", NotifyDeleteOut(ROOT, child, len(name)), [name])


def store(offset: int, data: bytes, nodeid: int = FILE) -> bytes:
    return encode_notification("STORE", NotifyStoreOut(nodeid, offset, len(data)), data=data)


def retrieve(offset: int, size: int, nodeid: int = FILE) -> bytes:
    return encode_notification("RETRIEVE", NotifyRetrieveOut(77, nodeid, offset, size))


def prune(*nodeids: int) -> bytes:
    return encode_notification("PRUNE", NotifyPruneOut(len(nodeids)), data=pack_nodeids(nodeids))


def opened(content: bytes = b"", flags: int = PLAIN) -> tuple[FileDaemon, int]:
    file = FileDaemon(content, flags=flags)
    return file, file.open()


def refused(file: FileDaemon, message: bytes) -> int | None:
    """The errno of writing `message`; None if it is taken."""
    return errno_of(file.start(file.device.write(message)))


# What is refused.


def test_one_about_what_is_not_cached_is_refused() -> None:
    file, _ = opened()
    for message in (
        inval_inode(nodeid=9),
        inval_entry(parent=9),
        inval_entry(b"other"),
        store(0, b"x", nodeid=9),
        retrieve(0, 1, nodeid=9),
    ):
        assert refused(file, message) == errno.ENOENT


def test_one_that_is_malformed_or_unknown_is_refused_without_effect() -> None:
    file, _ = opened(b"x" * PAGE)
    version = file.connection.attr_version
    short = OutHeader(OutHeader.SIZE + 4, 2, 0).pack() + bytes(4)
    unknown = OutHeader(OutHeader.SIZE, 99, 0).pack()
    for message in (short, unknown, lengthened(inval_inode()), lengthened(inval_entry()), lengthened(prune(2))):
        assert refused(file, message) == errno.EINVAL
    assert refused(file, store(0, b"x", nodeid=ROOT)) == errno.EINVAL
    assert file.connection.attr_version == version


def lengthened(message: bytes) -> bytes:
    header = OutHeader.unpack_from(message)
    header.len += 1
    return header.pack() + message[OutHeader.SIZE :] + b"\0"


def test_a_name_that_is_too_long_is_said_so_before_it_is_looked_at() -> None:
    file, _ = opened()
    assert refused(file, inval_entry(b"n" * (file.connection.settings.name_max + 1))) == errno.ENAMETOOLONG
    body = NotifyInvalEntryOut(ROOT, 5000, 0).pack()
    assert refused(file, OutHeader(OutHeader.SIZE + len(body), 3, 0).pack() + body) == errno.ENAMETOOLONG


def test_an_older_kernel_does_not_know_the_newer_ones() -> None:
    file, _ = opened()
    file.connection.minor = 31
    assert refused(file, prune()) == errno.EINVAL
    assert refused(file, encode_notification("INC_EPOCH")) == errno.EINVAL


def test_an_entry_in_what_is_no_directory_is_refused() -> None:
    file, _ = opened()
    assert refused(file, inval_entry(parent=FILE)) == errno.ENOTDIR


# INVAL_INODE.


def test_inval_inode_has_attributes_and_pages_asked_for_anew() -> None:
    file, fd = opened(b"a" * PAGE)
    assert file.run(file.process.pread(fd, 1, 0)) == b"a"
    file.content[:] = b"bb"
    asked = len(file.bodies("GETATTR"))
    file.tell(inval_inode())
    assert file.run(file.process.fstat(fd)).st_size == 2
    assert file.run(file.process.pread(fd, 9, 0)) == b"bb"
    assert len(file.bodies("GETATTR")) == asked + 1


def test_inval_inode_drops_the_pages_of_its_range_alone() -> None:
    file, fd = opened(b"a" * 4 * PAGE)
    file.run(file.process.pread(fd, 4 * PAGE, 0))
    file.tell(inval_inode(PAGE + 5, PAGE))
    assert sorted(file.inode.pages.pages) == [0, 3]  # type: ignore[union-attr]
    file.tell(inval_inode(-1))
    assert sorted(file.inode.pages.pages) == [0, 3]  # type: ignore[union-attr]


def test_inval_inode_has_dirty_pages_written_and_waits_for_it() -> None:
    file, fd = opened(flags=WRITEBACK)
    file.run(file.process.pwrite(fd, b"new", 0))
    file.hold.add("WRITE")
    notifier = file.start(file.device.write(inval_inode()))
    assert not notifier.finished
    file.release("WRITE")
    assert notifier.finished
    assert not file.inode.pages.pages
    assert bytes(file.content) == b"new"


def test_a_daemon_that_invalidates_the_page_that_it_must_fill_waits_for_ever() -> None:
    file, fd = opened(b"a" * PAGE)
    file.hold.add("READ")
    read = file.start(file.process.pread(fd, 1, 0))
    notifier = file.start(file.device.write(inval_inode()))
    assert not notifier.finished
    file.runner.do(lambda: file.superblock.control["abort"].write(b"1"))
    assert read.finished
    assert notifier.finished


# INVAL_ENTRY and DELETE.


def look(file: FileDaemon) -> int:
    """Look the file up by its path; return how many LOOKUPs were sent so far."""
    file.run(file.process.stat("/file"))
    return len(file.names("LOOKUP"))


@pytest.mark.parametrize("flags", [0, ExpireFlags.FUSE_EXPIRE_ONLY])
def test_inval_entry_has_a_name_looked_up_again(flags: int) -> None:
    file, _ = opened()
    before = look(file)
    assert look(file) == before
    file.tell(inval_entry(flags=flags))
    assert look(file) == before + 1


def test_inval_entry_waits_for_the_semaphore_of_the_directory() -> None:
    file, _ = opened()
    gate, open_ = WaitQueue("gate"), [False]

    async def change_directory() -> None:
        async with file.superblock.root_inode.rwsem.exclusive():
            await gate.sleep(until=lambda: open_[0])

    file.start(change_directory())
    notifier = file.start(file.device.write(inval_entry()))
    assert not notifier.finished
    open_[0] = True
    file.runner.do(gate.wake)
    assert notifier.finished


def test_delete_takes_the_name_and_the_file() -> None:
    file, fd = opened(b"abc")
    file.tell(delete(FILE))
    assert file.inode.attr.nlink == 0
    assert file.run(file.process.pread(fd, 3, 0)) == b"abc"
    before = len(file.names("LOOKUP"))
    assert look(file) == before + 1


def test_delete_of_another_file_than_the_name_leads_to_fails_but_the_name_is_old() -> None:
    file, _ = opened()
    before = look(file)
    assert refused(file, delete(99)) == errno.ENOENT
    assert file.inode.attr.nlink == 1
    assert look(file) == before + 1


def test_delete_without_a_child_only_invalidates() -> None:
    file, _ = opened()
    assert refused(file, delete(0)) is None
    assert file.inode.attr.nlink == 1


def test_inc_epoch_has_every_name_looked_up_again() -> None:
    file, _ = opened()
    before = look(file)
    file.tell(encode_notification("INC_EPOCH"))
    assert look(file) == before + 1
    assert look(file) == before + 1


def test_prune_forgets_what_nobody_uses() -> None:
    file, fd = opened()
    file.tell(prune(FILE, 99))
    assert FILE in file.superblock.inodes
    file.run(file.process.close(fd))
    file.tell(prune(FILE))
    file.runner.run()
    assert FILE not in file.superblock.inodes
    assert file.names()[-1] in ("FORGET", "BATCH_FORGET")


# STORE and RETRIEVE.


def test_what_is_stored_is_read_without_asking() -> None:
    file, fd = opened()
    file.tell(store(0, b"s" * (PAGE + 3)))
    assert file.inode.size == PAGE + 3
    file.content[:] = b"d" * (PAGE + 3)  # what the daemon would have answered
    assert file.run(file.process.pread(fd, 2 * PAGE, 0)) == b"s" * (PAGE + 3)
    assert not file.reads()


def test_a_page_that_is_stored_in_part_is_read_all_the_same() -> None:
    file, fd = opened(b"d" * PAGE)
    file.tell(store(0, b"sss"))
    page = file.inode.pages.find(0)  # type: ignore[union-attr]
    assert page is not None
    assert not page.uptodate
    assert file.run(file.process.pread(fd, 4, 0)) == b"dddd"


def test_a_page_that_was_read_is_changed_in_place() -> None:
    file, fd = opened(b"d" * PAGE)
    file.run(file.process.pread(fd, 1, 0))
    file.tell(store(1, b"ss"))
    assert file.run(file.process.pread(fd, 4, 0)) == b"dssd"


def test_what_lies_beyond_the_end_of_any_file_is_taken_and_means_nothing() -> None:
    file, _ = opened(b"abc")
    assert refused(file, store((1 << 63) - 1, b"x")) is None
    assert refused(file, retrieve((1 << 63) - 1, 1)) is None
    assert file.inode.size == 3
    assert file.requests[-1].body.size == 0


def test_retrieve_is_answered_with_what_is_cached() -> None:
    file, fd = opened(b"0123456789")
    file.run(file.process.pread(fd, 1, 0))
    file.tell(retrieve(3, 100))
    reply = file.requests[-1]
    assert reply.operation.name == "NOTIFY_REPLY"
    assert (reply.header.unique, reply.header.nodeid) == (77, FILE)
    assert (reply.body.offset, reply.body.size) == (3, 7)


@pytest.mark.parametrize(
    ("offset", "size", "bytes_"),
    [(0, PAGE, PAGE), (PAGE - 1, PAGE, 1), (PAGE, PAGE, 0), (0, 3 * PAGE, PAGE), (100 * PAGE, 5, 0), (2 * PAGE, 1, 1)],
)
def test_retrieve_stops_at_the_first_page_that_is_not_cached(offset: int, size: int, bytes_: int) -> None:
    file, fd = opened(b"a" * 3 * PAGE)
    file.run(file.process.pread(fd, 3 * PAGE, 0))
    file.tell(inval_inode(PAGE, PAGE))
    file.tell(retrieve(offset, size))
    assert file.requests[-1].operation.name == "NOTIFY_REPLY"
    assert file.requests[-1].body.size == bytes_


# POLL and RESEND.


def test_poll_of_what_nobody_polls_is_taken() -> None:
    file, _ = opened()
    assert refused(file, encode_notification("POLL", NotifyPollWakeupOut(5))) is None


def test_resend_has_what_was_read_read_again_under_another_number() -> None:
    file, fd = opened(b"a" * PAGE)
    file.hold.add("READ")
    read = file.start(file.process.pread(fd, 1, 0))
    (first,) = file.held
    file.tell(encode_notification("RESEND"))
    _, again = file.held
    assert again.header.unique == first.header.unique | 1 << 63
    assert refused(file, file.answer(first)) == errno.ENOENT
    file.held = [again]
    file.release("READ")
    assert read.result == b"a"
