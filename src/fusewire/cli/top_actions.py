"""What can be done from the screen of `fusewire top`: each returns a sentence on what came of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

from fusewire.cli import COMMANDS
from fusewire.cli.top_table import printable
from fusewire.mounting import MountError, unmount
from fusewire.watch.diagnosis import State
from fusewire.watch.overview import Row, act_on

__all__ = ["abort", "trace", "unmount_it"]


def abort(row: Row) -> str:
    """End the connection of a row, and no other that may have its number by now."""
    with act_on(row) as fusectl:
        if fusectl is None:
            return f"connection {row.number} has ended already, or is not yours to abort"
        fusectl.abort(row.number)
    return f"aborted: {row.diagnosis.place}"


def unmount_it(row: Row) -> str:
    """Unmount what a row shows; of a dead one also what is still in use."""
    if row.here is None:
        return f"{row.diagnosis.place} is not mounted where we are"
    with act_on(row) as fusectl:
        if fusectl is None and row.identity is not None:
            return f"connection {row.number} has ended already, or is not yours"
    try:
        unmount(row.here, lazy=row.diagnosis.state is State.DEAD)
    except MountError as error:
        return str(error)
    return f"unmounted: {row.here}"


def trace(row: Row) -> str:
    """Run `fusewire trace` in the terminal, until Ctrl-C."""
    if "trace" not in COMMANDS:
        return "there is no command 'trace' in this version"
    command = [sys.executable, "-m", "fusewire", "trace", str(row.number)]
    where = os.pathsep.join(map(os.path.abspath, sys.path))  # we may be a zip, and nowhere installed
    print(f"Requests of {printable(row.diagnosis.place)}; Ctrl-C leads back.", flush=True)
    ours = signal.signal(signal.SIGINT, lambda *_: None)  # Ctrl-C is for the tracer; exec gives it the default back
    try:
        subprocess.run(command, env={**os.environ, "PYTHONPATH": where}, check=False)
    finally:
        signal.signal(signal.SIGINT, ours)
    return ""
