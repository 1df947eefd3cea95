"""All that can be explained, by name; played, and drawn as text.

What an explanation's detail passes over is said below its diagram, so that nobody takes a diagram for
all that happens; with `everything` it is drawn in its place instead.
"""

from __future__ import annotations

import textwrap
from dataclasses import replace
from typing import Final

from fusewire.diagrams.recording import Moment, Recording, Remark
from fusewire.diagrams.text import WIDTH, render, render_left_out
from fusewire.explain import seed
from fusewire.explain.director import Director
from fusewire.explain.explanation import SEED, Explanation, Options
from fusewire.explain.operations import EXPLANATIONS

__all__ = ["CATALOGUE", "draw", "explain", "find", "play"]

CATALOGUE: Final[dict[str, Explanation]] = {each.name: each for each in (*seed.EXPLANATIONS, *EXPLANATIONS)}


def find(name: str) -> Explanation:
    """Return the explanation of this name.

    Raises:
        ValueError: there is none.
    """
    if name not in CATALOGUE:
        raise ValueError(f"There is no explanation of '{name}', only of {', '.join(CATALOGUE)}.")
    return CATALOGUE[name]


def play(explanation: Explanation, options: Options) -> Recording:
    """Run what is to be explained, both ends in this process, and return what happened.

    Raises:
        ValueError: it cannot be played with these options.
    """
    name = explanation.name
    if options.profile not in explanation.profiles:
        raise ValueError(f"There is no '{name}' in {options.profile}, only in {' and '.join(explanation.profiles)}.")
    director = Director(f"{name}, {options.profile}", options.mountpoint)
    try:
        explanation.play(director, options.with_threads(explanation.threads))
    finally:
        director.close()
    return director.recording


def draw(
    explanation: Explanation,
    recording: Recording,
    options: Options,
    *,
    everything: bool = False,
    times: bool = False,
    colour: bool = False,
) -> str:
    """Return the diagram of `recording`, below it what there is to say, and at last who is dead and who lives."""
    detail = explanation.detail_for(options)
    if everything:
        detail = detail.everything()
    recording, ending = without_ending(recording)
    parts = [render(recording, detail, times=times, colour=colour)]
    if explanation.remark:
        parts.append(textwrap.fill(explanation.remark, WIDTH, break_on_hyphens=False))
    if not everything:
        by = "the seed" if explanation.group == SEED else "the diagram"
        parts.append(render_left_out(recording, detail, by))
    parts.append(textwrap.fill(ending, WIDTH, break_on_hyphens=False))
    return "\n\n".join(part for part in parts if part) + "\n"


def without_ending(recording: Recording) -> tuple[Recording, str]:
    """Return `recording` without the sentence on how it ends, if no step comes after it; and that sentence."""
    for at in range(len(recording.entries) - 1, -1, -1):
        match recording.entries[at]:
            case Remark("end", text):
                entries = [*recording.entries[:at], *recording.entries[at + 1 :]]
                return replace(recording, entries=entries), text
            case Moment():
                break
    return recording, ""


def explain(name: str, options: Options | None = None, *, everything: bool = False, times: bool = False) -> str:
    """Run what `name` stands for, and return its diagram; without options, as it is usually played.

    Raises:
        ValueError: there is no such explanation, or it cannot be played like this.
    """
    explanation = find(name)
    options = options or Options(profile=explanation.profile)
    return draw(explanation, play(explanation, options), options, everything=everything, times=times)
