"""The objects that `pickles` makes: inert data, and arrays of bytes that are there.

What NumPy writes for an array is a call of `_reconstruct` that makes an empty one, and
a state that fills it (protocol 5: one call of `_frombuffer`). Both are understood here
by their names and end in `numpy.frombuffer`, with a dtype from a fixed list.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

_MODULES = ("numpy.core.", "numpy._core.")
# Of numbers, whatever else NumPy knows.
_DTYPES = frozenset(
    ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
)
# As many as NumPy 1 allows.
_MOST_DIMENSIONS = 32


@dataclass(frozen=True)
class Name:
    """A class or function that a pickle refers to; only its name.

    Attributes:
        path: module and name, with a dot between.
    """

    path: str


@dataclass(eq=False)
class Holder:
    """An object whose class is not here, as inert data.

    Attributes:
        path: module and name of its class, or of what the pickle wanted to call.
        args: what it would have been made with.
        state: what its `__setstate__` would have been given; None without.
        elements: what would have been appended to it, or added.
        items: the key and value pairs that would have been set in it.
    """

    path: str
    args: tuple[Any, ...] = ()
    state: Any = None
    elements: list[Any] = field(default_factory=list)
    items: dict[Any, Any] = field(default_factory=dict)

    def attributes(self) -> dict[Any, Any]:
        """Returns the state as attributes; empty if it is no dictionary.

        pydantic, whose classes bigearthnet_encoder writes, wraps them in `__dict__`.
        """
        state = self.state if isinstance(self.state, dict) else {}
        inner = state.get("__dict__")
        return inner if isinstance(inner, dict) else state


@dataclass(eq=False)
class Blank:
    """An array before its state.

    Attributes:
        keys: those of the memo that refer to it.
    """

    keys: list[int] = field(default_factory=list)


@dataclass(eq=False)
class Dtype:
    """A dtype, whose byte order comes with its state.

    Attributes:
        dtype: of numbers.
    """

    dtype: np.dtype[Any]


def describe(value: Any) -> str:
    """Returns an object in a word; nothing that is deep or long is printed."""
    if isinstance(value, Name | Holder):
        return f"{value.path!a:.100}"
    return f"a value of type {type(value).__name__}"


def set_order(target: Dtype, state: Any) -> None:
    """Gives a dtype the byte order of its state.

    NumPy's state: version, byte order, subarray, field names, fields, item size,
    alignment, flags, and since version 4 metadata.

    Raises:
        ValueError: not the state of a dtype of numbers.
    """
    if type(state) is not tuple or not 8 <= len(state) <= 9:
        raise ValueError("it has a dtype without a state of NumPy")
    _, order, *absent, size, alignment, flags = state[:8]
    absent += state[8:]
    # Item size and alignment are -1 for numbers, whose flags are 0.
    numbers = (size, alignment, flags)
    plain = all(type(n) is int for n in numbers) and numbers == (-1, -1, 0)
    if not plain or any(part is not None for part in absent):
        raise ValueError("it has a dtype of several parts, of objects or with metadata")
    if type(order) is not str or order not in ("<", ">", "=", "|"):
        raise ValueError("it has a dtype of an unknown byte order")
    target.dtype = np.dtype(f"{order}{target.dtype.str[1:]}")


def array_of_state(state: Any) -> NDArray[Any]:
    """Returns an array by NumPy's state: version, shape, dtype, whether F, bytes.

    Raises:
        ValueError: not such a state, or as for `make_array`.
    """
    if type(state) is not tuple or len(state) != 5 or type(state[3]) is not bool:
        raise ValueError("it has an array without a state of NumPy")
    _, shape, dtype, is_fortran, content = state
    return make_array(content, dtype, shape, "F" if is_fortran else "C")


def make_array(content: Any, dtype: Any, shape: Any, order: Any = "C") -> NDArray[Any]:
    """Returns a view of bytes as an array; `numpy.core.numeric._frombuffer`.

    Raises:
        ValueError: no bytes, another number of them than the shape needs, or a dtype,
            shape or order that is none.
    """
    if type(dtype) is not Dtype:
        raise ValueError(f"it has an array of dtype {describe(dtype)}")
    if type(content) not in (bytes, bytearray):
        raise ValueError(f"it has an array of {describe(content)}, expected bytes")
    expected = _count(shape) * dtype.dtype.itemsize
    if expected != len(content):
        raise ValueError(
            f"it has an array of {expected} bytes, of which {len(content)} are there"
        )
    if type(order) is not str or order not in ("C", "F"):
        raise ValueError("it has an array of an unknown order")
    flat: NDArray[Any] = np.frombuffer(content, dtype.dtype)
    flat.setflags(write=False)
    return flat.reshape(shape, order="F" if order == "F" else "C")


def _count(shape: Any) -> int:
    """Returns the number of elements of a shape."""
    if type(shape) is not tuple or len(shape) > _MOST_DIMENSIONS:
        raise ValueError("it has an array of no shape")
    if not all(type(n) is int and 0 <= n < 2**31 for n in shape):
        raise ValueError("it has an array of a side that no array has")
    return math.prod(shape)


def _blank(kind: Any, shape: Any, code: Any) -> Blank:
    """`_reconstruct`: an array that gets its state next."""
    if type(kind) is not Name or kind.path != "numpy.ndarray":
        raise ValueError(f"it has an array of the class {describe(kind)}")
    return Blank()


def _dtype(code: Any, align: Any = False, copy: Any = False) -> Dtype:
    """`numpy.dtype`, of numbers alone."""
    if type(code) is not str or code not in _DTYPES:
        text = f"{code!a:.20}" if type(code) is str else describe(code)
        raise ValueError(f"it has an array of dtype {text}, expected numbers")
    return Dtype(np.dtype(code))


def _scalar(dtype: Any, content: Any) -> Any:
    """`numpy.core.multiarray.scalar`: a number of NumPy."""
    return make_array(content, dtype, ())[()]


def _encode(text: Any, encoding: Any = None) -> bytes:
    """`_codecs.encode`: how bytes are written in protocols 0 to 2."""
    if type(text) is not str or type(encoding) is not str or encoding != "latin1":
        raise ValueError("it has bytes in an unknown encoding")
    return text.encode("latin-1")


def _empty() -> bytes:
    """`bytes`, without an argument in protocols 0 to 2."""
    return b""


def _old_object(kind: Any, base: Any, state: Any) -> Holder:
    """`copyreg._reconstructor`: an object of a class, in protocols 0 and 1."""
    if type(kind) is not Name:
        raise ValueError(f"it makes an object of {describe(kind)}")
    return Holder(kind.path, () if state is None else (state,))


# What a pickle may call, and what stands for it here.
CALLS: dict[str, Callable[..., Any]] = {
    "numpy.dtype": _dtype,
    "_codecs.encode": _encode,
    **{f"{module}.bytes": _empty for module in ("builtins", "__builtin__")},
    **{f"{module}._reconstructor": _old_object for module in ("copyreg", "copy_reg")},
    **{f"{module}multiarray._reconstruct": _blank for module in _MODULES},
    **{f"{module}multiarray.scalar": _scalar for module in _MODULES},
    **{f"{module}numeric._frombuffer": make_array for module in _MODULES},
}
