"""What happened since the last point of the training logs."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np


@dataclass
class Window:
    """Sums over the steps since the last point.

    They are added up step by step, so that they come out the same however many steps
    a call takes, and are kept in checkpoints, so that a run that is continued within
    a window writes the same point.

    Attributes:
        steps: how many.
        losses: their sum.
        gradient_norms: likewise; only of steps where it was finite, as with float16
            it may not be.
        finite_norms: of how many steps.
    """

    steps: int = 0
    losses: float = 0.0
    gradient_norms: float = 0.0
    finite_norms: int = 0

    def add(self, losses: np.ndarray, gradient_norms: np.ndarray) -> None:
        """Adds the steps of a call, each array (steps,) float32."""
        for loss, norm in zip(losses.tolist(), gradient_norms.tolist(), strict=True):
            self.steps += 1
            self.losses += loss
            if np.isfinite(norm):
                self.gradient_norms += norm
                self.finite_norms += 1

    def means(self) -> tuple[float, float]:
        """Returns the mean loss and the mean gradient norm."""
        return self.losses / self.steps, self.gradient_norms / max(1, self.finite_norms)

    def to_json(self) -> dict[str, float]:
        """Returns what a checkpoint keeps of it."""
        return asdict(self)
