r"""Genuine pairs of an LMDB of BigEarthNet v2 through every step, with baselines.

  PYTHONPATH=. python benchmarks/real_pairs.py --lmdb FOLDER \
      --metadata metadata.parquet metadata_for_patches_with_snow_cloud_or_shadow.parquet

Records, a classification and a contrastive training with their evaluations, and a map
of the test patches laid side by side where they belong. All is done by the commands
that a user types, in a folder of its own. The numbers are what so few patches give.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from conversion import RESULTS, machine
from numpy.typing import NDArray

from bigearthnet_tf import console
from bigearthnet_tf.archive import bands, labels, lmdb_store, metadata, names, spatial
from bigearthnet_tf.archive.patch import Patch

ROOT = Path(__file__).parents[1]
RESULT = RESULTS / "real_pairs.md"
SENSORS = {"S2": "Sentinel-2", "S1": "Sentinel-1", "MM": "both"}
SCORES = {
    "macro_average_precision": "macro AP",
    "micro_average_precision": "micro AP",
    "micro_f1_score": "micro F1",
    "label_ranking_avg_precision": "label ranking AP",
}
HITS = {
    f"{way}_{metric}@5": f"{way.replace('_', '→').upper()} {metric.upper()}"
    for way in ("s1_s2", "s2_s1")
    for metric in ("map", "ndcg")
}
_COMMON = {
    "model_name": "resnet_small",
    "label_type": "BigEarthNet-19",
    "shuffle_buffer_size": 8,
    "batch_size": 8,
    "learning_rate": 0.003,
    "augmentation": ["flips", "quarter_turns"],
    "baselines": True,
    "seed": 42,
}


def main() -> None:
    """Runs the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lmdb", type=Path, required=True)
    parser.add_argument("--metadata", type=Path, nargs="+", required=True)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--write", action="store_true", help=f"into {RESULT}")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = ("--lmdb", arguments.lmdb.absolute())
        tables = [path.absolute() for path in arguments.metadata]
        script(folder, "prep_splits", *source, "--metadata", *tables, "-o", "records")
        learnt = {
            sensor: train(folder, sensor, modality=sensor, nb_epoch=arguments.epochs)
            for sensor in SENSORS
        }
        found = train(
            folder,
            "contrastive",
            task="contrastive",
            encoders="joint",
            modality="MM",
            nb_epoch=arguments.epochs,
            retrieval_k=[1, 5],
        )
        patches = read_split(arguments.lmdb, tables, "test")
        lay_out(patches, folder / "scene")
        script(
            folder,
            *("bigearthnet-tf", "map", "MM", "scene", "--s1", "scene", "-o", "map.tif"),
            *("--picture", "map.png"),
        )
        text = report(folder, learnt, found)
    print(text)
    if arguments.write:
        RESULT.write_text(text)


def script(folder: Path, name: str, *arguments: object) -> None:
    """Runs a script or `bigearthnet-tf` in the folder."""
    module = name == "bigearthnet-tf"
    program = ["-m", "bigearthnet_tf.cli"] if module else [ROOT / f"{name}.py"]
    subprocess.run([sys.executable, *program, *arguments], check=True, cwd=folder)


def train(folder: Path, name: str, **keys: object) -> dict[str, dict[str, Any]]:
    """Trains and evaluates; returns the scores of the model and of its baselines."""
    splits = {"tr": "train", "val": "val", "test": "test"}
    records = {
        f"{key}_tf_record_files": [f"records/{split}-*.tfrecord"]
        for key, split in splits.items()
    }
    config = folder / f"{name}.json"
    config.write_text(json.dumps(_COMMON | records | keys | {"out_dir": name}))
    script(folder, "train", config.name)
    script(folder, "eval", config.name)
    result, baselines = (
        json.loads((folder / name / f"eval_{part}.json").read_text())
        for part in ("result", "baselines")
    )
    return {"trained": result, **baselines}


def read_split(lmdb: Path, tables: Sequence[Path], split: str) -> list[Patch]:
    """Reads the pairs of a split."""
    known = metadata.read_tables(tables)
    archive = lmdb_store.open_lmdb(lmdb, known, reference_maps=False)
    entries = metadata.entries_from_metadata(known, split)
    return [archive.read(entry) for entry in entries]


