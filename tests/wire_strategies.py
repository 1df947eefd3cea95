"""Hypothesis strategies made from the rows: every message that the ABI allows."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from hypothesis import strategies as st

from fusewire.wire import (
    Dirent,
    Extensions,
    GetxattrIn,
    Notification,
    Operation,
    SecurityContext,
    WireStruct,
)

LENGTH_FIELDS = ("size", "in_size", "count")  # one of them says how long the data is

names = st.binary(max_size=40).map(lambda name: name.replace(b"\0", b"n"))


def structs_of(cls: type[WireStruct]) -> st.SearchStrategy[Any]:
    """All objects of a struct class: each is what some bytes mean. Drawing field by field is twenty times slower."""
    chunk = st.binary(min_size=cls.SIZE, max_size=cls.SIZE)
    return (chunk | st.just(b"\xff" * cls.SIZE)).map(cls.unpack_from)


def extensions() -> st.SearchStrategy[Extensions]:
    contexts = st.builds(SecurityContext, name=names, value=st.binary(max_size=20))
    groups = st.lists(st.integers(0, 2**32 - 1), max_size=4)
    return st.builds(Extensions, groups=groups.map(tuple), contexts=st.lists(contexts, max_size=3).map(tuple))


def record_size(row: Operation | Notification) -> int:
    """The data's length must be a multiple of this."""
    sizes = {"BATCH_FORGET": 16, "REMOVEMAPPING": 16, "PRUNE": 8}
    return sizes.get(row.name, 1)


def set_length(body: Any, length: int, unit: int) -> None:
    """Write the data's length into the field of `body` that says it."""
    (name,) = (field.name for field in fields(body) if field.name in LENGTH_FIELDS)
    setattr(body, name, length // unit)


def bodies_and_data(row: Operation | Notification) -> st.SearchStrategy[tuple[Any, bytes]]:
    unit = record_size(row)

    def fit(body: Any, data: bytes) -> tuple[Any, bytes]:
        data = data[: len(data) // unit * unit]
        if row.data_length is not None:
            set_length(body, len(data), unit)
        return body, data

    body = structs_of(row.body) if row.body is not None else st.none()
    return st.builds(fit, body, st.binary(max_size=100) if row.data else st.just(b""))


@st.composite
def requests(draw: st.DrawFn, row: Operation) -> dict[str, Any]:
    """The arguments of `encode_request` for any message of `row`."""
    body, data = draw(bodies_and_data(row))
    words = {word: draw(st.integers(0, 2**32 - 1)) for word in ("uid", "gid", "pid")}
    return {
        "unique": draw(st.integers(0, 2**64 - 1)),
        "nodeid": draw(st.integers(0, 2**64 - 1)),
        "body": body,
        "names": tuple(draw(names) for _ in range(row.names)),
        "data": data,
        "extensions": draw(extensions()) if row.extensions else Extensions(),
        **words,
    }


@dataclass
class AnyReply:
    """A reply that the kernel takes, and the body of the request that it answers."""

    unique: int
    structs: tuple[WireStruct, ...]
    data: bytes
    request_body: Any


@st.composite
def replies(draw: st.DrawFn, row: Operation) -> AnyReply:
    """Any reply without an error to a request of `row`."""
    request_body = draw(structs_of(row.body)) if row.body is not None else None
    wants_data = row.reply_data
    if row.size_probe:
        wants_data = draw(st.booleans())
        request_body = GetxattrIn(size=100 if wants_data else 0)
    kinds = row.reply_structs if not row.size_probe or not wants_data else ()
    data = draw(st.binary(max_size=100)) if wants_data else b""
    if wants_data and row.reply_limit is not None:
        data = data[: row.reply_limit(request_body)]
    return AnyReply(draw(st.integers(1, 2**64 - 1)), tuple(draw(structs_of(k)) for k in kinds), data, request_body)


@st.composite
def notifications(draw: st.DrawFn, row: Notification) -> dict[str, Any]:
    """The arguments of `encode_notification` for any message of `row`."""
    body, data = draw(bodies_and_data(row))
    words = tuple(draw(names) for _ in range(row.names))
    if words:
        body.namelen = len(words[0])
    return {"body": body, "names": words, "data": data}


def dirents() -> st.SearchStrategy[tuple[Dirent, bytes]]:
    """Any record that the kernel takes, with its name."""
    name = st.binary(min_size=1, max_size=300).map(lambda name: name.replace(b"/", b"_"))
    return st.builds(
        lambda dirent, name: (Dirent(dirent.ino, dirent.off, len(name), dirent.type), name), structs_of(Dirent), name
    )
