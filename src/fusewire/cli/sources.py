"""What `fusewire mount SOURCE` may name, and how it becomes a filesystem.

    memory:  'memory:?size=1G&inodes=1M'  an empty filesystem in memory
    a directory                           that directory
    package.module:NAME                   Python that can be imported; the current directory counts
    path/to/file.py:NAME                  Python in a file

An existing path wins over everything but `memory:`; write ./a:b for a path that looks like a
module. NAME is a filesystem, a node, a dict of names to nodes, or a class or function which is
called without arguments to make one.
"""

from __future__ import annotations

import difflib
import errno
import importlib
import importlib.util
import inspect
import os
import re
import shlex
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import fusewire
from fusewire.cli.report import CommandError
from fusewire.cli.users_code import users_code

__all__ = ["HELP", "Source", "named", "resolve"]

Source: TypeAlias = Any  # a Filesystem, a node or a dict: what `fusewire.mount` takes

HELP: Final = "memory:, a directory, MODULE:NAME or FILE.py:NAME"
SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://")
PYTHON: Final = re.compile(r"(?P<where>.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")
SIZE: Final = re.compile(r"(\d+)([KMGTP]?)", re.IGNORECASE)
FACTORS: Final[dict[str, int]] = {"": 1, **{letter: 1024 ** (power + 1) for power, letter in enumerate("KMGTP")}}
LONGEST_NAME: Final = 4000  # bytes; mount(2) copies a page


def resolve(source: str) -> Source:
    """Return the filesystem that `source` names.

    Raises:
        CommandError: there is no such thing, or it is no filesystem, or making it failed.
    """
    if source.startswith("memory:"):
        return memory(source.removeprefix("memory:"))
    if exists(source):
        return directory(source)
    if match := SCHEME.match(source):
        raise CommandError(f"'{match[1]}:' is not supported yet. A source is {HELP}.")
    if match := PYTHON.fullmatch(source):
        return python(match["where"], match["name"])
    raise CommandError(f"There is no source '{source}'. A source is {HELP}.{hint(source)}")


def exists(path: str) -> bool:
    """Is there something of that name? Even if nobody can tell what: ENOTCONN says that a dead mount is there."""
    try:
        os.lstat(path)
    except OSError as error:
        return error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG)
    return True


def named(source: str) -> str:
    """What mount tables show as the device, where no `fsname` is given: `source`, a path made absolute."""
    name = os.path.abspath(source) if not source.startswith("memory:") and os.path.lexists(source) else source
    return os.fsdecode(os.fsencode(name)[:LONGEST_NAME])


def hint(source: str) -> str:
    """What the user may have meant."""
    if "/" in source and not source.partition(":")[0].endswith(".py"):
        parent = os.path.dirname(source.rstrip("/")) or "/"
        return "" if os.path.isdir(parent) else f" (There is no directory '{parent}' either.)"
    is_memory = source[:6].lower() == "memory"
    return f" Did you mean 'memory:{source[6:].removeprefix(':')}'?" if is_memory else ""


# --- memory: and directories


def memory(query: str) -> Source:
    """The filesystem of `memory:QUERY`, with its limits."""
    wanted = limits(query)
    from fusewire.filesystems import Memory

    return Memory(**wanted)


def limits(query: str) -> dict[str, int]:
    """Read '?size=1G&inodes=1M'. Both suffixes are powers of 1024.

    Raises:
        CommandError: something other than these two, or a value that is no number.
    """
    if query in ("", "?"):
        return {}
    if not query.startswith("?"):
        raise CommandError(f"'memory:' is followed by nothing or by '?size=1G&inodes=1M', not by '{query}'.")
    pairs = parse_qsl(query[1:], keep_blank_values=True)
    found = {key: count(key, value) for key, value in pairs}
    if len(found) < len(pairs):
        raise CommandError(f"'memory:{query}' says the same thing twice.")
    return found


def count(key: str, value: str) -> int:
    """Read one limit: a number above 0, with a suffix K, M, G, T or P."""
    if key not in ("size", "inodes"):
        raise CommandError(f"'memory:' has no option '{key}'; there are size and inodes.")
    match = SIZE.fullmatch(value)
    if match is None or int(match[1]) == 0:
        raise CommandError(f"'{key}={value}' is not a number above 0, such as 4096, 64M or 1G.")
    return int(match[1]) * FACTORS[match[2].upper()]


def directory(path: str) -> Source:
    """The filesystem of a local directory.

    Raises:
        OSError: as stat(2) has it.
    """
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        if error.errno != errno.ENOTCONN:
            raise
        cure = f"Unmount it first: {shlex.join(['fusewire', 'umount', path])}"
        raise CommandError(f"'{path}' is in a mount whose daemon is dead. {cure}") from error
    if not stat.S_ISDIR(mode):
        example = f"{path}:NAME" if path.endswith(".py") else "FILE.py:NAME"
        raise CommandError(f"'{path}' is not a directory. For a filesystem in a Python file, say {example}.")
    from fusewire.filesystems import LocalDirectory

    return LocalDirectory(os.path.abspath(path))


# --- Python


