"""What happens, by name, and the hook that is told of it.

Whoever makes something happen says so, in the words of kernel.txt, the document of 2005 that
drew how a request travels. Two verbs say it:

    note(event)          no other task may run here
    await step(event)    another task may run here (kernel/tasks.py)

We note where Linux holds a spinlock, and in clean-up; we step where it drops one. So the world
changes under kernel code at an `await` and nowhere else. Code that is no coroutine can only note;
so does the daemon's end, which runs as its runner likes.

While nobody listens either verb costs one `is not None` test: a name is put into its step's text
only for a listener. Imports nothing of ours, for both ends import it.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, ParamSpec, TypeVar

P = ParamSpec("P")
A = TypeVar("A", bound=Awaitable[Any])


class Step(enum.StrEnum):
    """What is done, in the order of a request's life; `{}` stands for a name."""

    CALL = ">{}()"
    RETURN = "<{}()"
    GET = "[get request from fc->unused_list]"
    QUEUE = "[queue req on fc->pending]"
    SLEEP = "[sleep on {}]"
    WAKE = "[wake up {}]"
    WOKEN = "[woken up]"
    TAKE = "[remove req from fc->pending]"
    COPY_OUT = "[copy req to read buffer]"
    READ = "[add req to fc->processing]"
    PERFORM = "[perform {}]"
    LOOK_UP = "[look up req in fc->processing]"
    MATCH = "[remove from fc->processing]"
    COPY_IN = "[copy write buffer to req]"
    PUT = "[add request to fc->unused_list]"

    INTERRUPT = "[interrupted by signal]"
    FAULT = "[get_user_pages()]"
    QUEUE_BACKGROUND = "[queue req on fc->bg_queue]"
    TAKE_BACKGROUND = "[remove req from fc->bg_queue]"
    QUEUE_FORGET = "[queue FORGET on fc->forgets]"
    TAKE_FORGET = "[remove FORGET from fc->forgets]"
    QUEUE_INTERRUPT = "[queue INTERRUPT on fc->interrupts]"
    TAKE_INTERRUPT = "[remove INTERRUPT from fc->interrupts]"
    RESEND = "[queue req on fc->pending again]"
    ABORT = "[abort fc]"

    ACQUIRE = "[acquire {}]"
    ACQUIRED = "[semaphore acquired]"
    RELEASE = "[release semaphore]"


class Event(NamedTuple):
    text: str  # a Step, its name filled in
    woken: tuple[str, ...] = ()  # names of the tasks that it wakes
    echo: str = Step.WOKEN  # what happens to them


hook: Callable[[Event], None] | None = None  # the runner's, while somebody watches


def note(text: str, name: str = "", woken: tuple[str, ...] = (), echo: str = Step.WOKEN) -> None:
    """Say that `text` happens (to `name`), where no other task may run."""
    if hook is not None:
        hook(Event(text.format(name) if name else text, woken, echo))


def named(name: str) -> Callable[[Callable[P, A]], Callable[P, A]]:
    """Note entering and leaving what a function's awaitable does, under its name in kernel.txt.

    A call that is made while nobody listens is not noted later either, and costs no coroutine.
    """

    def decorate(function: Callable[P, A]) -> Callable[P, A]:
        async def noted(*args: P.args, **kwargs: P.kwargs) -> Any:
            note(Step.CALL, name)
            try:
                return await function(*args, **kwargs)
            finally:
                note(Step.RETURN, name)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> A:
            return function(*args, **kwargs) if hook is None else noted(*args, **kwargs)  # type: ignore[return-value]

        return called

    return decorate
