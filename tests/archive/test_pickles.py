"""Pickles are read as data: against Python's own reading, and with hostile ones.

Python reports imports, calls to the system and the names that unpickling looks up to
audit hooks: what the interpreter does while it reads is listened to.
"""

import collections
import os
import pickle
import random
import sys

import numpy as np
import pytest

from bigearthnet_tf.archive import pickles
from bigearthnet_tf.archive.pickle_parts import Holder, Name

PROTOCOLS = range(6)
_heard: list[str] | None = None
_QUIET = {"object.__getattr__", "object.__setattr__", "cpython.run_string"}


def _listen(event, args):
    if _heard is not None and event not in _QUIET:
        _heard.append(event)


sys.addaudithook(_listen)
# A codec is imported when it is used first.
str(b"x", "raw-unicode-escape")


def interpret(pickled, calls=()):
    """Interprets, and fails if Python imported, opened or ran anything meanwhile."""
    global _heard
    _heard = []
    try:
        return pickles.interpret(pickled, calls)
    finally:
        heard, _heard = _heard, None
        assert heard == []


class Thing:
    """Of a class that only this module has."""

    def __init__(self, **attributes):
        self.__dict__.update(attributes)


class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *args, state=None):
        self._made = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self._made


def array_with(shape=(2,), dtype=None, content=b"12345678", kind=np.ndarray):
    """An array whose parts are these."""
    state = (1, shape, dtype or np.dtype("f4"), False, content)
    make = np.array(0).__reduce__()[0]
    return Call(make, kind, (0,), b"b", state=state)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_what_python_reads_is_read_alike(protocol):
    values = [
        {"a": [1, -3, 2**60, True, None], 5: (2.5, "ö\n'", b"", b"x\xff"), b"k": ()},
        [{"x"}, frozenset((1, 2))] if protocol > 3 else [],
        10**30,
    ]
    pickled = pickle.dumps(values, protocol)
    assert interpret(pickled) == pickle.loads(pickled)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype="<u2").reshape(2, 3),
        np.arange(6, dtype=">i4").reshape(3, 2),
        np.asfortranarray(np.arange(12, dtype="f4").reshape(3, 4)),
        np.zeros((0, 3)),
        np.array(True),
        np.array([1.5, np.nan], ">f8"),
    ],
    ids=str,
)
def test_arrays_are_those_that_python_reads(protocol, array):
    # Twice: the second comes out of the memo.
    pickled = pickle.dumps([array, array, array.T], protocol)
    found, expected = interpret(pickled), pickle.loads(pickled)
    assert found[0] is found[1] and not found[0].flags.writeable
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
        assert one.dtype == array.dtype and one.shape == other.shape
    number = array.dtype.type(1)
    assert interpret(pickle.dumps(number, protocol)) == number


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_an_object_becomes_a_holder_of_its_state(protocol):
    thing = Thing(name="B02", inner=Thing(data=np.ones(2, "f4")))
    thing.inner.back = thing
    found = interpret(pickle.dumps([thing, thing], protocol))
    assert isinstance(found[0], Holder) and found[0] is found[1]
    assert found[0].path == f"{__name__}.Thing"
    inner = found[0].attributes()["inner"].attributes()
    assert inner["data"].tolist() == [1, 1] and inner["back"] is found[0]


def test_modules_are_never_imported():
    name = "a_module_that_would_be_noticed"
    pickled = b"\x80\2c" + name.encode() + b"\nThing\n)\x81}X\1\0\0\0aK\1sb."
    found = interpret(pickled)
    assert found.path == f"{name}.Thing" and found.attributes() == {"a": 1}
    assert name not in sys.modules
    with pytest.raises(ModuleNotFoundError, match=name):
        pickle.loads(pickled)
    assert interpret(b"cos\nsystem\n.") == Name("os.system")
    # A class that runs a program where Python makes an object of it.
    made = interpret(b"\x80\2csubprocess\nPopen\nX\4\0\0\0true\x85\x81.")
    assert (made.path, made.args) == ("subprocess.Popen", ("true",))


def test_the_oracle_hears_what_python_does():
    global _heard
    _heard = []
    pickle.loads(pickle.dumps(Call(os.getcwd)))
    heard, _heard = _heard, None
    assert "pickle.find_class" in heard


