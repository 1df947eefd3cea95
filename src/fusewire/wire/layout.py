"""A class body becomes a C struct.

    @wire_struct
    class OpenOut(WireStruct):
        fh: u64 = 0
        open_flags: u32 = 0
        backing_id: i32 = 0

reads like the header it copies, is an ordinary dataclass to Python and to type checkers, and
packs in one C call: `u32` is `int` to a checker and a code of the `struct` module to the
decorator. The ABI pads by hand, so nothing is aligned behind the author's back (`=`): padding is
a `ClassVar[pad4]`, four zero bytes on the wire and nothing on the object. A field annotated with
another wire struct is nested in place. Integers are in host byte order, as the device has them.

Structs grew over the years, at their ends only. `SIZES` says how long one was: `{4: 8, 22: 24}` is
8 bytes up to minor 4 and 24 up to minor 22. The older forms are read by padding with zeros and
written by cutting, so nothing else ever asks for a minor.

`pack` and `unpack_from` are written as source and compiled once for each class, as `dataclass`
does for `__init__`: a loop over the fields costs ten times as much. `ctypes` was rejected because
it silently cuts a value that does not fit; a NamedTuple because any two with equal values are
equal; `frozen` because it doubles the price. That nobody changes a message is a rule instead.
"""

from __future__ import annotations

import inspect
import struct
from dataclasses import dataclass, field
from typing import (
    Annotated,
    Any,
    ClassVar,
    NoReturn,
    Self,
    TypeAlias,
    TypeVar,
    dataclass_transform,
    get_args,
    get_origin,
)

from fusewire.errors import ProtocolError

__all__ = [
    "Buffer",
    "WireStruct",
    "i32",
    "i64",
    "pad2",
    "pad4",
    "pad6",
    "pad8",
    "pad16",
    "pad22",
    "pad24",
    "pad44",
    "pad112",
    "pad128",
    "u16",
    "u32",
    "u64",
    "wire_struct",
]

Buffer: TypeAlias = bytes | bytearray | memoryview

u16 = Annotated[int, "H"]
u32 = Annotated[int, "I"]
u64 = Annotated[int, "Q"]
i32 = Annotated[int, "i"]
i64 = Annotated[int, "q"]
pad2 = Annotated[None, "2x"]
pad4 = Annotated[None, "4x"]
pad6 = Annotated[None, "6x"]
pad8 = Annotated[None, "8x"]
pad16 = Annotated[None, "16x"]
pad22 = Annotated[None, "22x"]
pad24 = Annotated[None, "24x"]
pad44 = Annotated[None, "44x"]
pad112 = Annotated[None, "112x"]
pad128 = Annotated[None, "128x"]


class WireStruct:
    """A fixed-size struct of the ABI.

    `SIZE` is in bytes. `FIELDS` and `OFFSETS` name every field in order, paddings too: its
    annotation, and the byte at which it begins. `STRUCT` packs and unpacks the flat values where
    an object would cost too much. `SIZES` maps the last minor of each older form to its size.
    """

    __slots__ = ()
    SIZE: ClassVar[int]
    STRUCT: ClassVar[struct.Struct]
    FIELDS: ClassVar[dict[str, Any]]
    OFFSETS: ClassVar[dict[str, int]]
    SIZES: ClassVar[dict[int, int]] = {}

    @classmethod
    def unpack_from(cls, buffer: Buffer, offset: int = 0) -> Self:
        """Decode `SIZE` bytes of `buffer` at `offset`.

        Raises:
            ProtocolError: fewer bytes are left; its `unique` is 0.
        """
        raise NotImplementedError  # wire_struct writes one for each class

    def pack(self) -> bytes:
        """Encode to `SIZE` bytes.

        Raises:
            ValueError: a value is no integer or does not fit its field, which is named.
        """
        raise NotImplementedError

    @classmethod
    def size_at(cls, minor: int) -> int:
        """Return the struct's size, in bytes, between peers that speak minor version `minor`."""
        for last, size in cls.SIZES.items():
            if minor <= last:
                return size
        return cls.SIZE

    @classmethod
    def unpack_padded(cls, buffer: Buffer, offset: int, size: int) -> Self:
        """Decode `size` bytes at `offset`, an older form; what it lacks is 0."""
        return cls.unpack_from(bytes(buffer[offset : offset + size]).ljust(cls.SIZE, b"\0"))

    def pack_at(self, minor: int) -> bytes:
        """Encode to `size_at(minor)` bytes; what the older form lacks is lost."""
        return self.pack()[: self.size_at(minor)] if self.SIZES else self.pack()


