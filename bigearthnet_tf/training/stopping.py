"""Which values are better, and when it is no use to go on."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from typing import Any

# Losses and errors; the Brier score, a squared distance; coverage, how far down the
# ranking of a patch its last label is; the two terms of the Barlow Twins loss.
_LOWER_IS_BETTER = re.compile(
    r"loss$|error(_class\d+)?$|^coverage$|^brier_score|^(on|off)_diagonal$"
)


def lower_is_better(metric: str) -> bool:
    """Tells by its name whether less of a metric is better."""
    return bool(_LOWER_IS_BETTER.search(metric))


def is_better(metric: str, value: float, than: float, by: float = 0.0) -> bool:
    """Tells whether one value of a metric is better than another.

    Args:
        metric: its name, which says whether less is better.
        value: the new one.
        than: the old one.
        by: how much better it must be, at least; 0 for at all.
    """
    gain = than - value if lower_is_better(metric) else value - than
    return gain > by


@dataclass(frozen=True)
class EarlyStopping:
    """Counts validations since a metric was better than ever.

    Attributes:
        metric: its name.
        patience: after how many the run ends; 0: never.
        min_delta: by how much a value must be better to count.
        best: value so far, None before the first.
        waited: validations since then.
    """

    metric: str
    patience: int
    min_delta: float = 0.0
    best: float | None = None
    waited: int = 0

    @property
    def is_due(self) -> bool:
        """Whether the run ends here."""
        return 0 < self.patience <= self.waited

    def after(self, value: float) -> EarlyStopping:
        """Returns the count after one more validation."""
        if self.best is None or is_better(
            self.metric, value, self.best, self.min_delta
        ):
            return replace(self, best=value, waited=0)
        return replace(self, waited=self.waited + 1)

    def to_json(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of it."""
        return asdict(self)

    def restored(self, content: dict[str, Any] | None) -> EarlyStopping:
        """Returns it with the count of a checkpoint, if that is of the same metric."""
        if not content or content["metric"] != self.metric:
            return self
        return replace(self, best=content["best"], waited=content["waited"])
