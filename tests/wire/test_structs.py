"""Every struct has the size and the offsets of C: by the installed header, and by a table for what is newer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, get_args, get_origin

import pytest

import c_header
from fusewire import wire
from fusewire.wire import WireStruct, structs

TABLE = Path(__file__).with_name("abi_7_45.txt")
CLASSES: list[type[WireStruct]] = [getattr(structs, name) for name in structs.__all__]

needs_header = pytest.mark.skipif(c_header.why_no_header() is not None, reason=str(c_header.why_no_header()))


def c_name(cls: type[WireStruct]) -> str:
    return "fuse" + re.sub("([A-Z])", r"_\1", cls.__name__).lower()


def fields_of(cls: type[WireStruct]) -> dict[str, tuple[int, int]]:
    """Offset and size of each field, by its name without underscores at its ends."""
    ends = [*list(cls.OFFSETS.values())[1:], cls.SIZE]
    return {name.strip("_"): (at, end - at) for (name, at), end in zip(cls.OFFSETS.items(), ends, strict=True)}


def read_table() -> dict[str, tuple[int, dict[str, tuple[int, int]]]]:
    table = {}
    for line in TABLE.read_text().splitlines():
        if line.startswith("#"):
            continue
        name, size, *fields = line.split()
        places = (re.fullmatch(r"(\w+)@(\d+)\+(\d+)", field) for field in fields)
        table[f"fuse_{name}"] = (int(size), {p[1].strip("_"): (int(p[2]), int(p[3])) for p in places if p})
    return table


@pytest.mark.parametrize("cls", CLASSES, ids=c_name)
def test_struct_is_laid_out_as_the_table_says(cls: type[WireStruct]) -> None:
    assert (cls.SIZE, fields_of(cls)) == read_table()[c_name(cls)]


def test_every_struct_of_the_table_has_a_class() -> None:
    assert set(read_table()) == {c_name(cls) for cls in CLASSES}


@needs_header
def test_structs_are_laid_out_as_the_compiled_header_says() -> None:
    """Paddings are left out: newer minors put fields in their place."""
    expected, expressions = [], []
    for cls in CLASSES:
        for name, (offset, size) in fields_of(cls).items():
            if name in cls.OFFSETS and c_header.in_struct(c_name(cls), name):
                member = f"struct {c_name(cls)}, {name}"
                expected += [(cls.__name__, name, "offset", offset), (cls.__name__, name, "size", size)]
                expressions += [f"offsetof({member})", f"sizeof(((struct {c_name(cls)} *)0)->{name})"]
    values = c_header.evaluate(expressions)
    assert expected == [(*what[:3], value) for what, value in zip(expected, values, strict=True)]
    assert len(expected) > 400  # the header was read, and not only a part of it


@needs_header
def test_sizes_are_those_of_the_compiled_header() -> None:
    known = [cls for cls in CLASSES if c_header.struct_body(c_name(cls))]
    values = c_header.evaluate([f"sizeof(struct {c_name(cls)})" for cls in known])
    assert {cls.__name__: cls.SIZE for cls in known} == dict(zip([cls.__name__ for cls in known], values, strict=True))
    assert len(known) > 55


@needs_header
def test_fields_are_signed_as_in_the_compiled_header() -> None:
    signed = {}
    for cls in CLASSES:
        for name, kind in cls.FIELDS.items():
            if get_origin(kind) is Annotated and c_header.in_struct(c_name(cls), name):
                signed[f"((__typeof__(((struct {c_name(cls)} *)0)->{name}))-1) < 0"] = get_args(kind)[1] in "iq"
    assert dict(zip(signed, map(bool, c_header.evaluate(list(signed))), strict=True)) == signed
    assert sum(signed.values()) >= 4  # error, result, off and len are in every header since 7.12


@needs_header
def test_no_struct_of_the_header_is_missing() -> None:
    names = set(re.findall(r"^struct (fuse_\w+) {", c_header.preprocess(), re.MULTILINE))
    assert names <= {c_name(cls) for cls in CLASSES}


@pytest.mark.parametrize("cls", CLASSES, ids=c_name)
def test_zeros_are_the_default(cls: type[WireStruct]) -> None:
    assert cls().pack() == bytes(cls.SIZE)
    assert cls.unpack_from(bytes(cls.SIZE)) == cls()


@pytest.mark.parametrize("cls", CLASSES, ids=c_name)
def test_docstring_names_the_c_struct(cls: type[WireStruct]) -> None:
    assert f"({c_name(cls)})" in str(cls.__doc__)


@pytest.mark.parametrize("cls", CLASSES, ids=c_name)
def test_struct_is_reached_from_the_package(cls: type[WireStruct]) -> None:
    assert getattr(wire, cls.__name__) is cls
