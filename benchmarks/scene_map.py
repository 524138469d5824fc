r"""Maps of scenes: peak memory at one and four times the area, and windows a second.

  PYTHONPATH=. python benchmarks/scene_map.py --write

A scene of ten bands of noise, as tiled GeoTIFFs, of a quarter of a Sentinel-2 tile and
of a whole one (10,980 x 10,980 pixels of 10 m), mapped to scores of 19 labels with a
small network, so that what is measured is the way to it and back. The baseline holds
the scene in memory, cuts the same windows, and gives them to the same network, without
blending or writing. Each in a fresh process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from conversion import RESULTS, machine, peak_memory

from bigearthnet_tf import console, files
from bigearthnet_tf.archive import bands as band_facts

SIDES = (5490, 10980)
LABELS = 19
BATCH_SIZE = 64


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--sides", type=int, nargs="+", default=SIDES, metavar="PIXELS", help="of 10 m"
    )
    parser.add_argument("--stride", type=int, default=600, metavar="METRES")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS}")
    return parser.parse_args()


def write_scene(folder: Path, side: int) -> Path:
    """Writes a GeoTIFF for each band, rows at a time."""
    folder.mkdir()
    rng = np.random.default_rng(side)
    for name in band_facts.resolve_bands("s2"):
        metres = band_facts.BANDS[name].metres
        pixels = -(-side * 10 // metres)
        profile = {
            "driver": "GTiff",
            "crs": "EPSG:32629",
            "transform": Affine(metres, 0, 600000, 0, -metres, 5900040),
            "count": 1,
            "height": pixels,
            "width": pixels,
            "dtype": "uint16",
            "tiled": True,
            "blockxsize": 512,
            "blockysize": 512,
        }
        with rasterio.open(folder / f"scene_{name}.tif", "w", **profile) as dataset:
            for row in range(0, pixels, 512):
                rows = min(512, pixels - row)
                part = rng.integers(0, 4000, (1, rows, pixels), dtype=np.uint16)
                window = rasterio.windows.Window(0, row, pixels, rows)
                dataset.write(part, window=window)
    return folder


def write_run(folder: Path) -> Path:
    """Writes a run whose only checkpoint has the weights that it begins with."""
    console.load_tensorflow()
    from bigearthnet_tf import config as configs
    from bigearthnet_tf.tasks import base
    from bigearthnet_tf.training.checkpoints import CheckpointFolder
    from bigearthnet_tf.training.state import State

    config = configs.from_dict(
        {
            "model_name": "resnet_test",
            "label_type": "BigEarthNet-19",
            "bands": list(band_facts.resolve_bands("s2")),
            "image_size": 32,
            "statistics": "v2_120_nearest",
            "out_dir": str(folder),
            "tr_tf_record_files": ["none"],
        }
    )
    task = base.open_task(config)
    saved = CheckpointFolder(folder / "checkpoints", task.describe())
    state = State(task.build_model())
    saved.save(state, 0, progress={"config": config.model_dump()})
    saved.wait()
    return folder


def map_scene(run: Path, scene: Path, out: Path, stride: int) -> None:
    """Makes the map."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import maps

    start = time.perf_counter()
    maps.make_map(
        run, scene, out, output="scores", stride=stride, batch_size=BATCH_SIZE
    )
    keep_time(out, start)


def keep_time(out: Path, start: float) -> None:
    """Leaves the seconds since then beside the map."""
    files.write_text(f"{out}.seconds", str(time.perf_counter() - start))


def only_load(run: Path, scene: Path, out: Path, stride: int) -> None:
    """Loads the model and scores one batch: what there is before any scene."""
    del scene, stride
    console.load_tensorflow()
    from bigearthnet_tf.serving import trained

    start = time.perf_counter()
    score_noise(trained.load(run))
    keep_time(out, start)


