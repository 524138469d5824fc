r"""Maps of tiles: pixels a second, and peak memory at one and four times the area.

  PYTHONPATH=. python benchmarks/tile_maps.py --write

Generated tiles of 73 dates or so are mapped to classes and embeddings in bytes, from
folders and from block records, by an encoder with the weights that it begins with. The
baseline is btfm's way, rewritten from its description, with the same
encoder: the tile in memory, the dates of each pixel drawn by NumPy in turn, batches of
512, the results in arrays of the tile's size. Each in a fresh process.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from conversion import RESULTS, machine, peak_memory
from time_series_input import write_records

from bigearthnet_tf import console, files
from bigearthnet_tf.archive import tile_sample, tiles

SIDES = (256, 512)
DATES = 73
# Pixels that scales are fitted on: fewer than the smallest tile has, so that all tiles
# have the same beside their own pixels.
SAMPLE = 20_000
# As btfm has it.
OLD_BATCH, MIN_VALID = 512, 32

# Seconds from the loading of the model on, those of the processor, bytes at the peak.
Taken = tuple[float, float, int]

OLD = "older way, tile in memory"
FOLDER, RECORDS = "mapped from a folder", "mapped from block records"


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sides", type=int, nargs="+", default=SIDES, metavar="PIXELS")
    parser.add_argument("--model", default="pixel_mlp", help="encoder (pixel_mlp)")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS}")
    return parser.parse_args()


def write_run(folder: Path, shards: list[str], model: str) -> Path:
    """Writes a run whose only checkpoint has the weights that it begins with."""
    console.load_tensorflow()
    from bigearthnet_tf import config as configs
    from bigearthnet_tf.tasks import base
    from bigearthnet_tf.training.checkpoints import CheckpointFolder
    from bigearthnet_tf.training.state import State

    config = configs.from_dict(
        {
            "task": "land_cover",
            "loss": "softmax_cross_entropy",
            "model_name": model,
            "out_dir": str(folder),
            "tr_tf_record_files": shards,
        }
    )
    task = base.open_task(config)
    saved = CheckpointFolder(folder / "checkpoints", task.describe())
    state = State(task.build_model())
    saved.save(state, 0, progress={"config": config.model_dump()})
    saved.wait()
    return folder


def map_tile(run: Path, source: Path, out: Path) -> None:
    """Maps a tile, one draw of the dates of each pixel."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import maps

    start = time.perf_counter(), time.process_time()
    options = {"int8": True, "draws": 1, "sample_size": SAMPLE}
    maps.make_map(run, source, out, kind=["class", "embedding"], **options)
    keep_time(out, start)


