"""Pickles read as data: nothing that a file names is imported, looked up or called.

The standard ``pickle`` module is a small machine whose instructions import and call what the file says. Here the same
instructions (``pickletools`` takes them apart) build plain containers, and everything else becomes an :class:`Inert`
record of what the file *would* have made. Ours.
"""

from __future__ import annotations

import pickletools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple

_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_VALUES = {
    "INT",
    "BININT",
    "BININT1",
    "BININT2",
    "LONG",
    "LONG1",
    "LONG4",
    "FLOAT",
    "BINFLOAT",
    "STRING",
    "BINSTRING",
    "SHORT_BINSTRING",
    "UNICODE",
    "BINUNICODE",
    "SHORT_BINUNICODE",
    "BINUNICODE8",
    "BINBYTES",
    "SHORT_BINBYTES",
    "BINBYTES8",
    "BYTEARRAY8",
}
_EMPTY = {"EMPTY_LIST": list, "EMPTY_TUPLE": tuple, "EMPTY_DICT": dict, "EMPTY_SET": set}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
# Only these are ever hashed: the hash of a tuple nested a million times would overflow the interpreter's stack.
_KEYS = (str, bytes, int, float, type(None))
_MARK = object()


class UnreadablePickle(ValueError):
    """The bytes are no pickle, or one with instructions that data do not need."""


class Name(NamedTuple):
    """What a file calls a class or a function; never looked up."""

    module: str
    name: str

    def __str__(self) -> str:
        return f"{self.module}.{self.name}"


@dataclass(eq=False)
class Inert:
    """What would have been an object: the name of what makes it, the arguments, and its attributes."""

    maker: Any
    """a :class:`Name`, or whatever else the file would have called"""
    arguments: tuple = ()
    state: Any = None
    items: list = field(default_factory=list)

    @property
    def attributes(self) -> Mapping[str, Any]:
        """The instance's ``__dict__``, as far as the file gives one."""
        state = self.state[0] if isinstance(self.state, tuple) and len(self.state) == 2 else self.state
        return state if isinstance(state, dict) else {}


def load(
    file: BinaryIO,
    makers: Mapping[Name, Callable[..., Any]] | None = None,
    persistent: Callable[[Any], Any] = lambda reference: Inert("persistent", (reference,)),
) -> Any:
    """Read one pickle and leave ``file`` behind it.

    Args:
        file: of bytes, seekable.
        makers: our own functions for the few names whose meaning is known; called with the file's arguments, they must
            check them and raise :class:`UnreadablePickle`.
        persistent: our own function for what lies outside the pickle (the storages of tensors).

    Returns:
        None, bool, int, float, str, bytes, list, tuple, set, dict (ordered ones, too), what ``makers`` and
        ``persistent`` returned, and :class:`Inert` for the rest. Items under keys that are no plain value are left out.

    Raises:
        UnreadablePickle: no pickle, truncated, or with instructions for shared buffers and registered extensions.
    """
    machine = _Machine(makers or {}, persistent)
    try:
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return machine.stack.pop()
            machine.step(opcode.name, argument)
    except UnreadablePickle:
        raise
    # What broken instructions raise, here and in pickletools; a length beyond the memory raises two of them.
    except (ArithmeticError, AttributeError, IndexError, KeyError, MemoryError, TypeError, ValueError) as error:
        raise UnreadablePickle(" ".join(str(error).split()) or type(error).__name__) from None
    raise UnreadablePickle("it ends too early")


class _Machine:
    def __init__(self, makers: Mapping[Name, Callable[..., Any]], persistent: Callable[[Any], Any]) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.makers = makers
        self.persistent = persistent

    def step(self, name: str, argument: Any) -> None:
        stack = self.stack
        if name in _VALUES:
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            count = _TUPLES[name]
            stack[-count:] = [tuple(self._take(count))]
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            stack.append(self.memo[argument])
        elif name in ("BINPUT", "LONG_BINPUT", "PUT"):
            self.memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = stack[-1]
        elif name not in ("PROTO", "FRAME"):
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise UnreadablePickle(f"it has the instruction {name}, which data do not need")
            method(argument)

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise UnreadablePickle("it takes more than it has put")
        return self.stack[-count:]

    def _marked(self) -> list[Any]:
        """Everything since the last mark, taken off with it."""
        for place in range(len(self.stack) - 1, -1, -1):
            if self.stack[place] is _MARK:
                found = self.stack[place + 1 :]
                del self.stack[place:]
                return found
        raise UnreadablePickle("it takes more than it has put")

    def _mark(self, _) -> None:
        self.stack.append(_MARK)

    def _pop(self, _) -> None:
        self.stack.pop()

    def _pop_mark(self, _) -> None:
        self._marked()

    def _dup(self, _) -> None:
        self.stack.append(self.stack[-1])

    def _list(self, _) -> None:
        self.stack.append(self._marked())

    def _tuple(self, _) -> None:
        self.stack.append(tuple(self._marked()))

    def _dict(self, _) -> None:
        items = self._marked()
        self.stack.append({})
        self._set(items)

    def _frozenset(self, _) -> None:
        self.stack.append(frozenset(item for item in self._marked() if isinstance(item, _KEYS)))

    def _append(self, _) -> None:
        item = self.stack.pop()
        self._extend([item])

    def _appends(self, _) -> None:
        self._extend(self._marked())

    def _extend(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, list):
            target.extend(items)
        elif isinstance(target, Inert):
            target.items.extend(items)

    def _setitem(self, _) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _) -> None:
        self._set(self._marked())

    def _set(self, items: list[Any]) -> None:
        target = self.stack[-1]
        if isinstance(target, dict):
            target.update((key, value) for key, value in zip(items[::2], items[1::2]) if isinstance(key, _KEYS))

    def _additems(self, _) -> None:
        items = self._marked()
        if isinstance(self.stack[-1], set):
            self.stack[-1].update(item for item in items if isinstance(item, _KEYS))

    def _global(self, argument: str) -> None:
        module, _, name = argument.partition(" ")
        self.stack.append(Name(module, name))

    def _stack_global(self, _) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise UnreadablePickle("a name is no text")
        self.stack.append(Name(module, name))

    def _inst(self, argument: str) -> None:
        arguments = self._marked()
        module, _, name = argument.partition(" ")
        self._make(Name(module, name), tuple(arguments))

    def _obj(self, _) -> None:
        maker, *arguments = self._marked()
        self._make(maker, tuple(arguments))

    def _newobj(self, _) -> None:
        arguments, maker = self.stack.pop(), self.stack.pop()
        self._make(maker, arguments)

    def _newobj_ex(self, _) -> None:
        _, arguments, maker = self.stack.pop(), self.stack.pop(), self.stack.pop()
        self._make(maker, arguments)

    def _reduce(self, _) -> None:
        self._newobj(_)

    def _make(self, maker: Any, arguments: Any) -> None:
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        known = self.makers.get(maker) if isinstance(maker, Name) else None
        self.stack.append(Inert(maker, arguments) if known is None else known(*arguments))

    def _build(self, _) -> None:
        state = self.stack.pop()
        if isinstance(self.stack[-1], Inert):
            self.stack[-1].state = state

    def _persid(self, argument: str) -> None:
        self.stack.append(self.persistent(argument))

    def _binpersid(self, _) -> None:
        self.stack.append(self.persistent(self.stack.pop()))
