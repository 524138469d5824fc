"""Everything a run needs before its first iteration."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from bigearthnet_tf import optimization, runs
from bigearthnet_tf.config import Config
from bigearthnet_tf.models import freezing
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training import checkpoints, loop, strategy


@dataclass(frozen=True)
class Session:
    """A config with its devices and its task."""

    config: Config
    strategy: tf.distribute.Strategy
    task: base.Task


def open_session(config: Config) -> Session:
    """Seeds every generator, opens the devices and the task.

    Raises:
        ValueError: the config asks for what is not there.
    """
    keras.utils.set_random_seed(config.seed)
    devices = strategy.open_strategy(config)
    return Session(config, devices, base.open_task(config))


def describe(session: Session, say: Callable[[str], None]) -> None:
    """Says what the run is about to do, a line each."""
    config, replicas = session.config, session.strategy.num_replicas_in_sync
    for line in session.task.summary():
        say(line)
    say(
        f"batches  {config.batch_size} patches over {replicas} replica(s) of "
        f"{', '.join(session.strategy.extended.worker_devices)}"
    )


def build(session: Session) -> tuple[keras.Model, keras.optimizers.Optimizer]:
    """Builds model and optimizer on the devices, with all their variables."""
    config = session.config
    with session.strategy.scope():
        model = session.task.build_model()
        if config.fine_tune_level == 0:
            freezing.freeze_backbone(model)
        freezing.freeze(model, config.freeze)
        optimizer = optimization.build_optimizer(
            config.optimizer,
            config.learning_rate,
            config.weight_decay,
            _schedule(session),
        )
        variables = model.trainable_variables
        optimizer.build(variables)
        if config.backbone_learning_rate_factor != 1:
            factor = config.backbone_learning_rate_factor
            optimization.scale_steps(
                optimizer, [1.0 if freezing.is_head(v) else factor for v in variables]
            )
    return model, optimizer


def _schedule(session: Session) -> optimization.WarmupCosine | None:
    config = session.config
    if config.learning_rate_schedule == "constant":
        return None
    total = loop.total_iterations(session.task, config)
    return optimization.WarmupCosine(
        config.learning_rate, config.warmup_iterations, total
    )


def train(
    session: Session,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    out_dir: Path,
    test_run: bool = False,
) -> int:
    """Runs the iterations that are still to do and returns the last one."""
    if test_run:
        shutil.rmtree(out_dir, ignore_errors=True)
    trainer = loop.Trainer(
        session.config, session.task, session.strategy, out_dir, test_run
    )
    trainer.start(model, optimizer)
    # Only a run that can begin leaves its config in the folder.
    runs.open_run(out_dir, session.config)
    return trainer.train()


def load_trained(
    session: Session, out_dir: Path, which: str
) -> tuple[keras.Model, int]:
    """Builds the model and loads a checkpoint of the run into it.

    Args:
        session: of the run.
        out_dir: its folder.
        which: `best`, `last`, or the folder of a checkpoint.

    Returns:
        The model and the iteration it was saved at.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is damaged or of another model.
    """
    folder = checkpoints.CheckpointFolder(
        out_dir / "checkpoints",
        session.task.describe(),
        session.config.keep_checkpoints,
    )
    path = folder.find(which)
    with session.strategy.scope():
        model = session.task.build_model()
    return model, folder.restore(checkpoints.State(model), path)