def map_in_memory(run: Path, source: Path, out: Path) -> None:
    """The baseline; it writes arrays, and no GeoTIFF."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import pixel_run

    out.mkdir()
    start = time.perf_counter(), time.process_time()
    model = pixel_run.load(run, "last")
    size = model.sample_size
    bands, masks = np.load(source / "bands.npy"), np.load(source / "masks.npy")
    doys = np.load(source / "doys.npy")
    classes = np.zeros(masks.shape[1:], np.int64)
    embeddings = np.zeros((*masks.shape[1:], model.dimensions), np.float32)
    rng = np.random.default_rng()
    places = np.argwhere(masks.sum(axis=0) > MIN_VALID)
    for first in range(0, len(places), OLD_BATCH):
        part = places[first : first + OLD_BATCH]
        dates = [
            np.sort(rng.choice(np.flatnonzero(masks[:, row, column]), size, False))
            for row, column in part
        ]
        series = np.stack(
            [
                bands[d, row, column]
                for d, (row, column) in zip(dates, part, strict=True)
            ]
        )
        found, scores = model.forward(
            {
                "bands": series,
                "doy": doys[np.array(dates)].astype(np.uint16),
                "mask": np.ones(series.shape[:2], np.uint8),
            }
        )
        for (row, column), embedding, score in zip(part, found, scores, strict=True):
            embeddings[row, column] = embedding
            classes[row, column] = score.argmax()
    np.save(out / "classes.npy", classes)
    np.save(out / "embeddings.npy", embeddings)
    keep_time(out, start)


def keep_time(out: Path, start: tuple[float, float]) -> None:
    """Leaves the seconds since then, and those of the processor, beside the map."""
    taken = time.perf_counter() - start[0], time.process_time() - start[1]
    files.write_json(Path(f"{out}.seconds"), taken)


def measure(
    work: Callable[[Path, Path, Path], None], run: Path, source: Path, out: Path
) -> Taken:
    """Returns seconds, those of the processor, and peak memory in bytes."""
    peak = peak_memory(work, run, source, out)
    elapsed, used = files.read_json(Path(f"{out}.seconds"))
    return elapsed, used, peak


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    found: dict[tuple[str, int], list[Taken]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources: dict[int, dict[str, Path]] = {}
        for side in arguments.sides:
            root = tile_sample.write_tiles(
                folder / str(side), tiles=1, size=side, dates=DATES
            )
            shards = write_records(root, folder / f"records_{side}", 32)
            tile = tiles.find_tiles(root)[0]
            records = folder / f"records_{side}"
            sources[side] = {OLD: tile, FOLDER: tile, RECORDS: records}
        run = write_run(folder / "run", shards, arguments.model)
        for number in range(arguments.rounds):
            for side in arguments.sides:
                for title, source in sources[side].items():
                    out = folder / f"{side}-{title}-{number}"
                    work = map_in_memory if title == OLD else map_tile
                    taken = measure(work, run, source, out)
                    found.setdefault((title, side), []).append(taken)
                    print(f"{title}, {side}: {taken[0]:.1f} s, {taken[2] / 1e6:.0f} MB")
    text = report(arguments, found)
    print(f"\n{text}")
    if arguments.write:
        files.write_text(RESULTS / "tile_maps.md", text + "\n")


def report(
    arguments: argparse.Namespace, found: dict[tuple[str, int], list[Taken]]
) -> str:
    """Returns the page of results."""
    columns = "tile | pixels/s | times the older way | processor, us a pixel | peak, MB"
    lines = [
        f"| | {columns} | to the smallest |",
        "|--|--:|--:|--:|--:|--:|--:|",
    ]
    for (title, side), values in found.items():
        first = found[title, arguments.sides[0]]
        elapsed, used, peak = (statistics.median(x) for x in zip(*values, strict=True))
        # Rounds in turn: each has its own ratio.
        ratio = statistics.median(
            old[0] / own[0] for old, own in zip(found[OLD, side], values, strict=True)
        )
        least = statistics.median(value[2] for value in first)
        lines.append(
            f"| {title} | {side} x {side} | {side**2 / elapsed:.0f} | {ratio:.2f} | "
            f"{1e6 * used / side**2:.0f} | {peak / 1e6:.0f} | {peak / least:.3f} |"
        )
    lines += [
        "",
        (
            "The pixels by which the largest tile exceeds the smallest, without what "
            "any map takes (model, pictures, ...):"
        ),
        "",
        "| | pixels/s | times the older way | processor, us a pixel |",
        "|--|--:|--:|--:|",
    ]
    low, high = arguments.sides[0], arguments.sides[-1]
    gaps = {
        title: [
            (large[0] - small[0], large[1] - small[1])
            for small, large in zip(found[title, low], found[title, high], strict=True)
        ]
        for title in (OLD, FOLDER, RECORDS)
    }
    for title, values in gaps.items():
        elapsed, used = (statistics.median(x) for x in zip(*values, strict=True))
        ratio = statistics.median(
            old[0] / own[0] for old, own in zip(gaps[OLD], values, strict=True)
        )
        more = high**2 - low**2
        lines.append(
            f"| {title} | {more / elapsed:.0f} | {ratio:.2f} | "
            f"{1e6 * used / more:.0f} |"
        )
    about = (
        f"{machine(('tensorflow', 'keras', 'rasterio'))} {arguments.model}, 16 dates "
        f"of each pixel drawn once; of ours also the {SAMPLE:,} pixels that scales "
        "are fitted on, pictures, the report and the stability, for which pixels are "
        f"encoded again. Medians, rounds in turn: {arguments.rounds}. Each in a fresh "
        "process with TensorFlow, timed from the loading of the model on."
    )
    return "\n\n".join(["# Maps of tiles", about, "\n".join(lines)])


if __name__ == "__main__":
    main()
