"""What a run writes down while it goes on: history.jsonl, TensorBoard, W&B."""

from __future__ import annotations

import json
import logging
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from bigearthnet_tf import disk, files, pictures
from bigearthnet_tf.config import Config
from bigearthnet_tf.training import sinks

logger = logging.getLogger(__name__)

_PER_LABEL = re.compile(r"_class\d+$")
# Pictures stand beside charts in a browser.
_PICTURE_DPI = 100


class RunLog:
    """Writes what is known of `training`, `validation` or `test` of one run.

    TensorBoard reads `logs/<name>`; `history.jsonl` has a line for each point with
    `split`, `iteration` and the scalars. A run that continues first drops what lies
    beyond the iteration where it continues.

    Args:
        out_dir: folder of the run.
        iteration: where training begins or continues; None to keep all points.
        config: of the run; with a `wandb_project` Weights & Biases gets all, too.

    Raises:
        OSError: the folder can't be written to.
        ValueError: `wandb_project` without its package.
    """

    def __init__(
        self,
        out_dir: Path,
        iteration: int | None = None,
        config: Config | None = None,
    ) -> None:
        out_dir.mkdir(parents=True, exist_ok=True)
        self._sinks: list[sinks.Sink] = [
            _History(out_dir, iteration),
            sinks.TensorBoard(out_dir / "logs", iteration),
        ]
        if config is not None and config.wandb_project:
            self._sinks.append(sinks.WeightsAndBiases(out_dir, config))

    @classmethod
    def silent(cls) -> RunLog:
        """Returns a log that writes nothing, for processes that leave it to another."""
        log = cls.__new__(cls)
        log._sinks = []
        return log

    def write(
        self,
        name: str,
        iteration: int,
        scalars: Mapping[str, float],
        per_class: sinks.PerClass = MappingProxyType({}),
    ) -> None:
        """Adds one point.

        Args:
            name: `training`, `validation` or `test`.
            iteration: optimisation steps done.
            scalars: by name.
            per_class: label names to values, by metric; they are called
                `<metric>/<label>`, such as `f1/Marine waters`.
        """
        for sink in self._sinks:
            sink.scalars(name, iteration, scalars, per_class)

    def write_figures(
        self, name: str, iteration: int, figures: Mapping[str, Figure]
    ) -> None:
        """Adds pictures by their captions."""
        for caption, figure in figures.items():
            png = pictures.to_png(figure, dpi=_PICTURE_DPI)
            self.write_png(name, iteration, caption, png)

    def write_png(self, name: str, iteration: int, caption: str, png: bytes) -> None:
        """Adds a picture that is an encoded PNG."""
        for sink in self._sinks:
            sink.picture(name, iteration, caption, png)

    def write_histograms(
        self, name: str, iteration: int, values: Mapping[str, ArrayLike]
    ) -> None:
        """Adds the distribution of the values under each tag."""
        for sink in self._sinks:
            sink.histograms(name, iteration, values)

    def close(self) -> None:
        """Closes all files."""
        for sink in self._sinks:
            sink.close()


class _History(sinks.Sink):
    """The lines of history.jsonl."""

    def __init__(self, out_dir: Path, iteration: int | None) -> None:
        self._path = out_dir / "history.jsonl"
        if self._path.exists():
            # Also mends the end: the next line may not go on with half a line.
            kept = [
                point
                for point in read_history(out_dir)
                if iteration is None or point["iteration"] <= iteration
            ]
            files.write_text(self._path, "".join(map(_line, kept)))

    def scalars(
        self,
        name: str,
        iteration: int,
        scalars: Mapping[str, float],
        per_class: sinks.PerClass,
    ) -> None:
        """Adds a line."""
        values = {**scalars, **sinks.flat(per_class)}
        point = {"split": name, "iteration": iteration, **values}
        with (
            disk.room_for(self._path),
            self._path.open("a", encoding="utf-8") as file,
        ):
            file.write(_line(point))


def read_history(out_dir: Path, strict: bool = False) -> list[dict[str, Any]]:
    """Returns the points of history.jsonl in their order; none without the file.

    Half a line at its end, where the process was killed while it wrote, is left out.

    Args:
        out_dir: folder of the run.
        strict: whether to refuse other lines that are no points; else they are left
            out with a warning.

    Raises:
        ValueError: such a line; says which.
    """
    path = out_dir / "history.jsonl"
    if not path.exists():
        return []
    # As other programs may save it: with a byte order mark, and blank lines.
    lines = path.read_text(encoding="utf-8-sig", errors="replace").split("\n")
    # Without its end a line is not complete, even where it happens to parse.
    points, complete = [], lines[:-1]
    for number, line in enumerate(complete, 1):
        if not line.strip():
            continue
        point = _parse(line)
        if point is not None:
            points.append(point)
            continue
        fault = (
            f"{path}: line {number} of {len(complete)} is not a point of a history "
            '({"split": ..., "iteration": ..., ...})'
        )
        if strict:
            raise ValueError(f"{fault}; repair it, or take the line out")
        logger.warning("%s; it is left out", fault)
    return points


def overall(metrics: Mapping[str, float]) -> dict[str, float]:
    """Returns metrics without those of single labels by number.

    Logs have the main ones by the labels' names; evaluation lists all in a table.
    """
    return {key: v for key, v in metrics.items() if not _PER_LABEL.search(key)}


def _parse(line: str) -> dict[str, Any] | None:
    """Returns the point of a line, or None if it is none."""
    try:
        point = json.loads(line)
    except json.JSONDecodeError:
        return None
    is_point = (
        isinstance(point, dict)
        and isinstance(point.get("split"), str)
        and isinstance(point.get("iteration"), int)
    )
    return point if is_point else None


def _line(point: Mapping[str, Any]) -> str:
    finite = {
        key: value if not isinstance(value, float) or math.isfinite(value) else None
        for key, value in point.items()
    }
    return json.dumps(finite) + "\n"


def write_test(
    out_dir: Path,
    iteration: int,
    metrics: Mapping[str, float],
    shown: Iterable[tuple[str, bytes]],
) -> None:
    """Adds what an evaluation measured, and its pictures, to `logs/test`.

    Args:
        out_dir: folder of the run.
        iteration: of the checkpoint.
        metrics: by their names.
        shown: captions and PNGs; a caption counts up to its first semicolon.
    """
    log = RunLog(out_dir)
    log.write("test", iteration, dict(metrics))
    for caption, png in shown:
        log.write_png("test", iteration, f"report/{caption.split(';')[0]}", png)
    log.close()
