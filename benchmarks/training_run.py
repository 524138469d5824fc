r"""A whole training: waiting for input, memory over time, cost of checkpoints.

  PYTHONPATH=. python benchmarks/training_run.py --records DIR --write

DIR holds the records of a generated archive (20,000 patches in the table that is kept).
The same run is taken with a checkpoint every so many iterations and with none, in
turns, by `train.py` in processes of its own, whose `history.jsonl` has the figures.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from conversion import RESULTS, machine

from bigearthnet_tf import console, files
from bigearthnet_tf.config import from_dict
from bigearthnet_tf.training import logs

ROOT = Path(__file__).parents[1]
NEVER = 10**9


def parse_arguments() -> argparse.Namespace:
    """Reads the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--records", type=Path, required=True)
    parser.add_argument("--model", default="short_cnn")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--every", type=int, default=20, help="iterations a checkpoint")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--write", action="store_true", help=f"into {RESULTS}")
    return parser.parse_args()


def train(arguments: argparse.Namespace, every: int) -> list[dict[str, Any]]:
    """Trains once; returns the training points, without those of the start."""
    with tempfile.TemporaryDirectory() as folder:
        keys = {
            "model_name": arguments.model,
            "label_type": "BigEarthNet-19",
            "tr_tf_record_files": f'["{arguments.records}/train-*.tfrecord"]',
            "val_tf_record_files": "[]",
            "batch_size": arguments.batch_size,
            "nb_epoch": arguments.epochs,
            "save_checkpoint_per_iteration": every,
            "save_checkpoint_after_iteration": 0 if every < NEVER else NEVER,
            "log_per_iteration": 20,
            "out_dir": folder,
        }
        config = Path(folder) / "config.json"
        files.write_json(config, {})
        sets = [part for k, v in keys.items() for part in ("--set", f"{k}={v}")]
        command = [sys.executable, ROOT / "train.py", config, *sets]
        subprocess.run(command, check=True, cwd=ROOT)
        points = logs.read_history(Path(folder))
    return [p for p in points if p["split"] == "training" and p["iteration"] > 20]


def table(
    arguments: argparse.Namespace,
    plain: list[list[dict[str, Any]]],
    saving: list[list[dict[str, Any]]],
) -> str:
    """Returns the report as Markdown."""

    def seconds(points: list[dict[str, Any]]) -> float:
        return statistics.fmean(
            arguments.batch_size / p["images_per_second"] for p in points
        )

    default = from_dict({}).save_checkpoint_per_iteration
    bare, loaded = (statistics.median(map(seconds, runs)) for runs in (plain, saving))
    # Of one checkpoint, spread over the iterations between two of them by default.
    cost = (loaded - bare) * arguments.every / (default * bare)
    points = [point for run in plain + saving for point in run]
    memory = [point["memory_gb"] for point in plain[0]]
    half = len(memory) // 2
    waits = [point["input_wait_share"] for point in points]
    rates = [point["images_per_second"] for point in points]
    rows = [
        ("images/s, median", f"{statistics.median(rates):.0f}"),
        ("share of time waiting for input, median", f"{statistics.median(waits):.4f}"),
        ("... highest over 20 iterations", f"{max(waits):.4f}"),
        (
            "resident memory, mean of first and second half",
            " and ".join(
                f"{statistics.fmean(part):.2f} GB"
                for part in (memory[:half], memory[half:])
            ),
        ),
        ("iteration without checkpoints", f"{bare * 1000:.1f} ms"),
        (f"... with one every {arguments.every}", f"{loaded * 1000:.1f} ms"),
        (f"cost of one every {default}, the default", f"{cost:.2%}"),
    ]
    lines = [
        "# A whole training",
        "",
        (
            f"{machine()} {arguments.model}, batches of {arguments.batch_size}, "
            f"{points[-1]['iteration']} iterations, {arguments.rounds} rounds in turns."
        ),
        "",
        "| | |",
        "|--|--:|",
        *(f"| {name} | {value} |" for name, value in rows),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Runs the benchmark."""
    arguments = parse_arguments()
    plain, saving = [], []
    for _ in range(arguments.rounds):
        plain.append(train(arguments, NEVER))
        saving.append(train(arguments, arguments.every))
    text = table(arguments, plain, saving)
    print(text)
    if arguments.write:
        files.write_text(RESULTS / "training_run.md", text)


if __name__ == "__main__":
    console.run(main)
