"""Fuzz the wire: valid messages with some bytes changed must decode, or raise ProtocolError.

    python fuzz/wire.py --seconds 10
    python fuzz/wire.py --seed 1234 --rounds 5000      the same again

What decodes is encoded again and must decode to the same: a message that we misread would not. The seed is printed
first; a failure prints the message in hex and exits 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

from fusewire.errors import ProtocolError
from fusewire.wire import (
    NOTIFICATIONS,
    OPERATIONS,
    Extensions,
    Message,
    Notice,
    Notification,
    Operation,
    OutHeader,
    SecurityContext,
    WireStruct,
    decode_notification,
    decode_reply,
    decode_request,
    encode_error,
    encode_notification,
    encode_reply,
    encode_request,
    forgets,
    iter_direntplus,
    iter_dirents,
    pack_dirent,
    pruned_nodeids,
    removed_mappings,
)

EDGES = [0, 1, 7, 8, 31, 32, 33, 255, 4095, 4096, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1]


# Valid messages


def any_struct(rng: random.Random, kind: type[WireStruct]) -> WireStruct:
    return kind.unpack_from(rng.randbytes(kind.SIZE))


def any_name(rng: random.Random) -> bytes:
    return bytes(rng.choices(range(1, 256), k=rng.choice([1, 3, 8, 30])))


def any_parts(rng: random.Random, row: Operation | Notification) -> tuple[Any, list[bytes], bytes]:
    """Body, names and data as `row` wants them, the lengths in the body right."""
    body: Any = any_struct(rng, row.body) if row.body is not None else None
    names = [any_name(rng) for _ in range(row.names)]
    data = rng.randbytes(16 * rng.randrange(4)) if row.data else b""  # whole records of any kind
    for length in ("size", "in_size", "count"):
        if row.data_length is not None and hasattr(body, length):
            setattr(body, length, 1)
            setattr(body, length, len(data) // row.data_length(body))
    if names and hasattr(body, "namelen"):
        body.namelen = len(names[0])
    return body, names, data


def any_request(rng: random.Random, row: Operation) -> bytes:
    body, names, data = any_parts(rng, row)
    contexts = (SecurityContext(any_name(rng), rng.randbytes(9)),)
    extensions = Extensions((rng.getrandbits(32),), contexts) if row.extensions else Extensions()
    return encode_request(
        row, unique=rng.getrandbits(64), body=body, names=names, data=data, extensions=extensions, setxattr_ext=True
    )


def any_reply(rng: random.Random, row: Operation) -> bytes:
    unique = rng.getrandbits(64) or 1
    if row.reply is None or rng.random() < 0.1:
        return encode_error(unique, rng.randrange(1, 512))
    data = b"".join(pack_dirent(any_name(rng), 1, 2, 8) for _ in range(3)) if row.reply_data else b""
    structs = [] if row.size_probe and data else [any_struct(rng, kind) for kind in row.reply_structs]
    return encode_reply(unique, *structs, data)


def any_notification(rng: random.Random, row: Notification) -> bytes:
    return encode_notification(row, *any_parts(rng, row))


# What must hold of any bytes


def check_request(buffer: bytes, row: Operation | Notification) -> None:
    for extended in (False, True):
        message = decoded(lambda: decode_request(buffer, setxattr_ext=extended))  # noqa: B023  called at once
        if message is None:
            continue
        if message.operation.name == "BATCH_FORGET":
            assert len(forgets(message)) == message.body.count
        if message.operation.name == "REMOVEMAPPING":
            assert len(removed_mappings(message)) == message.body.count
        again = decode_request(request_again(message, extended), setxattr_ext=extended)
        again.header.len, again.header.total_extlen = message.header.len, message.header.total_extlen
        assert again == message


def request_again(message: Message, extended: bool) -> bytes:
    header = message.header
    return encode_request(
        message.operation,
        unique=header.unique,
        nodeid=header.nodeid,
        uid=header.uid,
        gid=header.gid,
        pid=header.pid,
        body=message.body,
        names=message.names,
        data=message.data,
        extensions=message.extensions,
        setxattr_ext=extended,
    )


def check_reply(buffer: bytes, row: Operation | Notification) -> None:
    assert isinstance(row, Operation)
    bodies: list[WireStruct | None] = [None] if row.body is None else [None, row.body()]
    for body in bodies:
        reply = decoded(lambda: decode_reply(buffer, row, request_body=body))  # noqa: B023  called at once
        if reply is not None and not reply.error:
            again = encode_reply(reply.unique, *reply.structs, reply.data)
            assert decode_reply(again, row, request_body=body) == reply
    decoded(lambda: list(iter_dirents(buffer[OutHeader.SIZE :])))
    decoded(lambda: list(iter_direntplus(buffer[OutHeader.SIZE :])))


def check_notification(buffer: bytes, row: Operation | Notification) -> None:
    notice: Notice | None = decoded(lambda: decode_notification(buffer))
    if notice is None or any(b"\0" in name for name in notice.names):  # Linux reads such names; we write none
        return
    if notice.notification.name == "PRUNE":
        assert len(pruned_nodeids(notice)) == notice.body.count
    again = encode_notification(notice.notification, notice.body, notice.names, notice.data)
    assert decode_notification(again) == notice


def decoded(decode: Callable[[], Any]) -> Any:
    """What `decode` returns, or None if it refuses."""
    try:
        return decode()
    except ProtocolError:
        return None


# Changing bytes


def mutate(rng: random.Random, message: bytes) -> bytes:
    buffer = bytearray(message)
    for _ in range(rng.choice([1, 1, 2, 4])):
        rng.choice(MUTATIONS)(rng, buffer)
    if rng.random() < 0.8 and len(buffer) >= 4:  # most must get past the header
        buffer[:4] = len(buffer).to_bytes(4, sys.byteorder)
    return bytes(buffer)


def flip_bit(rng: random.Random, buffer: bytearray) -> None:
    if buffer:
        buffer[rng.randrange(len(buffer))] ^= 1 << rng.randrange(8)


def write_edge(rng: random.Random, buffer: bytearray) -> None:
    """Write a number that is the first or last of its kind where a field may be."""
    at, size = 4 * rng.randrange(len(buffer) // 4 + 1), rng.choice([2, 4, 8])
    value = rng.choice([*EDGES, len(buffer), 2**64 - 1]) % 2 ** (8 * size)
    buffer[at : at + size] = value.to_bytes(size, sys.byteorder)


def cut(rng: random.Random, buffer: bytearray) -> None:
    del buffer[rng.randrange(len(buffer) + 1) :]


def remove(rng: random.Random, buffer: bytearray) -> None:
    at = rng.randrange(len(buffer) + 1)
    del buffer[at : at + rng.choice([1, 4, 8])]


def insert(rng: random.Random, buffer: bytearray) -> None:
    at = rng.choice([rng.randrange(len(buffer) + 1), len(buffer)])
    buffer[at:at] = rng.choice([b"\0", b"/", rng.randbytes(rng.choice([1, 4, 8, 40]))])


MUTATIONS = [flip_bit, write_edge, cut, remove, insert]


# The run

Check = Callable[[bytes, Operation | Notification], None]


def rounds(rng: random.Random) -> Iterator[tuple[Check, bytes, Operation | Notification]]:
    """For ever: a check, a changed message, and the row that it was made from."""
    operations, notifications = list(OPERATIONS.values()), list(NOTIFICATIONS.values())
    while True:
        row = rng.choice(operations)
        yield check_request, mutate(rng, any_request(rng, row)), row
        yield check_reply, mutate(rng, any_reply(rng, row)), row
        notification = rng.choice(notifications)
        yield check_notification, mutate(rng, any_notification(rng, notification)), notification


def fuzz(seed: int, seconds: float, limit: int | None) -> int:
    """Run until the time is over or `limit` messages were checked; return how many."""
    until = time.monotonic() + seconds
    count = 0
    for check, message, row in rounds(random.Random(seed)):
        if count == limit or (limit is None and time.monotonic() > until):
            break
        try:
            check(message, row)
        except Exception:
            traceback.print_exc()
            sys.exit(f"{check.__name__} of a changed {row.name} failed after {count} messages: {message.hex()}")
        count += 1
    return count


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the wire: changed messages decode, or raise ProtocolError.")
    parser.add_argument("--seconds", type=float, default=10.0, help="how long to run (default: 10)")
    parser.add_argument("--rounds", type=int, help="check this many messages instead")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32), help="to repeat a run")
    arguments = parser.parse_args()
    print(f"seed {arguments.seed}", flush=True)
    print(f"{fuzz(arguments.seed, arguments.seconds, arguments.rounds)} messages, no failure")


if __name__ == "__main__":
    main()
