"""Mount options: what may stand after -o.

One table says which there are. An option is one of three kinds: it sets a field of
`MountOptions`, or bits of mount(2)'s flags, or nothing at all, because mount(8) passes it on
from /etc/fstab and it means something to others only. Whatever is not in the table is an
error: an option that is ignored is a promise broken.

    MountOptions.parse("ro,entry_timeout=5,fsname=a\\,b")

A comma in a value is written `\\,` and a backslash `\\\\`, as libfuse has it. An option may be
given several times, the last one counts; of opposites (`suid,nosuid`) too.
"""

from __future__ import annotations

import difflib
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final

from fusewire.mounting.syscalls import (
    MS_DIRSYNC,
    MS_LAZYTIME,
    MS_NOATIME,
    MS_NODEV,
    MS_NODIRATIME,
    MS_NOEXEC,
    MS_NOSUID,
    MS_NOSYMFOLLOW,
    MS_RDONLY,
    MS_RELATIME,
    MS_STRICTATIME,
    MS_SYNCHRONOUS,
)

__all__ = ["OPTIONS", "MountOptionError", "MountOptions", "Option", "describe"]


class MountOptionError(ValueError):
    """A mount option does not exist, or its value is none. The text names both."""


@dataclass(frozen=True, slots=True)
class MountOptions:
    """How to mount. What is None is left to the filesystem.

    `allow_other` lets in users beside the one who mounts; `default_permissions` has the kernel
    check modes. Timeouts are seconds for which the kernel may believe what it was told; 0 has
    it ask every time. `flags` are those of mount(2) without MS_RDONLY; without MS_NOSUID and
    MS_NODEV the mount can hand out root, so both are set unless one asks.

    Raises:
        MountOptionError: a value is of the wrong type or out of range.
    """

    fsname: str = "fusewire"  # what tables of mounts show as the device
    subtype: str = "fusewire"  # they show the type fuse.SUBTYPE; "" for plain fuse
    ro: bool = False
    allow_other: bool = False
    default_permissions: bool = False
    auto_unmount: bool = False  # unmount when this process dies, however it dies
    max_read: int | None = None  # bytes of one READ; the kernel's own bound if None
    entry_timeout: float | None = None
    attr_timeout: float | None = None
    negative_timeout: float | None = None
    flags: int = MS_NOSUID | MS_NODEV

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            complaint = CHECKS[field.name](value)
            if complaint:
                shown = f"{value:g}" if isinstance(value, float) else value
                raise MountOptionError(f"mount option {field.name}={shown}: {complaint}")

    @property
    def mount_flags(self) -> int:
        """All flags for mount(2)."""
        return self.flags | (MS_RDONLY if self.ro else 0)

    @classmethod
    def parse(cls, text: str | Iterable[str], base: MountOptions | None = None) -> MountOptions:
        """Read one text or several, as after `-o`; `base` holds for what they do not say.

        Raises:
            MountOptionError: an option that does not exist, or a value that is none.
        """
        options = cls() if base is None else base
        for item in [text] if isinstance(text, str) else text:
            for name, value in split(item):
                options = apply(options, name, value)
        return options

    def with_options(self, **changes: Any) -> MountOptions:
        """Change options by name: `with_options(ro=True, noexec=True, entry_timeout=5)`.

        A name is a field's, or that of a flag such as `noexec`: True sets it, False its opposite.

        Raises:
            MountOptionError: there is no such option, or its value is none.
        """
        changed = self
        for name, value in changes.items():
            changed = replace(changed, **({name: value} if name in CHECKS else changed._flag(name, value)))
        return changed

    def _flag(self, name: str, wanted: Any) -> dict[str, int]:
        option = find(name)
        if not (option.on or option.off) or not isinstance(wanted, bool):
            raise MountOptionError(f"mount option {name}={wanted}: this has no value but True and False")
        on, off = (option.on, option.off) if wanted else (option.off, option.on)
        return {"flags": self.flags & ~off | on}


# --- the table


