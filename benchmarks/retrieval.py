r"""Search and its metrics: against the older recipe, bare FAISS, and at full size.

  PYTHONPATH=. python benchmarks/retrieval.py --write

Vectors are drawn at random, not negative as those of the CBIR project (ReLU), 128
dimensions; labels like BigEarthNet's in number. Pairs a second of all cases, in turns;
then 10,000 queries against as many vectors as BigEarthNet v1 has patches (a graph of
neighbours, which takes minutes to build, of fewer), each kind of index in a fresh
process for its peak memory. Some five minutes on two cores that do nothing else.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from conversion import (
    RESULTS,
    Case,
    in_fresh_process,
    interleave,
    machine,
    own_peak,
    peak_memory,
    table,
)
from sklearn.metrics import pairwise_distances

from bigearthnet_tf import console, files
from bigearthnet_tf.metrics import retrieval as metrics
from bigearthnet_tf.retrieval import index_folder, search, stored
from bigearthnet_tf.vectors import unit

DIMENSIONS, LABELS, HITS = 128, 19, 100
# The older recipe takes seconds for these, and does the same for each pair.
OLD_QUERIES, OLD_ITEMS = 40, 2000
OLD = "older recipe: chi-square, a call for each pair"
BARE = "bare FAISS, inner product"
# Kinds of index, and how many vectors at most.
KINDS = {
    "exact": 10**9,
    "int8": 10**9,
    "binary": 10**9,
    "ivf_pq": 10**9,
    "hnsw": 100_000,
}


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--queries", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=590_326)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--kinds", nargs="*", default=list(KINDS), choices=list(KINDS))
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS}")
    return parser.parse_args()


def draw(count: int, seed: int) -> search.Vectors:
    """Returns vectors in 500 clusters, half of their numbers zero or so."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(500, DIMENSIONS))
    found = centres.astype(np.float32)[rng.integers(0, 500, count)]
    # In parts: the peak of memory should be that of the search.
    for first in range(0, count, 2**16):
        part = found[first : first + 2**16]
        part += 0.5 * rng.standard_normal(part.shape, np.float32)
    return np.maximum(found, 0, out=found)


def older(u: np.ndarray, v: np.ndarray) -> float:
    """The distance of two vectors as the CBIR project has it."""
    return float(0.5 * np.sum((u - v) ** 2 / (u + v + 1e-10)))


def rate(work: Callable[[], Any], pairs: int) -> float:
    """Returns pairs a second."""
    start = time.perf_counter()
    work()
    return pairs / (time.perf_counter() - start)


def cases(queries: int, items: int) -> list[Case]:
    """Returns what is compared; building the indexes is not part of it."""
    few, archive = draw(queries, 1), draw(items, 2)
    bare = faiss.IndexFlatIP(DIMENSIONS)
    bare.add(unit(archive))
    few_unit = unit(few)
    ours = search.build(archive)
    ours.search(few[:20], HITS)
    chi = search.build(archive[:100_000], "chi_square")

    def old() -> np.ndarray:
        return pairwise_distances(few[:OLD_QUERIES], archive[:OLD_ITEMS], metric=older)

    some = OLD_QUERIES * 100_000
    return [
        Case(OLD, lambda: rate(old, OLD_QUERIES * OLD_ITEMS)),
        Case(
            "chi-square, in blocks",
            lambda: rate(lambda: chi.search(few[:OLD_QUERIES], HITS), some),
        ),
        Case(BARE, lambda: rate(lambda: bare.search(few_unit, HITS), queries * items)),
        Case(
            "exact, cosine",
            lambda: rate(lambda: ours.search(few, HITS), queries * items),
        ),
    ]


def search_all(kind: str, queries: int, items: int) -> dict[str, float]:
    """Builds an index, searches with all queries; returns seconds, bytes and recall."""
    few, archive = draw(queries, 1), draw(items, 2)
    start = time.perf_counter()
    index = search.build(archive, kind=kind)
    # The exact index is copied into FAISS by its first search.
    index.search(few[:20], HITS)
    built = time.perf_counter()
    index.search(few, HITS)
    done, peak = time.perf_counter(), own_peak()
    exact = index if kind == "exact" else search.build(archive)
    return {
        "build": built - start,
        "search": done - built,
        "peak": peak,
        "bytes": index.bytes_per_item,
        "recall": search.measure(index, exact, few[:500], 10)["recall"],
    }


def only_draw(queries: int, items: int) -> None:
    """What of that is the vectors, and the imports."""
    kept = draw(items, 2), draw(queries, 1)
    del kept


