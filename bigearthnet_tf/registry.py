"""One small registry class: things that a config picks by name."""

from __future__ import annotations

import difflib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from typing import Any, Generic, TypeVar

T = TypeVar("T")

# Characters of a list of names in a message.
_LONGEST = 300


def nearest_names(name: str, known: Iterable[str], count: int = 3) -> str:
    """Returns a phrase for error messages with the known names nearest to `name`.

    Args:
        name: the name that was not found.
        known: all names that would have been right.
        count: how many to offer.
    """
    known = list(known)
    # Several names may differ in their capitals alone.
    by_folded: dict[str, list[str]] = {}
    for candidate in known:
        by_folded.setdefault(candidate.casefold(), []).append(candidate)
    close = difflib.get_close_matches(name.casefold(), by_folded, n=count, cutoff=0.5)
    if close:
        offered = [
            repr(candidate) for folded in close for candidate in by_folded[folded]
        ]
        return f"did you mean {' or '.join(offered)}?"
    longer = [n for n in known if len(name) > 2 and name.casefold() in n.casefold()]
    if longer:
        return f"did you mean {' or '.join(map(repr, sorted(longer)[:count]))}?"
    text = "known: " + ", ".join(sorted(known))
    if len(text) <= _LONGEST:
        return text
    return f"{text[:_LONGEST].rpartition(',')[0]}, ... ({len(known)} in all)"


class Registry(Generic[T]):
    """Maps names to things of one kind; refuses duplicates, knows near matches.

    Args:
        kind: the noun used in error messages, such as `"model"`.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}
        self._aliases: dict[str, str] = {}

    def add(self, name: str, entry: T, aliases: Iterable[str] = ()) -> None:
        """Registers `entry` under `name`, and the aliases that lead to it.

        What the same lines of code registered before, when they were executed by
        another import or in a notebook, is replaced.

        Raises:
            ValueError: a name is taken.
        """
        aliases = tuple(aliases)
        if name in self._entries and _is_same(self._entries[name], entry):
            self.remove(name)
        for key in (name, *aliases):
            if key in self._entries or key in self._aliases:
                raise ValueError(
                    f"the name {key!r} of a {self.kind} is taken: choose another one"
                )
        self._entries[name] = entry
        self._aliases.update(dict.fromkeys(aliases, name))

    def remove(self, name: str) -> None:
        """Forgets a registered name and its aliases."""
        del self._entries[name]
        self._aliases = {a: n for a, n in self._aliases.items() if n != name}

    def contents(self) -> tuple[dict[str, T], dict[str, str]]:
        """Returns copies of the entries by name, and of the names by alias."""
        return dict(self._entries), dict(self._aliases)

    def put_back(self, entries: dict[str, T], aliases: dict[str, str]) -> None:
        """Makes the contents what `contents` returned earlier."""
        self._entries, self._aliases = dict(entries), dict(aliases)

    def __contains__(self, name: str) -> bool:
        return name in self._entries or name in self._aliases

    def register(self, name: str, *aliases: str) -> Callable[[T], T]:
        """Returns a decorator that registers what it decorates."""

        def decorate(entry: T) -> T:
            self.add(name, entry, aliases)
            return entry

        return decorate

    def resolve(self, name: str) -> str:
        """Returns the registered name that `name`, or an alias, stands for.

        Raises:
            ValueError: unknown name; the message offers the nearest ones.
        """
        name = self._aliases.get(name, name)
        if name not in self._entries:
            known = [*self._entries, *self._aliases]
            raise ValueError(
                f"unknown {self.kind} {name!r:.100}: {nearest_names(name, known)}"
            )
        return name

    def get(self, name: str) -> T:
        """Returns the entry of a name or alias.

        Raises:
            ValueError: unknown name; the message offers the nearest ones.
        """
        return self._entries[self.resolve(name)]

    def names(self, pattern: str = "*") -> list[str]:
        """Returns the registered names that match a wildcard pattern, sorted.

        Whatever the capitals; a name matches by its aliases too.
        """
        every = {**{name: name for name in self._entries}, **self._aliases}
        folded = pattern.casefold()
        return sorted(
            {name for key, name in every.items() if fnmatchcase(key.casefold(), folded)}
        )

    def aliases(self) -> dict[str, str]:
        """Returns each alias with the name it stands for."""
        return dict(self._aliases)


# What was registered: where, and under which name.
Added = list[tuple[Registry[Any], str]]


@contextmanager
def noted(registries: Sequence[Registry[Any]]) -> Iterator[Added]:
    """Notes what is registered meanwhile; an error leaves everything as it was.

    Args:
        registries: that are watched.
    """
    before = [(registry, *registry.contents()) for registry in registries]
    added: Added = []
    try:
        yield added
    except BaseException:
        for registry, entries, aliases in before:
            registry.put_back(entries, aliases)
        raise
    for registry, entries, _ in before:
        now, _ = registry.contents()
        added += [(registry, n) for n, e in now.items() if entries.get(n) is not e]


def _origin(entry: Any) -> tuple[str, str] | None:
    """Returns where the function or class of an entry is defined: file and name."""
    function = getattr(entry, "build", entry)
    function = getattr(function, "__wrapped__", function)
    name = getattr(function, "__qualname__", None)
    if name is None or "<lambda>" in name:
        return None
    # A cell of a notebook is another file each time.
    if function.__module__ == "__main__":
        return "__main__", name
    module = sys.modules.get(function.__module__)
    file = getattr(module, "__file__", None)
    return (os.path.realpath(file), name) if file else None


def _is_same(one: Any, other: Any) -> bool:
    return _origin(one) is not None and _origin(one) == _origin(other)
