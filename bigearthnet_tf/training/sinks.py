"""Where a run's numbers and pictures go: TensorBoard, and Weights & Biases."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from bigearthnet_tf import extras, files
from bigearthnet_tf.config import Config

logger = logging.getLogger(__name__)

PerClass = Mapping[str, Mapping[str, float]]
"""Label names to values, by metric."""

# Headings of TensorBoard's cards; the first pattern that fits decides.
_CARD_GROUPS = {
    r"^(learning_rate|gradient_norm|weight_norm)$": "optimization",
    r"^(images_per_second|input_wait_share|memory_gb|gpu_memory_gb)$": "performance",
    r"^(coverage|one_error|ranking_loss|label_ranking_avg_precision)$": "ranking",
    r"^macro_": "macro",
    r"^micro_": "micro",
    r"^sample_": "sample",
    r"(?<!hamming)_loss$": "loss",
}
# Seconds that Weights & Biases may keep a run from starting, and from ending while it
# sends the rest.
_WANDB_START, _WANDB_END = 30, 600


class Sink:
    """Takes what a run writes; a kind that it does not override it leaves out.

    `name` is `training`, `validation` or `test`, `iteration` the optimisation steps
    done.
    """

    def scalars(
        self,
        name: str,
        iteration: int,
        scalars: Mapping[str, float],
        per_class: PerClass,
    ) -> None:
        """Takes a point of each scalar and, of each metric, one of each label."""

    def picture(self, name: str, iteration: int, caption: str, png: bytes) -> None:
        """Takes a PNG."""

    def histograms(
        self, name: str, iteration: int, values: Mapping[str, ArrayLike]
    ) -> None:
        """Takes, under each tag, values whose distribution is shown."""

    def close(self) -> None:
        """Writes what is still held back."""


class TensorBoard(Sink):
    """Event files, a folder for each of `training`, `validation` and `test`.

    Args:
        folder: which has these folders.
        iteration: beyond which there are to be no points; None to keep all.
    """

    def __init__(self, folder: Path, iteration: int | None = None) -> None:
        self.folder = folder
        self._writers: dict[str, tf.summary.SummaryWriter] = {}
        if iteration is not None:
            for split in filter(Path.is_dir, folder.glob("*")):
                _forget_beyond(split, iteration)

    def scalars(
        self,
        name: str,
        iteration: int,
        scalars: Mapping[str, float],
        per_class: PerClass,
    ) -> None:
        """Writes each scalar as a card under the heading of its kind.

        Those of single labels stand under headings that come last.
        """
        tagged = {f"{_card_group(key)}/{key}": value for key, value in scalars.items()}
        single = flat(per_class).items()
        tagged |= {f"single_label_{key}": value for key, value in single}
        writer = self._writer(name)
        with writer.as_default(iteration):
            for tag, value in tagged.items():
                tf.summary.scalar(tag, value)
        writer.flush()

    def picture(self, name: str, iteration: int, caption: str, png: bytes) -> None:
        """Writes a picture."""
        image = tf.io.decode_png(png, channels=3)[tf.newaxis]
        with self._writer(name).as_default(iteration):
            tf.summary.image(caption, image)
        self._writer(name).flush()

    def histograms(
        self, name: str, iteration: int, values: Mapping[str, ArrayLike]
    ) -> None:
        """Writes histograms of 30 bins."""
        writer = self._writer(name)
        with writer.as_default(iteration):
            for tag, array in values.items():
                tf.summary.histogram(tag, np.ravel(np.asarray(array)))
        writer.flush()

    def close(self) -> None:
        """Closes the event files."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, name: str) -> tf.summary.SummaryWriter:
        if name not in self._writers:
            self._writers[name] = tf.summary.create_file_writer(str(self.folder / name))
        return self._writers[name]


def flat(per_class: PerClass) -> dict[str, float]:
    """Returns the values of single labels by `<metric>/<label>`."""
    return {
        f"{metric}/{label}": value
        for metric, values in per_class.items()
        for label, value in values.items()
    }


