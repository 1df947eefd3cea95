"""The command line itself: what it says without a command, with a wrong one, and how fast it is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fusewire.cli import COMMANDS
from fusewire.cli.narrow import narrowed

EVERY_HELP = [[], ["--help"], *([command, "--help"] for command in COMMANDS)]


def fusewire(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    command = [sys.executable, "-m", "fusewire", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "80", **environment}, check=False)


@pytest.mark.parametrize("columns", [80, 60])
@pytest.mark.parametrize("arguments", EVERY_HELP, ids=" ".join)
def test_help_reads_well_in_wide_and_narrow_terminals(arguments: list[str], columns: int) -> None:
    done = fusewire(*arguments, COLUMNS=str(columns))
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert done.stdout.startswith("usage: fusewire")


def test_in_a_narrow_terminal_tables_stay_tables_and_paragraphs_are_filled() -> None:
    text = "One two three\nfour five.\n\nwords:\n  first   what it is, and more\n  second  another"
    assert narrowed(text, 80) == text
    assert narrowed(text, 22) == (
        "One two three four\nfive.\n\nwords:\n  first   what it is,\n          and more\n  second  another"
    )


@pytest.mark.parametrize(("asked", "same"), [(["help"], ["--help"]), (["help", "mount"], ["mount", "--help"])])
def test_help_is_a_command_too(asked: list[str], same: list[str]) -> None:
    assert fusewire(*asked).stdout == fusewire(*same).stdout


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_it_runs_with_a_standard_stream_closed(closed: str) -> None:
    script = f"exec {closed}; exec {sys.executable} -m fusewire explain unlink"
    assert subprocess.run(["bash", "-c", script], check=False, capture_output=True).returncode == 0


def test_what_is_closed_is_nobody_elses() -> None:
    """Else /dev/fuse would become descriptor 2, and an error that is printed a reply to the kernel."""
    script = "import os; from fusewire.cli import main; main(['explain']); print(os.path.samefile('/dev/null', 2))"
    command = f"exec 2>&-; exec {sys.executable} -c \"{script}; print(os.open('/', 0) > 2)\""
    done = subprocess.run(["bash", "-c", command], check=False, capture_output=True, text=True)
    assert done.stdout.split()[-2:] == ["True", "True"]


def test_the_overview_lists_every_command() -> None:
    listed = {line.split()[0] for line in fusewire().stdout.splitlines() if line.startswith("  ") and line.split()}
    assert set(COMMANDS) <= listed


def test_the_version_is_told() -> None:
    import fusewire as package

    assert fusewire("--version").stdout == f"fusewire {package.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "what_is_said"),
    [
        (["mont"], "there is no command 'mont'. Did you mean 'mount'?"),
        (["xyzzy"], "there is no command 'xyzzy'. There are: mount, umount,"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
        (["mount"], "required: SOURCE, MOUNTPOINT"),
        (["mount", "memory:", "/x", "--threads", "0"], "at least one must serve"),
        (["mount", "memory:", "/x", "--threads", "many"], "'many' is no number of threads"),
        (["mount", "memory:", "/x", "-o", "no_such_option"], "unknown mount option 'no_such_option'"),
        (["mount", "memory:", "/x", "-o", "entry_timeout=soon"], "mount option entry_timeout=soon"),
        (["mount", "memory:", ""], "the mountpoint is empty"),
        (["umount"], "required: MOUNTPOINT"),
        (["explain", "unlick"], "Did you mean 'unlink'?"),
    ],
    ids=" ".join,
)
def test_wrong_usage_is_code_2_and_a_line(arguments: list[str], what_is_said: str) -> None:
    done = fusewire(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert what_is_said in done.stderr
    assert "Traceback" not in done.stderr


def test_help_imports_nothing_but_argparse() -> None:
    """It is to be there at once: 30 ms, where importing the engine takes three times that."""
    script = "import sys; from fusewire.cli import main; main([]); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert not {"asyncio", "logging", "fusewire.daemon", "fusewire.wire", "fusewire.mounting"} & loaded


def test_a_reader_that_goes_away_is_no_error() -> None:
    script = f"set -o pipefail; {sys.executable} -m fusewire explain unlink | true"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert done.stderr == ""
