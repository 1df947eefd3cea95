"""What this machine's C headers say of the FUSE ABI, asked of gcc.

The installed header may be older than the ABI that we speak: callers ask only for what is `in_struct` or in `macros`.
"""

from __future__ import annotations

import functools
import re
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

INCLUDES = "".join(f"#include <{name}>\n" for name in ("linux/fuse.h", "linux/fs.h", "linux/falloc.h", "linux/stat.h"))


@functools.cache
def why_no_header() -> str | None:
    """Return why gcc cannot be asked, in one line, or None."""
    try:
        preprocess()
    except FileNotFoundError:
        return "gcc is not installed"
    except subprocess.CalledProcessError as error:
        return f"gcc finds no linux/fuse.h (package linux-libc-dev): {error.stderr.splitlines()[0]}"
    return None


@functools.cache
def preprocess(*options: str) -> str:
    """Return the headers without comments and macros; the macros, with -dM."""
    command = ["gcc", "-E", *options, "-"]
    return subprocess.run(command, input=INCLUDES, capture_output=True, text=True, check=True, timeout=20).stdout


@functools.cache
def struct_body(name: str) -> str:
    """Return what stands between the braces of a struct; nothing if the header has no such struct."""
    found = re.search(rf"struct {name} {{(.*?)^}};", preprocess(), re.DOTALL | re.MULTILINE)
    return found[1] if found else ""


def in_struct(name: str, field: str) -> bool:
    """Whether the header's struct has this field."""
    return re.search(rf"\b{field}(\[\w*\])?;", struct_body(name)) is not None


def macros() -> set[str]:
    """Return the names of all macros without arguments."""
    return set(re.findall(r"^#define (\w+) \S", preprocess("-dM"), re.MULTILINE))


def enumerators(name: str) -> dict[str, int]:
    """Return an enum's constants and their values."""
    found = re.search(rf"enum {name} {{(.*?)}};", preprocess(), re.DOTALL)
    names = re.findall(r"^\s*(\w+)", found[1], re.MULTILINE) if found else []
    return dict(zip(names, evaluate(names), strict=True))


def evaluate(expressions: Sequence[str]) -> list[int]:
    """Return the values of constant C expressions, as a compiled program prints them."""
    lines = "".join(f'printf("%llu\\n", (unsigned long long)({expression}));\n' for expression in expressions)
    source = f"{INCLUDES}#include <stddef.h>\n#include <stdio.h>\nint main(void) {{\n{lines}return 0;\n}}\n"
    with tempfile.TemporaryDirectory() as directory:
        program = str(Path(directory) / "program")
        command = ["gcc", "-w", "-x", "c", "-o", program, "-"]
        subprocess.run(command, input=source, check=True, text=True, timeout=60)
        output = subprocess.run([program], check=True, text=True, capture_output=True, timeout=20).stdout
    return [int(line) for line in output.split()]
