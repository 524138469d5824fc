"""Reading pickles of other programs without executing anything in them.

A pickle is a program for a stack machine, and Python's own `pickle.Unpickler` imports
and calls what the program names. A subclass of it with a list of permitted names still
runs the machine, which calls `__setstate__`, `__new__`, `append` and `extend` of
whatever lies on its stack. The machine here is another one. It never imports, never
looks up an attribute by a name out of the pickle, and never calls an object from its
stack: it only moves data about. Its objects are numbers, text, bytes, lists, tuples,
dictionaries, sets, NumPy arrays, and three inert classes:

- `Name`: a dotted name that the pickle refers to, as text;
- `Holder`: an object of a class that stays a name, with its state as data;
- an array or dtype in the making, which is none to any caller.

`pickletools`, which only takes pickles apart and checks their lengths, reads the
arguments of the opcodes. What each does is in `_OPCODES`; an opcode that is not there
is refused. What NumPy writes for an array is understood by name
(`pickle_parts.CALLS`); the array is a view of bytes that are there, of a dtype from a
fixed list, which has no objects. Any other call is refused unless the caller names it,
and then becomes a `Holder` of its arguments.

Memory and time are bounded by the length of the pickle: lengths are compared with the
bytes that are there, the opcodes are counted, nothing here is recursive, and keys are
text, bytes or numbers of 64 bits, whose hashes can't be made to nest or collide.
"""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Collection, Iterator
from typing import Any

from bigearthnet_tf.archive import pickle_parts
from bigearthnet_tf.archive.pickle_parts import Blank, Dtype, Holder, Name, describe

# A value of bigearthnet_encoder has 700, a dictionary of weights about 25 a tensor.
MAX_OPCODES = 200_000
# The name under which objects that the pickle keeps elsewhere are asked for.
PERSISTENT = "persistent id"
_NEWEST_PROTOCOL = 5
_MOST_INTEGER_BITS = 128


def interpret(pickled: bytes, calls: Collection[str] = ()) -> Any:
    """Returns what a pickle describes, without executing anything of it.

    Args:
        pickled: one pickle of protocol 0 to 5, from its first byte to its last.
        calls: dotted names of functions whose calls become a `Holder` of their
            arguments, instead of being refused; `PERSISTENT` for objects that are
            kept elsewhere.

    Returns:
        Numbers, text, bytes, containers, NumPy arrays (read-only), `Name` and
        `Holder`, in each other. Containers may contain themselves.

    Raises:
        ValueError: not a whole pickle, one that calls anything but what makes NumPy
            arrays, or one with parts that are refused; says which, in a clause.
    """
    machine = _Machine(frozenset(calls), len(pickled))
    try:
        for perform, argument in _operations(pickled):
            perform(machine, argument)
    except IndexError:
        raise ValueError("it takes more from its stack than is there") from None
    return machine.result()


def _operations(pickled: bytes) -> Iterator[tuple[_Operation, Any]]:
    """Yields what each opcode does, and its argument."""
    stream = io.BytesIO(pickled)
    for _ in range(MAX_OPCODES):
        code = stream.read(1)
        if code not in _BY_CODE:
            found = f"an opcode {code!a} that is not read here" if code else "no end"
            raise ValueError(f"it has {found}")
        perform, read = _BY_CODE[code]
        try:
            argument = None if read is None else read(stream)
        except ValueError as error:  # may repeat all that it could not read
            raise ValueError(f"{error!s:.150}".replace("\n", " ")) from None
        yield perform, argument
        if code == b".":
            if stream.tell() != len(pickled):
                raise ValueError(f"{len(pickled) - stream.tell()} bytes follow its end")
            return
    raise ValueError(f"it has more than {MAX_OPCODES} opcodes")


