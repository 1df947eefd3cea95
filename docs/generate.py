"""Write the parts of the documents that are made from the code.

    python docs/generate.py           renew them
    python docs/generate.py --check   say which are out of date, and fail if any is

A part stands between two comments, `<!-- generated: NAME -->` and `<!-- end -->`. What the code
cannot know, namely what Linux does with an answer, is the table AFTERWARDS below; a new
operation without a line there is an error.
"""

from __future__ import annotations

import errno
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from fusewire.daemon.answers import ANSWERS, SUCCESS
from fusewire.daemon.filesystem import Filesystem
from fusewire.explain.catalogue import CATALOGUE, explain
from fusewire.explain.explanation import Options
from fusewire.mounting.options import OPTIONS
from fusewire.wire import OPERATIONS

sys.path.insert(0, str(Path(__file__).resolve().parent))

from seed_rows import SECTIONS, Row

CHECKOUT: Final = Path(__file__).resolve().parent.parent
DOCUMENTS: Final = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").glob("*.md"))]
PART: Final = re.compile(r"(<!-- generated: (?P<name>[\w-]+) -->\n).*?(<!-- end -->)", re.DOTALL)

FOR_GOOD: Final = "; never asked again"

# What becomes of it where the method is absent. Source: fs/fuse/dir.c, file.c, readdir.c, xattr.c, ioctl.c.
AFTERWARDS: Final = {
    "LOOKUP": "the name does not exist",
    "SYMLINK": "the caller gets EPERM",
    "MKNOD": "the caller gets EPERM",
    "MKDIR": "the caller gets EPERM",
    "UNLINK": "the caller gets EPERM",
    "RMDIR": "the caller gets EPERM",
    "RENAME": "the caller gets EPERM",
    "RENAME2": "the caller gets EPERM",
    "LINK": "the caller gets EPERM",
    "READLINK": "the caller gets EINVAL: it is no symlink",
    "GETATTR": "the caller gets ENOSYS: no filesystem can do without",
    "SETATTR": "the caller gets EPERM",
    "STATX": f"Linux asks getattr, and there is no birth time{FOR_GOOD}",
    "ACCESS": f"Linux lets everybody do everything, unless `default_permissions` has it check{FOR_GOOD}",
    "STATFS": "`df` shows a size of 0",
    "OPEN": "the file is open, with an `fh` of 0",
    "CREATE": f"Linux sends MKNOD, then OPEN{FOR_GOOD}",
    "TMPFILE": f"the caller gets EOPNOTSUPP{FOR_GOOD}",
    "READ": "the caller gets ENOSYS",
    "WRITE": "the caller gets EPERM",
    "FLUSH": f"close succeeds{FOR_GOOD}",
    "RELEASE": "nobody waits for it",
    "FSYNC": f"fsync succeeds{FOR_GOOD}",
    "FALLOCATE": f"the caller gets EOPNOTSUPP{FOR_GOOD}",
    "LSEEK": f"the whole file counts as data, with a hole at its end{FOR_GOOD}",
    "COPY_FILE_RANGE": f"Linux reads and writes instead{FOR_GOOD}",
    "COPY_FILE_RANGE_64": f"Linux sends COPY_FILE_RANGE{FOR_GOOD}",
    "IOCTL": "the caller gets ENOTTY",
    "POLL": f"the file is always ready to be read and written{FOR_GOOD}",
    "BMAP": f"FIBMAP gives 0{FOR_GOOD}",
    "OPENDIR": "the directory is open, with an `fh` of 0",
    "READDIR": "the directory lists as empty",
    "READDIRPLUS": "it is not sent: INIT asks for it only where there is a method",
    "RELEASEDIR": "nobody waits for it",
    "FSYNCDIR": f"fsync succeeds{FOR_GOOD}",
    "SYNCFS": f"syncfs succeeds{FOR_GOOD}",
    "SETXATTR": f"the caller gets EOPNOTSUPP{FOR_GOOD}",
    "GETXATTR": f"the caller gets EOPNOTSUPP{FOR_GOOD}",
    "LISTXATTR": f"the caller gets EOPNOTSUPP{FOR_GOOD}",
    "REMOVEXATTR": f"the caller gets EOPNOTSUPP{FOR_GOOD}",
    "GETLK": "it is not sent: Linux keeps locks itself, for this machine",
    "SETLK": "it is not sent: Linux keeps locks itself, for this machine",
    "SETLKW": "it is not sent: Linux keeps locks itself, for this machine",
}


