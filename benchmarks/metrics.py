r"""All metrics of a test split: time and memory, against scikit-learn.

  PYTHONPATH=. python benchmarks/metrics.py --write

The predictions are drawn: as many patches and labels as the test split of BigEarthNet
v1 with 43 labels, whose frequencies fall off as 1/rank, and float32 scores. Each part
runs in a fresh process that draws them anew; the peak memory of one that only draws
them stands beside.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

import numpy as np

from bigearthnet_tf import console, files, metrics
from bigearthnet_tf.metrics import bootstrap

RESULTS = Path(__file__).with_name("results")
PATCHES, LABELS = 125_866, 43
ROUNDS, ROUNDS_ANEW = 1000, 3
DRAW, REPORT, SKLEARN = "predictions alone", "report", "scikit-learn, the same measures"
THRESHOLDS = "thresholds with the best F1"
RESAMPLED = "bootstrap of all measures, a round"
DECIDED = "bootstrap without curves, a round"
ANEW = "report of resampled patches, a round"


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--patches", type=int, default=PATCHES, help=f"({PATCHES})")
    parser.add_argument("--labels", type=int, default=LABELS, help=f"({LABELS})")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"({ROUNDS})")
    parser.add_argument("--repeats", type=int, default=3, help="rounds (3)")
    parser.add_argument("--part", choices=PARTS, help="run this alone, in this process")
    parser.add_argument(
        "--write", action="store_true", help="put the table into benchmarks/results"
    )
    return parser.parse_args()


def draw(patches: int, labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns labels uint8 and scores float32, (patches, labels) each."""
    rng = np.random.default_rng(0)
    frequency = 0.4 / np.arange(1, labels + 1)
    truth = rng.random((patches, labels), np.float32) < frequency.astype(np.float32)
    logits = rng.standard_normal((patches, labels), np.float32)
    logits += 2.5 * truth + np.log(frequency).astype(np.float32)
    return truth.astype(np.uint8), 1 / (1 + np.exp(-logits))


def report(truth: np.ndarray, scores: np.ndarray, _: int) -> None:
    """All measures of the report."""
    metrics.multi_label_report(truth, scores)


def scikit_learn(truth: np.ndarray, scores: np.ndarray, _: int) -> None:
    """The measures of the report that scikit-learn has."""
    from sklearn import metrics as theirs

    warnings.simplefilter("ignore")
    given = (scores >= 0.5).astype(np.uint8)
    for average in ("samples", "micro", "macro", "weighted", None):
        for name in ("precision_score", "recall_score", "jaccard_score", "f1_score"):
            getattr(theirs, name)(truth, given, average=average, zero_division=0)
        for beta in (0.5, 2):
            theirs.fbeta_score(
                truth, given, beta=beta, average=average, zero_division=0
            )
        if average not in ("samples", "weighted"):
            theirs.average_precision_score(truth, scores, average=average)
            theirs.roc_auc_score(truth, scores, average=average)
    theirs.hamming_loss(truth, given)
    theirs.accuracy_score(truth, given)
    theirs.coverage_error(truth, scores)
    theirs.label_ranking_loss(truth, scores)
    theirs.label_ranking_average_precision_score(truth, scores)


def thresholds(truth: np.ndarray, scores: np.ndarray, _: int) -> None:
    """The threshold of each label with the best F1."""
    metrics.best_thresholds(truth, scores)


def resampled(truth: np.ndarray, scores: np.ndarray, rounds: int) -> None:
    """Bootstrap of all measures."""
    bootstrap.replicates(truth, scores, rounds=rounds)


def decided(truth: np.ndarray, scores: np.ndarray, rounds: int) -> None:
    """Bootstrap of what depends on thresholds."""
    bootstrap.replicates(truth, scores, rounds=rounds, areas=False)


def anew(truth: np.ndarray, scores: np.ndarray, _: int) -> None:
    """Bootstrap as it would be without our own: the report of resampled patches."""
    rng = np.random.default_rng(1)
    for _ in range(ROUNDS_ANEW):
        rows = rng.integers(0, len(truth), len(truth))
        metrics.multi_label_report(truth[rows], scores[rows])


PARTS = {
    DRAW: lambda *_: None,
    REPORT: report,
    SKLEARN: scikit_learn,
    THRESHOLDS: thresholds,
    RESAMPLED: resampled,
    DECIDED: decided,
    ANEW: anew,
}
# A part, and what it is compared with.
BASELINES = {REPORT: SKLEARN, RESAMPLED: ANEW}


def measure(part: str, arguments: argparse.Namespace) -> tuple[float, float]:
    """Returns seconds, and peak resident memory in GiB, of a part."""
    command = [
        sys.executable, __file__, "--part", part, "--patches", str(arguments.patches),
        "--labels", str(arguments.labels), "--rounds", str(arguments.rounds),
    ]  # fmt: skip
    with tempfile.TemporaryFile() as printed:
        process = subprocess.Popen(command, stdout=printed)
        # Not `subprocess.run`: only the waiting tells what this very child took.
        _, status, usage = os.wait4(process.pid, 0)
        printed.seek(0)
        seconds = json.loads(printed.read() or "0")
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    rounds = {RESAMPLED: arguments.rounds, DECIDED: arguments.rounds, ANEW: ROUNDS_ANEW}
    return seconds / rounds.get(part, 1), usage.ru_maxrss / 2**20


def table(measured: dict[str, list[tuple[float, float]]]) -> str:
    """Returns the table."""
    lines = [
        "| part | seconds | lowest to highest | ratio | peak memory, GiB |",
        "|--|--:|--:|--:|--:|",
    ]
    for part, found in measured.items():
        seconds = [each for each, _ in found]
        ratio = ""
        if part in BASELINES:
            base = [each for each, _ in measured[BASELINES[part]]]
            ratios = [b / s for b, s in zip(base, seconds, strict=True)]
            ratio = f"{statistics.median(ratios):.1f}"
        memory = max(each for _, each in found)
        lines.append(
            f"| {part} | {statistics.median(seconds):.3f} | {min(seconds):.3f} to "
            f"{max(seconds):.3f} | {ratio} | {memory:.2f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Runs the benchmark."""
    arguments = parse_arguments()
    if arguments.part:
        truth, scores = draw(arguments.patches, arguments.labels)
        started = time.perf_counter()
        PARTS[arguments.part](truth, scores, arguments.rounds)
        print(time.perf_counter() - started)
        return
    measured: dict[str, list[tuple[float, float]]] = {part: [] for part in PARTS}
    for _ in range(arguments.repeats):
        for part, found in measured.items():
            found.append(measure(part, arguments))
    libraries = ", ".join(
        f"{n} {version(n)}" for n in ("numpy", "scipy", "scikit-learn")
    )
    text = f"""# Metrics

{os.cpu_count()} cores, {libraries}; {arguments.patches:,} patches, {arguments.labels} \
labels, drawn; {arguments.repeats} rounds; bootstrap of {arguments.rounds:,} \
resamplings; load average at the end {os.getloadavg()[0]:.1f}.

{table(measured)}

Ratio: how many times longer what it is compared with takes: the report against
scikit-learn, the bootstrap against the report of resampled patches, median of the
ratios within the rounds. Memory includes Python with its libraries and the predictions
(first line), which an evaluation holds anyway.
"""
    print(text)
    if arguments.write:
        files.write_text(RESULTS / "metrics.md", text)


if __name__ == "__main__":
    console.run(main)
