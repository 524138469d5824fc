"""Which cases of a test are left for `make test-long`."""

from collections.abc import Collection, Iterable

import pytest


def beyond(kept: Collection, values: Iterable) -> list:
    """Returns values for `parametrize`, those that are not in `kept` marked `long`.

    Args:
        kept: the representatives, which run at each landing; all are among `values`.
        values: all of them, a tuple where a test has several parameters.
    """
    values = list(values)
    missing = set(kept) - set(values)
    if missing:
        raise ValueError(f"expected cases of the test, got {sorted(missing)}")
    return [
        value
        if value in kept
        else pytest.param(
            *(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.long
        )
        for value in values
    ]
