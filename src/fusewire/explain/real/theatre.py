"""What a scene is played with: a stage, Linux's tracing or none, and the recording that comes of it.

A scene (simple.py, tricky.py) sets the stage, has the deadlock come about, and then does this and that to those who
are in it. `deadlock` and `deed` wait until nothing moves any more, take down what Linux has told, and say in
words what became of whom: a deed that helps nobody is as good to know as one that does.

Nothing is claimed that was not looked at: who sleeps, where, and who got what, comes from /proc, from the words of
the processes themselves and from waitpid(2).
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from fusewire.diagrams.recording import Moment, Recording, Remark
from fusewire.events import Step
from fusewire.explain.explanation import Options
from fusewire.explain.real.facts import Fact, Tracer, number_of
from fusewire.explain.real.namespace import CannotStage
from fusewire.explain.real.stage import Actor, Stage
from fusewire.explain.real.telling import CALLS, Teller
from fusewire.explain.real.watchdog import Watchdog
from fusewire.explain.real.ways import TODAY
from fusewire.mounting import fusectl
from fusewire.watch.proc import Thread
from fusewire.watch.trace_events import Switch, SyscallEnter

__all__ = ["READING", "Theatre"]

READING: Final = "fuse_dev_do_read"
ENDED: Final = "has ended with"
ALIVE: Final = "went on to its end, with"  # the same of somebody who has not been killed
PATIENCE: Final = 1.0  # seconds in which a deed has to show what it does


class Theatre:
    """One recording, and what it takes to make it."""

    def __init__(self, recording: Recording, options: Options, watchdog: Watchdog) -> None:
        self.recording = recording
        self.options = options
        self.watchdog = watchdog
        self.tracer = Tracer()
        self.teller: Teller | None = None

    def stage(self) -> Stage:
        """Return an empty stage, for one mount."""
        return Stage(self.options.path, self.watchdog)

    # --- the deadlock

    def cast(self, stage: Stage, columns: Mapping[str, str]) -> None:
        """Say who stands in which column; from now on what they do is taken down."""
        self.recording.columns = dict(columns)
        tasks = {actor.tid: name for name, actor in stage.actors.items()}
        self.teller = Teller(self.recording, tasks, (stage.device,), self.options.path)

    def begin(self, stage: Stage) -> list[Fact]:
        """Return what those who serve are in before anything is traced: /proc shows that they wait in read(2)."""
        looks = stage.look()
        waiting = [look for look in looks.values() if look is not None and look.wchan == READING]
        return [fact for look in waiting for fact in reading(look, stage.device)]

    def take_down(self, before: Sequence[Fact] = (), assumed: Sequence[Fact] = ()) -> None:
        """Tell what was `before`, and what Linux has told since; or what is assumed, where it does not."""
        assert self.teller is not None
        since = assumed if self.tracer.tracing is None else self.tracer.take()
        self.teller.tell(sorted([*before, *since], key=lambda fact: fact.time))

    def deadlock(self, stage: Stage, circle: str) -> None:
        """Say that there is one, and who sleeps where.

        Raises:
            CannotStage: there is none; this kernel is another than those that we know.
        """
        looks = stage.look()
        if any(one is None for one in looks.values()) or all(one.wchan == READING for one in looks.values() if one):
            raise CannotStage(f"the deadlock does not come about on this kernel: {in_words(stage, looks)}")
        if self.tracer.tracing is None:
            self.confirm(looks)
        unanswered = stage.waiting()
        count = "" if unanswered is None else f" Requests without an answer: {unanswered}."
        self.recording.say("deadlock", f"{circle} As /proc shows it: {in_words(stage, looks)}.{count}")

    def confirm(self, looks: Mapping[str, Thread | None]) -> None:
        """Without tracing: the call that somebody is in, and where he sleeps, are seen in /proc."""
        for name, look in looks.items():
            if look is not None and look.state in "SD":
                self.saw(name, Step.SLEEP)
                self.saw(name, Step.CALL, look.wchan)
                if look.syscall is not None:
                    self.saw(name, Step.CALL, CALLS.get(look.syscall.name, "do_page_fault"))

    def saw(self, task: str, step: str, name: str = "") -> None:
        """Make the last such step of a task a certain one."""
        entries = self.recording.entries
        for at in range(len(entries) - 1, -1, -1):
            entry = entries[at]
            if not isinstance(entry, Moment) or (entry.task, entry.event.step) != (task, step):
                continue
            if name in ("", entry.event.name):
                entries[at] = entry._replace(certain=True)
                return

    # --- what is done about it

    def deed(self, stage: Stage, command: str, do: Callable[[], object], why_not: str = "", thus: str = "") -> bool:
        """Do something to those who hang; record what comes of it, and return whether anybody is freed by it.

        Args:
            command: what is done, in words or as people would type it.
            why_not: what there is to say if nobody is.
            thus: what there is to say if somebody is.
        """
        before = stage.look()
        were = states(stage, before)
        do()
        stage.settle(PATIENCE)
        begun = len(self.recording.entries)
        self.take_down()
        self.recording.entries.insert(begun, Remark("text", command))
        after = stage.look()
        freed = sorted(name for name in before if was_freed(before[name], after[name]))
        now = [f"{name} {words}" for name, words in states(stage, after).items() if words != were[name]]
        changed = f"Now {'; '.join(now)}." if now else "Everybody sleeps where he slept."
        deed = [f"That frees {listed(freed)}.", thus] if freed else ["That frees nobody.", why_not]
        self.recording.say("text", " ".join(filter(None, [deed[0], changed, deed[1]])))
        return bool(freed)

    def kill(self, stage: Stage, name: str, number: signal.Signals, why_not: str = "", thus: str = "") -> bool:
        """Send a signal to the process of an actor, as a deed."""
        pid = stage.actors[name].pid
        threads = [each for each, actor in stage.actors.items() if actor.pid == pid]
        whom = name if len(threads) == 1 else f"the process of {listed(threads)}"
        command = f"$ kill -{number.name.removeprefix('SIG')} {whom}"
        return self.deed(stage, command, lambda: stage.signal(name, number), why_not, thus)

    def abort(self, stage: Stage) -> bool:
        """Abort the connection, as a deed."""
        return self.deed(stage, f"Abort, as {abort_file(stage)} and umount -f do it.", stage.abort)

    def outcome_of(self, stage: Stage, command: str, do: Callable[[], object]) -> None:
        """Do something to a deadlock that has been seen already, and say in a line what each process got."""
        do()
        stage.settle(PATIENCE)
        self.recording.say("text", f"The same once more, and {command}: {in_words(stage, stage.look())}.")

    # --- the end

    def ending(self, stage: Stage) -> str:
        """Say who is dead, and who lives."""
        looks = stage.look()
        dead = sorted(name for name, look in looks.items() if look is None and is_killed(stage.actors[name]))
        rest = {name: look for name, look in looks.items() if name not in dead}
        lives = [f"{name}, which {words.replace(ENDED, ALIVE)}" for name, words in states(stage, rest).items()]
        return f"Dead: {listed(dead)}. Alive: {'; '.join(lives) or 'nobody'}."

    def close(self, ending: str) -> None:
        """Say how much was seen, and by what; that the words are old; and how it ended."""
        moments = list(self.recording.moments)
        seen = sum(moment.certain for moment in moments)
        by = "/proc" if self.tracer.why_not else "Linux's tracepoints and their stacks"
        text = (
            f"Of {len(moments)} steps {seen} were seen, by {by}; {len(moments) - seen} are inferred (\N{MIDDLE DOT})."
        )
        lost = f"The trace has lost {self.tracer.lost} events." if self.tracer.lost else ""
        why = f"More could be seen, but {self.tracer.why_not}." if self.tracer.why_not else ""
        self.recording.say("text", " ".join(filter(None, [text, lost, why])))
        drawn = {moment.event.text.strip("<>[]()") for moment in moments}
        today = ", ".join(f"{name}() is {now}" for name, now in TODAY.items() if name in drawn)
        self.recording.say("text", f"The words are those of kernel.txt. On Linux {os.uname().release} {today}.")
        self.recording.say("end", ending)


def reading(look: Thread, device: int) -> tuple[Fact, Fact]:
    """A thread that waits for requests has called read(2), and sleeps."""
    now = time.monotonic()
    call = SyscallEnter(number_of("read"), (device,))
    sleep = Switch(look.tid, look.state, 0)
    return Fact(now, look.tid, call), Fact(now, look.tid, sleep, look.stack or (look.wchan,))


def was_freed(before: Thread | None, after: Thread | None) -> bool:
    """Tell whether somebody who hung does not any more: he is gone, or waits for requests as he should."""
    if before is None or before.wchan == READING:
        return False
    return after is None or after.wchan == READING or (before.syscall is not None and before.syscall != after.syscall)


def states(stage: Stage, looks: Mapping[str, Thread | None]) -> dict[str, str]:
    """Say of each what it does."""
    return {name: state(stage.actors[name], look) for name, look in sorted(looks.items())}


def in_words(stage: Stage, looks: Mapping[str, Thread | None]) -> str:
    return "; ".join(f"{name} {words}" for name, words in states(stage, looks).items())


def state(actor: Actor, look: Thread | None) -> str:
    """Say what somebody does, or what became of him."""
    words = [*(line for line in actor.said if line.startswith(("unlink: ", "write: ", "read a byte"))), ""]
    if look is None:
        end = "is gone" if actor.status is None else ended(actor.status)
        return f"{end} ({words[0]})" if words[0] else end
    if look.wchan == READING:
        return "waits for requests"
    where = f" in {look.wchan}" if look.wchan else ""
    return f"sleeps{where} ({look.state})" if look.state in "SD" else f"is there ({look.state})"


def ended(status: int) -> str:
    """Say how a process has ended."""
    if os.WIFSIGNALED(status):
        return f"was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"{ENDED} exit status {os.WEXITSTATUS(status)}"


def is_killed(actor: Actor) -> bool:
    return actor.status is not None and os.WIFSIGNALED(actor.status)


def abort_file(stage: Stage) -> str:
    return f"{fusectl.CONNECTIONS}/{stage.connection}/abort"


def listed(names: Sequence[str]) -> str:
    """Return names as in a sentence."""
    if not names:
        return "nobody"
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last