class _Machine:
    """The stack, the marks in it, and the memo."""

    def __init__(self, calls: frozenset[str], most_encoded: int) -> None:
        self._calls = calls
        self._most_encoded = most_encoded
        self._stack: list[Any] = []
        self._outer: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def result(self) -> Any:
        """Returns what is left at the end."""
        if self._outer or len(self._stack) != 1:
            raise ValueError("it leaves something else than one object")
        return self._stack[0]

    def push(self, value: Any) -> None:
        self._stack.append(value)

    def push_integer(self, value: int) -> None:
        if value.bit_length() > _MOST_INTEGER_BITS:
            raise ValueError(f"it has a number of {value.bit_length()} bits")
        self.push(value)

    def pop(self) -> Any:
        return self._stack.pop()

    def mark(self) -> None:
        self._outer.append(self._stack)
        self._stack = []

    def pop_to_mark(self) -> list[Any]:
        found, self._stack = self._stack, self._outer.pop()
        return found

    def discard(self) -> None:
        """A pop, which takes a mark away if that is what is on top."""
        if self._stack:
            self._stack.pop()
        else:
            self.pop_to_mark()

    def duplicate(self) -> None:
        self.push(self._stack[-1])

    def remember(self, key: int) -> None:
        value = self._memo[key] = self._stack[-1]
        if isinstance(value, Blank):
            value.keys.append(key)

    def remember_next(self) -> None:
        self.remember(len(self._memo))

    def recall(self, key: int) -> None:
        if key not in self._memo:
            raise ValueError(f"it recalls {key}, which it never stored")
        self.push(self._memo[key])

    def tuple_of(self, count: int) -> None:
        if len(self._stack) < count:
            raise IndexError
        items = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self.push(items)

    def extend(self, items: list[Any]) -> None:
        """Appends to a list, or to an object of some class."""
        target = self._stack[-1]
        if isinstance(target, Holder):
            target.elements += items
        elif type(target) is list:
            target += items
        else:
            raise ValueError(f"it appends to {describe(target)}")

    def add(self, items: list[Any]) -> None:
        """Adds to a set, or to an object of some class."""
        target = self._stack[-1]
        if isinstance(target, Holder):
            target.elements += items
        elif type(target) is set:
            target.update(map(_checked_key, items))
        else:
            raise ValueError(f"it adds to {describe(target)}")

    def set_items(self, flat: list[Any]) -> None:
        """Sets keys and values, one after the other, of a dictionary or an object."""
        target = self._stack[-1]
        if len(flat) % 2:
            raise ValueError("it has a key without a value")
        pairs = zip(map(_checked_key, flat[::2]), flat[1::2], strict=True)
        if isinstance(target, Holder):
            target.items.update(pairs)
        elif type(target) is dict:
            target.update(pairs)
        else:
            raise ValueError(f"it sets items of {describe(target)}")

    def dictionary(self, flat: list[Any]) -> None:
        self.push({})
        self.set_items(flat)

    def name(self, module: Any, name: Any) -> None:
        if type(module) is not str or type(name) is not str:
            raise ValueError("it refers to a name that is no text")
        self.push(Name(f"{module}.{name}"))

    def reduce(self) -> None:
        """A call, with the arguments on top of the stack and the function below."""
        args, function = self.pop(), self.pop()
        if type(function) is not Name or type(args) is not tuple:
            raise ValueError(f"it calls {describe(function)}")
        self.call(function.path, args)

    def call(self, path: str, args: tuple[Any, ...]) -> None:
        if path in self._calls:
            self.push(Holder(path, args))
        elif path in pickle_parts.CALLS:
            try:
                self.push(pickle_parts.CALLS[path](*args))
            except TypeError:
                raise ValueError(f"it calls {path} with other arguments") from None
            self._count_encoded(self._stack[-1])
        else:
            raise ValueError(f"it calls {path!a:.100}")

    def _count_encoded(self, made: Any) -> None:
        """Refuses to make more bytes of text than is there: one text many times."""
        if type(made) is bytes:
            self._most_encoded -= len(made)
            if self._most_encoded < 0:
                raise ValueError("it makes more bytes than it has text")

    def new_object(self, args: Any, keywords: Any = None) -> None:
        """An object of a class, before its state."""
        kind = self.pop()
        if type(kind) is not Name or type(args) is not tuple:
            raise ValueError(f"it makes an object of {describe(kind)}")
        if keywords is not None:
            args = (*args, keywords)
        self.push(Holder(kind.path, args))

    def build(self) -> None:
        """The state of the object on top of the stack."""
        state, target = self.pop(), self._stack[-1]
        if type(target) is Blank:
            array = pickle_parts.array_of_state(state)
            self._stack[-1] = array
            self._memo.update(dict.fromkeys(target.keys, array))
        elif type(target) is Dtype:
            pickle_parts.set_order(target, state)
        elif type(target) is Holder and target.state is None:
            target.state = state
        else:
            raise ValueError(f"it gives a state to {describe(target)}")


def _checked_key(key: Any) -> Any:
    if key is None or type(key) in (str, bytes, bool):
        return key
    if type(key) is int and key.bit_length() <= 64:
        return key
    raise ValueError(f"it has a key that is {describe(key)}")


def _line(stream: io.BytesIO) -> str:
    line = stream.readline()
    if not line.endswith(b"\n"):
        raise ValueError("it has a name without an end")
    return line[:-1].decode()


