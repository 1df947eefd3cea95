"""What `fusewire mount SOURCE` may name, and how it becomes a filesystem.

    memory:  memory:?size=1G&inodes=1M    an empty filesystem in memory
    a directory                           that directory
    package.module:NAME                   Python that can be imported; the current directory counts
    path/to/file.py:NAME                  Python in a file

An existing path wins over everything but `memory:`; write ./a:b for a path that looks like a
module. NAME is a filesystem, a node, a dict of names to nodes, or a class or function which is
called without arguments to make one. What goes wrong in the user's own code is shown with the
traceback of that code alone: our frames and importlib's say nothing about the mistake.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import os
import re
import stat
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, TypeAlias
from urllib.parse import parse_qsl

import fusewire
from fusewire.cli.report import CommandError

__all__ = ["HELP", "Source", "named", "resolve"]

Source: TypeAlias = Any  # a Filesystem, a node or a dict: what `fusewire.mount` takes

HELP: Final = "memory:, a directory, MODULE:NAME or FILE.py:NAME"
SCHEME: Final = re.compile(r"([a-z][a-z0-9+.-]*)://")
PYTHON: Final = re.compile(r"(?P<where>.+\.py|[^\W\d]\w*(?:\.[^\W\d]\w*)*):(?P<name>[^\W\d]\w*(?:\.[^\W\d]\w*)*)")
SIZE: Final = re.compile(r"(\d+)([KMGTP]?)", re.IGNORECASE)
FACTORS: Final[dict[str, int]] = {"": 1, **{letter: 1024 ** (power + 1) for power, letter in enumerate("KMGTP")}}
STDLIB: Final = os.path.dirname(os.__file__)
CALLERS: Final = (
    os.path.dirname(os.path.abspath(fusewire.__file__)) + os.sep,
    "<frozen importlib",
    *(os.path.join(STDLIB, name) for name in ("importlib", "asyncio", "concurrent", "threading.py")),
)


def resolve(source: str) -> Source:
    """Return the filesystem that `source` names.

    Raises:
        CommandError: there is no such thing, or it is no filesystem, or making it failed.
    """
    if source.startswith("memory:"):
        return memory(source.removeprefix("memory:"))
    if os.path.lexists(source):
        return directory(source)
    if match := SCHEME.match(source):
        raise CommandError(f"'{match[1]}:' is not supported yet. A source is {HELP}.")
    if match := PYTHON.fullmatch(source):
        return python(match["where"], match["name"])
    raise CommandError(f"There is no source '{source}'. A source is {HELP}.{hint(source)}")


def named(source: str) -> str:
    """What mount tables show as the device, where no `fsname` is given: `source`, a path made absolute."""
    return os.path.abspath(source) if not source.startswith("memory:") and os.path.lexists(source) else source


def hint(source: str) -> str:
    """What the user may have meant."""
    if "/" in source and not source.partition(":")[0].endswith(".py"):
        parent = os.path.dirname(source.rstrip("/")) or "/"
        return "" if os.path.isdir(parent) else f" (There is no directory '{parent}' either.)"
    return f" Did you mean 'memory:{source.removeprefix('memory')}'?" if source.startswith("memory") else ""


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
        OSError: as stat(2) has it; ENOTCONN for a mountpoint whose daemon is dead.
    """
    if not stat.S_ISDIR(os.stat(path).st_mode):
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
    with users_code(f"'{path}' cannot be imported"):
        spec.loader.exec_module(module)
    return module


def from_path(module_name: str) -> ModuleType:
    """Import a module by its name, from the current directory or wherever Python finds it."""
    sys.path.insert(0, os.getcwd())
    try:
        with users_code(f"'{module_name}' cannot be imported"):
            return importlib.import_module(module_name)
    except CommandError as error:
        missing = error.__cause__
        if not isinstance(missing, ModuleNotFoundError) or not f"{module_name}.".startswith(f"{missing.name}."):
            raise
        raise CommandError(
            f"There is no module '{missing.name}' here or on Python's path, and no directory '{module_name}'."
        ) from missing


def attribute(holder: Any, name: str, where: str) -> Any:
    """Get `name` of a module or class; what it has instead, if it has not."""
    try:
        return getattr(holder, name)
    except AttributeError:
        candidates = [key for key, value in vars(holder).items() if not key.startswith("_") and mountable(value)]
        has = f"It has: {', '.join(candidates)}." if candidates else "It has nothing that can be mounted."
        raise CommandError(f"'{where}' has no '{name}'. {has}") from None


def kinds() -> tuple[type, ...]:
    """What can be mounted as it is."""
    from fusewire.daemon.nodes import Node

    return (fusewire.Filesystem, Node, Mapping)


def mountable(value: Any) -> bool:
    """Is this a filesystem, or a class of them? A class that we made ourselves is none to suggest."""
    if isinstance(value, type):
        return issubclass(value, kinds()) and not value.__module__.startswith("fusewire.")
    return isinstance(value, kinds())


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
    callable_without_arguments(found, source)
    with users_code(f"'{source}' raised"):
        result = found()
    if not isinstance(result, kinds()):
        raise CommandError(f"'{source}' returned {kind(result)}, not a filesystem, a node or a dict.")
    return result


def callable_without_arguments(maker: Callable[..., Any], source: str) -> None:
    if inspect.iscoroutinefunction(maker):
        raise CommandError(f"'{source}' is an async function; what makes a filesystem is called before any loop runs.")
    parameters = inspect.signature(maker).parameters.values()
    collecting = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
    needed = [it.name for it in parameters if it.default is it.empty and it.kind not in collecting]
    if needed:
        raise CommandError(
            f"'{source}' is called without arguments but needs {', '.join(needed)}: "
            "name a function that takes none and returns the filesystem."
        )


def kind(value: object) -> str:
    """What `value` is, in words."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


@contextmanager
def users_code(failure: str) -> Iterator[None]:
    """Run code that is not ours; what it raises becomes a CommandError with the traceback of it alone."""
    try:
        yield
    except SystemExit as error:
        if isinstance(error.code, str):  # sys.exit("what is wrong"): a sentence already
            raise CommandError(error.code) from error
        raise CommandError(
            f'{failure}: it exits. Put what it does as a program under `if __name__ == "__main__":`.'
        ) from error
    except Exception as error:
        raise CommandError(f"{failure}.", detail=own_traceback(error)) from error


def own_traceback(error: Exception) -> str:
    """Format `error` without the frames of those who called the user's code: this package, importlib, asyncio."""
    report = traceback.TracebackException.from_exception(error)
    part: traceback.TracebackException | None = report
    while part is not None:
        part.stack = traceback.StackSummary.from_list([frame for frame in part.stack if not hidden(frame.filename)])
        part = part.__cause__ or (None if part.__suppress_context__ else part.__context__)
    return "".join(report.format())


def hidden(filename: str) -> bool:
    return filename.startswith(CALLERS)
