"""-o: what is understood, what is refused, and with which words."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fusewire.mounting import OPTIONS, MountOptionError, MountOptions, Option, describe
from fusewire.mounting import syscalls as sys
from fusewire.mounting.options import CHECKS, escape

DEFAULT = MountOptions()
texts = st.text(st.characters(exclude_characters="\0", codec="utf-8"), min_size=1, max_size=200)
facts = st.booleans()
times = st.none() | st.floats(0, 4294967295)


@st.composite
def options(draw: st.DrawFn) -> tuple[str, MountOptions]:
    """A text, and what it should mean."""
    chosen: dict[str, Any] = {
        "fsname": draw(texts),
        "subtype": draw(texts),
        "max_read": draw(st.integers(4096, 4294967295)),
        "entry_timeout": draw(st.integers(0, 10**6) | st.floats(0, 1e6).map(lambda value: round(value, 3))),
    }
    words = [f"{name}={escape(str(value))}" for name, value in chosen.items()]
    switched: dict[str, Any] = {
        name: draw(facts) for name in ("ro", "allow_other", "default_permissions", "auto_unmount")
    }
    words += [name for name, on in switched.items() if on]
    words += ["rw"] if not switched["ro"] else []
    return ",".join(draw(st.permutations(words))), MountOptions(**chosen, **switched)


@given(options())
def test_a_text_means_what_it_says(given: tuple[str, MountOptions]) -> None:
    text, meant = given
    assert MountOptions.parse(text) == meant


@given(st.lists(st.sampled_from([option for option in OPTIONS if not option.metavar]), max_size=8))
def test_the_last_one_counts_as_if_it_came_alone(chosen: list[Option]) -> None:
    step_by_step = DEFAULT
    for option in chosen:
        step_by_step = MountOptions.parse(option.name, step_by_step)
    names = [option.name for option in chosen]
    assert MountOptions.parse(",".join(names)) == MountOptions.parse(names) == step_by_step


@given(st.text(max_size=60))
def test_any_text_gives_options_or_an_error_of_ours(text: str) -> None:
    try:
        options = MountOptions.parse(text)
    except MountOptionError:
        return
    assert MountOptions.parse("", options) == options


@pytest.mark.parametrize(
    ("text", "field", "value"),
    [
        ("fsname=a\\,b\\\\c", "fsname", "a,b\\c"),
        ("fsname=a=b", "fsname", "a=b"),
        ("subtype=", "subtype", ""),
        ("entry_timeout=0", "entry_timeout", 0.0),
        ("attr_timeout=1.5", "attr_timeout", 1.5),
        ("negative_timeout=.5", "negative_timeout", 0.5),
        ("ro,rw", "ro", False),
        ("entry_timeout=1,entry_timeout=2", "entry_timeout", 2.0),
        ("nosuid,suid", "flags", sys.MS_NODEV),
        ("dev,suid,noexec", "flags", sys.MS_NOEXEC),
        ("strictatime", "flags", sys.MS_NOSUID | sys.MS_NODEV | sys.MS_STRICTATIME),
        ("strictatime,relatime", "flags", sys.MS_NOSUID | sys.MS_NODEV | sys.MS_RELATIME),
        ("suid,dev,sync,dirsync,noatime,nodiratime", "flags", 16 | 128 | 1024 | 2048),
    ],
)
def test_one_option(text: str, field: str, value: object) -> None:
    assert getattr(MountOptions.parse(text), field) == value


def test_empty_items_are_nothing() -> None:
    assert MountOptions.parse(["", ",,", "ro,"]) == MountOptions(ro=True)


@pytest.mark.parametrize(
    "text",
    [
        "defaults,_netdev,nofail",
        "user,users=x,nouser,owner,group",
        "auto,noauto,_rnetdev",
        "x-systemd.automount",
        "X-a=b",
        "comment=what one likes",
    ],
)
def test_what_mount_passes_is_understood_and_does_nothing(text: str) -> None:
    assert MountOptions.parse(text) == DEFAULT


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("alow_other", "unknown mount option 'alow_other': did you mean 'allow_other'?"),
        ("ro,entry_timout=1", "unknown mount option 'entry_timout': did you mean 'entry_timeout'?"),
        ("frobnicate", "unknown mount option 'frobnicate': 'fusewire mount --help' lists those that there are"),
        ("=1", "unknown mount option ''"),
        ("max_read=abc", "mount option max_read=abc: not a number of bytes"),
        ("max_read=-1", "mount option max_read=-1: not a number of bytes"),
        ("max_read=100", "mount option max_read=100: must be from 4096"),
        ("entry_timeout=-1", "mount option entry_timeout=-1: a time cannot be negative"),
        ("attr_timeout=inf", "mount option attr_timeout=inf: not a number of seconds"),
        ("attr_timeout=1_0", "mount option attr_timeout=1_0: not a number of seconds"),
        ("negative_timeout=1e99", "mount option negative_timeout=1e+99: too long"),
        ("ro=1", "mount option ro=1: takes no value"),
        ("noexec=", "mount option noexec=: takes no value"),
        ("fsname", "mount option fsname: needs a value, as in fsname=TEXT"),
        ("fsname=", "mount option fsname=: empty"),
        ("fsname=a\0b", "not a text"),
        (f"fsname={'x' * 4001}", "longer than 4000 bytes"),
    ],
)
def test_what_is_wrong_is_named(text: str, words: str) -> None:
    with pytest.raises(MountOptionError) as caught:
        MountOptions.parse(text)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"ro": "yes"},
        {"max_read": 1.5},
        {"max_read": True},
        {"entry_timeout": "5"},
        {"entry_timeout": float("nan")},
        {"fsname": 1},
        {"flags": 1 << 12},
        {"flags": sys.MS_RDONLY},
        {"noexec": 1},
        {"nofail": True},
        {"tiemout": 1},
    ],
)
def test_bad_values_by_name_are_refused_too(changes: dict[str, object]) -> None:
    with pytest.raises(MountOptionError) as caught:
        DEFAULT.with_options(**changes)
    assert next(iter(changes)) in str(caught.value)


def test_options_by_name() -> None:
    changed = DEFAULT.with_options(ro=True, noexec=True, suid=True, nodev=False, entry_timeout=5, attr_timeout=None)
    assert changed == MountOptions(ro=True, entry_timeout=5, flags=sys.MS_NOEXEC)
    assert changed.with_options(noexec=False, ro=False).flags == 0


def test_read_only_is_a_flag_for_the_kernel() -> None:
    assert MountOptions(ro=True).mount_flags == DEFAULT.mount_flags | sys.MS_RDONLY


@given(texts, times, times)
def test_a_base_holds_for_what_is_not_said(fsname: str, entry: float | None, attr: float | None) -> None:
    base = MountOptions(fsname=fsname, entry_timeout=entry, attr_timeout=attr)
    assert MountOptions.parse("ro", base) == base.with_options(ro=True)


def test_the_table_is_complete() -> None:
    assert set(CHECKS) == {field.name for field in fields(MountOptions)}
    assert {option.field for option in OPTIONS} - {""} == set(CHECKS) - {"flags"}
    assert len({option.name for option in OPTIONS}) == len(OPTIONS)


def test_help_names_every_option_in_80_columns() -> None:
    lines = describe().splitlines()
    assert max(map(len, lines)) <= 80
    listed = {line.split()[0].partition("=")[0] for line in lines[:-1]}
    assert listed == {option.name for option in OPTIONS if not option.is_for_others}
