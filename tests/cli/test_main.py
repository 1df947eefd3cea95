"""The command line itself: what it says without a command, with a wrong one, and how fast it is there."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fusewire.cli import COMMANDS, main

EVERY_HELP = [[], ["--help"], *([command, "--help"] for command in COMMANDS)]


def fusewire(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command as a person does."""
    command = [sys.executable, "-m", "fusewire", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env={"COLUMNS": "80", **environment}, check=False)


@pytest.mark.parametrize("arguments", EVERY_HELP, ids=" ".join)
def test_help_reads_well_at_80_columns(arguments: list[str]) -> None:
    done = fusewire(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert done.stdout.startswith("usage: fusewire")


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


def test_explain_lists_what_it_can_explain() -> None:
    listed = [line.split()[0] for line in fusewire("explain").stdout.splitlines() if line]
    assert {"unlink", "init"} <= set(listed)


def test_explain_draws_the_diagram(capsys: pytest.CaptureFixture[str]) -> None:
    from fusewire.diagrams.explain import explain

    assert main(["explain", "unlink"]) == 0
    assert capsys.readouterr().out == explain("unlink")


def test_explain_passes_over_nothing_if_asked(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "unlink", "--all"]) == 0
    assert "semaphore" in capsys.readouterr().out


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
