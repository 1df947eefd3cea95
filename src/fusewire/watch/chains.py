"""Who waits for whom, as a tree: from a connection to its daemon's threads, to whom those wait for, and so on.

    /mnt/x waits for its daemon
      python3 (pid 210, which should answer) is in unlink on /mnt/x/file and waits for a lock that rm (pid 215) has
        rm (pid 215) is in unlinkat on /mnt/x/file and waits for an answer from /mnt/x
          here the circle closes

A step leads from a connection to each thread of its daemon that waits, from a thread to whoever has the lock that it
needs, or else to the connections whose answer it needs. Who waits besides, but is in nobody's way, comes last.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fusewire.watch.diagnosis import Diagnosis, Edge
from fusewire.watch.words import duration, sentence

__all__ = ["chains"]


def chains(number: int, found: Mapping[int, Diagnosis]) -> list[tuple[int, str]]:
    """Return lines, each with its depth; none if nobody waits for the connection.

    Args:
        found: the diagnoses of all connections, by number.
    """
    diagnosis = found[number]
    walk = Walk(found)
    lines = list(walk.from_connection(number, 0)) if any(edge.serves for edge in diagnosis.edges) else []
    others = [edge for edge in diagnosis.edges if edge.tid not in walk.shown]
    return [*lines, *((0, walk.words(edge)) for edge in others)]


class Walk:
    """Walks along the edges, once along each."""

    def __init__(self, found: Mapping[int, Diagnosis]) -> None:
        self.found = found
        self.places = {number: diagnosis.place for number, diagnosis in found.items()}
        self.shown: set[int] = set()  # threads, by tid
        self.visited: set[int] = set()  # connections
        self.way: list[tuple[str, int]] = []  # from the root to where we are: what comes again closes a circle

    def from_connection(self, number: int, depth: int) -> Iterator[tuple[int, str]]:
        """Yield what a connection waits for, which is its daemon."""
        serving = [edge for edge in self.found[number].edges if edge.serves] if number in self.found else []
        if number in self.visited:
            yield from self.again(("connection", number), depth)
        elif serving:
            self.visited.add(number)
            yield depth, f"{self.places[number]} waits for its daemon"
            self.way.append(("connection", number))
            for edge in serving:
                yield from self.from_thread(edge, depth + 1)
            self.way.pop()

    def from_thread(self, edge: Edge, depth: int) -> Iterator[tuple[int, str]]:
        """Yield what a thread waits for: whoever has the lock, or a connection."""
        if edge.tid in self.shown:
            yield from self.again(("thread", edge.tid), depth)
            return
        self.shown.add(edge.tid)
        yield depth, self.words(edge)
        self.way.append(("thread", edge.tid))
        holder = self.edge_of(edge.holder) if edge.holder is not None else None
        if holder is not None:
            yield from self.from_thread(holder, depth + 1)
        elif edge.is_sure:
            yield from self.from_connection(edge.connections[0], depth + 1)
        self.way.pop()

    def again(self, what: tuple[str, int], depth: int) -> Iterator[tuple[int, str]]:
        """Say of what was shown already whether it is where we came from."""
        if what in self.way:
            yield depth, "here the circle closes"

    def edge_of(self, tid: int) -> Edge | None:
        edges = (edge for diagnosis in self.found.values() for edge in diagnosis.edges)
        return next((edge for edge in edges if edge.tid == tid), None)

    def words(self, edge: Edge) -> str:
        """Say what a thread does, whom it waits for, and since when."""
        diagnosis = next(one for one in self.found.values() if edge in one.edges)
        since = f", for {duration(edge.seconds)}" if edge.seconds is not None else ""
        return f"{sentence(diagnosis, edge, self.places)}{since}"
