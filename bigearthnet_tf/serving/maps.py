"""Which map a run makes: that of its task.

A task has its maps by one line in `MAPPERS`: a module with `make_map(request)`, which
writes the map and returns lines for the user, and the options that it knows.
"""

from __future__ import annotations

import hashlib
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.registry import Registry
from bigearthnet_tf.training import checkpoints, descriptions

OF_SCENES = (
    "s1",
    "output",
    "stride",
    "pixel",
    "dtype",
    "thresholds",
    "nodata",
    "scale",
    "offset",
    "batch_size",
    "block_size",
    "picture",
)
OF_TILES = (
    "kind",
    "tile",
    "draws",
    "min_valid",
    "seed",
    "int8",
    "pca",
    "sample_size",
    "crs",
    "transform",
    "dn_offset",
    "block_size",
)


@dataclass(frozen=True)
class Request:
    """A map that somebody wants.

    Attributes:
        run: folder of a run, or of one of its checkpoints.
        checkpoint: folder of the checkpoint.
        task: of the run.
        source: what to map.
        out: where to write it.
        options: those of the command line that were given, by name.
    """

    run: Path
    checkpoint: Path
    task: str
    source: Path
    out: Path
    options: Mapping[str, Any]


@dataclass(frozen=True)
class Mapper:
    """Who makes the maps of a task.

    Attributes:
        module: of this package, imported when a map is made.
        options: of the command line that it knows.
    """

    module: str
    options: tuple[str, ...]


MAPPERS: Registry[Mapper] = Registry("task with a map")
MAPPERS.add("classification", Mapper("serving.scene_map", OF_SCENES))
# The scores of a pixel's labels add up to one: no threshold says which it has.
MAPPERS.add(
    "segmentation",
    Mapper("serving.label_map", tuple(o for o in OF_SCENES if o != "thresholds")),
)
MAPPERS.add("barlow_twins", Mapper("serving.series_map", OF_TILES))
MAPPERS.add("land_cover", Mapper("serving.series_map", OF_TILES))


def make_map(
    run: Path | str,
    source: Path | str,
    out: Path | str,
    *,
    checkpoint: str = "best",
    **options: Any,
) -> list[str]:
    """Makes the map of a run.

    Args:
        run: folder of a run, or of one of its checkpoints.
        source: what to map: a scene, or a tile of a time series.
        out: where to write it.
        checkpoint: `best` or `last`, for a run.
        **options: of the maps of that task.

    Returns:
        Lines for the user.

    Raises:
        FileNotFoundError: there is no run, or no source.
        ValueError: the task has no map, or does not know an option.
    """
    path = _find(Path(run), checkpoint)
    task = str(descriptions.read(path).get("task"))
    if task not in MAPPERS.names():
        raise ValueError(
            f"{run}: a run of task {task!r} has no map; those of "
            f"{', '.join(MAPPERS.names())} have"
        )
    mapper = MAPPERS.get(task)
    idle = sorted(set(options) - set(mapper.options))
    if idle:
        raise ValueError(
            f"--{idle[0].replace('_', '-')} is not for the maps of task {task!r}; "
            f"they know {', '.join('--' + o.replace('_', '-') for o in mapper.options)}"
        )
    module = importlib.import_module(f"bigearthnet_tf.{mapper.module}")
    request = Request(Path(run), path, task, Path(source), Path(out), options)
    return list(module.make_map(request))


def hash_of(*parts: Any) -> str:
    """Returns a hash of what a map follows from, as a key of `ResumableRaster`.

    Args:
        *parts: whatever JSON has.
    """
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def stamp(path: Path) -> list[Any]:
    """Returns what changes when a file is written again."""
    facts = path.stat()
    return [str(path.resolve()), facts.st_size, facts.st_mtime_ns]


def _find(run: Path, which: str) -> Path:
    """Returns the folder of a checkpoint."""
    if (run / "description.json").is_file():
        return run
    files.check_unpacked(run, "the folder of a run")
    if not (run / "checkpoints").is_dir():
        raise FileNotFoundError(
            f"{run}: expected the folder of a run or of one of its checkpoints, but "
            f"{'it has no checkpoints' if run.is_dir() else 'there is none'}"
        )
    return checkpoints.CheckpointFolder(run / "checkpoints", {}).find(which)