def python(where: str, name: str) -> Source:
    """The filesystem that `name` is, or makes, in the module or file `where`."""
    source = f"{where}:{name}"
    module = from_file(where) if where.endswith(".py") else from_path(where)
    found: Any = module
    for part in name.split("."):
        with users_code(f"'{source}' cannot be had"):
            found = attribute(found, part, where)
    return made(found, source)


def from_file(path: str) -> ModuleType:
    """Import a file by its path, as `python path` would: its own directory comes first in sys.path."""
    file = Path(path).absolute()
    if not file.is_file():
        raise CommandError(f"There is no file '{path}'.")
    sys.path.insert(0, str(file.parent))
    module_name = file.stem if file.stem not in sys.modules else f"{file.stem}_source"
    spec = importlib.util.spec_from_file_location(module_name, file)
    assert spec is not None  # it ends in .py
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[module_name] = module  # dataclasses and pickle look a class's module up there
    with importing(path):
        spec.loader.exec_module(module)
    return module


def from_path(module_name: str) -> ModuleType:
    """Import a module by its name, from the current directory or wherever Python finds it."""
    sys.path.insert(0, os.getcwd())
    try:
        with importing(module_name):
            return importlib.import_module(module_name)
    except CommandError as error:
        missing = error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or not f"{module_name}.".startswith(f"{missing.name}."):
            raise
        raise CommandError(
            f"There is no module '{missing.name}' here or on Python's path, and no directory '{module_name}'."
        ) from missing


@contextmanager
def importing(where: str) -> Iterator[None]:
    """Run a module's code, but not its `fusewire.run(...)`: that would serve another mount, and not come back here."""

    def refused(*arguments: object, **options: object) -> None:
        raise CommandError(
            f"'{where}' mounts something itself when it is imported. Put its fusewire.run(...) "
            'under `if __name__ == "__main__":`, or leave it out.'
        )

    ours = {"run": fusewire.run, "run_async": fusewire.run_async}
    vars(fusewire).update(dict.fromkeys(ours, refused))
    try:
        with users_code(f"'{where}' cannot be imported"):
            yield
    finally:
        vars(fusewire).update(ours)


def attribute(holder: Any, name: str, where: str) -> Any:
    """Get `name` of a module or class; what it has instead, if it has not."""
    try:
        return getattr(holder, name)
    except AttributeError:
        raise CommandError(f"'{where}' has no '{name}'.{what_it_has(holder, name)}") from None


def what_it_has(holder: Any, name: str) -> str:
    """The name that is meant, or else all that could be mounted."""
    public = {key: value for key, value in dict(getattr(holder, "__dict__", {})).items() if not key.startswith("_")}
    candidates = [key for key, value in public.items() if mountable(value)]
    makers = [key for key, value in public.items() if inspect.isfunction(value)]  # whose results nobody knows yet
    folded = {key.lower(): key for key in [*makers, *candidates]}
    if near := difflib.get_close_matches(name.lower(), folded, n=1):
        return f" Did you mean '{folded[near[0]]}'?"
    return f" It has: {', '.join(candidates)}." if candidates else " It has nothing that can be mounted."


def kinds() -> tuple[type, ...]:
    """What can be mounted as it is."""
    from fusewire.daemon.nodes import Node

    return (fusewire.Filesystem, Node, Mapping)


def mountable(value: Any) -> bool:
    """Is this a filesystem, or a class that can make one? A class that we made ourselves is none to suggest."""
    if not isinstance(value, type):
        return isinstance(value, kinds())
    return issubclass(value, kinds()[:2]) and not value.__module__.startswith("fusewire.") and not needed(value)


def made(found: Any, source: str) -> Source:
    """`found` as it is, or what it makes when it is called.

    Raises:
        CommandError: it is no filesystem, cannot be called without arguments, or raised.
    """
    if isinstance(found, type) and not issubclass(found, kinds()):
        raise CommandError(f"'{source}' is no filesystem: derive the class from fusewire.Filesystem or a node.")
    if isinstance(found, kinds()):
        return found
    if not callable(found):
        raise CommandError(f"'{source}' is no filesystem but {kind(found)}.")
    if inspect.iscoroutinefunction(found):
        raise CommandError(f"'{source}' is an async function; what makes a filesystem is called before any loop runs.")
    if wanted := needed(found):
        raise CommandError(
            f"'{source}' is called without arguments but needs {', '.join(wanted)}: "
            "name a function that takes none and returns the filesystem."
        )
    with users_code(f"'{source}' raised", exits=f"'{source}' exits instead of returning a filesystem."):
        result = found()
    if not isinstance(result, kinds()):
        raise CommandError(f"'{source}' returned {kind(result)}, not a filesystem, a node or a dict.")
    return result


def needed(maker: Callable[..., Any]) -> list[str]:
    """The parameters that a function must be given; none if it does not tell, as some that are written in C."""
    try:
        parameters = inspect.signature(maker).parameters.values()
    except ValueError:
        return []
    collecting = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    return [it.name for it in parameters if it.default is it.empty and it.kind not in collecting]


def kind(value: object) -> str:
    """What `value` is, in words."""
    return "None" if value is None else f"a value of type {type(value).__name__}"
