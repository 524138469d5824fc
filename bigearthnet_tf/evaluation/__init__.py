"""From a finished run to its numbers, tables and pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras

from bigearthnet_tf import files
from bigearthnet_tf.evaluation import (
    classification,
    land_cover,
    metrics_alone,
    retrieval,
    segmentation,
)
from bigearthnet_tf.registry import Registry
from bigearthnet_tf.tasks.base import TASKS, Task
from bigearthnet_tf.training.session import Session
from bigearthnet_tf.training.snapshots import Snapshot

WEIGHTS = "eval_weights.json"

EVALUATORS: Registry = Registry("evaluator")
EVALUATORS.add("classification", classification.evaluate)
EVALUATORS.add("contrastive", retrieval.evaluate)
EVALUATORS.add("segmentation", segmentation.evaluate)
EVALUATORS.add("land_cover", land_cover.evaluate)
EVALUATORS.add("barlow_twins", land_cover.evaluate_embeddings)


def evaluate(
    session: Session,
    model: keras.Model,
    iteration: int,
    out_dir: Path,
    chosen: Snapshot | None = None,
) -> list[str]:
    """Evaluates a trained model as its task asks for and writes the results.

    Args:
        session: the config with its devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run, which gets the results.
        chosen: where the weights come from, which `eval_weights.json` will say.

    Returns:
        Lines for the user: the headline numbers and where the rest is.
    """
    config = session.config
    lines: list[str] = _evaluator(session.task)(session, model, iteration, out_dir)
    if config.task == "classification" and config.encoders != "single":
        # What is learnt from labels is searched with as well.
        folder = out_dir / "retrieval"
        lines += retrieval.evaluate(session, model, iteration, out_dir, folder)
    _note_weights(out_dir, chosen, iteration)
    return lines


def _evaluator(task: Task) -> Callable[..., list[str]]:
    """Returns the evaluator of a task, or of the one that its class derives from."""
    classes = {TASKS.get(name): name for name in EVALUATORS.names()}
    for of in type(task).__mro__:
        if of in classes:
            evaluator: Callable[..., list[str]] = EVALUATORS.get(classes[of])
            return evaluator
    return metrics_alone.evaluate


def evaluate_scores(session: Session, path: Path | str, out_dir: Path) -> list[str]:
    """Evaluates scores of the test records that are there already.

    Args:
        session: the config with its task.
        path: the scores, as `predictions` has them.
        out_dir: folder that gets the results.

    Returns:
        Lines for the user, as `evaluate`.

    Raises:
        ValueError: the task does not classify patches, or as
            `classification.evaluate_scores`.
    """
    if session.config.task != "classification":
        raise ValueError(
            f"--scores is for task classification, this config has "
            f"{session.config.task!r}"
        )
    lines = classification.evaluate_scores(session, path, out_dir)
    _note_weights(out_dir, None, 0)
    return lines


def _note_weights(out_dir: Path, chosen: Snapshot | None, iteration: int) -> None:
    """Writes beside the results which weights gave them, where that is known."""
    if chosen is None:
        (out_dir / WEIGHTS).unlink(missing_ok=True)  # of an evaluation before
        return
    content = {
        "weights": chosen.path,
        "chosen_by": chosen.reason,
        "iteration": iteration,
    }
    files.write_json(out_dir / WEIGHTS, content)
