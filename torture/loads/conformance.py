"""The conformance suite, compared with the same on native filesystems."""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from torture.loads.place import Failed, Place

SUITE = Path(__file__).resolve().parent.parent / "posix.py"
LINE = re.compile(r"^not ok \d+ - (.*)\n#      (.*)$", re.MULTILINE)
SUMMARY = re.compile(r"^# .*: (\d+) ok, (\d+) not ok, (\d+) cases skipped", re.MULTILINE)


def posix(place: Place) -> str:
    """Whatever fails here must fail on the native filesystem or on tmpfs too."""
    found, summary = failures(place.directory)
    native: dict[str, str] = {}
    if found:
        with tempfile.TemporaryDirectory(dir="/dev/shm") as memory:
            native = failures(place.native)[0] | failures(Path(memory))[0]
    ours = {label: detail for label, detail in found.items() if label not in native}
    if ours:
        lines = [f"{label}: {detail}" for label, detail in ours.items()]
        raise Failed("\n".join([f"{len(ours)} failures that no native filesystem has; {summary}", *lines[:25]]))
    return f"{summary}; as native filesystems do"


def failures(directory: Path) -> tuple[dict[str, str], str]:
    """What fails in a directory, by label, and the summary."""
    done = subprocess.run(
        [sys.executable, SUITE, directory], capture_output=True, text=True, errors="replace", check=False
    )
    summary = SUMMARY.search(done.stdout)
    if summary is None:
        raise Failed((done.stdout + done.stderr)[-1000:])
    return dict(LINE.findall(done.stdout)), f"{summary[1]} ok, {summary[2]} not ok, {summary[3]} skipped"