@dataclass(frozen=True, slots=True)
class Option:
    """A row of the table. One that sets nothing is for others than us."""

    name: str
    help: str  # one line
    field: str = ""  # of MountOptions, which it sets
    value: bool = True  # to which a mere name sets it
    metavar: str = ""  # stands for the value in help; "" for a mere name
    convert: Callable[[str], object] | None = None  # the value's text; ValueError if it is none
    on: int = 0  # bits of `flags` that it sets
    off: int = 0  # and that it clears

    @property
    def is_for_others(self) -> bool:
        return not (self.field or self.on or self.off)


def whole(text: str) -> int:
    if not re.fullmatch(r"[0-9]+", text):
        raise ValueError("not a number of bytes, such as 131072")
    return int(text)


def seconds(text: str) -> float:
    if not re.fullmatch(r"-?([0-9]+\.?[0-9]*|\.[0-9]+)(e[0-9]+)?", text):
        raise ValueError("not a number of seconds, such as 1.5")
    return float(text)


NOT_OURS: Final = "passed by mount(8); means nothing here"
UP_TO_THE_SOURCE: Final = "shown in mount tables: access times are up to the source"  # fs/fuse/inode.c, fuse_iget

OPTIONS: Final = (
    Option("fsname", "what tables of mounts show as the device", "fsname", metavar="TEXT", convert=str),
    Option("subtype", "they show the type fuse.TEXT", "subtype", metavar="TEXT", convert=str),
    Option("ro", "nothing can be written", "ro"),
    Option("rw", "the opposite, and the default", "ro", False),
    Option("allow_other", "others than you may enter; without it not even root", "allow_other"),
    Option("default_permissions", "the kernel checks modes and owners", "default_permissions"),
    Option("auto_unmount", "unmount when the daemon dies, even by kill -9", "auto_unmount"),
    Option("max_read", "the longest read sent to the daemon, in bytes", "max_read", metavar="N", convert=whole),
    Option("entry_timeout", "seconds to believe that a name exists", "entry_timeout", metavar="S", convert=seconds),
    Option("attr_timeout", "seconds to believe sizes, modes, times", "attr_timeout", metavar="S", convert=seconds),
    Option(
        "negative_timeout",
        "seconds to believe that a name is missing",
        "negative_timeout",
        metavar="S",
        convert=seconds,
    ),
    Option("nosuid", "programs gain no rights from setuid bits (default)", on=MS_NOSUID),
    Option("suid", "they do", off=MS_NOSUID),
    Option("nodev", "device nodes cannot be opened (default)", on=MS_NODEV),
    Option("dev", "they can", off=MS_NODEV),
    Option("noexec", "no program can be run", on=MS_NOEXEC),
    Option("exec", "the opposite, and the default", off=MS_NOEXEC),
    Option("noatime", UP_TO_THE_SOURCE, on=MS_NOATIME),
    Option("atime", "the opposite, and the default", off=MS_NOATIME),
    Option("nodiratime", UP_TO_THE_SOURCE, on=MS_NODIRATIME),
    Option("diratime", "the opposite, and the default", off=MS_NODIRATIME),
    Option("relatime", UP_TO_THE_SOURCE, on=MS_RELATIME, off=MS_STRICTATIME),
    Option("norelatime", "the opposite", off=MS_RELATIME),
    Option("strictatime", UP_TO_THE_SOURCE, on=MS_STRICTATIME, off=MS_RELATIME | MS_NOATIME),
    Option("nostrictatime", "the opposite, and the default", off=MS_STRICTATIME),
    Option("lazytime", UP_TO_THE_SOURCE, on=MS_LAZYTIME),
    Option("nolazytime", "the opposite, and the default", off=MS_LAZYTIME),
    Option("sync", "an fsync follows every write", on=MS_SYNCHRONOUS),
    Option("async", "the opposite, and the default", off=MS_SYNCHRONOUS),
    Option("dirsync", "shown in mount tables: changes of names are never put off", on=MS_DIRSYNC),
    Option("nosymfollow", "symlinks can be read, but lead nowhere", on=MS_NOSYMFOLLOW),
    Option("symfollow", "the opposite, and the default", off=MS_NOSYMFOLLOW),
    *(
        Option(name, NOT_OURS)
        for name in (
            *("defaults", "auto", "noauto", "nofail", "_netdev", "_rnetdev"),
            *("user", "users", "nouser", "owner", "noowner", "group", "nogroup", "comment"),
        )
    ),
)
BY_NAME: Final = {option.name: option for option in OPTIONS}


