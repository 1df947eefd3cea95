"""The layout is a promise: imports go one way, and nothing is needed but the standard library.

Imports are read from the source, those inside functions too, and never run. A *part* is a module or package directly
under src/fusewire; that a part imports another is an arrow, and the arrows may not form a circle.

Within kernel/ there are *rooms*, whose rules are told in kernel/__init__.py. There it counts what is imported
when the code runs: what is imported for annotations alone is free.
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
PACKAGE = CHECKOUT / "src" / "fusewire"
MODULES = sorted(PACKAGE.rglob("*.py"))

# All that these parts may import of ours; what is not listed is free, up to FORBIDDEN and circles.
ALLOWED = {
    "errors": set(),
    "events": {"errors"},
    "wire": {"errors"},
    "kernel": {"errors", "events", "wire"},
    "mounting": {"errors", "events", "wire"},
    "daemon": {"errors", "events", "wire", "mounting"},
    "diagrams": {"errors", "events", "wire"},  # state.py and held.py name the kernel's types, and never run it
}

# Looking at live mounts must not need the embedded kernel.
FORBIDDEN = {("watch", part) for part in ("kernel", "embedded", "explore", "explain")}

# What of kernel/ the modules of a room may import: other rooms, and modules that stand directly in kernel/.
BASICS = {"tasks", "waitq", "locks", "clock", "user_memory"}
ROOMS = {
    "runners": {"tasks", "clock", "vfs"},  # of which it needs the class of its callers
    "vfs": BASICS | {"control"},
    "operations": BASICS | {"vfs"},
    "paths": BASICS | {"vfs", "operations"},
    "syscalls": BASICS | {"vfs", "operations", "paths", "mounting", "profile", "waiting"},
}
ACT_ON_THE_VFS = {"mounting", "notifications", "pinning"}  # of the modules directly in kernel/
LOOK_AT_ALL = {"checks"}

# Packages of the extras, and the only place that may import each: guarded, so that it works without.
EXTRAS = {
    "rich": "cli",
    "textual": "cli",
    "prompt_toolkit": "shell",
    "fsspec": "filesystems/remote.py",
    "trio": "daemon",
    "pytest": "pytest_plugin.py",
}


@dataclass(frozen=True)
class Import:
    """One imported name, written out in full: `from ..wire import structs` is `fusewire.wire.structs`."""

    module: Path  # that imports it
    line: int
    name: str
    guarded: bool  # by a `try` that catches ImportError
    for_types: bool  # under `if TYPE_CHECKING`
    in_function: bool

    def __str__(self) -> str:
        return f"{self.module.relative_to(CHECKOUT)}:{self.line} imports {self.name}"

    @property
    def is_ours(self) -> bool:
        return self.name.partition(".")[0] == "fusewire"

    @property
    def source(self) -> str:
        return part_of(self.module)

    @property
    def target(self) -> str:
        """The part that is imported; "" for a name of fusewire/__init__.py."""
        part = self.name.split(".")[1] if "." in self.name else ""
        return part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").is_file() else ""


def part_of(module: Path) -> str:
    """Return the part that a file belongs to."""
    return module.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(module: Path) -> list[Import]:
    """Return what a file imports, anywhere in it."""
    tree = ast.parse(module.read_text(), str(module))
    guarded = nodes_below(tree, is_guard)
    for_types = nodes_below(tree, is_for_types)
    in_functions = nodes_below(tree, lambda node: isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))
    return [
        Import(module, node.lineno, name, id(node) in guarded, id(node) in for_types, id(node) in in_functions)
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in imported_names(module, node)
    ]


def nodes_below(tree: ast.AST, holds: Callable[[ast.AST], bool]) -> set[int]:
    """Return the ids of all nodes that stand in one of which `holds` is true."""
    return {id(node) for above in ast.walk(tree) if holds(above) for node in ast.walk(above)}


def is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def imported_names(module: Path, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the names that one statement imports."""
    origin = f"{absolute(module, node)}." if isinstance(node, ast.ImportFrom) else ""
    return [origin + alias.name for alias in node.names]


def absolute(module: Path, node: ast.ImportFrom) -> str:
    """Return from where a `from` imports, without its leading dots."""
    if not node.level:
        return node.module or ""
    package = module.relative_to(PACKAGE.parent).parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


def is_guard(node: ast.AST) -> bool:
    """Tell whether a statement is a `try` that survives a missing package."""
    if not isinstance(node, ast.Try):
        return False
    caught = [part for handler in node.handlers if handler.type for part in ast.walk(handler.type)]
    return any(isinstance(part, ast.Name) and part.id in ("ImportError", "ModuleNotFoundError") for part in caught)


@cache
def all_imports() -> list[Import]:
    """Return what is imported anywhere in the package."""
    return [found for module in MODULES for found in imports_of(module)]


def imports_between_parts() -> list[Import]:
    """Return those imports that lead from one part of ours to another."""
    return [found for found in all_imports() if found.is_ours and found.source != found.target]


@pytest.mark.parametrize("part", ALLOWED)
def test_a_lower_layer_imports_only_what_is_below_it(part: str) -> None:
    crossing = [found for found in imports_between_parts() if found.source == part]
    upward = [found for found in crossing if found.target not in ALLOWED[part] and not is_of_types_alone(found)]
    assert [str(found) for found in upward] == []