def test_calls_that_the_caller_names_become_holders():
    pickled = pickle.dumps(collections.OrderedDict(a=1, b=[2]))
    with pytest.raises(ValueError, match=r"it calls 'collections\.OrderedDict'"):
        interpret(pickled)
    found = interpret(pickled, ["collections.OrderedDict"])
    assert found.path == "collections.OrderedDict" and found.items == {"a": 1, "b": [2]}
    with pytest.raises(ValueError, match="it calls 'persistent id'"):
        interpret(b"Pabc\n.")
    assert interpret(b"Pabc\n.", [pickles.PERSISTENT]).args == ("abc",)


TRAP = Call(os.system, "exit 1")
HOSTILE_OBJECTS = {
    "a call": (TRAP, r"calls '(posix|nt)\.system'"),
    "in an attribute": (Thing(a=[{"x": TRAP}]), r"calls '(posix|nt)\.system'"),
    "eval": (Call(eval, "1"), r"calls '(builtins|__builtin__)\.eval'"),
    "getattr": (Call(getattr, Thing, "mro"), r"calls '.*\.getattr'"),
    "bytes by number": (Call(bytes, 10**10), "with other arguments"),
    "array of objects": (np.array([TRAP], object), "dtype 'O8', expected numbers"),
    "records": (np.zeros(2, "u1,f4"), "dtype 'V5', expected numbers"),
    "texts": (np.array(["ab"]), "dtype 'U2', expected numbers"),
    "dates": (np.zeros(2, "M8[s]"), "dtype 'M8', expected numbers"),
    "metadata": (
        np.zeros(2, np.dtype("f4", metadata={"a": Thing()})), "or with metadata"
    ),
    "a subclass": (np.ones((2, 2)).view(np.recarray), r"the class 'numpy|calls 'numpy"),
    "another class": (array_with(kind=Thing), r"array of the class '.*Thing'"),
    "less than the shape": (
        array_with((2**20, 2**20)), f"array of {2**42} bytes, of which 8"
    ),
    "more than the shape": (array_with((1,)), "array of 4 bytes, of which 8"),
    "a side beyond all": (array_with((0, 2**62), content=b""), "a side that no arr"),
    "a negative side": (array_with((-2, -1)), "a side that no array has"),
    "many sides": (array_with((1,) * 65, content=b"1234"), "array of no shape"),
    "a list for bytes": (array_with(content=[1, TRAP]), r"calls '(posix|nt)\.system'"),
    "numbers for bytes": (array_with(content=[1, 2]), "type list, expected bytes"),
    "no dtype": (array_with(dtype="f4"), "array of dtype a value of type str"),
    "a tuple as key": ({(1, (2,)): 3}, "a key that is a value of type tuple"),
    "a long number": (1 << 2000, "a number of 2001 bits"),
    "a long key": ({1 << 65: 0}, "a key that is a value of type int"),
}  # fmt: skip


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("case", HOSTILE_OBJECTS)
def test_hostile_objects_are_refused(case, protocol):
    value, message = HOSTILE_OBJECTS[case]
    with pytest.raises(ValueError, match=message):
        interpret(pickle.dumps(value, protocol))


def reduce_text(count):
    """A text of 1000 letters that is made into bytes several times."""
    text = b"c_codecs\nencode\nq\0X\xe8\3\0\0" + b"a" * 1000 + b"q\x0100("
    call = b"h\0h\1X\6\0\0\0latin1\x86R"
    return b"\x80\4" + text + call * count + b"t."


