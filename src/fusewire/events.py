"""What happens, by name, and the hook that is told of it.

Whoever makes something happen says so, in the words of kernel.txt, the document of 2005 that
drew how a request travels. Two verbs say it:

    note(event)          no other task may run here
    await step(event)    another task may run here (kernel/tasks.py)

We note where Linux holds a spinlock, and in clean-up; we step where it drops one. So the world
changes under kernel code at an `await` and nowhere else. Code that is no coroutine can only note;
so does the daemon's end, which runs as its runner likes. Programs and filesystems that act out a
scene of kernel.txt note what they do themselves.

An event is a step, the name that it has to do with, and a detail which kernel.txt passes over, such
as the arguments of a call. How it is drawn is up to whoever draws it (diagrams/columns.py).

While nobody listens either verb costs one `is not None` test: what an event says is put together
only for a listener. Imports nothing of ours but the names of errors, for both ends import it.
"""

from __future__ import annotations

import enum
import functools
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, Final, NamedTuple, ParamSpec, TypeVar

from fusewire.errors import errno_name

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
    COPY_PAGE = "[copy a page of it to req]"
    PUT = "[add request to fc->unused_list]"

    INTERRUPT = "[interrupted by signal]"
    FAULT = "[get_user_pages()]"
    LOCK = "[set req->locked]"
    UNLOCK = "[clear req->locked]"
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
    FIND_PAGE = "[find or create page]"
    LOCK_PAGE = "[lock page]"

    # What programs do by themselves, and may come to them from without.
    OPEN = "[fd = open({})]"
    MMAP = "[mmap fd to '{}']"
    CLOSE = "[close fd]"
    TOUCH = "[read a byte from {}]"
    SERVE = "[request served normally]"
    TRIGGER = "[FLUSH triggers 'magic' flag]"
    READ_REQUEST = "[read request to buffer]"
    MAKE_HEADER = "[create reply header before {}]"
    SIGNAL = "[sent a signal]"
    KILL = "[sent SIGKILL]"


class Event(NamedTuple):
    """One step, as it happened."""

    step: str  # a Step
    name: str = ""  # what its `{}` stands for
    woken: tuple[str, ...] = ()  # names of the tasks that it wakes
    echo: str = Step.WOKEN  # what happens to them
    detail: str = ""  # more than kernel.txt says: a call's arguments, what it failed with, which request

    @property
    def text(self) -> str:
        """The step with its name filled in, as kernel.txt writes it."""
        return self.step.format(self.name) if self.name else str(self.step)


hook: Callable[[Event], None] | None = None  # the runner's, while somebody watches


def unheard(event: Event) -> None:
    """Be the hook of somebody for whom every step is one, and who is not told what happens in it."""


def note(step: str, name: str = "", woken: tuple[str, ...] = (), echo: str = Step.WOKEN, about: object = None) -> None:
    """Say that `step` happens (to `name`), where no other task may run; `str(about)` is its detail."""
    if hook is not None and hook is not unheard:
        hook(Event(step, name, woken, echo, "" if about is None else str(about)))


LONGEST: Final = 32  # bytes of data that are quoted


def arguments(given: Iterable[object]) -> str:
    """Return those of `given` that a program would write, namely strings and numbers, as C would have them."""
    return ", ".join(_in_c(each) for each in given if isinstance(each, str | bytes | int) and type(each) is not bool)


def _in_c(value: str | bytes | int) -> str:
    if isinstance(value, int):
        return hex(value) if type(value) is int and abs(value) >= 1 << 32 else str(value)
    if isinstance(value, bytes) and (b"\0" in value or not value.isascii()):
        return f"<{len(value)} bytes>"
    text, rest = (value, "") if isinstance(value, str) else (value[:LONGEST].decode(), value[LONGEST:])
    quoted = "".join(map(_character, text))
    return f'"{quoted}"' + ("..." if rest else "")


def _character(character: str) -> str:
    if character in '"\\':
        return "\\" + character
    return character if character.isprintable() else character.encode("unicode_escape").decode()


def failure(error: BaseException) -> str:
    """Return what a function of Linux would return for `error`, such as '-EINTR'."""
    number = error.errno if isinstance(error, OSError) else None
    return "" if number is None else f"-{errno_name(number)}"


def named(name: str) -> Callable[[Callable[P, A]], Callable[P, A]]:
    """Note entering and leaving what a function's awaitable does, under its name in kernel.txt.

    A call that is made while nobody listens is not noted later either, and costs no coroutine.
    """

    def decorate(function: Callable[P, A]) -> Callable[P, A]:
        async def noted(*args: P.args, **kwargs: P.kwargs) -> Any:
            note(Step.CALL, name, about=arguments(args))
            outcome = ""
            try:
                return await function(*args, **kwargs)
            except BaseException as error:
                outcome = failure(error)
                raise
            finally:
                note(Step.RETURN, name, about=outcome)

        @functools.wraps(function)
        def called(*args: P.args, **kwargs: P.kwargs) -> A:
            if hook is None or hook is unheard:
                return function(*args, **kwargs)
            return noted(*args, **kwargs)  # type: ignore[return-value]

        return called

    return decorate
