"""What is given to `interleavings`, checked before anything is run, so that mistakes are told as what they are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

from fusewire.daemon.filesystem import Filesystem
from fusewire.daemon.nodes import Node
from fusewire.events import Event
from fusewire.explore.event_loop import NAME as EVENT_LOOP
from fusewire.explore.own_filesystem import OwnFilesystem, Program
from fusewire.explore.run import Run
from fusewire.kernel.tasks import Task
from fusewire.mounting import MountOptions
from fusewire.served import Served, as_filesystem, options_for

__all__ = ["Programs", "check_numbers", "check_same", "checked_filesystem", "mount_options", "name_of", "named"]

Programs: TypeAlias = Mapping[str, Program] | Sequence[Program]

MOST_THREADS: Final = 9


def checked_filesystem(filesystem: Any) -> Callable[[], Served]:
    """Return `filesystem`, which makes one.

    Raises:
        TypeError: it does not, or not another each time.
    """
    if isinstance(filesystem, Filesystem | Node | Mapping | bytes) or not callable(filesystem):
        raise TypeError(
            f"{filesystem!r} would be the same in each run: give its class, or a function that makes one, such as "
            "lambda: MyFilesystem(...)"
        )
    first = filesystem()
    as_filesystem(first)
    if first is filesystem():
        raise TypeError(f"{name_of(filesystem, 'the function')} made the same filesystem twice: each run needs its own")
    return filesystem  # type: ignore[no-any-return]


def check_numbers(threads: int, preemptions: int | None) -> None:
    """Refuse numbers that nothing can be done with.

    Raises:
        ValueError: one of them.
    """
    if not 1 <= threads <= MOST_THREADS:
        raise ValueError(f"threads={threads}: there are 1 to {MOST_THREADS}")
    if preemptions is not None and preemptions < 0:
        raise ValueError(f"preemptions={preemptions}: there are 0 or more, or any number of them: None")


def mount_options(more_options: dict[str, Any]) -> MountOptions:
    """Return the options that are given by name; others than root are let in, as by `Kernel`."""
    return options_for(Filesystem(), "", more_options, MountOptions(allow_other=True))


def named(programs: Programs) -> dict[str, Program]:
    """Return programs by their names."""
    if callable(programs) or not programs:
        raise ValueError("programs are a list of at least one, or a dict which names them")
    if isinstance(programs, Mapping):
        found = dict(programs)
    else:
        found = {}
        for number, program in enumerate(programs, start=1):
            name = name_of(program, f"program {number}")
            found[name if name not in found else f"{name} {number}"] = program
    for name, program in found.items():
        check_program(name, program)
    return found


def check_program(name: str, program: Program) -> None:
    """Refuse what is no program, or is called like something else.

    Raises:
        TypeError, ValueError: the text says why.
    """
    if name.startswith(("daemon", EVENT_LOOP)):
        raise ValueError(f"{name!r} is what the daemon's end is called: give the program another name")
    takes = len(inspect.signature(program).parameters)
    if not inspect.iscoroutinefunction(program) or takes not in (1, 2):
        raise TypeError(
            f"{name} must be `async def {name.replace(' ', '_')}(process)`, and await the calls of its process; "
            "with a second parameter it gets the filesystem, too"
        )


def name_of(function: Any, otherwise: str) -> str:
    """Return what a function, or a class, is called."""
    name = getattr(function, "__name__", "<")
    return otherwise if "<" in name else name


def check_same(scene: OwnFilesystem) -> None:
    """See that the same order is the same run.

    Raises:
        ValueError: it is not; the text says where they part.
    """
    first, second = events_of(scene), events_of(scene)
    if first == second:
        return
    place = next((place for place, pair in enumerate(zip(first, second, strict=False)) if pair[0] != pair[1]), -1)
    before, after = (events[place] if events else "nothing" for events in (first, second))
    raise ValueError(
        f"two runs in the same order were not the same: once it was {before}, then {after}. A filesystem that is "
        "explored depends on nothing but its requests: not on the time, on chance, or on what earlier ones left"
    )


def events_of(scene: OwnFilesystem) -> list[str]:
    """Return what happens in fixed order."""
    events: list[str] = []

    def watch(task: Task, event: Event) -> None:
        events.append(f"{event.text} of {task.name}")

    with Run(scene, watch) as run:
        try:
            run.go_on()
        except Exception as error:  # it will be found again
            events.append(f"{type(error).__name__}: {error}")
    return events
