r"""The `split` command on the metadata of BigEarthNet v2: time, memory, evenness.

  PYTHONPATH=. python benchmarks/splits.py --metadata metadata.parquet

Each split is made by the whole command in a fresh process, with report and picture.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from bigearthnet_tf import console, files

RESULTS = Path(__file__).with_name("results")
WAYS = {
    "official": (),
    "stratified 60/20/20": ("--ratios", "60", "20", "20"),
    "10 stratified folds": ("--folds", "10"),
    "blocks of 10 km, 60/20/20": ("--ratios", "60", "20", "20", "--blocks", "10"),
}
# What is to be kept: seconds, and GiB.
MOST_SECONDS, MOST_MEMORY = 60, 2.0


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--metadata", type=Path, required=True, help="of v2")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument(
        "--write", action="store_true", help="put the tables into benchmarks/results"
    )
    return parser.parse_args()


def measure(command: list[str]) -> tuple[float, float]:
    """Returns seconds and peak resident memory in GiB of a process."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    # Not `subprocess.run`: only the waiting tells what this very child took.
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return seconds, usage.ru_maxrss / 2**20


def resources_table(measured: dict[str, list[tuple[float, float]]]) -> str:
    """Returns times and memory in Markdown."""
    lines = [
        "| split | seconds | lowest to highest | peak memory, GiB |",
        "|--|--:|--:|--:|",
    ]
    for way, rounds in measured.items():
        seconds = [own for own, _ in rounds]
        peak = max(own for _, own in rounds)
        lines.append(
            f"| {way} | {statistics.median(seconds):.1f} | {min(seconds):.1f} to "
            f"{max(seconds):.1f} | {peak:.2f} |"
        )
    worst = max(own for rounds in measured.values() for own, _ in rounds)
    most = max(own for rounds in measured.values() for _, own in rounds)
    lines += [
        "",
        f"- longest: {worst:.1f} s (limit: {MOST_SECONDS})",
        f"- largest: {most:.2f} GiB (limit: {MOST_MEMORY:g})",
    ]
    return "\n".join(lines)


def balance_table(reports: dict[str, dict[str, Any]]) -> str:
    """Returns largest deviations and contacts in Markdown."""
    touching = "test patches that touch training patches"
    lines = [
        f"| split | largest deviation | random split of the same sizes | {touching} |",
        "|--|--:|--:|--:|",
    ]
    for way, report in reports.items():
        own = _deviation(report["largest_deviation"])
        random = _deviation(report["random_largest_deviation"])
        lines.append(f"| {way} | {own} | {random} | {_touching(report)} |")
    return "\n".join(lines)


def _deviation(found: dict[str, Any]) -> str:
    return f"{found['value']:+.2%} ({found['label']}, {found['split']})"


def _touching(report: dict[str, Any]) -> str:
    test = report["splits"].get("test")
    if test is None:
        return ""
    return f"{test['contacts']['train']['touching'] / test['patches']:.2%}"


def label_table(reports: dict[str, dict[str, Any]]) -> str:
    """Returns each label's largest deviation over the splits in Markdown."""
    ways = [way for way in reports if "folds" not in way]
    heads = " | ".join(f"{way} | random" for way in ways)
    lines = [f"| label | patches | {heads} |", f"|--|--:|{'--:|--:|' * len(ways)}"]
    first = reports[ways[0]]["splits"]
    for label in next(iter(first.values()))["labels"]:
        count = sum(own["labels"][label]["patches"] for own in first.values())
        cells = [label, f"{count:,}"]
        for way in ways:
            found = [own["labels"][label] for own in reports[way]["splits"].values()]
            for key in ("deviation", "random_deviation"):
                cells.append(f"{max((own[key] for own in found), key=abs):+.2%}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark."""
    arguments = parse_arguments()
    measured: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as scratch:
        for turn in range(arguments.repeats):
            for index, (way, options) in enumerate(WAYS.items()):
                command = [sys.executable, "-m", "bigearthnet_tf.cli", "split"]
                command += ["--metadata", str(arguments.metadata), *options]
                command += ["-o", f"{scratch}/{index}"]
                measured[way].append(measure(command))
                print(f"{turn + 1}/{arguments.repeats} {way}: {measured[way][-1]}")
        reports = {
            way: files.read_json(Path(scratch) / str(index) / "report.json")
            for index, way in enumerate(WAYS)
        }
    packages = ("numpy", "pandas", "scipy", "iterative-stratification")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    text = "\n\n".join(
        [
            "# Splits",
            (
                f"{os.cpu_count()} cores, {versions}; "
                f"{reports['official']['patches']:,} patches, 19 labels, "
                f"{arguments.repeats} rounds, seed 0; load average at the end "
                f"{os.getloadavg()[0]:.1f}."
            ),
            "## Time and memory of the whole command",
            resources_table(measured),
            "## How even they are",
            (
                "Deviation: frequency of a label in a split, divided by that in the "
                "whole, less 1. Random: one random division."
            ),
            balance_table(reports),
            "## Largest deviation of each label over train, val and test",
            label_table(reports),
        ]
    )
    print(f"\n{text}")
    if arguments.write:
        files.write_text(RESULTS / "splits.md", f"{text}\n")


if __name__ == "__main__":
    main()
