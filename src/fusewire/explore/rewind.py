"""A mount put back to what it was, so that set-up is made once and not for every run.

Mounting, INIT and a lookup take longer than most runs. So when a scene has been set up, and before it takes its
first step, we keep what every object of it holds: all that can be reached from its mount. For the next run each
gets that back, in place, and only the tasks are made anew, for a coroutine cannot be put back.

That is done only if nothing is there that we could not put back (a coroutine, a counter that has moved on, an
object of a C extension), and if the scene says how its tasks are made (`Scene.again`). Otherwise every run
makes everything anew, as it would without us.
"""

from __future__ import annotations

import functools
import itertools
import operator
import types
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeAlias

from fusewire.explore.fingerprint import CONSTANT, LOOKS, Way, look_for, slots_of
from fusewire.explore.scene import Beside, Scenario, Scene, add_moment
from fusewire.kernel.checks.connection import look_anew

__all__ = ["Rewinding", "Snapshot"]

PutBack: TypeAlias = Callable[[], object]

UNCHANGING: Final = (Beside, str, bytes, int, float, range, slice, types.BuiltinFunctionType)


class NotPossibleError(Exception):
    """There is something that we could not put back."""


class Snapshot:
    """What everything holds that can be reached from some objects, at one moment.

    Raises:
        NotPossibleError: there is something that could not be put back.
    """

    def __init__(self, *roots: object) -> None:
        self._put_back: list[PutBack] = []
        self._counters: list[tuple[itertools.count[int], str]] = []
        self._kept: list[object] = [roots]  # all objects: none of them must go, and its id to another
        seen = {id(roots)}
        for thing in self._kept:
            for part in self._parts(thing):
                if id(part) not in seen:
                    seen.add(id(part))
                    self._kept.append(part)

    def put_back(self) -> None:
        """Let every object hold what it held.

        Raises:
            NotPossibleError: a counter has moved on.
        """
        if any(repr(counter) != was for counter, was in self._counters):
            raise NotPossibleError("a counter has moved on")
        for put_back in self._put_back:
            put_back()

    def _parts(self, thing: Any) -> Iterator[object]:
        """Keep what `thing` holds, and yield it."""
        kind = type(thing)
        if isinstance(LOOKS.get(kind) or look_for(kind), Way) or isinstance(thing, UNCHANGING):
            return
        keep = next((keep for base, keep in KEEPERS.items() if isinstance(thing, base)), None)
        if keep is not None:
            yield from keep(self, thing)
        if keep is None or (kind not in KEEPERS and hasattr(thing, "__dict__")):
            yield from self._attributes(thing)

    def _attributes(self, thing: Any) -> Iterator[object]:
        kind, slots = type(thing), slots_of(type(thing))
        if not slots and not hasattr(thing, "__dict__"):
            raise NotPossibleError(kind.__qualname__)
        constant = {attribute for owner, attribute in CONSTANT if isinstance(thing, owner)}
        held = {slot: getattr(thing, slot) for slot in slots if hasattr(thing, slot) and slot not in constant}
        if slots and not (_is_frozen(kind)):
            missing = [slot for slot in slots if not hasattr(thing, slot)]
            if missing or len(held) < 2:  # of one, attrgetter returns no tuple
                self._put_back.append(functools.partial(set_slots, thing, held, missing))
            else:
                self._put_back.append(functools.partial(set_changed_slots, thing, operator.attrgetter(*held), held))
        yield from held.values()
        if hasattr(thing, "__dict__"):
            self._put_back.append(functools.partial(set_dict, thing.__dict__, thing.__dict__.copy()))
            yield from (value for attribute, value in thing.__dict__.items() if attribute not in constant)

    # What holds others.

    def _dict(self, thing: dict[Any, Any]) -> Iterator[object]:
        self._put_back.append(functools.partial(set_dict, thing, thing.copy()))
        yield from thing
        yield from thing.values()

    def _list(self, thing: list[Any] | bytearray) -> Iterator[object]:
        self._put_back.append(functools.partial(thing.__setitem__, slice(None), thing[:]))
        yield from () if isinstance(thing, bytearray) else thing

    def _others(self, thing: deque[Any] | set[Any]) -> Iterator[object]:
        self._put_back.append(functools.partial(set_others, thing, thing.copy()))
        yield from thing

    def _fixed(self, thing: tuple[Any, ...] | frozenset[Any]) -> Iterator[object]:
        yield from thing

    def _function(self, thing: types.FunctionType) -> Iterator[object]:
        yield from (thing.__defaults__, thing.__kwdefaults__, thing.__closure__)

    def _method(self, thing: types.MethodType) -> Iterator[object]:
        yield from (thing.__self__, thing.__func__)

    def _cell(self, thing: types.CellType) -> Iterator[object]:
        self._put_back.append(functools.partial(setattr, thing, "cell_contents", thing.cell_contents))
        yield thing.cell_contents

    def _partial(self, thing: functools.partial[Any]) -> Iterator[object]:
        yield from (thing.func, thing.args, thing.keywords)

    def _count(self, thing: itertools.count[int]) -> Iterator[object]:
        self._counters.append((thing, repr(thing)))
        yield from ()

    def _view(self, thing: memoryview) -> Iterator[object]:
        yield thing.obj


