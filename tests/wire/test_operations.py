"""The table of operations and notifications."""

from __future__ import annotations

import pytest

import c_header
from fusewire.wire import NOTIFICATIONS, OPERATIONS, Notification, Operation, notification, operation, structs

ROWS = list(OPERATIONS.values())
ALL_ROWS: list[Operation | Notification] = [*ROWS, *NOTIFICATIONS.values()]


@pytest.mark.skipif(c_header.why_no_header() is not None, reason=str(c_header.why_no_header()))
class TestAgainstTheInstalledHeader:
    def test_opcodes_are_those_of_the_header(self) -> None:
        theirs = {name.removeprefix("FUSE_"): code for name, code in c_header.enumerators("fuse_opcode").items()}
        expected = {name: code for name, code in theirs.items() if "CUSE" not in name and "RESERVED" not in name}
        ours = {row.name: code for code, row in OPERATIONS.items()}
        assert expected.items() <= ours.items()
        assert len(expected) >= 46

    def test_notification_codes_are_those_of_the_header(self) -> None:
        theirs = c_header.enumerators("fuse_notify_code")
        theirs.pop("FUSE_NOTIFY_CODE_MAX", None)
        ours = {f"FUSE_NOTIFY_{row.name}": code for code, row in NOTIFICATIONS.items()}
        assert theirs.items() <= ours.items()
        assert len(theirs) >= 6


def test_every_opcode_up_to_53_has_a_row() -> None:
    assert set(range(1, 54)) - set(OPERATIONS) == {7, 19}  # never given out
    assert set(NOTIFICATIONS) == set(range(1, 10))


def test_what_is_newer_than_debians_header() -> None:
    assert [operation(name).code for name in ("STATX", "COPY_FILE_RANGE_64")] == [52, 53]
    assert [notification(name).code for name in ("RESEND", "INC_EPOCH", "PRUNE")] == [7, 8, 9]


def test_rows_are_found_by_name() -> None:
    assert all(operation(row.name) is row for row in ROWS)
    assert all(notification(row.name) is row for row in NOTIFICATIONS.values())
    with pytest.raises(KeyError):
        operation("lookup")


def test_method_is_the_name_in_lower_case() -> None:
    assert operation("RENAME2").method == "rename2"
    assert all(row.method.isidentifier() for row in ROWS)


def test_reply_reads_as_a_tuple_however_it_is_written() -> None:
    assert operation("LOOKUP").reply == (structs.EntryOut,)
    assert operation("CREATE").reply_structs == (structs.EntryOut, structs.OpenOut)
    assert operation("UNLINK").reply == ()
    assert operation("FORGET").reply is None
    assert operation("FORGET").reply_structs == ()


def test_no_reply_is_sent_to_three() -> None:
    """fs/fuse/dev.c: FORGET and BATCH_FORGET are made while they are read, NOTIFY_REPLY clears ISREPLY."""
    assert {row.name for row in ROWS if row.reply is None} == {"FORGET", "BATCH_FORGET", "NOTIFY_REPLY"}


def test_data_is_measured_by_a_body() -> None:
    for row in ALL_ROWS:
        assert row.data or row.data_length is None
        if row.data_length is not None and row.body is not None:
            assert row.data_length(row.body()) == 0


def test_reply_data_of_every_row_has_a_limit() -> None:
    """So that the kernel's end can refuse more than it asked for."""
    assert all((row.reply_limit is not None) == row.reply_data for row in ROWS)


@pytest.mark.parametrize(
    ("name", "field", "value", "limit"),
    [
        ("READ", "size", 4096, 4096),
        ("READDIRPLUS", "size", 32768, 32768),
        ("GETXATTR", "size", 10, 10),
        ("IOCTL", "out_size", 0, 4096),
        ("IOCTL", "out_size", 5000, 5000),
    ],
)
def test_limit_of_reply_data(name: str, field: str, value: int, limit: int) -> None:
    row: Operation = operation(name)
    assert row.body is not None
    assert row.reply_limit is not None
    assert row.reply_limit(row.body(**{field: value})) == limit


def test_since_is_no_newer_than_the_abi() -> None:
    assert all(1 <= row.since <= 45 for row in ALL_ROWS)