_Operation = Callable[[_Machine, Any], None]


def _pushes(make: Callable[[], Any]) -> _Operation:
    return lambda machine, _: machine.push(make())


def _stores(machine: _Machine, argument: Any) -> None:
    machine.push(argument)


def _name_of_stack(machine: _Machine, _: Any) -> None:
    name, module = machine.pop(), machine.pop()
    machine.name(module, name)


def _forget_to_mark(machine: _Machine, _: Any) -> None:
    machine.pop_to_mark()


def _set_item(machine: _Machine, _: Any) -> None:
    value, key = machine.pop(), machine.pop()
    machine.set_items([key, value])


def _new_object_with_keywords(machine: _Machine, _: Any) -> None:
    keywords, args = machine.pop(), machine.pop()
    machine.new_object(args, keywords)


def _check_protocol(machine: _Machine, argument: Any) -> None:
    if argument > _NEWEST_PROTOCOL:
        raise ValueError(f"it is of protocol {argument}, known are 0 to 5")


_INTEGERS = "INT BININT BININT1 BININT2 LONG LONG1 LONG4"
_STORED = (
    "FLOAT BINFLOAT BINSTRING SHORT_BINSTRING UNICODE BINUNICODE BINUNICODE8 "
    "SHORT_BINUNICODE BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8"
)
# Not here: EXT1 EXT2 EXT4 (numbers for names of a registry), INST OBJ STRING (of
# Python 2), NEXT_BUFFER READONLY_BUFFER (buffers outside of the pickle).
_OPCODES: dict[str, _Operation] = {
    "PROTO": _check_protocol,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    **dict.fromkeys(_INTEGERS.split(), lambda m, argument: m.push_integer(argument)),
    **dict.fromkeys(_STORED.split(), _stores),
    "NONE": _pushes(lambda: None),
    "NEWTRUE": _pushes(lambda: True),
    "NEWFALSE": _pushes(lambda: False),
    "EMPTY_LIST": _pushes(list),
    "EMPTY_TUPLE": _pushes(tuple),
    "EMPTY_DICT": _pushes(dict),
    "EMPTY_SET": _pushes(set),
    "MARK": lambda machine, _: machine.mark(),
    "POP": lambda machine, _: machine.discard(),
    "POP_MARK": _forget_to_mark,
    "DUP": lambda machine, _: machine.duplicate(),
    "MEMOIZE": lambda machine, _: machine.remember_next(),
    **dict.fromkeys(("PUT", "BINPUT", "LONG_BINPUT"), lambda m, key: m.remember(key)),
    **dict.fromkeys(("GET", "BINGET", "LONG_BINGET"), lambda m, key: m.recall(key)),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.pop_to_mark())),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "LIST": lambda machine, _: machine.push(machine.pop_to_mark()),
    "DICT": lambda machine, _: machine.dictionary(machine.pop_to_mark()),
    "FROZENSET": lambda m, _: m.push(frozenset(map(_checked_key, m.pop_to_mark()))),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine.pop_to_mark()),
    "ADDITEMS": lambda machine, _: machine.add(machine.pop_to_mark()),
    "SETITEM": _set_item,
    "SETITEMS": lambda machine, _: machine.set_items(machine.pop_to_mark()),
    "GLOBAL": lambda machine, argument: machine.name(*argument),
    "STACK_GLOBAL": _name_of_stack,
    "REDUCE": lambda machine, _: machine.reduce(),
    "NEWOBJ": lambda machine, _: machine.new_object(machine.pop()),
    "NEWOBJ_EX": _new_object_with_keywords,
    "BUILD": lambda machine, _: machine.build(),
    "PERSID": lambda machine, argument: machine.call(PERSISTENT, (argument,)),
    "BINPERSID": lambda machine, _: machine.call(PERSISTENT, (machine.pop(),)),
}
# In place of those of `pickletools`, which take backslashes for escapes here.
_READERS: dict[str, Callable[[io.BytesIO], Any] | None] = {
    "GLOBAL": lambda stream: (_line(stream), _line(stream)),
    "PERSID": lambda stream: _line(stream),
}
# By their byte, with what reads the argument.
_BY_CODE: dict[bytes, tuple[_Operation, Callable[[io.BytesIO], Any] | None]] = {
    opcode.code.encode("latin-1"): (
        _OPCODES[opcode.name],
        _READERS.get(opcode.name, opcode.arg.reader if opcode.arg else None),
    )
    for opcode in pickletools.opcodes
    if opcode.name in _OPCODES
}
