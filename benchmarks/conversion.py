r"""Archive to TFRecords: the old recipe against `bigearthnet_tf`, in one run.

  PYTHONPATH=. python benchmarks/conversion.py --archive DIR

DIR is a BigEarthNet v2 archive as `bigearthnet-tf sample` makes it. The upper half of
this file is shared with `input.py`: rounds of measurements and their tables.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent import futures
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import imagecodecs
import old_recipes
import tifffile
from numpy.typing import NDArray

from bigearthnet_tf import console, files
from bigearthnet_tf.archive import archives, bands, metadata, names
from bigearthnet_tf.archive.patch import PatchEntry

if TYPE_CHECKING:
    from bigearthnet_tf.records import pool

RESULTS = Path(__file__).with_name("results")

# Patches a second of each case, one number a round.
Rates = dict[str, list[float]]


@dataclass(frozen=True)
class Case:
    """One of the things that are compared.

    Attributes:
        name: as it stands in the table.
        measure: does the work once and returns patches a second.
    """

    name: str
    measure: Callable[[], float]


def interleave(cases: Sequence[Case], repeats: int) -> Rates:
    """Measures A B C A B C ..., so that a drift of the machine meets all alike."""
    rates: Rates = {case.name: [] for case in cases}
    for turn in range(repeats):
        for case in cases:
            rates[case.name].append(case.measure())
            print(f"{turn + 1}/{repeats} {case.name}: {rates[case.name][-1]:.0f}")
    return rates


def table(
    rates: Rates,
    baselines: Mapping[str, str],
    unit: str = "patches/s",
    digits: int = 0,
) -> str:
    """Returns medians, spreads and ratios in Markdown.

    Args:
        rates: of all cases.
        baselines: heading of a column to the case that the others are divided by. A
            ratio is the median of the ratios within the rounds.
        unit: of the rates.
        digits: of the rates, after the point.
    """
    lines = [
        f"| | {unit} | lowest to highest | {' | '.join(baselines)} |",
        f"|--|--:|--:|{'--:|' * len(baselines)}",
    ]
    for name, values in rates.items():
        ratios = [ratio(values, rates[other]) for other in baselines.values()]
        cells = [
            name,
            f"{statistics.median(values):.{digits}f}",
            f"{min(values):.{digits}f} to {max(values):.{digits}f}",
            *(f"{value:.2f}" for value in ratios),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def ratio(values: Sequence[float], others: Sequence[float]) -> float:
    """Returns the median of the ratios round by round."""
    return statistics.median(a / b for a, b in zip(values, others, strict=True))


def memory_table(peaks: Mapping[str, int], heading: str) -> str:
    """Returns peak memory in Markdown; `peaks` in bytes."""
    rows = [f"| {name} | {peak / 1e6:.0f} |" for name, peak in peaks.items()]
    return "\n".join([f"| {heading} | peak, MB |", "|--|--:|", *rows])


def in_fresh_process(work: Callable[..., Any], *arguments: Any) -> Any:
    """Returns what `work` returns in a process of its own; all of it is pickled."""
    context = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, context) as pool:
        return pool.submit(work, *arguments).result()


def peak_memory(work: Callable[..., Any], *arguments: Any) -> int:
    """Returns the peak resident memory, in bytes, of a fresh process that does `work`.

    Linux only: `getrusage` would hand the peak of this process on to the child.
    """
    return int(in_fresh_process(_peak_after, work, arguments))


def _peak_after(work: Callable[..., Any], arguments: tuple[Any, ...]) -> int:
    work(*arguments)
    return own_peak()


def own_peak() -> int:
    """Returns the peak resident memory of this process so far, in bytes."""
    status = Path("/proc/self/status").read_text()
    (kilobytes,) = (
        line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")
    )
    return int(kilobytes) * 1024


def parse_arguments(description: str) -> argparse.Namespace:
    """Reads the command line of either script."""
    parser = console.parser(
        description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--archive", type=Path, required=True, help="a v2 archive, both sensors"
    )
    parser.add_argument("--patches", type=int, default=2000, help="to use (2000)")
    parser.add_argument(
        "--slow-patches", type=int, default=300, help="for the slow baselines (300)"
    )
    parser.add_argument("--repeats", type=int, default=5, help="rounds (5)")
    parser.add_argument("--json", type=Path, help="file for every single number")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into benchmarks/results"
    )
    return parser.parse_args()


def open_sample(
    root: Path, patches: int, sensors: str = "all"
) -> tuple[archives.Archive, list[PatchEntry]]:
    """Returns an archive and its first patches.

    Args:
        root: folder with `BigEarthNet-S2`, `BigEarthNet-S1` and `metadata.parquet`.
        patches: how many.
        sensors: `all`, or `s2` to leave Sentinel-1 out.

    Raises:
        ValueError: the archive has fewer patches.
    """
    frame = metadata.read_metadata(root / "metadata.parquet")
    if len(frame) < patches:
        raise ValueError(
            f"{root}: expected {patches} patches, it has {len(frame)}; give --patches"
        )
    archive = archives.open_archive(
        root / "BigEarthNet-S2",
        root / "BigEarthNet-S1" if sensors == "all" else None,
        metadata=frame,
    )
    entries = metadata.entries_from_metadata(frame.head(patches))
    return archive, archive.complete(entries)


def report(
    arguments: argparse.Namespace, sections: Mapping[str, str], numbers: dict[str, Any]
) -> None:
    """Prints the tables and saves them as asked for."""
    script = Path(sys.argv[0])
    facts = (
        f"{machine()} {arguments.patches} patches, {arguments.repeats} rounds; load "
        f"average at the end {os.getloadavg()[0]:.1f}."
    )
    parts = [f"# {script.stem.capitalize()}", facts]
    for heading, body in sections.items():
        parts += [f"## {heading}", body]
    text = "\n\n".join(parts) + "\n"
    print(f"\n{text}")
    if arguments.write:
        files.write_text(RESULTS / f"{script.stem}.md", text)
    if arguments.json:
        files.write_json(arguments.json, {"machine": facts, **numbers})


PACKAGES = ("tensorflow", "numpy", "rasterio", "imagecodecs", "lmdb")


def machine(packages: Sequence[str] = PACKAGES) -> str:
    """Returns processor and versions in a sentence."""
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return (
        f"{os.cpu_count()} cores ({_processor()}), Python {platform.python_version()}, "
        f"{versions}."
    )


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.split(":")[1].strip() for line in lines if "model name" in line]
    return models[0] if models else platform.machine()


# Small, so that the processes share few patches as evenly as many.
SHARD_MB = 16
OLD, NEW = "old recipe, 1 process", "bigearthnet_tf, 1 process"
START_UP = "start-up of the processes"


def band_files(archive: archives.Archive, entry: PatchEntry) -> dict[str, Path]:
    """Returns the files of a patch by band."""
    found = {}
    for name in archive.bands:
        is_radar = bands.BANDS[name].sensor == "S1"
        root = archive.root_s1 if is_radar else archive.root_s2
        patch = entry.name_s1 if is_radar else entry.name
        folder = Path(str(root)) / names.tile_folder(str(patch)) / str(patch)
        found[name] = folder / f"{patch}_{name}.tif"
    return found


def read_all(
    read: Callable[[Path], Any], patches: Sequence[Mapping[str, Path]]
) -> float:
    """Reads every band and returns patches a second."""
    start = time.perf_counter()
    for paths in patches:
        for path in paths.values():
            read(path)
    return len(patches) / (time.perf_counter() - start)


def read_patches(archive: archives.Archive, entries: Sequence[PatchEntry]) -> float:
    """Reads with our reader, checks and labels included; returns patches a second."""
    start = time.perf_counter()
    for entry in entries:
        archive.read(entry)
    return len(entries) / (time.perf_counter() - start)


def convert_old(archive: archives.Archive, entries: Sequence[PatchEntry]) -> float:
    """Converts by the old recipe and returns patches a second."""
    patches = [(entry, band_files(archive, entry)) for entry in entries]
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        old_recipes.write_records(patches, Path(folder) / "train.tfrecord")
        return len(entries) / (time.perf_counter() - start)


def convert_new(
    archive: archives.Archive, entries: Sequence[PatchEntry], workers: int
) -> float:
    """Converts by `bigearthnet_tf` and returns patches a second, start-up included."""
    from bigearthnet_tf.records import convert
    from bigearthnet_tf.records.plan import plan_split

    plan = plan_split(archive, entries, "train", shard_size_mb=SHARD_MB)
    with tempfile.TemporaryDirectory() as folder:
        start = time.perf_counter()
        convert.convert(archive, [plan], Path(folder), convert.Local(workers))
        return len(entries) / (time.perf_counter() - start)


def convert_parallel(
    archive: archives.Archive, entries: Sequence[PatchEntry], workers: int
) -> float:
    """Converts on processes that have started; returns patches a second."""
    from bigearthnet_tf.records import pool
    from bigearthnet_tf.records.plan import plan_split

    plan = plan_split(archive, entries, "train", shard_size_mb=SHARD_MB)
    with (
        tempfile.TemporaryDirectory() as folder,
        pool.Workers(archive, workers) as crew,
    ):
        _write(crew, Path(folder), [[entry] for entry in entries[:workers]])
        return len(entries) / _write(crew, Path(folder), plan.shards)


def start_workers(
    archive: archives.Archive, entries: Sequence[PatchEntry], workers: int
) -> float:
    """Starts processes that write one patch each; returns starts a second."""
    from bigearthnet_tf.records import pool

    with (
        tempfile.TemporaryDirectory() as folder,
        pool.Workers(archive, workers) as crew,
    ):
        return 1 / _write(crew, Path(folder), [[entry] for entry in entries[:workers]])


def _write(
    crew: pool.Workers, folder: Path, shards: Sequence[Sequence[PatchEntry]]
) -> float:
    """Writes shards and returns the seconds that it took."""
    from bigearthnet_tf.records.writer import Job, write_shard

    start = time.perf_counter()
    jobs = {
        i: Job("train", i, str(folder / str(i)), shard)
        for i, shard in enumerate(shards)
    }
    for _ in crew.run(write_shard, jobs, lambda _: None):
        pass
    return time.perf_counter() - start


def convert_once(root: Path, patches: int) -> None:
    """Converts in this process, for the measurement of its memory."""
    console.load_tensorflow()
    archive, entries = open_sample(root, patches)
    convert_new(archive, entries, workers=1)


def decode(path: Path) -> NDArray[Any]:
    """Returns the image of a TIFF by imagecodecs alone."""
    return imagecodecs.tiff_decode(path.read_bytes(), index=0)


def list_cases(arguments: argparse.Namespace) -> tuple[list[Case], int]:
    """Returns what is compared and the number of processes of the last case."""
    archive, entries = open_sample(arguments.archive, arguments.patches)
    paths = [band_files(archive, entry) for entry in entries]
    few, few_paths = entries[: arguments.slow_patches], paths[: arguments.slow_patches]
    # From now on every file is in the page cache.
    read_all(Path.read_bytes, paths)
    reading = {
        "rasterio": partial(read_all, old_recipes.read_band, few_paths),
        "tifffile": partial(read_all, tifffile.imread, few_paths),
        "imagecodecs": partial(read_all, decode, paths),
        "bigearthnet_tf": partial(read_patches, archive, entries),
    }
    cases = [
        Case(OLD, partial(convert_old, archive, few)),
        Case(NEW, partial(convert_new, archive, entries, 1)),
        *(Case(f"reading alone: {name}", read) for name, read in reading.items()),
    ]
    workers = os.cpu_count() or 1
    if workers > 1:
        cases += [
            Case(_many(workers), partial(convert_parallel, archive, entries, workers)),
            Case(START_UP, partial(start_workers, archive, entries, workers)),
        ]
    return cases, workers


def _many(workers: int) -> str:
    return f"bigearthnet_tf, {workers} processes, once started"


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments(__doc__)
    sizes = (arguments.patches // 4, arguments.patches)
    peaks = {"nothing, TensorFlow loaded": peak_memory(console.load_tensorflow)}
    for size in sizes:
        peak = peak_memory(convert_once, arguments.archive, size)
        peaks[f"{size} patches"] = peak
    console.load_tensorflow()
    cases, workers = list_cases(arguments)
    rates = interleave(cases, arguments.repeats)
    notes = [f"{NEW}: {ratio(rates[NEW], rates[OLD]):.1f} times {OLD} (target: 10)."]
    if workers > 1:
        start_up = statistics.median(1 / value for value in rates.pop(START_UP))
        notes.append(f"{workers} processes take {start_up:.1f} s to start, once.")
    report(
        arguments,
        {
            "Speed": "\n\n".join([table(rates, {"times old": OLD}), *notes]),
            "Peak memory, 1 process": memory_table(peaks, "converted"),
        },
        {"patches_per_second": rates, "peak_bytes": peaks},
    )


if __name__ == "__main__":
    console.run(main)
