"""What is refused, and in which words: bytes with ProtocolError, arguments with ValueError."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fusewire.errors import ProtocolError
from fusewire.wire import (
    Attr,
    AttrOut,
    BatchForgetIn,
    Buffer,
    EntryOut,
    ForgetIn,
    GetattrIn,
    GetxattrIn,
    GetxattrOut,
    InHeader,
    IoctlIn,
    IoctlOut,
    NotifyInvalEntryOut,
    NotifyInvalInodeOut,
    NotifyPruneOut,
    NotifyStoreOut,
    OpenOut,
    OutHeader,
    ReadIn,
    RemovemappingIn,
    UnknownOperation,
    WriteIn,
    WriteOut,
    decode_notification,
    decode_reply,
    decode_reply_header,
    decode_request,
    encode_error,
    encode_notification,
    encode_reply,
    encode_request,
    forgets,
    operation,
    pack_nodeids,
    pruned_nodeids,
    removed_mappings,
    reply_header,
)


def request(name: str, *parts: Buffer, extlen: int = 0) -> bytes:
    """A request of any parts, with a header that fits them."""
    payload = b"".join(parts)
    header = InHeader(InHeader.SIZE + len(payload), operation(name).code, unique=6, nodeid=1, total_extlen=extlen)
    return header.pack() + payload


def reply(*parts: Buffer, error: int = 0, unique: int = 6) -> bytes:
    """A reply of any parts, with a header that fits them; with unique 0, a notification."""
    payload = b"".join(parts)
    return OutHeader(OutHeader.SIZE + len(payload), error, unique).pack() + payload


def refusal(message: str) -> Any:
    return pytest.raises(ProtocolError, match=re.escape(message))


class TestRequests:
    @pytest.mark.parametrize("length", [0, 1, 39])
    def test_no_header(self, length: int) -> None:
        with refusal(f"InHeader needs 40 bytes, {length} are left") as caught:
            decode_request(bytes(length))
        assert caught.value.unique == 0

    @pytest.mark.parametrize(
        ("message", "length"), [(request("DESTROY") + b"x", 41), (request("LOOKUP", b"ab\0")[:-1], 42)]
    )
    def test_length_in_the_header(self, message: bytes, length: int) -> None:
        with refusal(f"request 6: the header says {InHeader.unpack_from(message).len} bytes, {length} came") as caught:
            decode_request(message)
        assert caught.value.unique == 6

    @pytest.mark.parametrize("opcode", [0, 7, 19, 54, 4096, 2**32 - 1])
    def test_unknown_opcode(self, opcode: int) -> None:
        with pytest.raises(UnknownOperation, match=f"request 6: unknown opcode {opcode}") as caught:
            decode_request(InHeader(40, opcode, 6).pack())
        assert caught.value.unique == 6

    @pytest.mark.parametrize(
        ("message", "words"),
        [
            (request("GETATTR", bytes(15)), "GETATTR has 16 bytes of body, 15 came"),
            (request("STATFS", bytes(1)), "STATFS has no body, 1 bytes came"),
            (request("MKDIR", bytes(7)), "MKDIR has 8 bytes of body, 7 came"),
            (request("INIT", bytes(12)), "INIT has 64 bytes of body, 12 came"),
            (request("LOOKUP"), "LOOKUP has 1 names, 0 came"),
            (request("LOOKUP", b"endless"), "LOOKUP has 1 names, 0 came"),
            (request("LOOKUP", b"a\0b"), "1 bytes are left after LOOKUP"),
            (request("RENAME", bytes(8), b"old\0new"), "RENAME has 2 names, 1 came"),
            (request("RENAME", bytes(8), b"old\0new\0!"), "1 bytes are left after RENAME"),
            (request("WRITE", WriteIn(size=4).pack(), b"abc"), "WRITE says 4 bytes of data, 3 came"),
            (request("WRITE", WriteIn(size=2).pack(), b"abc"), "WRITE says 2 bytes of data, 3 came"),
            (request("IOCTL", IoctlIn(in_size=1).pack()), "IOCTL says 1 bytes of data, 0 came"),
            (request("SETXATTR", bytes(8), b"a\0", b"v"), "SETXATTR says 0 bytes of data, 1 came"),
            (
                request("BATCH_FORGET", BatchForgetIn(2).pack(), bytes(31)),
                "BATCH_FORGET says 32 bytes of data, 31 came",
            ),
            (request("REMOVEMAPPING", RemovemappingIn(2**32 - 1).pack()), "says 68719476720 bytes of data, 0 came"),
            (request("MKDIR", bytes(8), b"a\0", extlen=7), "56 bytes of extensions, 50 came"),
            (request("MKDIR", bytes(8), b"a\0", extlen=1), "MKDIR has 8 bytes of body, 2 came"),
            (request("LOOKUP", b"a\0b", bytes(16), extlen=2), "1 bytes are left after LOOKUP"),
        ],
    )
    def test_parts(self, message: bytes, words: str) -> None:
        with refusal(words) as caught:
            decode_request(message)
        assert caught.value.unique == 6
        assert not isinstance(caught.value, UnknownOperation)

    def test_longer_body_that_nothing_follows_is_a_newer_minor(self) -> None:
        message = decode_request(request("GETATTR", GetattrIn(1, 7).pack(), b"newer"))
        assert message.body == GetattrIn(1, 7)

    @pytest.mark.parametrize(
        ("name", "arguments", "words"),
        [
            ("GETATTR", {}, "GETATTR takes GetattrIn, not None"),
            ("GETATTR", {"body": ForgetIn(1)}, "GETATTR takes GetattrIn, not ForgetIn(nlookup=1)"),
            ("LOOKUP", {"body": ForgetIn(1), "names": [b"a"]}, "LOOKUP takes no body"),
            ("LOOKUP", {}, "LOOKUP takes 1 names without NUL, not ()"),
            ("LOOKUP", {"names": [b"a\0b"]}, "LOOKUP takes 1 names without NUL"),
            ("LOOKUP", {"names": [b"a"], "data": b"x"}, "LOOKUP takes no data"),
            ("WRITE", {"body": WriteIn(size=1), "data": b"xy"}, "WRITE says 1 bytes of data, not 2"),
            ("GETATTR", {"body": GetattrIn(fh=-1)}, "GetattrIn.fh = -1 does not fit its unsigned 64-bit field"),
            ("STATFS", {"uid": 2**32}, "InHeader.uid = 4294967296 does not fit its unsigned 32-bit field"),
        ],
    )
    def test_arguments(self, name: str, arguments: dict[str, Any], words: str) -> None:
        with pytest.raises(ValueError, match=re.escape(words)):
            encode_request(name, unique=2, **arguments)

    def test_records_of_another_operation(self) -> None:
        message = decode_request(request("STATFS"))
        with pytest.raises(ValueError, match="STATFS forgets nothing"):
            forgets(message)
        with pytest.raises(ValueError, match="STATFS removes no mappings"):
            removed_mappings(message)

    def test_single_forget_reads_like_a_batch_of_one(self) -> None:
        [forgotten] = forgets(decode_request(request("FORGET", ForgetIn(3).pack())))
        assert (forgotten.nodeid, forgotten.nlookup) == (1, 3)


class TestReplyHeaders:
    """fs/fuse/dev.c, fuse_dev_do_write: refused here, the request waits on."""

    @pytest.mark.parametrize("length", [0, 15])
    def test_no_header(self, length: int) -> None:
        with refusal(f"OutHeader needs 16 bytes, {length} are left"):
            decode_reply_header(bytes(length))

    def test_length_in_the_header(self) -> None:
        with refusal("the header says 16 bytes, 17 came"):
            decode_reply_header(reply() + b"x")

    @pytest.mark.parametrize("error", [1, 2**31 - 1, -512, -(2**31)])
    def test_error_out_of_range(self, error: int) -> None:
        with refusal(f"request 6: error {error} is not 0 or -511 to -1"):
            decode_reply_header(reply(error=error))

    @pytest.mark.parametrize("error", [0, -1, -511])
    def test_error_in_range(self, error: int) -> None:
        assert decode_reply_header(reply(error=error)).error == error

    @pytest.mark.parametrize("errno", [0, -2, 512])
    def test_errno_that_cannot_be_sent(self, errno: int) -> None:
        with pytest.raises(ValueError, match=f"no errno for the wire: {errno}"):
            encode_error(2, errno)

    @pytest.mark.parametrize(("unique", "length"), [(2**64, 0), (-1, 0), (2, 2**32)])
    def test_header_that_does_not_fit(self, unique: int, length: int) -> None:
        with pytest.raises(ValueError, match=r"OutHeader.* does not fit"):
            reply_header(unique, length)


class TestReplies:
    """fs/fuse/dev.c, fuse_copy_out_args: refused here, the caller gets EIO."""

    def test_notification_is_no_reply(self) -> None:
        with refusal("no reply to LOOKUP"):
            decode_reply(reply(unique=0), "LOOKUP")

    @pytest.mark.parametrize("name", ["FORGET", "BATCH_FORGET", "NOTIFY_REPLY"])
    def test_reply_to_what_takes_none(self, name: str) -> None:
        with refusal(f"no reply to {name}"):
            decode_reply(reply(), name)

    def test_bytes_after_an_error(self) -> None:
        with refusal("1 bytes follow an error") as caught:
            decode_reply(reply(b"x", error=-2), "READ")
        assert caught.value.unique == 6

    @pytest.mark.parametrize(
        ("name", "parts", "words"),
        [
            ("GETATTR", [bytes(103)], "GETATTR is answered by 104 bytes of AttrOut, 103 came"),
            ("GETATTR", [bytes(105)], "1 bytes are left after the reply to GETATTR"),
            ("UNLINK", [bytes(1)], "1 bytes are left after the reply to UNLINK"),
            ("CREATE", [bytes(128)], "CREATE is answered by 16 bytes of OpenOut, 0 came"),
            ("CREATE", [bytes(128), bytes(15)], "CREATE is answered by 16 bytes of OpenOut, 15 came"),
            ("INIT", [bytes(65)], "1 bytes are left after the reply to INIT"),
            ("IOCTL", [bytes(15)], "IOCTL is answered by 16 bytes of IoctlOut, 15 came"),
            ("READLINK", [bytes(4096)], "READLINK has room for 4095 bytes of reply, 4096 came"),
            ("INTERRUPT", [bytes(8)], "8 bytes are left after the reply to INTERRUPT"),
        ],
    )
    def test_length(self, name: str, parts: list[bytes], words: str) -> None:
        with refusal(words) as caught:
            decode_reply(reply(*parts), name)
        assert caught.value.unique == 6

    @pytest.mark.parametrize(
        ("name", "body", "length", "limit"),
        [
            ("READ", ReadIn(size=10), 11, 10),
            ("READDIR", ReadIn(size=10), 11, 10),
            ("READDIRPLUS", ReadIn(size=10), 11, 10),
            ("GETXATTR", GetxattrIn(size=10), 11, 10),
            ("LISTXATTR", GetxattrIn(size=10), 11, 10),
        ],
    )
    def test_more_data_than_was_asked_for(self, name: str, body: Any, length: int, limit: int) -> None:
        assert len(decode_reply(reply(bytes(limit)), name, request_body=body).data) == limit
        assert len(decode_reply(reply(bytes(length)), name).data) == length  # it was not said what was asked for
        with refusal(f"{name} has room for {limit} bytes of reply, {length} came"):
            decode_reply(reply(bytes(length)), name, request_body=body)

    def test_ioctl_has_room_for_iovecs(self) -> None:
        body = IoctlIn(out_size=8)
        answer = decode_reply(reply(IoctlOut(result=-5).pack(), bytes(4096)), "IOCTL", request_body=body)
        assert (answer.structs, len(answer.data)) == ((IoctlOut(-5),), 4096)
        with refusal("IOCTL has room for 4096 bytes of reply, 4097 came"):
            decode_reply(reply(bytes(16), bytes(4097)), "IOCTL", request_body=body)

    def test_size_of_an_xattr_is_answered_by_a_struct(self) -> None:
        probe = GetxattrIn(size=0)
        answer = decode_reply(encode_reply(6, GetxattrOut(100)), "GETXATTR", request_body=probe)
        assert (answer.structs, bytes(answer.data)) == ((GetxattrOut(100),), b"")
        with refusal("1 bytes are left after the reply to GETXATTR"):
            decode_reply(reply(bytes(9)), "GETXATTR", request_body=probe)
        with refusal("LISTXATTR is answered by 8 bytes of GetxattrOut, 3 came"):
            decode_reply(reply(bytes(3)), "LISTXATTR", request_body=probe)

    @pytest.mark.parametrize("name", ["READ", "READDIR", "READLINK"])
    def test_no_data_is_a_reply_too(self, name: str) -> None:
        assert bytes(decode_reply(reply(), name).data) == b""

    @pytest.mark.parametrize(
        "value", [WriteOut(-1), OpenOut(backing_id=2**31), AttrOut(attr=Attr(size=-1)), EntryOut(-1)]
    )
    def test_value_that_does_not_fit(self, value: Any) -> None:
        with pytest.raises(ValueError, match="does not fit its"):
            encode_reply(2, value)


class TestNotifications:
    def test_reply_is_no_notification(self) -> None:
        with refusal("request 6: a reply, not a notification"):
            decode_notification(reply())

    @pytest.mark.parametrize("code", [0, 10, -1])
    def test_unknown_code(self, code: int) -> None:
        with refusal(f"unknown notification {code}"):
            decode_notification(reply(unique=0, error=code))

    @pytest.mark.parametrize(
        ("code", "parts", "words"),
        [
            (1, [bytes(9)], "1 bytes are left after POLL"),
            (2, [bytes(23)], "NotifyInvalInodeOut needs 24 bytes, 23 are left"),
            (3, [NotifyInvalEntryOut(1, 3).pack(), b"old"], "namelen is 3, 3 bytes came"),
            (3, [NotifyInvalEntryOut(1, 3).pack(), b"older\0"], "2 bytes are left after INVAL_ENTRY"),
            (4, [NotifyStoreOut(size=3).pack(), b"ab"], "STORE says 3 bytes of data, 2 came"),
            (9, [NotifyPruneOut(2).pack(), bytes(15)], "PRUNE says 16 bytes of data, 15 came"),
        ],
    )
    def test_parts(self, code: int, parts: list[bytes], words: str) -> None:
        with refusal(words):
            decode_notification(reply(*parts, unique=0, error=code))

    @pytest.mark.parametrize("code", [7, 8])
    def test_bytes_that_linux_does_not_look_at(self, code: int) -> None:
        assert bytes(decode_notification(reply(b"any", unique=0, error=code)).data) == b"any"

    def test_byte_after_a_name_is_not_looked_at(self) -> None:
        notice = decode_notification(reply(NotifyInvalEntryOut(1, 3).pack(), b"old!", unique=0, error=3))
        assert notice.names == (b"old",)

    @pytest.mark.parametrize(
        ("name", "arguments", "words"),
        [
            ("POLL", [], "POLL takes NotifyPollWakeupOut, not None"),
            ("INVAL_ENTRY", [NotifyInvalEntryOut(1, 2), [b"old"]], "namelen is 2, the name has 3 bytes"),
            ("INVAL_ENTRY", [NotifyInvalEntryOut(1, 3)], "INVAL_ENTRY takes 1 names without NUL, not ()"),
            ("STORE", [NotifyStoreOut(size=2), (), b"a"], "STORE says 2 bytes of data, not 1"),
            ("INVAL_INODE", [NotifyInvalInodeOut(off=2**63)], "NotifyInvalInodeOut.off"),
        ],
    )
    def test_arguments(self, name: str, arguments: list[Any], words: str) -> None:
        with pytest.raises(ValueError, match=re.escape(words)):
            encode_notification(name, *arguments)

    def test_nodeids_of_a_prune(self) -> None:
        message = encode_notification("PRUNE", NotifyPruneOut(2), data=pack_nodeids([5, 2**64 - 1]))
        assert pruned_nodeids(decode_notification(message)) == (5, 2**64 - 1)
        with pytest.raises(ValueError, match="a nodeid does not fit 64 bits"):
            pack_nodeids([2**64])
        with pytest.raises(ValueError, match="INC_EPOCH prunes nothing"):
            pruned_nodeids(decode_notification(encode_notification("INC_EPOCH")))
