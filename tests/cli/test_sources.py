"""What SOURCE may name, and what is said where it names nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import fusewire
from fusewire.cli.report import CommandError
from fusewire.cli.sources import limits, named, resolve

HERE = """
import fusewire

class Hello(fusewire.File):
    def read(self, offset, size):
        return b"hello"

class Nothing(fusewire.Filesystem):
    pass

class Sized(fusewire.Filesystem):
    def __init__(self, size):
        self.size = size

class Plain:
    pass

class Holder:
    tree = {"inner": b""}

def make():
    return {"made": b""}

async def make_later():
    return {}

def wrong():
    return 7

def broken():
    return helper()

def helper():
    return {}["no such key"]

def leaves():
    raise SystemExit("say which archive")

def exits():
    raise SystemExit(3)

root = {"hello": Hello()}
number = 42
"""

Write = Callable[[str, str], Path]


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """An empty current directory, with nothing imported from it, now or afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)
    yield
    for name in set(sys.modules) - before:
        if not name.startswith("fusewire."):
            del sys.modules[name]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a file in the current directory."""

    def written(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    return written


def complaint(source: str) -> CommandError:
    """What `resolve` says of a source that is none."""
    with pytest.raises(CommandError) as caught:
        resolve(source)
    assert "\n" not in str(caught.value)
    return caught.value


# --- memory:


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("", {}),
        ("?", {}),
        ("?size=4096", {"size": 4096}),
        ("?size=64K&inodes=2k", {"size": 65536, "inodes": 2048}),
        ("?size=1G&inodes=1M", {"size": 1 << 30, "inodes": 1 << 20}),
        ("?size=3T", {"size": 3 << 40}),
    ],
)
def test_limits_are_read(query: str, wanted: dict[str, int]) -> None:
    assert limits(query) == wanted


@pytest.mark.parametrize(
    ("query", "what_is_said"),
    [
        ("?sise=1G", "no option 'sise'; there are size and inodes"),
        ("?size=", "'size=' is not a number above 0"),
        ("?size=lots", "'size=lots' is not"),
        ("?size=0", "'size=0' is not"),
        ("?size=-1", "'size=-1' is not"),
        ("?size=1GB", "'size=1GB' is not"),
        ("?size=1&size=2", "twice"),
        ("size=1G", "followed by nothing or by '?size=1G&inodes=1M', not by 'size=1G'"),
        ("//x", "followed by nothing"),
    ],
)
def test_a_wrong_limit_is_refused(query: str, what_is_said: str) -> None:
    assert what_is_said in str(complaint(f"memory:{query}"))


# --- Python


@pytest.mark.parametrize("where", ["mine.py", "./mine.py", "mine"])
def test_python_is_found_by_file_and_by_module(write: Write, where: str) -> None:
    write("mine.py", HERE)
    assert list(resolve(f"{where}:root")) == ["hello"]


def test_python_is_found_in_a_package_and_elsewhere(write: Write, tmp_path: Path) -> None:
    write("package/__init__.py", "")
    write("package/inner.py", HERE)
    assert list(resolve("package.inner:root")) == ["hello"]
    assert list(resolve(f"{tmp_path}/package/inner.py:root")) == ["hello"]


def test_a_file_imports_its_neighbours(write: Write, tmp_path: Path) -> None:
    write("there/neighbour.py", "tree = {'from': b'neighbour'}")
    write("there/mine.py", "from neighbour import tree")
    assert resolve("there/mine.py:tree") == {"from": b"neighbour"}


def test_a_file_may_bear_the_name_of_a_module_in_use(write: Write) -> None:
    write("json.py", "tree = {'mine': b''}")
    assert resolve("./json.py:tree") == {"mine": b""}


def test_what_is_named_is_used_or_called(write: Write) -> None:
    write("mine.py", HERE)
    assert isinstance(resolve("mine.py:Nothing"), fusewire.Filesystem)
    assert isinstance(resolve("mine.py:Hello"), fusewire.File)
    assert resolve("mine.py:make") == {"made": b""}
    assert resolve("mine.py:Holder.tree") == {"inner": b""}


@pytest.mark.parametrize(
    ("source", "what_is_said"),
    [
        ("mine.py:Plain", "no filesystem: derive the class from"),
        ("mine.py:number", "no filesystem but a value of type int"),
        ("mine.py:wrong", "returned a value of type int"),
        ("mine.py:Sized", "called without arguments but needs size"),
        ("mine.py:make_later", "is an async function"),
        ("mine.py:Roor", "'mine.py' has no 'Roor'. Did you mean 'root'?"),
        ("mine.py:mak", "Did you mean 'make'?"),
        ("mine.py:filesystem", "'mine.py' has no 'filesystem'. It has: Hello, Nothing, root."),
        ("mine.py:Holder.tree.inner", "'mine.py' has no 'inner'. It has nothing that can be mounted"),
        ("mine.py:root.keys", "returned a value of type dict_keys"),
        ("fusewire:Memory", "'fusewire' has no 'Memory'. It has nothing that can be mounted"),
        ("mine.py:exits", "'mine.py:exits' exits instead of returning a filesystem."),
        ("mine.py:leaves", "say which archive"),
        ("mine.py", "For a filesystem in a Python file, say mine.py:NAME"),
        ("yours.py:root", "no file 'yours.py'"),
        ("yours:root", "no module 'yours' here"),
        ("mine.yours:root", "no module 'mine.yours' here"),
        ("empty.py:root", "It has nothing that can be mounted"),
    ],
)
def test_what_is_no_filesystem_is_refused(write: Write, source: str, what_is_said: str) -> None:
    write("mine.py", HERE)
    write("empty.py", "")
    error = complaint(source)
    assert what_is_said in str(error)
    assert not error.detail


def test_the_traceback_is_that_of_the_users_code_alone(write: Write) -> None:
    path = write("mine.py", HERE)
    error = complaint("mine.py:broken")
    assert str(error) == "'mine.py:broken' raised."
    assert [line.split(",")[0].strip() for line in error.detail.splitlines() if "File" in line] == [
        f'File "{path}"'
    ] * 2
    assert error.detail.splitlines()[-1] == "KeyError: 'no such key'"


@pytest.mark.parametrize("source", ["bad.py:root", "bad:root"])
def test_a_failing_import_shows_the_line_that_failed(write: Write, source: str) -> None:
    path = write("bad.py", "import fusewire\nimport no_such_module_anywhere\n")
    error = complaint(source)
    assert "cannot be imported" in str(error)
    assert [line.strip() for line in error.detail.splitlines() if "File" in line] == [
        f'File "{path}", line 2, in <module>'
    ]


def test_our_own_frames_are_left_out_too(write: Write) -> None:
    write("bad.py", "import fusewire\nroot = fusewire.no_such_name\n")
    files = [line for line in complaint("bad.py:root").detail.splitlines() if "File" in line]
    assert len(files) == 1
    assert "bad.py" in files[0]


def test_a_syntax_error_is_shown_where_it_is(write: Write) -> None:
    write("bad.py", "def root(:\n")
    detail = complaint("bad.py:root").detail
    assert "line 1" in detail
    assert "importlib" not in detail


def test_a_program_without_a_guard_is_explained(write: Write) -> None:
    write("program.py", "import sys\nroot = {}\nsys.exit(0)\n")
    assert 'under `if __name__ == "__main__":`' in str(complaint("program.py:root"))


@pytest.mark.parametrize("run", ["run(root, '/no/such')", "run_async(root, '/no/such')"])
@pytest.mark.parametrize("source", ["program.py:root", "program:root"])
def test_a_program_that_would_mount_something_else_is_explained(write: Write, source: str, run: str) -> None:
    write("program.py", f"import fusewire\nroot = {{}}\nfusewire.{run}\n")
    ours = fusewire.run
    error = complaint(source)
    assert "mounts something itself when it is imported" in str(error)
    assert not error.detail
    assert fusewire.run is ours


def test_a_property_that_raises_is_the_users_code(write: Write) -> None:
    write("mine.py", "class Holder:\n    @property\n    def root(self):\n        return 1 // 0\nholder = Holder()\n")
    error = complaint("mine.py:holder.root")
    assert str(error) == "'mine.py:holder.root' cannot be had."
    assert error.detail.splitlines()[-1].startswith("ZeroDivisionError")


# --- directories, and what is none


@pytest.mark.parametrize(
    ("source", "what_is_said"),
    [
        ("s3://bucket/path", "'s3:' is not supported yet. A source is memory:, a directory,"),
        ("no/such/place", "There is no source 'no/such/place'"),
        ("no/such/place", "There is no directory 'no/such' either"),
        ("memory", "Did you mean 'memory:'?"),
        ("memory?size=1G", "Did you mean 'memory:?size=1G'?"),
        ("Memory:?size=1G", "Did you mean 'memory:?size=1G'?"),
        ("no/" * 2000, "There is no source"),
        ("", "There is no source ''"),
        ("a b:c", "There is no source"),
        ("notes.txt", "'notes.txt' is not a directory"),
    ],
)
def test_what_is_not_there_is_named(write: Write, source: str, what_is_said: str) -> None:
    write("notes.txt", "")
    assert what_is_said in str(complaint(source))


def test_the_name_in_mount_tables_is_absolute_for_a_path(tmp_path: Path) -> None:
    assert named(".") == str(tmp_path)
    assert named("memory:?size=1G") == "memory:?size=1G"
    assert named("mine.py:root") == "mine.py:root"
    assert len(named("x" * 5000)) == 4000  # mount(2) takes no more
