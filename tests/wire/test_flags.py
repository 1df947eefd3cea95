"""Flags have C's names and C's values."""

from __future__ import annotations

import re

import pytest

import c_header
from fusewire import wire
from fusewire.wire import FlagSet, InitFlags, OpenFlags, flags, join_init_flags, split_init_flags

SETS = [value for value in map(flags.__dict__.get, flags.__all__) if isinstance(value, type) and value is not FlagSet]


def numbers_of(space: object) -> dict[str, int]:
    """The constants of a class or a module, without Python's own, such as the __firstlineno__ of 3.13."""
    return {name: value for name, value in vars(space).items() if type(value) is int and not name.startswith("_")}


def all_numbers() -> dict[str, int]:
    numbers = numbers_of(flags)
    for flag_set in SETS:
        numbers |= numbers_of(flag_set)
    return numbers


@pytest.mark.skipif(c_header.why_no_header() is not None, reason=str(c_header.why_no_header()))
class TestAgainstTheInstalledHeader:
    def test_values_are_those_of_the_compiled_header(self) -> None:
        known = {name: value for name, value in all_numbers().items() if name in c_header.macros()}
        del known["FUSE_KERNEL_MINOR_VERSION"]  # the header's own age
        values = c_header.evaluate(
            [f"(unsigned)({name})" if value >> 32 == 0 else name for name, value in known.items()]
        )
        assert dict(zip(known, values, strict=True)) == known
        assert len(known) > 90

    def test_no_flag_of_the_header_is_missing(self) -> None:
        prefixes = ("FUSE_", "FOPEN_", "FATTR_", "RENAME_", "FALLOC_FL_")
        theirs = {name for name in c_header.macros() if name.startswith(prefixes)}
        aliases = {
            "FUSE_WRITE_KILL_PRIV",
            "FUSE_NAME_OFFSET",
            "FUSE_NAME_OFFSET_DIRENTPLUS",
            "FUSE_REMOVEMAPPING_MAX_ENTRY",
        }
        assert {
            name for name in theirs - set(all_numbers()) - aliases if not re.fullmatch("FUSE_COMPAT.*SIZE", name)
        } == set()

    def test_extension_types_are_those_of_the_header(self) -> None:
        theirs = c_header.enumerators("fuse_ext_type")
        assert theirs.items() <= numbers_of(flags.ExtensionType).items()
        assert theirs


def test_what_is_newer_than_debians_header() -> None:
    """Values by version 7.45 of the header, for those that 7.38 lacks."""
    numbers = all_numbers()
    newer = ["CREATE_SUPP_GROUP", "HAS_EXPIRE_ONLY", "DIRECT_IO_ALLOW_MMAP", "PASSTHROUGH", "NO_EXPORT_SUPPORT"]
    newer += ["HAS_RESEND", "ALLOW_IDMAP", "OVER_IO_URING", "REQUEST_TIMEOUT"]
    assert [numbers[f"FUSE_{name}"].bit_length() - 1 for name in newer] == list(range(34, 43))
    assert (numbers["FOPEN_PASSTHROUGH"], numbers["FUSE_EXT_GROUPS"], numbers["FUSE_KERNEL_MINOR_VERSION"]) == (
        128,
        32,
        45,
    )


def test_device_ioctls_are_what_the_ioctl_macros_make() -> None:
    def number(direction: int, nr: int, size: int) -> int:
        return direction << 30 | size << 16 | flags.FUSE_DEV_IOC_MAGIC << 8 | nr

    assert number(2, 0, 4) == flags.FUSE_DEV_IOC_CLONE  # _IOR
    assert number(1, 1, wire.BackingMap.SIZE) == flags.FUSE_DEV_IOC_BACKING_OPEN  # _IOW
    assert number(1, 2, 4) == flags.FUSE_DEV_IOC_BACKING_CLOSE
    assert number(0, 3, 0) == flags.FUSE_DEV_IOC_SYNC_INIT  # _IO


@pytest.mark.parametrize("flag_set", [s for s in SETS if issubclass(s, FlagSet)], ids=lambda s: s.__name__)
def test_every_flag_is_one_bit_and_has_its_name(flag_set: type[FlagSet]) -> None:
    numbers = numbers_of(flag_set)
    assert all(value.bit_count() == 1 for value in numbers.values())
    assert len(set(numbers.values())) == len(numbers)
    assert [flag_set.names(value) for value in numbers.values()] == [[name] for name in numbers]
    assert flag_set.text(sum(numbers.values())) == "|".join(numbers)


def test_text_shows_what_it_does_not_know() -> None:
    assert OpenFlags.text(OpenFlags.FOPEN_KEEP_CACHE | 1 << 20) == "FOPEN_KEEP_CACHE|0x100000"
    assert OpenFlags.text(1 << 20) == "0x100000"
    assert OpenFlags.text(0) == "0"
    assert OpenFlags.names(1 << 20) == []


def test_init_flags_are_split_over_two_fields_and_joined_again() -> None:
    wanted = InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_HAS_RESEND
    low, high = split_init_flags(wanted)
    assert (low, high) == (InitFlags.FUSE_ASYNC_READ | InitFlags.FUSE_INIT_EXT, 1 << 7)
    assert join_init_flags(low, high) == wanted | InitFlags.FUSE_INIT_EXT
    assert split_init_flags(InitFlags.FUSE_ASYNC_READ) == (InitFlags.FUSE_ASYNC_READ, 0)


def test_second_field_counts_only_beside_init_ext() -> None:
    assert join_init_flags(InitFlags.FUSE_ASYNC_READ, 0xFF) == InitFlags.FUSE_ASYNC_READ