def describe() -> str:
    """Return the table as text of at most 80 columns, for --help."""
    rows = [(option.name + (f"={option.metavar}" if option.metavar else ""), option) for option in OPTIONS]
    lines = [f"  {left:<20} {option.help}" for left, option in rows if not option.is_for_others]
    return "\n".join([*lines, f"  {'defaults, nofail...':<20} and others that mount(8) passes: understood, no effect"])


# --- checks: what is wrong with a value, or ""


def check_text(value: object) -> str:
    if not isinstance(value, str) or "\0" in value:
        return "not a text"
    return "longer than 4000 bytes" if len(os.fsencode(value)) > 4000 else ""  # mount(2) copies one page


def check_name(value: object) -> str:
    return check_text(value) or ("" if value else "empty")


def check_fact(value: object) -> str:
    return "" if isinstance(value, bool) else "neither True nor False"


def check_size(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, int) or isinstance(value, bool):
        return "not a number of bytes"
    return "" if 4096 <= value < 1 << 32 else "must be from 4096 (which the kernel always reads) to 4294967295 bytes"


def check_seconds(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, int | float) or isinstance(value, bool) or math.isnan(value):
        return "not a number of seconds"
    if value < 0:
        return "a time cannot be negative"
    return "" if value < 1 << 32 else "too long: 4294967295 seconds are 136 years"


def check_flags(value: object) -> str:
    known = 0
    for option in OPTIONS:
        known |= option.on
    return "" if isinstance(value, int) and not value & ~known else "not flags that a FUSE mount may have"


CHECKS: Final[dict[str, Callable[[object], str]]] = {
    "fsname": check_name,
    "subtype": check_text,
    "ro": check_fact,
    "allow_other": check_fact,
    "default_permissions": check_fact,
    "auto_unmount": check_fact,
    "max_read": check_size,
    "entry_timeout": check_seconds,
    "attr_timeout": check_seconds,
    "negative_timeout": check_seconds,
    "flags": check_flags,
}


# --- reading


def split(text: str) -> Iterator[tuple[str, str | None]]:
    """Split `a,b=c` into names and values, at commas without a backslash; a mere name has the value None."""
    for item in re.findall(r"(?:\\.|[^,\\]|\\$)+", text, re.DOTALL):
        name, equals, value = item.partition("=")
        yield unescape(name), unescape(value) if equals else None


def unescape(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text, flags=re.DOTALL)


def escape(text: str) -> str:
    """Write a value so that `split` reads it as it was."""
    return re.sub(r"([,\\])", r"\\\1", text)


def apply(options: MountOptions, name: str, value: str | None) -> MountOptions:
    """Return `options` with one more."""
    option = find(name)
    if option.is_for_others:
        return options
    if bool(option.metavar) != (value is not None):
        needed = f"needs a value, as in {name}={option.metavar}" if option.metavar else "takes no value"
        raise MountOptionError(f"mount option {name if value is None else f'{name}={value}'}: {needed}")
    if option.on or option.off:
        return replace(options, flags=options.flags & ~option.off | option.on)
    changed: Any = option.value if value is None else converted(option, value)
    return replace(options, **{option.field: changed})


def converted(option: Option, value: str) -> Any:
    assert option.convert is not None
    try:
        return option.convert(value)
    except ValueError as error:
        raise MountOptionError(f"mount option {option.name}={value}: {error}") from None


def find(name: str) -> Option:
    """Return the row of an option.

    Raises:
        MountOptionError: there is none; the text suggests the nearest.
    """
    if name[:2] in ("x-", "X-"):  # for programs that read /etc/fstab
        return Option(name, NOT_OURS)
    if name in BY_NAME:
        return BY_NAME[name]
    near = difflib.get_close_matches(name, BY_NAME, n=1)
    hint = f"did you mean '{near[0]}'?" if near else "'fusewire mount --help' lists those that there are"
    raise MountOptionError(f"unknown mount option '{name}': {hint}")
