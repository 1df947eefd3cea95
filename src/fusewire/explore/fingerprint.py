"""What a state is like, as sixteen bytes: two states with the same fingerprint have the same future.

A state is everything that the tasks of a scene can still come upon. So we do not keep a table of what
counts, which would be wrong as soon as somebody adds a field; we walk all objects, from the tasks on:

    a coroutine     its code, where it stands, which of its names are bound; what they are bound to, and what
                    lies on its stack (an iterator in the middle of its list); and what it awaits
    an object       its class and its attributes
    a container     its elements in their order: what is first in a queue is first served
    a function      by its name; a closure, and a bound method, by what it has in hand as well

Objects are numbered in the order in which they are found, breadth first, and are referred to by number:
so the same graph has the same fingerprint wherever it lies in memory, and one request on two lists is not
two equal requests. What never changes in a run is not looked into (`CONSTANT`, `NAMED`).

An error here can only be on one side. What differs and does not matter makes two states of one: more work.
What we cannot see into (an object of a C extension) is never twice the same, so nothing is cut there.
What would be wrong is two states taken for one: the tests hold the search that cuts against the one that
does not.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import functools
import gc
import itertools
import logging
import marshal
import operator
import re
import struct
import threading
import types
import weakref
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection, Iterable, Sequence
from hashlib import blake2b
from typing import Any, Final, TypeAlias

from fusewire.daemon.session import Session
from fusewire.kernel.clock import Alarm, Alarms
from fusewire.kernel.profile import Profile
from fusewire.kernel.vfs.system import System
from fusewire.wire import Operation

__all__ = ["CONSTANT", "LOOKS", "OPAQUE", "Way", "fingerprint", "look_for", "slots_of"]

Parts: TypeAlias = Sequence[object]
Look: TypeAlias = Callable[[Any], Parts]


class Way(enum.Enum):
    """What is told of an object that is not looked into."""

    VALUE = "its value"
    NAME = "its name"


VALUE: Final = Way.VALUE
NAME: Final = Way.NAME

# How we tell what is of a class: found out once for each.
LOOKS: Final[dict[type, Look | Way]] = {}
LOOKS.update(dict.fromkeys((type(None), bool, int, float, complex, str, bytes), VALUE))
LOOKS.update(dict.fromkeys((Profile, Operation, types.ModuleType, logging.Logger, type(...)), NAME))
LOOKS.update(dict.fromkeys((types.WrapperDescriptorType, types.MethodDescriptorType), NAME))

CONSTANT: Final = {  # attributes that stay what they were when the object was made, and the same in each run
    (Session, "_handlers"),  # the methods of the filesystem, which is looked into
    (Session, "new_request"),
    (System, "runner"),  # the tasks of the scene
    (Alarm, "number"),  # counted across runs; `_alarms` puts them in their order
}
PASSED_OVER: Final = frozenset({types.CodeType, types.FrameType, types.TracebackType})

OPAQUE: Final[set[str]] = set()  # classes that we could not see into, as far as we came upon any
_never_twice: Final = itertools.count()


def fingerprint(*roots: object) -> bytes:
    """Return sixteen bytes that are the same for two states if all that can be reached from `roots` is."""
    said: list[object] = []
    found: list[object] = [roots]  # in the order of their numbers; and so that no id is used twice meanwhile
    numbers = {id(roots): 0}
    known, number_of, name_of, append = LOOKS.get, numbers.get, _names.get, said.append
    for thing in found:
        for part in LOOKS[type(thing)](thing):  # type: ignore[operator]  # or it had not been looked into
            look = known(type(part)) or look_for(type(part))
            if look is VALUE:
                append(part)
            elif look is NAME:
                append((name_of(id(part)) or _named(part))[0])
            else:
                number = number_of(id(part))
                if number is None:
                    number = numbers[id(part)] = len(found)
                    found.append(part)
                append(number)
                append(...)  # which is no value
        append(())
    return blake2b(marshal.dumps(said, 2), digest_size=16).digest()


_names: Final[dict[int, tuple[str, object]]] = {}  # by id; with the object, lest another gets its id


def _named(thing: Any) -> tuple[str, object]:
    kind = type(thing).__qualname__
    if isinstance(thing, enum.Enum):
        name = f"{thing._name_}={thing._value_!r}"
    else:
        name = getattr(thing, "__qualname__", None) or getattr(thing, "name", None) or repr(thing)
    known = _names[id(thing)] = f"{kind} {name}", thing
    return known


# How to look into what is of a class.


def look_for(kind: type) -> Look | Way:
    """Return how to tell of an object of `kind`, and remember it."""
    look: Look | Way
    if issubclass(kind, enum.Enum | type):
        look = NAME
    elif issubclass(kind, BaseException):
        look = _exception
    elif issubclass(kind, asyncio.Future):
        look = _future
    else:
        look = _container(kind) or _object(kind)
    LOOKS[kind] = look
    return look


def _container(kind: type) -> Look | None:
    """How to look into what holds others in an order, or in none; with the attributes that a subclass adds."""
    for base, elements in ELEMENTS.items():
        if issubclass(kind, base):
            if kind is base:
                return functools.partial(_elements, kind.__qualname__, elements)
            return functools.partial(_elements_and_more, elements, _object(kind, base))
    for base in (int, float, str, bytes):
        if issubclass(kind, base):
            return functools.partial(_value_and_more, base, f"{kind.__module__}.{kind.__qualname__}")
    return None


def _elements(name: str, elements: Look, thing: Any) -> Parts:
    return [name, len(thing), *elements(thing)]


def _elements_and_more(elements: Look, more: Look, thing: Any) -> Parts:
    return [len(thing), *elements(thing), *more(thing)]


def _value_and_more(base: type, name: str, thing: Any) -> Parts:
    return name, base(thing), getattr(thing, "__dict__", None)


def _in_order(thing: Iterable[object]) -> Parts:
    return tuple(thing)


def _items(thing: dict[object, object]) -> Parts:
    return tuple(itertools.chain.from_iterable(thing.items()))


def _unordered(thing: Collection[object]) -> Parts:
    """The elements of a set by their own fingerprints: its order is that of addresses."""
    if all(LOOKS.get(type(element)) is VALUE for element in thing):
        return sorted(thing, key=repr)
    if len(thing) < 2 or id(thing) in _being_ordered:  # the latter: its elements lead back to it
        return tuple(thing) if len(thing) < 2 else ("set",)
    _being_ordered.add(id(thing))
    try:
        return tuple(sorted(thing, key=fingerprint))
    finally:
        _being_ordered.discard(id(thing))


_being_ordered: Final[set[int]] = set()  # sets


ELEMENTS: Final[dict[type, Look]] = {
    tuple: _in_order,
    list: _in_order,
    deque: _in_order,
    OrderedDict: _items,
    defaultdict: lambda thing: (thing.default_factory, *_items(thing)),
    dict: _items,
    set: _unordered,
    frozenset: _unordered,
}


def _object(kind: type, base: type = object) -> Look:
    """How to look into what has attributes: those in slots, and those in a dict; of `base` all is seen already."""
    name = f"{kind.__module__}.{kind.__qualname__}"
    slots = slots_of(kind)
    has_dict = bool(kind.__dictoffset__)
    if _hides_something(kind, base, len(slots)):
        return _opaque
    without = frozenset(attribute for owner, attribute in CONSTANT if issubclass(kind, owner))

    def look(thing: Any) -> Parts:
        parts: list[object] = [name, *(getattr(thing, slot, UNSET) for slot in slots)]
        if has_dict:
            attributes = thing.__dict__
            parts.append(len(attributes))
            for attribute in attributes:
                if attribute not in without:
                    parts += attribute, attributes[attribute]
        return parts

    plain = [slot for slot in slots if slot not in without]
    if has_dict or len(plain) < 2:
        slots = tuple(plain)
        return look
    get = operator.attrgetter(*plain)

    def look_quickly(thing: Any) -> Parts:
        try:
            return name, *get(thing)
        except AttributeError:
            return name, *(getattr(thing, slot, UNSET) for slot in plain)

    return look_quickly


UNSET: Final = "unset"


def slots_of(kind: type) -> tuple[str, ...]:
    """The slots of a class and those it inherits, as `getattr` finds them."""
    slots: list[str] = []
    for owner in reversed(kind.__mro__):
        own = owner.__dict__.get("__slots__", ())
        for slot in (own,) if isinstance(own, str) else own:
            private = slot.startswith("__") and not slot.endswith("__")
            slots.append(f"_{owner.__name__.lstrip('_')}{slot}" if private else slot)
    return tuple(slot for slot in slots if slot not in ("__dict__", "__weakref__"))


def _is_python(kind: type) -> bool:
    """Whether `kind` was made by a `class`, or by C as if it were."""
    return bool(kind.__flags__ & 1 << 9)  # Py_TPFLAGS_HEAPTYPE


def _hides_something(kind: type, base: type, slots: int) -> bool:
    """Whether there is more in objects of `kind` than attributes: something that only a C extension sees."""
    if not _is_python(kind):
        return True
    pointers = slots + (kind.__dictoffset__ > 0) + (kind.__weakrefoffset__ > 0)
    return kind.__basicsize__ > base.__basicsize__ + pointers * struct.calcsize("P")


def _opaque(thing: object) -> Parts:
    """What we cannot see into is never twice the same."""
    OPAQUE.add(f"{type(thing).__module__}.{type(thing).__qualname__}")
    return type(thing).__qualname__, next(_never_twice)


# What is no plain object.


def _function(function: types.FunctionType) -> Parts:
    code = function.__code__
    name = (_names.get(id(code)) or _named_by_code(function))[0]
    if function.__closure__ is None and function.__defaults__ is None and function.__kwdefaults__ is None:
        return (name,)
    return name, function.__defaults__, function.__kwdefaults__, function.__closure__


def _named_by_code(function: types.FunctionType) -> tuple[str, object]:
    code = function.__code__
    name = f"{function.__module__}.{code.co_qualname}:{code.co_firstlineno}"
    known = _names[id(code)] = name, code
    return known


def _built_in(function: types.BuiltinFunctionType) -> Parts:
    return function.__qualname__, None if isinstance(function.__self__, types.ModuleType) else function.__self__


def _cell(cell: types.CellType) -> Parts:
    try:
        return "cell", cell.cell_contents
    except ValueError:
        return ("empty cell",)


def _coroutine(coroutine: types.CoroutineType[Any, Any, Any]) -> Parts:
    return _frame(coroutine, coroutine.cr_frame)


def _generator(generator: types.GeneratorType[Any, Any, Any]) -> Parts:
    return _frame(generator, generator.gi_frame)


def _frame(generator: Any, frame: types.FrameType | None) -> Parts:
    """What a coroutine, or a generator, has in hand: `gc` sees its stack too, where a `for` keeps its iterator."""
    if frame is None:
        return generator.__qualname__, "over"
    bound = frame.f_locals  # in Python 3.11 and 3.12 a dict that the frame keeps, and is found in it afterwards
    referents = gc.get_referents(generator)
    in_hand = [thing for thing in referents if type(thing) not in PASSED_OVER and thing is not bound]
    return generator.__qualname__, frame.f_lasti, " ".join(sorted(bound)), *in_hand


def _exception(error: BaseException) -> Parts:
    return type(error).__qualname__, error.args, error.__cause__, error.__dict__


def _future(future: Any) -> Parts:
    """A future, or a task, of those that asyncio has in C: all there is to know of one has a name."""
    return type(future).__qualname__, *(getattr(future, name, UNSET) for name in FUTURE)


FUTURE: Final = [
    "_state",
    "_result",
    "_exception",
    "_callbacks",
    "_cancel_message",
    "_asyncio_future_blocking",
    "_loop",
    "_coro",
    "_fut_waiter",
    "_must_cancel",
    "_context",
    "_num_cancels_requested",
    "__dict__",
]


def _context(context: contextvars.Context) -> Parts:
    """The context variables of a task that are not as they are here."""
    ours = {variable.name: value for variable, value in context.items() if variable.get(UNSET) is not value}
    return "context", *itertools.chain.from_iterable((name, ours[name]) for name in sorted(ours))


def _token(token: contextvars.Token[Any]) -> Parts:
    return "token", token.var.name, token.old_value if token.old_value is not contextvars.Token.MISSING else None


def _iterator(iterator: Any) -> Parts:
    return type(iterator).__qualname__, *iterator.__reduce__()[1:]


def _alarms(alarms: Alarms) -> Parts:
    return "alarms", *sorted(alarm for alarm in alarms._heap if not alarm.cancelled)


LOOKS.update(
    {
        types.FunctionType: _function,
        types.BuiltinFunctionType: _built_in,
        types.MethodType: lambda method: ("method", method.__func__, method.__self__),
        types.CellType: _cell,
        types.CoroutineType: _coroutine,
        types.GeneratorType: _generator,
        types.MappingProxyType: lambda proxy: ("proxy", dict(proxy)),
        functools.partial: lambda partial: ("partial", partial.func, partial.args, partial.keywords),
        contextvars.Context: _context,
        contextvars.Token: _token,
        contextvars.ContextVar: lambda variable: ("variable", variable.name),
        weakref.ReferenceType: lambda reference: ("weakly", reference()),
        itertools.count: lambda count: ("count", repr(count)),
        re.Pattern: lambda pattern: ("pattern", pattern.pattern, pattern.flags),
        struct.Struct: lambda layout: ("struct", layout.format),
        type(threading.Lock()): lambda lock: ("lock", lock.locked()),
        range: lambda range_: ("range", repr(range_)),
        slice: lambda slice_: ("slice", repr(slice_)),
        bytearray: lambda data: ("bytearray", bytes(data)),
        memoryview: lambda view: ("view", view.tobytes(), view.obj),
        Alarms: _alarms,
        object: lambda sentinel: ("object", id(sentinel)),  # of a module, so that it lives as long as we do
    }
)
ITERATORS: Final[tuple[object, ...]] = (
    *(iter(()), iter([]), iter(""), iter(b""), iter(range(0)), iter(deque()), reversed([]), enumerate(()), zip()),
    *(iter({}), iter({}.values()), iter({}.items()), iter(set())),
)
LOOKS.update({type(iterator): _iterator for iterator in ITERATORS})
look_for(tuple)  # of `roots`