def operations() -> str:
    """A row for each operation that a method answers, in the order of their numbers."""
    rows = ["| operation | method | absent, we answer | and then |", "|---|---|---|---|"]
    for row in sorted(OPERATIONS.values(), key=lambda row: row.code):
        if row.name in ANSWERS:
            answer = ANSWERS[row.name]
            absent = "success" if answer.absent == SUCCESS else errno.errorcode[answer.absent]
            rows.append(f"| {row.code} {row.name} | `{answer.method}` | {absent} | {AFTERWARDS[row.name]} |")
    return "\n".join(rows) + "\n"


def methods() -> str:
    """Each method of `Filesystem`, as it is defined, with its docstring."""
    names = dict.fromkeys(["init", "destroy", "forget", *(answer.method for answer in ANSWERS.values())])
    return "\n".join(f"**`{name}{signature(name)}`**  \n{documentation(name)}\n" for name in names)


def signature(method: str) -> str:
    """A method's parameters and result, without `self`."""
    whole = str(inspect.signature(getattr(Filesystem, method), eval_str=False))
    return re.sub(r"'", "", whole.replace("(self, ", "(").replace("(self)", "()"))


def documentation(method: str) -> str:
    return inspect.getdoc(getattr(Filesystem, method)) or ""


def mount_options() -> str:
    """A row for each mount option, and one for those that are understood and mean nothing."""
    rows = ["| option | meaning |", "|---|---|"]
    for option in OPTIONS:
        if not option.is_for_others:
            value = f"={option.metavar}" if option.metavar else ""
            rows.append(f"| `{option.name}{value}` | {option.help} |")
    others = ", ".join(f"`{option.name}`" for option in OPTIONS if option.is_for_others)
    rows.append(f"| {others}, `x-...` | for mount(8) and its like: understood, and of no effect |")
    return "\n".join(rows) + "\n"


def diagram(name: str, *arguments: str, options: Options | None = None) -> str:
    """What `fusewire explain` prints, from a run that takes place now."""
    command = " ".join(["fusewire explain", name, *arguments])
    return f"```console\n$ {command}\n{explain(name, options)}```\n"


def explanations() -> str:
    """A row for each thing that can be explained, in groups."""
    rows: list[str] = []
    for group in dict.fromkeys(each.group for each in CATALOGUE.values()):
        rows += ["", f"**{group}**", "", "| `fusewire explain` | |", "|---|---|"]
        rows += [f"| `{each.name}` | {each.summary} |" for each in CATALOGUE.values() if each.group == group]
    return "\n".join(rows[1:]) + "\n"


def seed() -> str:
    """Every sentence of kernel.txt, with the code that does it, the test that stages it, the command that shows it."""
    parts = []
    for title, rows in SECTIONS.items():
        table = ["| kernel.txt says | in | tested by | shown by |", "|---|---|---|---|"]
        table += [f"| {quoted(row.said)} | {source_of(row)} | {test_of(row)} | `{row.command}` |" for row in rows]
        parts.append(f"### {title}\n\n" + "\n".join(table) + "\n")
    return "\n".join(parts)


def quoted(said: str) -> str:
    """A step of a diagram as code, a sentence as it is."""
    return f"`{said}`" if said[0] in "><[*" else said


def source_of(row: Row) -> str:
    """The file and the name of what does it; KeyError or AttributeError if there is none."""
    module, name = row.code.split(":")
    found: Any = importlib.import_module(f"fusewire.{module}")
    for part in name.split("."):
        found = getattr(found, part)
    function: Any = found.fget if isinstance(found, property) else found
    found = inspect.unwrap(function)
    file = Path(inspect.getsourcefile(found) or "").relative_to(CHECKOUT / "src" / "fusewire")
    return f"`{file}` `{name}`"


def test_of(row: Row) -> str:
    file, name = row.test.split("::")
    return f"`{name}` in `{file}`"


PARTS: Final[dict[str, Callable[[], str]]] = {
    "operations": operations,
    "methods": methods,
    "mount-options": mount_options,
    "explain-unlink": lambda: diagram("unlink"),
    "explain-simple-deadlock": lambda: diagram("simple-deadlock"),
    "explain-tricky-deadlock": lambda: diagram("tricky-deadlock"),
    "explain-list": explanations,
    "seed": seed,
}


def renewed(text: str) -> str:
    """The text of a document with every generated part as the code has it now.

    Raises:
        KeyError: it has a part that nothing generates.
    """
    return PART.sub(lambda part: part[1] + PARTS[part["name"]]() + part[3], text)


def main(arguments: list[str]) -> int:
    """Renew, or check; return the exit code."""
    stale = [path for path in DOCUMENTS if renewed(path.read_text()) != path.read_text()]
    for path in stale:
        print(f"{path.relative_to(CHECKOUT)}: {'out of date' if '--check' in arguments else 'renewed'}")
        if "--check" not in arguments:
            path.write_text(renewed(path.read_text()))
    return 1 if stale and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