def is_of_types_alone(found: Import) -> bool:
    """Tell whether diagrams/ names a type of what it draws: the code of it runs without."""
    return found.source == "diagrams" and found.for_types


def test_what_is_forbidden_is_not_imported() -> None:
    assert [str(found) for found in imports_between_parts() if (found.source, found.target) in FORBIDDEN] == []


def test_only_the_command_line_imports_the_command_line() -> None:
    callers = {found.source for found in imports_between_parts() if found.target == "cli"}
    assert callers <= {"__main__"}


def test_parts_do_not_import_each_other_in_a_circle() -> None:
    arrows: dict[str, set[str]] = {part_of(module): set() for module in MODULES}
    for found in imports_between_parts():
        if found.source != "__init__" and found.target:  # the front door names everything, lazily
            arrows[found.source].add(found.target)
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        circle = error.args[1][::-1]
        arrows_of_it = set(pairwise(circle))
        steps = [str(found) for found in imports_between_parts() if (found.source, found.target) in arrows_of_it]
        pytest.fail(f"{' -> '.join(circle)}: {'; '.join(steps)}")


def room_of(module: Path) -> str:
    """The room of kernel/ that a module stands in, or its own name if it stands directly in kernel/."""
    return module.relative_to(PACKAGE / "kernel").parts[0].removesuffix(".py")


def file_of(name: str) -> Path:
    """The module that an import of ours, written out in full, comes from."""
    parts = name.split(".")[1:]
    for count in range(len(parts), -1, -1):
        path = PACKAGE.joinpath(*parts[:count])
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if file.is_file():
                return file
    raise AssertionError(f"{name} is imported, and no module has it")


def imports_within_kernel() -> list[Import]:
    """What of kernel/ its own modules import when they run; its __init__.py names everything, and is no room."""
    kernel = PACKAGE / "kernel"
    return [
        found
        for found in all_imports()
        if kernel in found.module.parents
        and found.module != kernel / "__init__.py"
        and found.name.startswith("fusewire.kernel.")
        and not found.for_types
    ]


@pytest.mark.parametrize("room", ROOMS)
def test_a_room_of_the_kernel_imports_only_what_is_below_it(room: str) -> None:
    of_it = [found for found in imports_within_kernel() if room_of(found.module) == room]
    wrong = [str(found) for found in of_it if room_of(file_of(found.name)) not in ROOMS[room] | {room}]
    assert of_it
    assert wrong == []


def test_the_queues_know_nothing_of_what_is_asked() -> None:
    found_in_queues = [found for found in imports_within_kernel() if room_of(found.module) not in ROOMS]
    upward = [found for found in found_in_queues if room_of(file_of(found.name)) in ROOMS]
    actors = {room_of(found.module) for found in upward}
    assert actors - LOOK_AT_ALL == ACT_ON_THE_VFS, [str(found) for found in upward]
    assert not [str(found) for found in upward if room_of(file_of(found.name)) in ("paths", "syscalls", "runners")]


def test_no_import_of_the_kernel_stands_in_a_function() -> None:
    """It would be the sign of a circle, and the first who calls it would pay for it."""
    assert [str(found) for found in imports_within_kernel() if found.in_function] == []


def test_modules_of_the_kernel_do_not_import_each_other_in_a_circle() -> None:
    arrows: dict[Path, set[Path]] = {}
    for found in imports_within_kernel():
        arrows.setdefault(found.module, set()).add(file_of(found.name))
    try:
        TopologicalSorter(arrows).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(str(path.relative_to(PACKAGE)) for path in error.args[1][::-1]))


def test_nothing_is_needed_but_the_standard_library() -> None:
    foreign = [found for found in all_imports() if not found.is_ours and top(found) not in sys.stdlib_module_names]
    assert [str(found) for found in foreign if not is_in_its_place(found)] == []


def top(found: Import) -> str:
    return found.name.partition(".")[0]


def is_in_its_place(found: Import) -> bool:
    """Tell whether a package of an extra is imported where it may be, and can be absent."""
    place = EXTRAS.get(top(found))
    at_home = place is not None and found.module.relative_to(PACKAGE).as_posix().startswith(place)
    return at_home and (found.guarded or top(found) == "pytest")  # its plugin is loaded by pytest alone


def test_no_module_hides_behind_an_underscore() -> None:
    names = {name for module in MODULES for name in module.relative_to(PACKAGE).parts if name.startswith("_")}
    assert names <= {"__init__.py", "__main__.py"}


def texts() -> Iterator[Path]:
    """Return every file that a reader may copy a line from."""
    for directory in ("src", "docs", "examples", "benchmarks", "fuzz", "torture", ".ci"):
        files = [path for path in (CHECKOUT / directory).rglob("*") if path.is_file()]
        yield from (path for path in files if "__pycache__" not in path.parts)
    yield from CHECKOUT.glob("*.md")
    yield CHECKOUT / "Makefile"


def test_no_path_of_somebodys_machine_is_in_the_texts() -> None:
    private = re.compile(rb"(?<![\w.*}-])/(root|work|home/\w+)(?![\w.-])")
    found = [path for path in texts() if private.search(path.read_bytes())]
    assert [str(path.relative_to(CHECKOUT)) for path in found] == []
