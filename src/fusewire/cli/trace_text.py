"""What `fusewire trace` prints: a line for each request, and in the end what they come to.

All fits 80 columns. In a wider terminal names get more room; in a narrower one what stands on the right goes first.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from fusewire.watch.latencies import Latencies, OperationStatistics, Statistics
from fusewire.watch.requests import Request, Who

__all__ = ["Lines", "duration", "histograms", "most_frequent", "table"]

WIDTH: Final = 80
NARROW: Final = 62  # columns without bytes and server, for which there is no room below 80
WIDEST: Final = 45  # columns for the longest operation and caller that are usual
RESULT: Final = 10  # columns; a longer one takes them from the caller
UNITS: Final = ((1e-3, 1e6, "us"), (1.0, 1e3, "ms"), (60.0, 1.0, "s"), (3600.0, 1 / 60, "min"))
RED, DIM, PLAIN = "\x1b[31m", "\x1b[2m", "\x1b[0m"
BAR: Final = 20  # characters
MOST_ERRORS: Final = 10


class Lines:
    """A line for each request, as wide as the terminal."""

    def __init__(self, began: float, width: int = WIDTH, *, colour: bool = False, several: bool = False) -> None:
        """Begin.

        Args:
            began: when that was, by the clock of the trace.
            several: tell which connection a request belongs to.
        """
        self.began, self.width, self.colour, self.several = began, max(width, 40), colour, several
        spare = self.width - WIDTH if self.width >= WIDTH else min(0, self.width - NARROW)
        self.who = min(max(12, 27 + spare - 6 * several), WIDEST)  # columns for operation and caller

    def head(self) -> str:
        """Return the titles of the columns."""
        return self._fitting(
            "time", "conn", f"{'operation':<11} caller", "pending", "process", "bytes", "server", "result"
        )

    def line(self, request: Request) -> str:
        """Return what is to be said of one request that is over."""
        size = f"{amount(request.length)}>{amount(request.reply_length)}"
        server = str(request.server.tid) if request.server else ""
        line = self._row(request, processing(request), size, server, request.error_name or "ok")
        return f"{RED}{line}{PLAIN}" if self.colour and request.error else line

    def waits(self, request: Request, now: float) -> str:
        """Return what is to be said of one that is not over."""
        since = duration(request.age(now) if request.read is None else now - request.read)
        pending = since if request.read is None else duration(request.pending)
        work = "" if request.read is None else since
        reader = str(request.reader.tid) if request.reader else ""
        line = self._row(request, work, f"{amount(request.length)}>", reader, "waits", pending)
        return f"{DIM}{line}{PLAIN}" if self.colour else line

    def title(self, request: Request) -> str:
        """Return what stands above the diagram of a request."""
        phases = f"pending {duration(request.pending)}, processing {processing(request)}, {request.error_name or 'ok'}"
        result = "not answered" if request.ended is None else phases
        return f"{request.operation} {request.unique} of {name(request.caller)}: {result}\n"

    def _row(self, request: Request, work: str, size: str, server: str, result: str, pending: str | None = None) -> str:
        who = f"{request.operation:<11} {name(request.caller)}"
        pending = duration(request.pending) if pending is None else pending
        time = f"{request.sent - self.began:.3f}"
        return self._fitting(time, str(request.connection), who, pending, work, size, server, result)

    def _fitting(
        self, time: str, connection: str, who: str, pending: str, work: str, size: str, server: str, result: str
    ) -> str:
        number = f"{connection:>5} " if self.several else ""
        room = self.who - max(0, len(result) - RESULT)
        cut = who if len(who) <= room else f"{who[: room - 1]}~"
        optional = f" {size:>9} {server:>7}" if self.width >= WIDTH else ""
        return f"{time:>7} {number}{cut:<{room}} {pending:>7} {work:>7}{optional} {result}".rstrip()


def processing(request: Request) -> str:
    """Return how long the daemon had it; `<` means at most, since the read was not seen."""
    return duration(request.processing) if request.read is not None else f"<{duration(request.total)}"


def name(who: Who) -> str:
    """Return what a caller is called: `rm 4711`, or a thread that is not its process: `python 4711/4715`."""
    thread = "" if who.pid in (0, who.tid) else f"/{who.tid}"
    return f"{printable(who.comm)} {who.pid or who.tid}{thread}"


def printable(text: str) -> str:
    """Return a name that somebody chose without what would move a terminal's cursor."""
    return "".join(character if character.isprintable() else "?" for character in text)


