"""`fusewire trace` on live mounts: what people and programs get from it, and that nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import hung_mounts
from fusewire.cli.trace import EPILOG, parser
from fusewire.watch.trace import Trace
from fusewire.watch.trace_instances import find_tracefs
from hung_mounts import until
from kernel_mounts import fuse_mounts
from namespaces import umount
from ordinary_user import run_as_user
from served import CHECKOUT, FUSEWIRE, LIMIT, fusewire, run, served


@pytest.fixture(autouse=True)
def traceable() -> None:
    """Without tracing there is nothing to test."""
    try:
        with tracefs():
            pass
    except OSError as error:
        pytest.skip(str(error))


@contextmanager
def tracefs() -> Iterator[Path]:
    """The directory of tracefs, mounted or not."""
    place, root = find_tracefs()
    try:
        yield Path(place)
    finally:
        if root >= 0:
            os.close(root)


@pytest.fixture
def mount(mountpoint: Path) -> Iterator[Path]:
    """A mount with a file in it, served by a process of its own."""
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint):
        (mountpoint / "file").write_text("hello")
        yield mountpoint


def connection_of(mountpoint: Path) -> int:
    return next(mount.minor for mount in fuse_mounts() if mount.path == mountpoint)


@contextmanager
def tracing(*arguments: str | Path) -> Iterator[subprocess.Popen[str]]:
    """The command, from when it traces until it has ended; nothing of its tracing may be left."""
    command, environment = [*FUSEWIRE, "trace", *map(str, arguments)], {**os.environ, "COLUMNS": "80"}
    with subprocess.Popen(command, stdout=-1, stderr=-1, text=True, env=environment) as process:
        try:
            until(lambda: process.poll() is not None or begun(process.pid))
            yield process
            assert instances(process.pid) == {}
        finally:
            process.kill()


def begun(pid: int) -> bool:
    """Tell whether a process traces: the last tracepoint that it enables is on."""
    return "1\n" in instances(pid).values()


def instances(pid: int) -> dict[str, str]:
    """Return the instances of tracefs that a process has made, and whether the last tracepoint is on in each."""
    with tracefs() as place:
        found = {}
        for instance in place.glob(f"instances/fusewire-{pid}-*"):
            with suppress(OSError):
                found[instance.name] = (instance / "events/fuse/fuse_request_send/enable").read_text()
        return found


def ended(process: subprocess.Popen[str]) -> str:
    """Return what it printed; it has to end by itself."""
    out, err = process.communicate(timeout=LIMIT)
    assert (process.returncode, err) == (0, "")
    return out


def test_each_request_has_a_line_with_its_caller_and_its_phases(mount: Path) -> None:
    with tracing(mount, "--op", "unlink", "-n", "1") as process:
        remover = subprocess.Popen(["rm", mount / "file"])
        remover.wait()
        head, line, *_ = ended(process).splitlines()
    assert head.split() == ["time", "operation", "caller", "pending", "process", "bytes", "server", "result"]
    _, operation, comm, pid, pending, process_time, size, _, result = line.split()
    assert (operation, comm, pid, size, result) == ("UNLINK", "rm", str(remover.pid), "45>16", "ok")
    assert pending.endswith(("us", "ms"))
    assert process_time.endswith(("us", "ms"))


def test_all_of_a_line_fits_80_columns(mount: Path) -> None:
    with tracing(mount, "-n", "5") as process:
        run("cat", mount / "file", mount / "absent")
        (mount / "new").write_text("x")
        assert max(map(len, ended(process).splitlines())) <= 80


def test_as_json_it_tells_who_called_and_who_served(mount: Path) -> None:
    number = connection_of(mount)
    with tracing(str(number), "--json", "--op", "LOOKUP,UNLINK", "-n", "1") as process:
        run("rm", mount / "file")
        out, err = process.communicate(timeout=LIMIT)
    (line,) = out.splitlines()
    request = json.loads(line)
    assert (request["connection"], request["operation"], request["error"]) == (number, "UNLINK", None)
    assert request["caller"]["comm"] == "rm"
    assert request["server"]["pid"] != request["caller"]["pid"]
    assert request["pending_us"] + request["processing_us"] == pytest.approx(request["total_us"], abs=0.2)
    assert err.startswith("\n1 request in ")


def test_a_thread_is_known_with_its_process(mount: Path) -> None:
    script = (
        "import os, sys, threading; t = threading.Thread(target=os.unlink, args=[sys.argv[1]]); t.start(); t.join()"
    )
    with tracing(mount, "--json", "--op", "UNLINK", "-n", "1") as process:
        caller = subprocess.Popen([sys.executable, "-c", script, mount / "file"])
        caller.wait()
        request = json.loads(process.communicate(timeout=LIMIT)[0])
    assert request["caller"]["pid"] == caller.pid != request["caller"]["tid"]


def test_only_the_processes_that_are_named_are_shown(mount: Path) -> None:
    with tracing(mount, "--json", "--pid", str(os.getpid()), "--op", "UNLINK", "-n", "1") as process:
        run("rm", mount / "file")
        (mount / "mine").write_text("")
        (mount / "mine").unlink()
        request = json.loads(process.communicate(timeout=LIMIT)[0])
    assert request["caller"]["pid"] == os.getpid()


def test_the_summary_counts_what_took_place(mount: Path) -> None:
    with tracing(mount, "--json", "--summary", "--op", "UNLINK", "-n", "3") as process:
        for name in "abc":
            (mount / name).write_text("")
            run("rm", mount / name)
        summary = json.loads(process.communicate(timeout=LIMIT)[0])
    unlink = summary["operations"]["UNLINK"]
    assert (summary["count"], summary["lost_events"], summary["unanswered"]) == (3, 0, [])
    assert unlink["pending"]["count"] == unlink["processing"]["count"] == 3
    assert [caller["comm"] for caller in summary["top_callers"]] == ["rm"] * 3


def test_ctrl_c_ends_it_and_brings_the_table(mount: Path) -> None:
    with tracing(mount) as process:
        run("rm", mount / "file")
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGINT)
        out = "".join(printed) + ended(process)
    assert re.search(r"^operation +count errors", out, re.MULTILINE)
    assert " failed.\n" in out


def test_the_diagram_shows_both_ends_and_what_is_inferred(mount: Path) -> None:
    with tracing(mount, "--diagram", "--op", "UNLINK", "-n", "1") as process:
        run("rm", mount / "file")
        out = ended(process)
    words = [line.split("|", 1)[1].replace("|", " ").split("  ") for line in out.splitlines() if "|" in line]
    steps = [text.strip() for line in words for text in line if text.strip()]
    assert '"rm"' in steps[0]
    for step in ">fuse_unlink()", "[queue req on fc->pending]", "[sleep on req->waitq]", "[wake up req->waitq]":
        assert step in steps, out
    assert "\N{MIDDLE DOT} [add req to fc->processing]" in steps
    assert max(map(len, out.splitlines())) <= 80


def test_a_file_for_perfetto_has_spans_of_caller_and_server(mount: Path, tmp_path: Path) -> None:
    with tracing(mount, "--summary", "--perfetto", tmp_path / "out.json", "--op", "UNLINK", "-n", "1") as process:
        run("rm", mount / "file")
        ended(process)
    spans = [event for event in json.loads((tmp_path / "out.json").read_text()) if event["ph"] == "X"]
    assert [span["name"] for span in spans] == ["UNLINK", "UNLINK"]
    assert spans[0]["dur"] > spans[1]["dur"]


def test_it_ends_with_the_mount(mountpoint: Path) -> None:
    with served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint, end=None) as daemon:
        with tracing(mountpoint) as process:
            umount(mountpoint)
            assert ended(process).endswith("The mount is gone.\n")
        daemon.wait(LIMIT)


def test_the_pid_of_a_daemon_means_what_it_serves(mountpoint: Path) -> None:
    with (
        served(*FUSEWIRE, "mount", "memory:", mountpoint, mountpoint=mountpoint) as daemon,
        tracing(str(daemon.pid), "--json", "-n", "1") as process,
    ):
        run("stat", mountpoint)
        request = json.loads(process.communicate(timeout=LIMIT)[0])
    assert request["server"]["pid"] == daemon.pid


# --- where nothing goes on


def test_a_request_that_nobody_answers_is_told_while_it_waits_and_in_the_end(mountpoint: Path) -> None:
    hang = hung_mounts.start(mountpoint, "idle")
    try:
        hang.daemon.send_signal(signal.SIGSTOP)
        until(lambda: hung_mounts.state(hang.daemon.pid) == "T")
        with tracing(mountpoint, "--slow", "1ms") as process:
            caller = hang.call("stat", hang.path("file"))
            assert process.stdout is not None
            told = [process.stdout.readline() for _ in range(2)][1]
            process.send_signal(signal.SIGINT)
            out = ended(process)
    finally:
        hang.end()
    assert f"stat {caller.pid}" in told
    assert told.endswith("waits\n")
    assert "1 without an answer:\n" in out


def test_what_does_not_fit_the_buffer_is_counted(mount: Path) -> None:
    trace = Trace([connection_of(mount)])
    trace.tracing.buffer_kb = 4
    with trace:
        for _ in range(1000):
            os.statvfs(mount)
        requests = trace.requests()
        assert trace.lost > 0
        assert len(requests) < 1000


def test_it_may_be_killed_by_sigterm_and_leaves_nothing(mount: Path) -> None:
    with tracing(mount) as process:
        process.terminate()
        process.communicate(timeout=LIMIT)
    assert process.returncode == 128 + signal.SIGTERM


# --- what cannot be


def test_an_ordinary_user_is_told_what_to_do() -> None:
    done = run_as_user(*FUSEWIRE, "trace", may_mount=False)
    assert (done.returncode, done.stderr) == (
        1,
        "fusewire: Linux's tracing (tracefs) is for root alone: run it with sudo\n",
    )


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["/no/such"], "no FUSE mount is at /no/such"),
        (["4194305"], "4194305 is neither a FUSE connection nor a process that serves one"),
        (["--op", "LOKUP"], "there is no operation 'LOKUP'; LOOKUP?"),
        (["--slow", "100"], "'100' is no time with its unit"),
        (["-n", "0"], "'0' is no number of requests"),
        (["--diagram", "--json"], "a diagram is no JSON"),
    ],
)
def test_what_makes_no_sense_is_said(arguments: list[str], sentence: str) -> None:
    done = fusewire("trace", *arguments)
    assert done.returncode == 2
    assert sentence in done.stderr


def test_the_commands_of_the_document_are_understood() -> None:
    text = (CHECKOUT / "docs" / "trace.md").read_text() + EPILOG
    commands = re.findall(r"^ +fusewire trace (.*?)(?:  .*)?$", text, re.MULTILINE)
    assert len(commands) > 8
    for command in commands:
        if "[" not in command:  # else it is the usage
            parser().parse_args(command.split())
