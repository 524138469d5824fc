"""What runs have written down of their training: history.jsonl, or event files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.evaluation import event_files
from bigearthnet_tf.training import logs

_HISTORY = "history.jsonl"
# Of a table of curves.
COLUMNS = ("run", "split", "iteration", "measure", "value")


@dataclass(frozen=True)
class Run:
    """What a run has written down.

    Attributes:
        name: by which it is told from the others.
        folder: of the run.
        points: of its history, each with `split` and `iteration`.
        config: with which it was started last; empty if it is not there.
        unit: what its points are counted in; `step` where nobody says.
    """

    name: str
    folder: Path
    points: Sequence[Mapping[str, Any]]
    config: Mapping[str, Any] = field(default_factory=dict)
    unit: str = "iteration"

    def series(self, split: str, measure: str) -> NDArray[np.float64]:
        """Returns (points, 2): iterations and finite values; (0, 2) for none."""
        pairs = [
            (point["iteration"], point[measure])
            for point in self.points
            if point["split"] == split and isinstance(point.get(measure), int | float)
        ]
        return np.array(pairs, np.float64).reshape(-1, 2)

    def measures(self, split: str) -> list[str]:
        """Returns what was measured, in the order in which it was written."""
        found = {
            key: None
            for point in self.points
            if point["split"] == split
            for key in point
        }
        return [key for key in found if key not in ("split", "iteration")]

    @property
    def iterations(self) -> int:
        """The last iteration that was written down."""
        return max(point["iteration"] for point in self.points)


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """Reads what runs have written down: their histories, else their event files.

    Args:
        folders: of runs; one without a history stands for all runs below it that left
            event files of TensorBoard.

    Raises:
        FileNotFoundError: no such folder, or one without a history and event files.
        ValueError: a history that is empty or damaged, event files that are none, or
            a folder given twice.
    """
    _check_distinct(folders)
    found = [run for folder in folders for run in _find_runs(folder)]
    _check_distinct([folder for folder, _ in found])
    names = [folder.resolve().name for folder, _ in found]
    return [
        _read_run(folder, name if names.count(name) == 1 else str(folder), events)
        for (folder, events), name in zip(found, names, strict=True)
    ]


def _check_distinct(folders: Sequence[Path]) -> None:
    places = [folder.resolve() for folder in folders]
    for place, folder in zip(places, folders, strict=True):
        if places.count(place) > 1:
            raise ValueError(f"{folder}: this run was given twice")


def _find_runs(folder: Path) -> list[tuple[Path, list[Path]]]:
    """Returns the runs that a folder stands for, with the event files of each."""
    files.check_unpacked(folder, "the folder of a run")
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder}: no such folder; give the out_dir of a run of train.py, or a "
            "folder with event files of TensorBoard"
        )
    path = folder / _HISTORY
    if path.is_file():
        return [(folder, [])]
    found = event_files.find_runs(folder)
    if not found:
        raise FileNotFoundError(
            f"{path}: not there, nor event files of TensorBoard; give the out_dir of a "
            "run of train.py that has written its first point, or a folder with such "
            "files"
        )
    return list(found.items())


def _read_run(folder: Path, name: str, events: Sequence[Path]) -> Run:
    path = folder / _HISTORY
    if path.is_file():
        points, unit = logs.read_history(folder, strict=True), "iteration"
    else:
        points, unit, path = event_files.read(events), "step", folder
    if not any(point["split"] in ("training", "validation") for point in points):
        what = "the run has logged one" if path.name == _HISTORY else "there is one"
        raise ValueError(
            f"{path}: no scalar of training or validation in it; wait until {what}"
        )
    config = folder / "config.json"
    content = files.read_json(config) if config.exists() else {}
    if not isinstance(content, dict):
        raise ValueError(f"{config}: expected keys and values, got {content!r:.40}")
    return Run(name, folder, points, content, unit)


def epochs_per_iteration(run: Run) -> float:
    """Returns the share of an epoch that an iteration is, which checkpoints tell.

    Raises:
        ValueError: there is no checkpoint that does.
    """
    for path in run.folder.glob("checkpoints/*/description.json"):
        progress = files.read_json(path).get("progress", {})
        if "training_records" in progress:
            batch_size = progress["config"]["batch_size"]
            return float(batch_size / progress["training_records"])
    raise ValueError(
        f"{run.folder}: no checkpoint says how many training records there were; "
        "draw against iterations instead"
    )


def as_csv(runs: Sequence[Run]) -> str:
    """Returns all points of runs as a table with `COLUMNS`, a line a value."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    for run in runs:
        for split in dict.fromkeys(point["split"] for point in run.points):
            for measure in run.measures(split):
                for iteration, value in run.series(split, measure):
                    row = (run.name, split, int(iteration), measure, float(value))
                    table.writerow(row)
    return text.getvalue()
