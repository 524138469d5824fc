"""What happened since the last point of the training logs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bigearthnet_tf.tasks import base
from bigearthnet_tf.tasks.base import Task
from bigearthnet_tf.training import descriptions


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
        counts: what the task has counted in them, int64 by name. Checkpoints of
            version 0.1.0 have none: the first point after one is of the steps since.
    """

    steps: int = 0
    losses: float = 0.0
    gradient_norms: float = 0.0
    finite_norms: int = 0
    counts: dict[str, np.ndarray] = field(default_factory=dict)

    def add(
        self,
        losses: np.ndarray,
        gradient_norms: np.ndarray,
        counts: Mapping[str, np.ndarray],
    ) -> None:
        """Adds the steps of a call.

        Args:
            losses: (steps,) float32.
            gradient_norms: likewise.
            counts: of all these steps, whole numbers of any dtype.
        """
        for loss, norm in zip(losses.tolist(), gradient_norms.tolist(), strict=True):
            self.steps += 1
            self.losses += loss
            if np.isfinite(norm):
                self.gradient_norms += norm
                self.finite_norms += 1
        for name, more in counts.items():
            self.counts[name] = self.counts.get(name, 0) + more.astype(np.int64)

    def means(self) -> tuple[float, float]:
        """Returns the mean loss and the mean gradient norm."""
        return self.losses / self.steps, self.gradient_norms / max(1, self.finite_norms)

    def label_metrics(self, task: Task) -> dict[str, float]:
        """Returns the metrics of what was counted; none where the task counts none."""
        if not base.counts_labels(task):
            return {}
        return task.counted_metrics(self.counts)

    def to_json(self) -> dict[str, Any]:
        """Returns what a checkpoint keeps of it: of counts those that are not 0."""
        return {
            **asdict(self),
            "counts": {
                name: {
                    "shape": list(each.shape),
                    "at": np.flatnonzero(each).tolist(),
                    "values": each[each != 0].tolist(),
                }
                for name, each in self.counts.items()
            },
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any], task: Task, path: Path) -> Window:
        """Returns the window that a checkpoint keeps.

        Args:
            content: of it, as `to_json` returns it.
            task: of the run.
            path: folder of the checkpoint.

        Raises:
            DamagedCheckpoint: it counts other things than the task.
        """
        shapes = task.count_shapes if base.counts_labels(task) else {}
        counts = {}
        for name, kept in content.get("counts", {}).items():
            if shapes.get(name) != tuple(kept["shape"]):
                reason = f"progress.window.counts.{name} has shape {kept['shape']}"
                raise descriptions.damaged(path, ValueError(reason))
            counts[name] = np.zeros(kept["shape"], np.int64)
            np.put(counts[name], kept["at"], kept["values"])
        return cls(**{**content, "counts": counts})
