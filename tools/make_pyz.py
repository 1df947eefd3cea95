"""Make one file of the whole package, for a machine on which nothing can be installed: make_pyz.py FILE

It is a zip that Python runs (PEP 441): `python3 fusewire.pyz doctor`. In it is the package as it stands in src/, and
nothing compiled: that would serve but the Python that made it, and save a tenth of a second.

The same source gives the same file, byte for byte: names are in order, and no times are kept.
"""

from __future__ import annotations

import io
import sys
import zipfile
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).resolve().parent.parent / "src"
SHEBANG: Final = b"#!/usr/bin/env python3\n"
BEGINNING: Final = (1980, 1, 1, 0, 0, 0)  # of the time that a zip knows

# What runs first must run on any Python, if only to say that it is too old.
MAIN: Final = """\
import sys

if sys.version_info < (3, 11):
    sys.exit("fusewire needs Python 3.11 or later, and this is %d.%d." % sys.version_info[:2])

from fusewire.cli import main

sys.exit(main())
"""


def main(path: Path) -> None:
    """Write the file, and make it executable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(SHEBANG + archive())
    path.chmod(0o755)
    print(f"{path}: {path.stat().st_size >> 10} KiB, runs on Python 3.11 and later with nothing installed")


def archive() -> bytes:
    """Return the zip."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as file:
        add(file, "__main__.py", MAIN.encode())
        for path in sorted((SOURCE / "fusewire").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                add(file, path.relative_to(SOURCE).as_posix(), path.read_bytes())
    return buffer.getvalue()


def add(file: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, BEGINNING)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o644 << 16
    file.writestr(entry, content)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]))