F4 = b"\x80\2cnumpy\ndtype\nX\2\0\0\0f4\x85R"
MINUS = b"J\xff\xff\xff\xff"
HOSTILE_BYTES = {
    "nothing": (b"", "no end"),
    "no end": (b"\x80\4N", "no end"),
    "trailing bytes": (b"\x80\4N.N.", "2 bytes follow its end"),
    "newer protocol": (b"\x80\6N.", "protocol 6"),
    "unknown opcode": (b"\xff.", "an opcode b.*xff"),
    "two objects": (b"NN.", "something else than one object"),
    "no object": (b".", "something else than one object"),
    "an open mark": (b"(N.", "something else than one object"),
    "empty stack": (b"\x80\4R.", "takes more from its stack"),
    "no mark": (b"Nt.", "takes more from its stack"),
    "short tuple": (b"N\x86.", "takes more from its stack"),
    "unknown memo": (b"h\5.", "recalls 5, which it never stored"),
    "long bytes": (b"\x8e" + (2**60).to_bytes(8, "little") + b"x.", "only 2 remain"),
    "longest bytes": (b"\x8e" + b"\xff" * 8 + b"x.", "byte count"),
    "long text": (b"X\xff\xff\xff\x7fx.", "only 2 remain"),
    "long number": (b"\x8b\xff\xff\xff\x7fx.", "not enough data|only"),
    "digits": (b"L" + b"9" * 5000 + b"L\n.", "digits|bits"),
    "extension": (b"\x82\1.", r"opcode b.*x82. that is not read"),
    "inst": (b"(ios\nsystem\n.", "opcode b'i' that is not read"),
    "obj": (b"(cos\nsystem\no.", "opcode b'o' that is not read"),
    "Python 2": (b"S'true'\n.", "opcode b'S' that is not read"),
    "buffer": (b"\x80\5\x97.", "x97. that is not read"),
    "state of a function": (b"cos\nsystem\n}b.", r"gives a state to 'os\.system'"),
    "state of a list": (b"](K\1K\2tb.", "gives a state to a value of type list"),
    "a state twice": (b"cx\ny\n)\x81}b}b.", "gives a state to 'x.y'"),
    "a call of text": (b"X\1\0\0\0a)R.", "it calls a value of type str"),
    "a call with a list": (b"cos\nsystem\n]R.", "it calls 'os.system'"),
    "name of numbers": (b"\x80\4K\1K\2\x93.", "a name that is no text"),
    "append to a tuple": (b")Na.", "appends to a value of type tuple"),
    "items of a list": (b"]K\1K\2s.", "sets items of a value of type list"),
    "a key alone": (b"(K\1d.", "a key without a value"),
    "text made often": (reduce_text(5), "more bytes than it has text"),
    "array without state": (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0tC\1btR}b.",
        "array without a state"),
    "dtype of byte order": (
        F4 + b"(K\3X\1\0\0\0!NNN" + MINUS + MINUS + b"K\0tb.", "unknown byte order"),
    "dtype of flags": (
        F4 + b"(K\3X\1\0\0\0<NNN" + MINUS + MINUS + b"K?tb.", "several parts"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE_BYTES)
def test_hostile_bytes_are_refused(case):
    pickled, message = HOSTILE_BYTES[case]
    with pytest.raises(ValueError, match=message) as caught:
        interpret(pickled)
    assert len(str(caught.value)) < 200 and "\n" not in str(caught.value)


def test_text_made_once_into_bytes_is_read():
    assert interpret(reduce_text(1)) == (b"a" * 1000,)


def test_deep_and_long_pickles_end_soon():
    depth = 99_000
    nested = interpret(b"]" * depth + b"a" * (depth - 1) + b".")
    assert isinstance(nested[0], list)
    assert isinstance(interpret(b")" + b"\x85" * depth + b"."), tuple)
    with pytest.raises(ValueError, match="a key that is a value of type tuple"):
        interpret(b"})" + b"\x85" * depth + b"Ns.")
    with pytest.raises(ValueError, match="more than 200000 opcodes"):
        interpret(b"N" * 10**6)


def test_cut_short_anywhere_it_is_refused():
    pickled = pickle.dumps(Thing(a=np.ones(3), b={"x": b"y" * 300}), 4)
    for length in range(len(pickled)):
        with pytest.raises(ValueError, match=r"^it |only|not enough"):
            interpret(pickled[:length])


def test_garbled_pickles_are_refused_or_read_and_never_run():
    generator = random.Random(1)
    whole = [pickle.dumps(Thing(a=np.ones(3), b=[{"x": 1}, "y"]), p) for p in PROTOCOLS]
    refused = 0
    for _ in range(3000):
        garbled = bytearray(generator.choice(whole))
        for _ in range(generator.randint(1, 4)):
            garbled[generator.randrange(len(garbled))] = generator.randrange(256)
        try:
            interpret(bytes(garbled))
        except ValueError:
            refused += 1
    assert 1000 < refused < 3000
