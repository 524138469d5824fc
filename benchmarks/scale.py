r"""From 2,000 to 20,000 patches: how time and memory grow, and what an archive takes.

  PYTHONPATH=. python benchmarks/scale.py --archive DIR --write

DIR is a BigEarthNet v2 archive as `bigearthnet-tf sample --patches 20000` makes it.
Each size is converted by `prep_splits.py` in processes of its own and read end to end,
decoded, in another one; peak memory is that of the largest process.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from conversion import RESULTS, machine

from bigearthnet_tf import console, files
from bigearthnet_tf.archive import metadata

ROOT = Path(__file__).parents[1]
# The whole of v2, and a machine to project to.
ARCHIVE_PATCHES = 549_488
PROJECTED_CORES = 16
BATCH_SIZE = 256


@dataclass(frozen=True)
class Cost:
    """What some work took.

    Attributes:
        seconds: of the whole command, start-up included.
        peak_mb: resident memory of its largest process, in 10^6 bytes.
    """

    seconds: float
    peak_mb: float


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--archive", type=Path, required=True, help="a v2 archive, both sensors"
    )
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[2000, 5000, 10000, 20000]
    )
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument(
        "--write", action="store_true", help="put the table into benchmarks/results"
    )
    return parser.parse_args()


def cost_of(command: Sequence[Any]) -> Cost:
    """Runs a command and returns what it and its children took.

    A process of its own runs it, since `getrusage` keeps the largest child for ever.
    """
    pid, start = os.fork(), time.perf_counter()
    if pid == 0:
        done = subprocess.run(list(map(str, command)), check=False, cwd=ROOT)
        os._exit(done.returncode)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{command[1]} failed; see above")
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024 / 1e6)


def convert(archive: Path, table: Path, out: Path, workers: int) -> Cost:
    """Converts the patches of a table."""
    return cost_of(
        [
            *(sys.executable, ROOT / "prep_splits.py"),
            *("-r", archive / "BigEarthNet-S2", "-s", archive / "BigEarthNet-S1"),
            *("--metadata", table, "-o", out, "--workers", workers),
        ]
    )


def read(out: Path) -> Cost:
    """Reads all records, decoded, in the order of training."""
    return cost_of([sys.executable, __file__, "--read", out])


def read_all(out: str) -> None:
    """Reads a folder of records in this process and compares their number."""
    console.load_tensorflow()
    from bigearthnet_tf.data import pipeline
    from bigearthnet_tf.records import reader

    source = reader.open_records(f"{out}/*.tfrecord")
    batches = pipeline.batches(
        source,
        BATCH_SIZE,
        source.form.bands,
        "BigEarthNet-19",
        shuffle_buffer_size=4096,
    )
    found = sum(len(labels) for _, labels in batches)
    if found != source.num_records:
        raise ValueError(f"expected {source.num_records} records, got {found}")


def linear_fit(sizes: Sequence[int], costs: Sequence[Cost]) -> tuple[float, float]:
    """Returns start-up in seconds and patches a second, by least squares."""
    count = len(sizes)
    mean_x = sum(sizes) / count
    mean_y = sum(cost.seconds for cost in costs) / count
    covariance = sum(
        (x - mean_x) * (cost.seconds - mean_y)
        for x, cost in zip(sizes, costs, strict=True)
    )
    slope = covariance / sum((x - mean_x) ** 2 for x in sizes)
    return mean_y - slope * mean_x, 1 / slope


def measure(
    arguments: argparse.Namespace,
) -> tuple[list[Cost], list[Cost]]:
    """Returns the costs of converting and of reading, by size."""
    frame = metadata.read_metadata(arguments.archive / "metadata.parquet")
    if len(frame) < max(arguments.sizes):
        raise ValueError(
            f"{arguments.archive}: expected {max(arguments.sizes)} patches, it has "
            f"{len(frame)}; give --sizes"
        )
    converting, reading = [], []
    for size in arguments.sizes:
        folder = Path(tempfile.mkdtemp())
        try:
            table = folder / "metadata.parquet"
            frame.head(size).to_parquet(table)
            converting.append(
                convert(arguments.archive, table, folder / "out", arguments.workers)
            )
            reading.append(read(folder / "out"))
        finally:
            shutil.rmtree(folder)
    return converting, reading


def report(
    arguments: argparse.Namespace, converting: list[Cost], reading: list[Cost]
) -> str:
    """Returns tables and projection in Markdown."""
    rows = [
        "| patches | converting, s | peak, MB | reading, s | peak, MB |",
        "|--:|--:|--:|--:|--:|",
    ]
    for size, made, taken in zip(arguments.sizes, converting, reading, strict=True):
        rows.append(
            f"| {size:,} | {made.seconds:.1f} | {made.peak_mb:.0f} | "
            f"{taken.seconds:.1f} | {taken.peak_mb:.0f} |"
        )
    sections = [
        "# Scale",
        f"{machine()} {arguments.workers} processes convert, one reads.",
        "\n".join(rows),
    ]
    for name, costs, share in (
        ("Converting", converting, arguments.workers),
        ("Reading", reading, 0),
    ):
        start_up, rate = linear_fit(arguments.sizes, costs)
        hours = ARCHIVE_PATCHES / rate / 3600
        line = (
            f"{name}: {start_up:.1f} s and {rate:.0f} patches/s (least squares). "
            f"{ARCHIVE_PATCHES:,} patches would take {hours * 60:.0f} minutes here"
        )
        if share:
            faster = PROJECTED_CORES / share
            line += (
                f", and {hours * 60 / faster:.0f} on {PROJECTED_CORES} such cores if "
                "disk and memory keep up"
            )
        sections.append(f"{line}.")
    return "\n\n".join(sections) + "\n"


def run(main: Callable[[], None]) -> None:
    """Reads in this process where that is what it was started for."""
    if sys.argv[1:2] == ["--read"]:
        read_all(sys.argv[2])
    else:
        main()


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    text = report(arguments, *measure(arguments))
    print(text)
    if arguments.write:
        files.write_text(RESULTS / "scale.md", text)


if __name__ == "__main__":
    run(main)