def metrics_seconds(queries: int, items: int) -> float:
    """Returns the time of all metrics of as many queries, at 10 and 100 hits."""
    rng = np.random.default_rng(3)
    archive = (rng.random((items, LABELS)) < 3 / LABELS).astype(np.uint8)
    asked = (rng.random((queries, LABELS)) < 3 / LABELS).astype(np.uint8)
    ids = rng.integers(0, items, (queries, HITS))
    start = time.perf_counter()
    metrics.retrieval_report(asked, archive, ids, [10, HITS])
    return time.perf_counter() - start


def command_seconds(items: int, rounds: int) -> float:
    """Returns the time of a query of an index on disk, from the command line."""
    names = [f"S2A_MSIL2A_20170613T101031_{n}_{n % 90}" for n in range(items)]
    labels = np.zeros((items, LABELS), np.uint8)
    facts = stored.Facts(
        version=stored.VERSION,
        tool_version="",
        key="",
        model_hash="",
        precision="float32",
        preprocessing={},
        run="drawn",
        iteration=0,
        config={},
        split="test",
        files=[],
        num_records=items,
        labels=[f"label {n}" for n in range(LABELS)],
        layers={"p_s2": DIMENSIONS},
    )
    vectors = {"p_s2": draw(items, 2)}
    source = stored.Embeddings(facts, vectors, labels, names, [""] * items)
    seconds = []
    with tempfile.TemporaryDirectory() as folder:
        index = Path(folder) / "index"
        index_folder.build(index, [source], "s2")
        command = [sys.executable, "-m", "bigearthnet_tf.cli", "retrieve", str(index)]
        for row in range(rounds + 1):
            start = time.perf_counter()
            subprocess.run(
                [*command, "--number", str(row)], check=True, stdout=subprocess.DEVNULL
            )
            seconds.append(time.perf_counter() - start)
    # The first one reads the index from the disk.
    return statistics.median(seconds[1:])


def full_size(arguments: argparse.Namespace) -> str:
    """Returns the table of the kinds at full size."""
    queries, items = arguments.queries, arguments.items
    base = peak_memory(only_draw, queries, items)
    columns = "vectors", "bytes an item", "building, s", "searching, s", "recall"
    lines = [
        f"| index | {' | '.join(columns)} | peak, MB |",
        "|--|--:|--:|--:|--:|--:|--:|",
        f"| vectors alone | {items:,} | {4 * DIMENSIONS} | | | | {base / 1e6:.0f} |",
    ]
    for kind in arguments.kinds:
        count = min(items, KINDS[kind])
        found = in_fresh_process(search_all, kind, queries, count)
        lines.append(
            f"| {kind} | {count:,} | {found['bytes']:.0f} | {found['build']:.1f} | "
            f"{found['search']:.1f} | {found['recall']:.3f} | "
            f"{found['peak'] / 1e6:.0f} |"
        )
        print(lines[-1])
    return "\n".join(lines)


def main() -> None:
    """Runs the command line."""
    arguments = parse_arguments()
    size = f"{arguments.queries:,} queries, {arguments.items:,} vectors"
    rates = interleave(cases(1000, arguments.items), arguments.rounds)
    seconds = [
        metrics_seconds(arguments.queries, arguments.items)
        for _ in range(arguments.rounds)
    ]
    made_of = machine(("numpy", "faiss-cpu", "scikit-learn"))
    against = {"to the older recipe": OLD, "to bare FAISS": BARE}
    notes = (
        f"1,000 queries against {arguments.items:,} vectors; chi-square {OLD_QUERIES} "
        f"against 100,000, its older recipe {OLD_QUERIES} against {OLD_ITEMS:,}. Exact "
        "search computes the distances of its hits again and orders ties, on top of "
        "what FAISS does."
    )
    took = statistics.median(seconds)
    alone = command_seconds(arguments.items, arguments.rounds)
    end = (
        f"Recall of the exact nearest 10. All metrics of so many: {took:.1f} s. One "
        f"query of the exact index on disk, from the command line: {alone:.2f} s."
    )
    parts = (
        "# Retrieval",
        f"{made_of} {DIMENSIONS} dimensions, {HITS} hits, {arguments.rounds} rounds.",
        "## Pairs a second",
        table(rates, against, "pairs/s"),
        notes,
        f"## {size}",
        full_size(arguments),
        end,
    )
    text = "\n\n".join(parts)
    print(f"\n{text}")
    if arguments.write:
        files.write_text(RESULTS / "retrieval.md", text + "\n")


if __name__ == "__main__":
    main()
