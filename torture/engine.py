#!/usr/bin/env python3
"""Torment the daemon's engine and its shells: engine.py [--seconds N] [--seed S] [--only NAME]...

Each scenario of `scenarios.py` runs in a process of its own, in a private mount namespace. One
that takes much longer than it should hangs: its tracebacks are printed, its connections aborted,
and it counts as failed. The seed is printed; it decides what is tried, though not the timing.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import os
import random
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # also when run as a file

from torture.loads.place import Failed
from torture.mounts import abort_below, enter_private_namespace, unmount
from torture.scenarios import SCENARIOS
from torture.stage import Stage

PATIENCE = 45.0  # seconds that a scenario may take longer than it was told


def play(name: str, home: Path, seconds: float, seed: int) -> int:
    """Be the process of one scenario; return its exit code."""
    faulthandler.register(signal.SIGQUIT)
    logging.getLogger("fusewire").setLevel(logging.CRITICAL)  # methods fail here for the sake of it
    random.seed(seed)
    stage, end = Stage(home / "mountpoint", seconds, random.Random(seed)), time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            SCENARIOS[name](stage)
    except Exception as error:
        print("" if isinstance(error, Failed) else traceback.format_exc(), error, flush=True)
        return 1
    print(stage.figures(), flush=True)
    return 0


def watch(name: str, seconds: float, seed: int) -> bool:
    """Run one scenario, and end it if it hangs; say how it went, and whether well."""
    home = Path(tempfile.mkdtemp(prefix="fusewire-engine-"))
    (home / "mountpoint").mkdir()
    command = [sys.executable, "-W", "ignore", __file__, "--play", name, str(home), "--seconds", str(seconds)]
    process = subprocess.Popen(
        [*command, "--seed", str(seed)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    try:
        out, _ = process.communicate(timeout=seconds + PATIENCE)
    except subprocess.TimeoutExpired:
        out = end(process, home)
    unmount(str(home / "mountpoint"))
    shutil.rmtree(home, ignore_errors=True)
    well = process.returncode == 0
    print(f"{name:<14} {'ok' if well else 'FAIL':<5} {out.strip()}", flush=True)
    return well


def end(process: subprocess.Popen[str], home: Path) -> str:
    """End what hangs; return what it says of where."""
    process.send_signal(signal.SIGQUIT)
    try:
        process.communicate(timeout=1)
    except subprocess.TimeoutExpired:
        abort_below(str(home))
        process.kill()
    out, _ = process.communicate()
    return f"it hangs\n{out}"


def arguments() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description="Torment the daemon's engine and its shells.")
    parser.add_argument("--seconds", type=float, default=10, help="for each scenario (default: 10)")
    parser.add_argument("--seed", type=int, default=secrets.randbelow(1_000_000), help="the same again")
    parser.add_argument("--only", action="append", choices=SCENARIOS, help="this scenario; may be repeated")
    parser.add_argument("--play", nargs=2, metavar=("NAME", "HOME"), help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> int:
    """Play what is asked for."""
    options = arguments()
    if options.play:
        return play(options.play[0], Path(options.play[1]), options.seconds, options.seed)
    enter_private_namespace()
    print(f"seed {options.seed}", flush=True)
    results = [watch(name, options.seconds, options.seed) for name in options.only or SCENARIOS]
    return 0 if all(results) else 1


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parent.parent / "src"))
    sys.exit(main())