def lay_out(patches: Sequence[Patch], folder: Path) -> None:
    """Writes the bands of neighbouring patches as GeoTIFFs, each patch in its place.

    Only the tile with most patches is written; where none is, there is no data.
    """
    parsed = [names.parse_name(patch.name_s2) for patch in patches]
    tiles = [name.tile for name in parsed]
    tile = max(set(tiles), key=tiles.count)
    chosen = [
        (name.column, name.row, patch)
        for name, patch in zip(parsed, patches, strict=True)
        if name.tile == tile and name.column < 30
    ]
    left, top = (min(place[axis] for place in chosen) for axis in (0, 1))
    wide, high = (
        max(place[axis] for place in chosen) - first + 1
        for axis, first in ((0, left), (1, top))
    )
    west, north = spatial.tile_origin(tile)
    west += left * spatial.PATCH_METRES
    north -= top * spatial.PATCH_METRES
    folder.mkdir()
    for band, first in patches[0].bands.items():
        side = first.shape[0]
        missing = np.nan if first.dtype == np.float32 else 0
        scene = np.full((high * side, wide * side), missing, first.dtype)
        for column, row, patch in chosen:
            y, x = (row - top) * side, (column - left) * side
            scene[y : y + side, x : x + side] = patch.bands[band]
        write(folder / f"{band}.tif", scene, (west, north), f"EPSG:326{tile[:2]}")


def write(
    path: Path, scene: NDArray[Any], corner: tuple[float, float], crs: str
) -> None:
    """Writes one band; its pixel size is that of the band."""
    metres = bands.BANDS[path.stem].metres
    transform = rasterio.Affine(metres, 0, corner[0], 0, -metres, corner[1])
    height, width = scene.shape
    profile = {"count": 1, "height": height, "width": width, "dtype": scene.dtype}
    with rasterio.open(
        path, "w", driver="GTiff", crs=crs, transform=transform, **profile
    ) as dataset:
        dataset.write(scene, 1)


def report(
    folder: Path,
    learnt: dict[str, dict[str, dict[str, Any]]],
    found: dict[str, dict[str, Any]],
) -> str:
    """Returns the tables as Markdown."""
    counts = {
        split: json.loads((folder / f"records/{split}.manifest.json").read_text())
        for split in ("train", "val", "test")
    }
    numbers = ", ".join(f"{m['num_records']} {split}" for split, m in counts.items())
    lines = ["# Genuine pairs\n", f"{machine()} Records: {numbers}.\n"]
    lines += ["## Classification\n", header(SCORES.values())]
    for sensor, scores in learnt.items():
        for who, values in scores.items():
            label = f"{SENSORS[sensor]}, {who}"
            lines.append(row(label, [values.get(key) for key in SCORES]))
    lines += ["\n## Retrieval\n", header(HITS.values())]
    for who, values in found.items():
        lines.append(row(who, [values.get(key) for key in HITS]))
    lines.append(f"\n## Map\n\n{describe_map(folder / 'map.tif')}\n")
    return "\n".join(lines)


def describe_map(path: Path) -> str:
    """Returns size and most frequent labels of a map of best labels."""
    with rasterio.open(path) as dataset:
        best, valid = dataset.read(1), dataset.read_masks(1) > 0
        size = f"{dataset.width} x {dataset.height} pixels of {dataset.res[0]:.0f} m"
    order = labels.LABELS[labels.BIGEARTHNET_19]
    codes, counts = np.unique(best[valid], return_counts=True)
    shares = ", ".join(
        f"{order[code]} {count / counts.sum():.0%}"
        for code, count in sorted(zip(codes, counts, strict=True), key=lambda x: -x[1])
    )
    return f"{size}, {valid.mean():.0%} with data: {shares}."


def header(columns: Any) -> str:
    """Returns the head of a table."""
    columns = list(columns)
    return f"| | {' | '.join(columns)} |\n|--|{'--:|' * len(columns)}"


def row(label: str, values: Sequence[float | None]) -> str:
    """Returns a row of numbers; what was not measured stays empty."""
    cells = ["" if value is None else f"{value:.3f}" for value in values]
    return f"| {label} | {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