def duration(seconds: float | None) -> str:
    """Return a time of at most six characters; "-" if it is not known."""
    if seconds is None:
        return "-"
    for limit, factor, unit in UNITS:
        if seconds < limit * 0.9995:
            return f"{figure(seconds * factor)}{unit}"
    return f"{figure(seconds / 3600)}h"


def figure(number: float) -> str:
    """Return a number with three digits, if it has so many before its point; times come in whole microseconds."""
    if number >= 99.95:
        return f"{number:.0f}"
    text = f"{number:.1f}" if number >= 9.995 else f"{number:.2f}"
    return text.rstrip("0").rstrip(".")


def amount(size: int) -> str:
    """Return so many bytes in at most four characters."""
    for unit in "", "K", "M":
        if size < 10000:
            return f"{size}{unit}"
        size //= 1024
    return f"{size}G"


# --- in the end


def table(statistics: Statistics) -> Iterator[str]:
    """Yield a line for each operation."""
    yield f"{'':<30} {'pending':>15}   {'processing':>29}".rstrip()
    yield f"{'operation':<15} {'count':>7} {'errors':>6} {row_of('p50', 'p99')}   {row_of('p50', 'p90', 'p99', 'max')}"
    for operation, found in statistics.by_count():
        pending = row_of(*percentiles(found.pending, 50, 99))
        work, mark = (found.processing, " ") if found.processing.count else (found.total, "<")
        worked = row_of(*percentiles(work, 50, 90, 99), duration(work.longest))
        count, errors = found.total.count, found.errors.total() or ""
        yield f"{operation:<15} {count:>7} {errors:>6} {pending}  {mark}{worked}"


def row_of(*cells: str) -> str:
    return " ".join(f"{cell:>7}" for cell in cells)


def percentiles(latencies: Latencies, *percents: float) -> list[str]:
    return [duration(latencies.percentile(percent)) for percent in percents]


def histograms(statistics: Statistics) -> Iterator[str]:
    """Yield how long requests were pending and processed, for each operation, with bars."""
    for operation, found in statistics.by_count():
        yield ""
        yield f"{operation:<21} {'pending':<29} processing"
        yield from histogram(found)


def histogram(found: OperationStatistics) -> Iterator[str]:
    """Yield the rows of one operation: from so long to twice as long, and how many were in which phase."""
    pending, work = found.pending.by_doubling(), (found.processing if found.processing.count else found.total)
    worked = work.by_doubling()
    most = max([*pending.values(), *worked.values()])
    for power in range(min([*pending, *worked]), max([*pending, *worked]) + 1):
        span = f"{duration((1 << power >> 1) / 1e6)} -"
        bars = [bar(counts.get(power, 0), most) for counts in (pending, worked)]
        yield f"{span:>10} {duration((1 << power) / 1e6):>7}   {bars[0]:<29} {bars[1]}".rstrip()


def bar(count: int, most: int) -> str:
    return f"{count:>7} {'#' * max(1, round(BAR * count / most))}" if count else ""


def most_frequent(statistics: Statistics) -> Iterator[str]:
    """Yield which errors there were, and who called most."""
    errors = Counter({f"{name} {error}": n for name, one in statistics.by_count() for error, n in one.errors.items()})
    if errors:
        yield ""
        yield "errors"
        for text, count in errors.most_common(MOST_ERRORS):
            yield f"{count:>9}  {text}"
    yield ""
    yield f"{'requests':>9} {'waited':>8}  top callers"
    for caller in statistics.top_callers():
        yield f"{caller.requests:>9} {duration(caller.waited):>8}  {printable(caller.comm)} {caller.pid}"
