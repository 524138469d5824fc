r"""Pixel time series to batches of views: `bigearthnet_tf` against the older sampler.

  PYTHONPATH=. python benchmarks/time_series_input.py --write

Tiles are generated; both read the same.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conversion
import old_series
import series_draws
from conversion import Case

from bigearthnet_tf import console, files
from bigearthnet_tf.archive import tile_sample, tiles

if TYPE_CHECKING:
    import tensorflow as tf

BATCH = 256
DATES = 73  # of the tile that btfm quotes
TARGET = 20

OLD = "older sampler, 1 process"
OLD_MANY = "older sampler, {} processes that send nothing"
BARE = "bare reading of the records"
OURS = "bigearthnet_tf, {} of each block of {} x {}"
# What records and configs have unless told otherwise, and what else they may have.
DEFAULT = (32, 1024)
OTHERS = ((32, 512), (64, None), (64, 1024), (64, 512))


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__ or "", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=192, help="of a tile (192)")
    parser.add_argument("--tiles", type=int, default=4, help="number (4)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument("--seconds", type=float, default=2, help="of a case (2)")
    parser.add_argument("--json", type=Path, help="file for every single number")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into benchmarks/results"
    )
    return parser.parse_args()


def write_records(root: Path, out: Path, side: int) -> list[str]:
    """Converts tiles into blocks of `side` pixels; returns the shards."""
    from bigearthnet_tf.records import block_plan, block_writer

    opened = [tiles.open_tile(path) for path in tiles.find_tiles(root)]
    areas = block_plan.by_tiles(opened)["train"]
    plan = block_plan.plan_blocks(
        "train", areas, tiles.classes_of(tiles.find_tiles(root)), str(root), side=side
    )
    block_writer.write_blocks(opened, [plan], out)
    return sorted(map(str, out.glob("*.tfrecord")))


def measure(
    name: str,
    processor: dict[str, list[float]],
    open_batches: Callable[[], Any],
    size: int,
    seconds: float,
) -> float:
    """Draws batches for some seconds and returns pixels a second.

    Args:
        name: of the case.
        processor: gets the microseconds of processor time a pixel, of all threads.
        open_batches: what to draw from.
        size: pixels of a batch.
        seconds: how long.
    """
    batches = iter(open_batches())
    next(batches)
    _draw(batches, seconds / 2)
    begun = time.process_time()
    count, elapsed = _draw(batches, seconds)
    used = time.process_time() - begun
    processor.setdefault(name, []).append(used / (count * size) * 1e6)
    return count * size / elapsed


def measure_old(
    name: str, processor: dict[str, list[float]], folders: Sequence[Path], count: int
) -> float:
    """Returns the pixels a second of processes of the older sampler; as `measure`."""
    rate, used = old_series.measure_processes(folders, BATCH, count)
    processor.setdefault(name, []).append(used)
    return rate


def _draw(batches: Iterator[Any], seconds: float) -> tuple[int, float]:
    """Returns the number of batches drawn and the seconds that it took."""
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return count, elapsed


def bare(shards: Sequence[str]) -> tf.data.Dataset:
    """Returns serialised records, not parsed."""
    import tensorflow as tf

    return tf.data.TFRecordDataset(list(shards)).repeat().prefetch(2)


def ours(shards: Sequence[str], pixels_per_block: int | None) -> tf.data.Dataset:
    """Returns batches as training gets them."""
    from bigearthnet_tf.data import time_series
    from bigearthnet_tf.records import blocks

    return time_series.pixel_batches(
        blocks.open_blocks(shards),
        BATCH,
        pixels_per_block=pixels_per_block,
        repeat=True,
    )


def name_of(side: int, count: int | None) -> str:
    """Returns the name of a case of ours."""
    pixels = "all pixels" if count in (None, side * side) else f"{count} pixels"
    return OURS.format(pixels, side, side)


def read_batches(shards: Sequence[str], count: int) -> None:
    """Draws batches, for the measurement of the memory that they take."""
    console.load_tensorflow()
    for _ in ours(shards, DEFAULT[1]).take(count):
        pass


def list_cases(
    arguments: argparse.Namespace, root: Path, processor: dict[str, list[float]]
) -> tuple[list[Case], list[str]]:
    """Writes the records; returns what to measure, and the shards of the default."""
    folders = tiles.find_tiles(root)
    shards = {
        side: write_records(root, root.with_name(f"blocks_{side}"), side)
        for side in (64, 32)
    }
    sources: dict[str, tuple[Callable[[], Any], int]] = {
        BARE: (partial(bare, shards[DEFAULT[0]]), DEFAULT[0] ** 2),
    }
    for side, count in (DEFAULT, *OTHERS):
        sources[name_of(side, count)] = (partial(ours, shards[side], count), BATCH)
    cores = os.cpu_count() or 1
    cases = [
        *(
            Case(name, partial(measure_old, name, processor, folders[:1], count))
            for name, count in ((OLD, 1), (OLD_MANY.format(cores), cores))
        ),
        *(
            Case(name, partial(measure, name, processor, *of, arguments.seconds))
            for name, of in sources.items()
        ),
    ]
    return cases, shards[DEFAULT[0]]


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    console.load_tensorflow()
    many = OLD_MANY.format(os.cpu_count() or 1)
    processor: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary) / "tiles"
        tile_sample.write_tiles(root, arguments.tiles, arguments.size, DATES, 1)
        cases, shards = list_cases(arguments, root, processor)
        rates = conversion.interleave(cases, arguments.repeats)
        peaks = {
            f"{count} batches of {BATCH}": conversion.peak_memory(
                read_batches, shards, count
            )
            for count in (200, 2000)
        }
    own = name_of(*DEFAULT)
    reached = (
        f"- {own} (the default): {conversion.ratio(rates[own], rates[OLD]):.1f} "
        f"times {OLD} (target: {TARGET}), "
        f"{conversion.ratio(rates[own], rates[many]):.1f} times {many}"
    )
    used = [
        f"| {name} | {statistics.median(times):.2f} | "
        f"{conversion.ratio(processor[OLD], times):.1f} |"
        for name, times in processor.items()
    ]
    sections = {
        "Two views of 16 dates of 11 bands": "\n\n".join(
            [
                conversion.table(
                    rates, {"times old": OLD, "times old, all cores": many}, "pixels/s"
                ),
                reached,
            ]
        ),
        "Processor time, all threads": "\n".join(
            ["| | microseconds a pixel | times less than old |", "|--|--:|--:|", *used]
        ),
        "What was tried": series_draws.table(),
        "Peak memory": conversion.memory_table(
            peaks, "TensorFlow included, 65,536 pixels to shuffle"
        ),
    }
    report(arguments, sections, {"pixels_per_second": rates, "peak_bytes": peaks})


def report(
    arguments: argparse.Namespace, sections: dict[str, str], numbers: dict[str, Any]
) -> None:
    """Prints the tables and saves them as asked for."""
    facts = (
        f"{conversion.machine()} {arguments.tiles} tiles of {arguments.size} pixels a "
        f"side, {DATES} dates or so; {arguments.repeats} rounds; load average at the "
        f"end {os.getloadavg()[0]:.1f}."
    )
    parts = ["# Input of pixel time series", facts]
    for heading, body in sections.items():
        parts += [f"## {heading}", body]
    text = "\n\n".join(parts) + "\n"
    print(f"\n{text}")
    if arguments.write:
        files.write_text(conversion.RESULTS / "time_series_input.md", text)
    if arguments.json:
        files.write_json(arguments.json, {"machine": facts, **numbers})


if __name__ == "__main__":
    console.run(main)