S = TypeVar("S", bound=WireStruct)


@dataclass_transform(field_specifiers=(field,))
def wire_struct(cls: type[S]) -> type[S]:
    """Make `cls` a slotted dataclass laid out as its annotations say, in their order."""
    cls = dataclass(slots=True)(cls)
    cls.FIELDS = inspect.get_annotations(cls, eval_str=True)
    layout = _Layout(cls)
    cls.OFFSETS = layout.offsets
    cls.STRUCT = struct.Struct("".join(layout.codes))
    cls.SIZE = cls.STRUCT.size
    _compile_codec(cls, layout)
    return cls


class _Layout:
    """The `struct` codes of a class, its values as expressions, and how to rebuild the object.

    Nested structs are flattened: `paths` has `self.attr.ino`, and `arguments` rebuilds the nesting
    as `Attr(self_attr_ino, ...)`.
    """

    def __init__(self, cls: type[WireStruct]) -> None:
        self.codes = ["="]
        self.paths: list[str] = []
        self.offsets: dict[str, int] = {}
        self.nested: dict[str, type[WireStruct]] = {}
        self.arguments = self._lay_out(cls.FIELDS, "self")

    def _lay_out(self, fields: dict[str, Any], path: str) -> str:
        arguments = []
        for name, kind in fields.items():
            if path == "self":
                self.offsets[name] = struct.calcsize("".join(self.codes))
            if isinstance(kind, type) and issubclass(kind, WireStruct):
                self.nested[kind.__name__] = kind
                arguments.append(f"{kind.__name__}({self._lay_out(kind.FIELDS, f'{path}.{name}')})")
            elif get_origin(kind) is ClassVar:
                self.codes.append(get_args(get_args(kind)[0])[1])
            else:
                self.codes.append(get_args(kind)[1])
                self.paths.append(f"{path}.{name}")
                arguments.append(_local(self.paths[-1]))
        return ", ".join(arguments)


def _local(path: str) -> str:
    return path.replace(".", "_")


def _compile_codec(cls: type[WireStruct], layout: _Layout) -> None:
    """Write `pack` and `unpack_from` of `cls`; a flat struct needs no names for its values."""
    if layout.nested:
        unpack = f"{', '.join(map(_local, layout.paths))}, = _unpack_from(buffer, offset)"
        build = layout.arguments
    else:
        unpack = "pass"
        build = "*_unpack_from(buffer, offset)"
    scope: dict[str, Any] = {
        **layout.nested,
        "cls": cls,
        "_pack": cls.STRUCT.pack,
        "_unpack_from": cls.STRUCT.unpack_from,
        "_error": struct.error,
        "_refuse": lambda self: _refuse(self, layout),
        "_too_short": _too_short,
    }
    exec(
        f"def pack(self):\n"
        f"    try:\n"
        f"        return _pack({', '.join(layout.paths)})\n"
        f"    except _error:\n"
        f"        _refuse(self)\n"
        f"def unpack_from(buffer, offset=0):\n"
        f"    try:\n"
        f"        {unpack}\n"
        f"        return cls({build})\n"
        f"    except _error:\n"
        f"        _too_short(cls, buffer, offset)\n",
        scope,
    )
    for name, method in ("pack", scope["pack"]), ("unpack_from", staticmethod(scope["unpack_from"])):
        setattr(cls, name, method)


def _refuse(self: WireStruct, layout: _Layout) -> NoReturn:
    """Name the field whose value does not fit; only now is it worth looking for."""
    codes = [code for code in layout.codes[1:] if not code.endswith("x")]
    for path, code in zip(layout.paths, codes, strict=True):
        value: Any = self
        for name in path.split(".")[1:]:
            value = getattr(value, name)
        try:
            struct.pack(f"={code}", value)
        except struct.error:
            field_name = path.replace("self", type(self).__name__, 1)
            bits = 8 * struct.calcsize(f"={code}")
            kind = f"{'signed' if code.islower() else 'unsigned'} {bits}-bit field"
            raise ValueError(f"{field_name} = {value!r} does not fit its {kind}") from None
    raise AssertionError("every value fits by itself, and not together")


def _too_short(cls: type[WireStruct], buffer: Buffer, offset: int) -> NoReturn:
    left = max(len(buffer) - offset, 0)
    raise ProtocolError(0, f"{cls.__name__} needs {cls.SIZE} bytes, {left} are left") from None
