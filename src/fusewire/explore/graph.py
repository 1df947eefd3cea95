"""The states that a search has found, and the steps that lead from one to the other.

Each state is gone into once, so most runs are never made. Here is what they come to nevertheless: how many
there are, and by which steps something is reached the soonest.
"""

from __future__ import annotations

import heapq
import string
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Final, TypeAlias

__all__ = ["Graph", "count_runs", "length", "shortest"]

Graph: TypeAlias = dict[bytes, dict[str, bytes]]  # state: who makes the next step: state after it

UNDER_WAY: Final = -1
LETTERS_OF_TASKS: Final = string.ascii_lowercase  # those of moments are capitals


def count_runs(graph: Graph, root: bytes, ends: Collection[bytes]) -> int | None:
    """Return how many runs lead from `root` to one of `ends`, where they may go on if something comes.

    None if some never get there: a state comes again.
    """
    counts: dict[bytes, int] = {}
    stack = [root]
    while stack:
        state = stack[-1]
        after = graph.get(state, {}).values()
        if state not in counts:
            counts[state] = UNDER_WAY
            missing = [each for each in after if each not in counts]
            stack += missing
            if not missing and any(counts[each] == UNDER_WAY for each in after):
                return None
            if missing:
                continue
        elif counts[state] != UNDER_WAY:
            stack.pop()
            continue
        if any(counts[each] == UNDER_WAY for each in after):
            return None
        counts[state] = (state in ends or not after) + sum(counts[each] for each in after)
        stack.pop()
    return counts[root]


def shortest(graph: Graph, root: bytes, wanted: Collection[bytes]) -> Mapping[bytes, str]:
    """Return by which steps each of `wanted` is reached: the first by `length`."""
    paths: dict[bytes, str] = {}
    seen: set[tuple[bytes, str]] = set()
    missing = set(wanted)
    heap = [(length(""), root)]
    while heap and missing:
        (*_, steps), state = heapq.heappop(heap)
        if (state, steps[-1:]) in seen:
            continue
        seen.add((state, steps[-1:]))
        paths.setdefault(state, steps)
        missing.discard(state)
        for letter, after in graph.get(state, {}).items():
            if (after, letter) not in seen:
                heapq.heappush(heap, (length(steps + letter), after))
    return {state: paths[state] for state in wanted if state in paths}


def length(steps: str) -> tuple[int, int, int, str]:
    """What makes steps short: few of them, few of these after a moment, and few switches; and an order of the rest."""
    after_a_moment = len(steps.lstrip(LETTERS_OF_TASKS))
    by_tasks = [letter for letter in steps if letter >= "a"]
    return len(steps), after_a_moment, sum(before != after for before, after in pairwise(by_tasks)), steps
