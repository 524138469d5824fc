"""What a run writes down: TensorBoard scalars and history.jsonl."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from bigearthnet_tf import files

# Headings of TensorBoard's cards; the first pattern that fits decides.
_CARD_GROUPS = {
    r"^(learning_rate|images_per_second)$": "run",
    r"^(coverage|one_error|ranking_loss|label_ranking_avg_precision)$": "ranking",
    r"^macro_": "macro",
    r"^micro_": "micro",
    r"^sample_": "sample",
    r"(?<!hamming)_loss$": "loss",
}
_PER_LABEL = re.compile(r"_class\d+$")


class RunLog:
    """Writes scalars of `training`, `validation` or `test` of one run.

    TensorBoard reads `logs/<name>`; `history.jsonl` has a line for each point with
    `split`, `iteration` and the scalars. A run that continues first drops the lines
    beyond the iteration where it continues.

    Args:
        out_dir: folder of the run.
        iteration: where training begins or continues; None to keep all points.
    """

    def __init__(self, out_dir: Path, iteration: int | None = None) -> None:
        self.out_dir = out_dir
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        self._history = out_dir / "history.jsonl"
        if iteration is not None and self._history.exists():
            kept = [p for p in read_history(out_dir) if p["iteration"] <= iteration]
            files.write_text(self._history, "".join(map(_line, kept)))

    def write(self, name: str, iteration: int, scalars: Mapping[str, float]) -> None:
        """Adds one point.

        Args:
            name: `training`, `validation` or `test`.
            iteration: optimisation steps done.
            scalars: by name.
        """
        writer = self._writer(name)
        with writer.as_default(iteration):
            for key, value in scalars.items():
                tf.summary.scalar(f"{_card_group(key)}/{key}", value)
        writer.flush()
        point = {"split": name, "iteration": iteration, **scalars}
        with self._history.open("a", encoding="utf-8") as file:
            file.write(_line(point))

    def write_png(self, name: str, iteration: int, caption: str, png: bytes) -> None:
        """Adds a picture, an encoded PNG, to `logs/<name>`."""
        image = tf.io.decode_png(png, channels=3)[tf.newaxis]
        with self._writer(name).as_default(iteration):
            tf.summary.image(caption, image)

    def close(self) -> None:
        """Closes the TensorBoard files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, name: str) -> tf.summary.SummaryWriter:
        if name not in self._writers:
            folder = self.out_dir / "logs" / name
            self._writers[name] = tf.summary.create_file_writer(str(folder))
        return self._writers[name]


def overall(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns metrics without those of single labels.

    A point a label would drown TensorBoard; evaluation lists them in a table.
    """
    return {key: v for key, v in metrics.items() if not _PER_LABEL.search(key)}


def _card_group(scalar: str) -> str:
    """Returns under which heading TensorBoard shows a scalar."""
    for pattern, group in _CARD_GROUPS.items():
        if re.search(pattern, scalar):
            return group
    return "labels"


def read_history(out_dir: Path) -> list[dict[str, Any]]:
    """Returns the points of history.jsonl; half a line at its end is left out."""
    points: list[dict[str, Any]] = []
    path = out_dir / "history.jsonl"
    if not path.exists():
        return points
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            points.append(json.loads(line))
        except json.JSONDecodeError:
            # The process was killed while it wrote this line.
            break
    return points


def _line(point: Mapping[str, Any]) -> str:
    finite = {
        key: value if not isinstance(value, float) or math.isfinite(value) else None
        for key, value in point.items()
    }
    return json.dumps(finite) + "\n"