KEEPERS: Final[dict[type, Callable[[Snapshot, Any], Iterator[object]]]] = {
    dict: Snapshot._dict,
    list: Snapshot._list,
    bytearray: Snapshot._list,
    deque: Snapshot._others,
    set: Snapshot._others,
    tuple: Snapshot._fixed,
    frozenset: Snapshot._fixed,
    types.FunctionType: Snapshot._function,
    types.MethodType: Snapshot._method,
    types.CellType: Snapshot._cell,
    functools.partial: Snapshot._partial,
    itertools.count: Snapshot._count,
    memoryview: Snapshot._view,
}


def _is_frozen(kind: type) -> bool:
    """Whether `kind` is a dataclass whose attributes stay what they are."""
    parameters = getattr(kind, "__dataclass_params__", None)
    return parameters is not None and parameters.frozen


def set_slots(thing: object, held: dict[str, object], missing: list[str]) -> None:
    for slot, value in held.items():
        setattr(thing, slot, value)
    for slot in missing:
        if hasattr(thing, slot):
            delattr(thing, slot)


def set_changed_slots(thing: object, get: Callable[[object], tuple[object, ...]], held: dict[str, object]) -> None:
    """The same, for one that has a value in each slot, in a third of the time if it is as it was."""
    if not all(map(operator.is_, get(thing), held.values())):
        set_slots(thing, held, [])


def set_dict(thing: dict[Any, Any], held: dict[Any, Any]) -> None:
    thing.clear()
    thing.update(held)


def set_others(thing: deque[Any] | set[Any], held: Any) -> None:
    thing.clear()
    if isinstance(thing, set):
        thing |= held
    else:
        thing.extend(held)


class Rewinding:
    """A scenario whose mount is made once, if that is possible, and is put back for each scene but the first."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.first: Scene | None = None
        self.snapshot: Snapshot | None = None

    def __call__(self) -> Scene:
        if self.first is None or self.snapshot is None:
            return self._begin()
        try:
            self.snapshot.put_back()
        except NotPossibleError:
            return self.scenario()
        return _again(self.first)

    def _begin(self) -> Scene:
        scene = self.scenario()
        if self.first is None:
            self.first = scene
            try:
                self.snapshot = Snapshot(scene.mounted) if scene.again is not None else None
            except NotPossibleError:
                self.snapshot = None
        return scene


def _again(first: Scene) -> Scene:
    """Make new tasks for the mount of `first`, which is what it was."""
    assert first.again is not None
    look_anew(first.connection)
    scene = Scene(first.mounted, first.again(), at_end=first.at_end, again=first.again)
    for what, name in first.coming:
        add_moment(scene, what, name)
    return scene
