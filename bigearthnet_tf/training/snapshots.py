"""Which weights a command takes of a run: asked for, named in its config, or best."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from bigearthnet_tf.config import Config
from bigearthnet_tf.training import checkpoints, initial_weights

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Snapshot:
    """Weights, and why these.

    Attributes:
        path: folder of a checkpoint, or published weights.
        reason: `--checkpoint best`, say, or `model_file of the config`.
        hint: how to get others, for the log.
    """

    path: str
    reason: str
    hint: str = ""


def choose(config: Config, out_dir: Path, asked: str | None) -> Snapshot:
    """Returns the weights that a command takes, and logs which and why.

    What is asked for comes first. Then, as in the TF project, the snapshot that
    `model_file` names. With `fine_tune` that is only where training started, so the
    best checkpoint of the run is taken, as it is where nothing is named.

    Args:
        config: of the run.
        out_dir: its folder.
        asked: `best`, `last`, the folder of a checkpoint, or published weights; None
            if nothing is asked for.

    Raises:
        FileNotFoundError: there is no such checkpoint.
    """
    found = _choose(config, out_dir, asked)
    logger.info("weights  %s (%s%s)", found.path, found.reason, found.hint)
    return found


def _choose(config: Config, out_dir: Path, asked: str | None) -> Snapshot:
    folder = checkpoints.CheckpointFolder(out_dir / "checkpoints", {})
    if asked is not None:
        if initial_weights.is_published(asked):
            return Snapshot(asked, "--checkpoint")
        named = asked if asked in ("best", "last") else "PATH"
        return Snapshot(str(folder.find(asked)), f"--checkpoint {named}")
    trained = bool(folder.iterations())
    if not config.model_file:
        return Snapshot(str(folder.find("best")), "the best of the run")
    if config.fine_tune and trained:
        best = str(folder.find("best"))
        return Snapshot(best, "the best of the run, which began with model_file")
    rest = "--checkpoint best takes the best of the run instead"
    try:
        initial_weights.check_model_file(config.model_file)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {rest}" if trained else f"{error}") from None
    hint = f"; {rest}" if trained else ""
    return Snapshot(config.model_file, "model_file of the config", hint)
