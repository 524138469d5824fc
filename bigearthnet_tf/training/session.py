"""Everything a run needs before its first iteration."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import keras
import tensorflow as tf

from bigearthnet_tf import extras, optimization, runs
from bigearthnet_tf.config import Config
from bigearthnet_tf.models import freezing
from bigearthnet_tf.tasks import base, origin, own_modules
from bigearthnet_tf.training import (
    checkpoints,
    emissions,
    initial_weights,
    loop,
    memory,
    strategy,
    trial,
)
from bigearthnet_tf.training.cluster import Cluster, find_cluster
from bigearthnet_tf.training.schedule import total_iterations
from bigearthnet_tf.training.state import State


@dataclass(frozen=True)
class Session:
    """A config with its devices, its task, and the processes that share them."""

    config: Config
    strategy: tf.distribute.Strategy
    task: base.Task
    processes: Cluster


def open_session(
    config: Config,
    alone: bool = False,
    test_run: bool = False,
    weights: Iterable[Path | str] = (),
) -> Session:
    """Seeds every generator, opens the devices and the task.

    Args:
        config: of the run.
        alone: whatever the config says of other processes.
        test_run: with batches and buffers that fit into a laptop's memory.
        weights: folders of what will be loaded; see `origin.marked`.

    Raises:
        OSError: the own port is taken.
        ValueError: the config asks for what is not there.
    """
    config = origin.marked(config, weights)
    own_modules.load(config)
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
    processes = find_cluster("none" if alone else config.cluster)
    if not test_run:
        devices = strategy.open_strategy(config, processes)
        return Session(config, devices, base.open_task(config), processes)
    # The run itself must be possible, too.
    strategy.check_batch(config, processes)
    count = strategy.count_devices(config)
    config = trial.shrink(config, count)
    devices = strategy.open_strategy(config, processes)
    task = base.open_task(config)
    smaller = trial.shrink(config, count, task.num_records("train"))
    if smaller != config:
        config, task = smaller, base.open_task(smaller)
    return Session(config, devices, task, processes)


def describe(session: Session, say: Callable[[str], None]) -> None:
    """Says what the run is about to do, a line each."""
    config, replicas = session.config, session.strategy.num_replicas_in_sync
    for line in session.task.summary():
        say(line)
    parts = config.gradient_accumulation
    say(
        f"batches  {config.batch_size} patches over {replicas} replica(s) of "
        f"{', '.join(session.strategy.extended.worker_devices)}"
        + (f", in {parts} parts each" if parts > 1 else "")
    )
    if session.processes.size > 1:
        say(f"together {', '.join(session.processes.addresses)}")
    if config.model_file and not config.fine_tune:
        say(
            f"unread   model_file {config.model_file}: training starts from it with "
            "fine_tune alone; eval.py evaluates it unless --checkpoint is given"
        )
    compiled = _compiles(session)
    say(
        f"steps    {config.precision}, {'with' if compiled else 'without'} XLA"
        f"{', deterministic' if config.deterministic else ''}"
    )


def build(session: Session) -> tuple[keras.Model, keras.optimizers.Optimizer]:
    """Builds model and optimizer on the devices, with all their variables."""
    config = session.config
    parts = config.gradient_accumulation * session.processes.size
    _check_inputs(session, parts)
    with base.fitting(), session.strategy.scope():
        model = session.task.build_model()
        memory.check_step(config, model, training=True, parts=parts)
        if config.fine_tune_level == 0:
            freezing.freeze_backbone(model)
        freezing.freeze(model, config.freeze)
        optimizer = optimization.build_optimizer(
            config.optimizer,
            config.learning_rate,
            weight_decay=config.weight_decay,
            momentum=config.momentum,
            schedule=_schedule(session),
            ema_momentum=config.ema_momentum,
        )
        variables = model.trainable_variables
        if config.weight_decay_on == "kernels":
            optimization.exclude_from_decay(optimizer, variables)
        optimizer.build(variables)
        factors = [_rate_factor(config, variable) for variable in variables]
        if set(factors) != {1.0}:
            optimization.scale_steps(optimizer, factors)
    return model, optimizer


def _check_inputs(session: Session, parts: int = 1) -> None:
    bands = session.task.describe()["bands"]
    memory.check_inputs(session.config, len(bands), parts)


def _rate_factor(config: Config, variable: keras.Variable) -> float:
    """Returns by which the steps of a variable are multiplied."""
    head, bias = freezing.is_head(variable), optimization.is_bias(variable)
    factor = 1.0 if head else config.backbone_learning_rate_factor
    return factor * (config.bias_learning_rate_factor if bias else 1.0)


def _schedule(
    session: Session,
) -> keras.optimizers.schedules.LearningRateSchedule | None:
    config = session.config
    return optimization.build_schedule(
        config.learning_rate_schedule,
        config.learning_rate,
        total_iterations(session.task, config),
        warmup_iterations=config.warmup_iterations,
        decay_rate=config.decay_rate,
        decay_step=config.decay_step,
        decay_power=config.decay_power,
        decay_iterations=config.decay_iterations,
    )


def train(
    session: Session,
    model: keras.Model,
    optimizer: keras.optimizers.Optimizer,
    out_dir: Path,
    test_run: bool = False,
    profile: int = 0,
) -> int:
    """Runs the iterations that are still to do and returns the last one.

    Args:
        session: of the run.
        model: built by `build`, as is the optimizer.
        optimizer: likewise.
        out_dir: folder of the run.
        test_run: a handful of steps only, from scratch.
        profile: iterations to profile for TensorBoard.
    """
    if test_run and session.processes.size > 1:
        raise ValueError("--test-run is for one process; add --set cluster=none")
    with contextlib.ExitStack() as held:
        if session.processes.is_chief:
            held.enter_context(runs.held(out_dir))
            if test_run:
                runs.clear(out_dir)
            runs.check_free(out_dir)
        trainer = loop.Trainer(
            session.config,
            session.task,
            session.strategy,
            out_dir,
            test_run,
            session.processes,
            profile,
        )
        trainer.start(model, optimizer, _compiles(session))
        if session.processes.is_chief:
            _check_extras(session.config)
            # Only a run that can begin leaves its config in the folder.
            runs.open_run(out_dir, session.config, test_run)
            held.enter_context(emissions.track(out_dir, session.config))
        return trainer.train()


def _check_extras(config: Config) -> None:
    """Raises ValueError where a package is missing that the run needs later."""
    if config.wandb_project:
        extras.load("wandb", "wandb")
    if config.track_emissions:
        extras.load("codecarbon", "emissions")


def _compiles(session: Session) -> bool:
    return strategy.compiles(
        session.config, session.strategy, session.task.needs_whole_batch
    )


def load_trained(
    session: Session, out_dir: Path, which: str
) -> tuple[keras.Model, int]:
    """Builds the model and loads a checkpoint of the run into it.

    Args:
        session: of the run.
        out_dir: its folder.
        which: `best`, `last`, the folder of a checkpoint, or published weights.

    Returns:
        The model and the iteration it was saved at.

    Raises:
        FileNotFoundError: there is no such checkpoint.
        ValueError: it is damaged or of another model.
    """
    if initial_weights.is_published(which):
        with session.strategy.scope():
            model = session.task.build_model()
            return model, initial_weights.load_published(session.task, model, which)
    folder = checkpoints.CheckpointFolder(
        out_dir / "checkpoints",
        session.task.describe(),
    )
    path = folder.find(which)
    _check_inputs(session)
    with base.fitting(), session.strategy.scope():
        model = session.task.build_model()
    memory.check_step(session.config, model, training=False)
    return model, int(
        folder.restore(State(model, weights_only=True), path)["iteration"]
    )
