"""What one case of odd input is, and what a door must do with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from doors.kit import Kit

# Longest error line that a person would read.
LONGEST_LINE = 600


@dataclass(frozen=True)
class Outcome:
    """What a command did.

    Attributes:
        status: exit status; negative for the number of a signal.
        out: standard output.
        err: standard error, without progress bars.
        changed: paths below the case's folder that the command added, removed or
            changed.
    """

    status: int
    out: str
    err: str
    changed: list[str]


@dataclass(frozen=True)
class Case:
    """Odd input, the door it goes through, and the right answer.

    Attributes:
        kind: what is odd, in the words of the table; many cases share a kind.
        name: this case of it.
        door: `prep_splits`, `train`, `eval`, a command of `bigearthnet-tf`, `python`.
        call: writes the input into a folder of its own, which is the working
            directory of the command too, and returns the arguments after the name of
            the door; for the door `python` the function to call instead.
        says: regular expressions that the one line of a refusal matches (any
            capitals); empty for input that is legal.
        status: exit status; 0 where `says` is empty, else 1 (2: wrong call).
        check: of legal input: looks at the folder and what was printed, and asserts.
        leaves: patterns of paths below the folder that a refusal may leave or change.
    """

    kind: str
    name: str
    door: str
    call: Callable[[Kit, Path], Sequence[object] | Callable[[], Any]]
    says: Sequence[str] = ()
    status: int | None = None
    check: Callable[[Path, Outcome], None] | None = None
    leaves: Sequence[str] = field(default=())

    @property
    def expected_status(self) -> int:
        """The exit status that is right."""
        if self.status is not None:
            return self.status
        return 1 if self.says else 0

    @property
    def id(self) -> str:
        """Its name in test reports."""
        return f"{self.door}: {self.kind}: {self.name}"