def score_noise(model: Any) -> None:
    """Scores a batch of nothing."""
    groups = {
        name: np.zeros(
            (BATCH_SIZE, len(own), *(2 * (band_facts.BANDS[own[0]].pixels,))), np.uint16
        )
        for name, own in band_facts.group_bands(model.bands).items()
    }
    model.score(groups)


def map_in_memory(run: Path, scene: Path, out: Path, stride: int) -> None:
    """The baseline."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import trained, windows

    start = time.perf_counter()
    model = trained.load(run)
    whole = {}
    for name in model.bands:
        with rasterio.open(scene / f"scene_{name}.tif") as dataset:
            whole[name] = dataset.read(1)
            height, width = dataset.height, dataset.width
            step = band_facts.BANDS[name].metres // 10
            whole[name] = np.pad(whole[name], ((0, 120), (0, 120)))
    height, width = height * step, width * step
    places = [
        (row, column)
        for row in windows.offsets(height, stride // 10)
        for column in windows.offsets(width, stride // 10)
    ]
    for first in range(0, len(places), BATCH_SIZE):
        groups = {}
        for group, own in band_facts.group_bands(model.bands).items():
            step = band_facts.BANDS[own[0]].metres // 10
            groups[group] = np.stack(
                [
                    [
                        whole[name][
                            row // step : (row + 120) // step,
                            column // step : (column + 120) // step,
                        ]
                        for name in own
                    ]
                    for row, column in places[first : first + BATCH_SIZE]
                ]
            )
        model.score(groups)
    keep_time(out, start)


def measure(
    work: Callable[..., None], run: Path, scene: Path, out: Path, stride: int
) -> tuple[float, int]:
    """Returns seconds from the loading of the model on, and peak memory in bytes."""
    peak = peak_memory(work, run, scene, out, stride)
    return float(Path(f"{out}.seconds").read_text()), peak


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    works = {"mapped block by block": map_scene, "scene in memory": map_in_memory}
    found: dict[tuple[str, int], list[tuple[float, int]]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        run = write_run(folder / "run")
        base = measure(only_load, run, folder, folder / "none", 0)
        for side in arguments.sides:
            scene = write_scene(folder / str(side), side)
            for number in range(arguments.rounds):
                for title, work in works.items():
                    out = folder / f"{side}-{number}.tif"
                    taken = measure(work, run, scene, out, arguments.stride)
                    found.setdefault((title, side), []).append(taken)
                    print(f"{title}, {side}: {taken[0]:.1f} s, {taken[1] / 1e6:.0f} MB")
    from bigearthnet_tf.serving import windows

    lines = [
        "| | scene | windows | seconds | windows/s | peak, MB | to the smallest |",
        "|--|--:|--:|--:|--:|--:|--:|",
        f"| model alone | | | {base[0]:.1f} | | {base[1] / 1e6:.0f} | |",
    ]
    for (title, side), values in found.items():
        seconds = statistics.median(value[0] for value in values)
        peak = statistics.median(value[1] for value in values)
        least = statistics.median(
            value[1] for value in found[title, arguments.sides[0]]
        )
        count = len(windows.offsets(side, arguments.stride // 10)) ** 2
        lines.append(
            f"| {title} | {side} x {side} | {count} | {seconds:.1f} | "
            f"{count / seconds:.0f} | {peak / 1e6:.0f} | "
            f"{peak / least:.3f} |"
        )
    made_of = machine(("tensorflow", "keras", "rasterio"))
    about = (
        f"{made_of} Ten bands, scores of {LABELS} labels, windows {arguments.stride} m "
        f"apart, batches of {BATCH_SIZE}, a small network (`resnet_test` at 32 "
        f"pixels); medians, rounds in turn: {arguments.rounds}. Each in a fresh "
        "process, timed from the loading of the model on."
    )
    text = "\n\n".join(["# Maps of scenes", about, "\n".join(lines)])
    print(f"\n{text}")
    if arguments.write:
        files.write_text(RESULTS / "scene_map.md", text + "\n")


if __name__ == "__main__":
    main()