def _card_group(scalar: str) -> str:
    """Returns under which heading TensorBoard shows a scalar."""
    for pattern, group in _CARD_GROUPS.items():
        if re.search(pattern, scalar):
            return group
    return "labels"


def _forget_beyond(folder: Path, iteration: int) -> None:
    """Takes what lies beyond an iteration out of the event files of a folder.

    A mark for TensorBoard to do so as it reads (`SessionLog.START`) would reach only
    some of the programs that read event files. These are TFRecord files, so they can be
    written anew; an event at a time is in memory.
    """
    for unfinished in folder.glob(".*tfevents*.tmp"):
        unfinished.unlink()
    for path in sorted(folder.glob("*tfevents*")):
        if any(step > iteration for step, _ in _events(path)):
            with (
                files.write_atomically(path) as temporary,
                tf.io.TFRecordWriter(str(temporary)) as file,
            ):
                for step, event in _events(path):
                    if step <= iteration:
                        file.write(event)


def _events(path: Path) -> Iterator[tuple[int, bytes]]:
    """Yields step and serialised form of each event; half of one ends the file."""
    for event in RawEventFileLoader(str(path)).Load():
        yield tf.compat.v1.Event.FromString(event).step, event


class WeightsAndBiases(Sink):
    """A run of Weights & Biases that every continuation goes on with.

    Its id is kept in `wandb/run_id`, its files lie beside that. Points carry
    `iteration`, which is the axis of all charts. Where nobody is logged in, the
    server can't be reached, or `WANDB_MODE` is `offline`, all is kept on disk for
    `wandb sync`.

    Args:
        out_dir: folder of the run, after which it is named.
        config: of the run; names the project.

    Raises:
        ValueError: the package is not installed.
    """

    def __init__(self, out_dir: Path, config: Config) -> None:
        self._wandb = extras.load("wandb", "wandb")
        id_file = out_dir / "wandb" / "run_id"
        if not id_file.exists():
            files.write_text(id_file, secrets.token_hex(4))
        options = {
            "project": config.wandb_project,
            "id": id_file.read_text(encoding="utf-8").strip(),
            "resume": "allow",
            "name": out_dir.name,
            "dir": str(out_dir),
            "config": config.model_dump(),
            "settings": self._wandb.Settings(
                # It would copy all that is printed, progress bars included.
                console="off",
                silent=True,
                init_timeout=_WANDB_START,
                login_timeout=_WANDB_START,
                finish_timeout=_WANDB_END,
            ),
        }
        try:
            self._run = self._wandb.init(**options)
        except self._wandb.errors.Error as error:
            reason = str(error).splitlines()[0]
            logger.warning("Weights & Biases can't be reached: %s", reason)
            # What has failed still holds the id.
            self._wandb.teardown()
            self._run = self._wandb.init(**options, mode="offline")
        self._run.define_metric("iteration")
        self._run.define_metric("*", step_metric="iteration")
        if self._run.offline:
            logger.info(
                "Weights & Biases: kept on disk; send it with: wandb sync %s",
                Path(self._run.dir).parent,
            )

    def scalars(
        self,
        name: str,
        iteration: int,
        scalars: Mapping[str, float],
        per_class: PerClass,
    ) -> None:
        """Adds a point."""
        self._log(name, iteration, {**scalars, **flat(per_class)})

    def picture(self, name: str, iteration: int, caption: str, png: bytes) -> None:
        """Adds a picture."""
        pixels = tf.io.decode_png(png, channels=3).numpy()
        self._log(name, iteration, {caption: self._wandb.Image(pixels)})

    def histograms(
        self, name: str, iteration: int, values: Mapping[str, ArrayLike]
    ) -> None:
        """Adds histograms of 64 bins."""
        drawn = {
            tag: self._wandb.Histogram(np.ravel(np.asarray(array)))
            for tag, array in values.items()
        }
        self._log(name, iteration, drawn)

    def close(self) -> None:
        """Ends this part of the run and waits until all is written or sent."""
        self._run.finish()

    def _log(self, name: str, iteration: int, values: Mapping[str, Any]) -> None:
        tagged = {f"{name}/{key}": value for key, value in values.items()}
        self._run.log({"iteration": iteration, **tagged})
