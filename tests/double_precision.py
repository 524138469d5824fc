"""Models and losses of the package in float64, as an oracle of those in float32."""

import contextlib
from collections.abc import Iterator

import keras


@contextlib.contextmanager
def everywhere() -> Iterator[None]:
    """Has everything in float64 that is in float32 otherwise.

    Layers built and operations run inside; also those that ask for float32 by name,
    whatever the policy.
    """
    cast, begin = keras.ops.cast, keras.layers.Layer.__init__

    def wide(dtype):
        return "float64" if dtype == "float32" else dtype

    def cast_wide(x, dtype):
        return cast(x, wide(dtype))

    def begin_wide(self, *arguments, dtype=None, **keys):
        begin(self, *arguments, dtype=wide(dtype), **keys)

    keras.ops.cast, keras.layers.Layer.__init__ = cast_wide, begin_wide
    keras.config.set_dtype_policy("float64")
    try:
        yield
    finally:
        keras.ops.cast, keras.layers.Layer.__init__ = cast, begin
        keras.config.set_dtype_policy("float32")
