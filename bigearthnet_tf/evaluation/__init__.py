"""From a finished run to its numbers, tables and pictures."""

from __future__ import annotations

from pathlib import Path

import keras

from bigearthnet_tf.evaluation import classification, retrieval
from bigearthnet_tf.registry import Registry
from bigearthnet_tf.training.session import Session

EVALUATORS: Registry = Registry("evaluator")
EVALUATORS.add("classification", classification.evaluate)
EVALUATORS.add("contrastive", retrieval.evaluate)


def evaluate(
    session: Session, model: keras.Model, iteration: int, out_dir: Path
) -> list[str]:
    """Evaluates a trained model as its task asks for and writes the results.

    Args:
        session: the config with its devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run, which gets the results.

    Returns:
        Lines for the user: the headline numbers and where the rest is.
    """
    config = session.config
    lines: list[str] = EVALUATORS.get(config.task)(session, model, iteration, out_dir)
    if config.task == "classification" and config.encoders != "single":
        # What is learnt from labels is searched with as well.
        folder = out_dir / "retrieval"
        lines += retrieval.evaluate(session, model, iteration, out_dir, folder)
    return lines
