"""Evaluation of the user's own tasks: the task's metrics of the test split."""

from __future__ import annotations

from pathlib import Path

import keras

from bigearthnet_tf import files
from bigearthnet_tf.training import logs, scoring
from bigearthnet_tf.training.session import Session


def evaluate(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Scores the test split and writes the task's metrics, flat, as numbers.

    Leaves `eval_result.json` in the folder of the run, and scalars in `logs/test`.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.

    Returns:
        Lines for the user.

    Raises:
        ValueError: damaged records, or none.
    """
    task = session.task
    if not task.num_records("test"):
        raise ValueError("test_tf_record_files is empty; name the test shards there")
    scorer = scoring.Scorer(task, model, session.strategy)
    metrics = task.metrics(scorer.score("test", session.config.batch_size))
    path = out_dir / "eval_result.json"
    files.write_json(path, metrics)
    overall = logs.overall(metrics)
    logs.write_test(out_dir, iteration, overall, [])
    return [
        *(f"{name:32s}{value:.4f}" for name, value in overall.items()),
        f"iteration {iteration}: {path}",
    ]
