"""Which keys of a config may differ when a run is continued."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bigearthnet_tf import config as configs
from bigearthnet_tf.config import Config

# They say where things lie, how long the run is, what is watched, and on which devices
# it runs: nothing that would make another model of it. Other devices or another way of
# compiling change the last digits, and what dropout and augmentation draw.
MAY_CHANGE = frozenset(
    {
        "out_dir",
        "modules",
        "tr_tf_record_files",
        "val_tf_record_files",
        "test_tf_record_files",
        "training_size",
        "val_size",
        "test_size",
        "cache",
        "nb_epoch",
        "save_checkpoint_after_iteration",
        "save_checkpoint_per_iteration",
        "keep_checkpoints",
        "keep_checkpoint_per_iteration",
        "validate_per_iteration",
        "log_per_iteration",
        "monitor",
        "early_stopping_patience",
        "early_stopping_metric",
        "early_stopping_min_delta",
        "sample_images",
        "wandb_project",
        "track_emissions",
        "baselines",
        "thresholds",
        "bootstrap_rounds",
        "metadata",
        "generated",
        "query_split",
        "archive_split",
        "retrieval_layer",
        "retrieval_metric",
        "retrieval_k",
        "retrieval_definitions",
        "devices",
        "cluster",
        "cluster_timeout",
        "xla",
        "iterations_per_call",
        "deterministic",
    }
)
# The rate may be turned by hand where nothing else turns it; a schedule that follows
# from the length of the run fixes that length too.
_WITHOUT_SCHEDULE = frozenset({"learning_rate"})
_FIXED_LENGTH = frozenset({"polynomial", "one_cycle", "warmup_cosine", "warmup_decay"})


def check(
    progress: dict[str, Any],
    config: Config,
    data: dict[str, Any],
    where: Path,
) -> None:
    """Checks that a config continues a run and does not change it midway.

    Args:
        progress: of the checkpoint: among others `config`, all keys that it was made
            with, `training_records`, their number, and `training_data`, which tells
            them from others.
        config: the present one.
        data: `training_records` and `training_data` now.
        where: the checkpoint, for the message.

    Raises:
        ValueError: keys differ that must not; all are named.
    """
    found = progress["config"]
    may_change = set(MAY_CHANGE)
    if config.learning_rate_schedule == "constant":
        may_change |= _WITHOUT_SCHEDULE
    if not config.fine_tune:
        may_change.add("model_file")  # which eval.py alone reads
    if config.learning_rate_schedule in _FIXED_LENGTH:
        may_change -= {"nb_epoch"}
    now = config.model_dump()
    defaults = configs.from_dict({}).model_dump()
    changed = [
        f"{key} {value!r} (was {found.get(key, defaults[key])!r})"
        for key, value in now.items()
        if key not in may_change and found.get(key, defaults[key]) != value
    ]
    number, then = data["training_records"], progress["training_records"]
    identity = data["training_data"]
    if number != then:
        changed.append(f"{number} training records (were {then})")
    elif progress.get("training_data", identity) != identity:
        changed.append("other training records (tr_tf_record_files)")
    if changed:
        raise ValueError(
            f"{where}: can't be continued with {', '.join(changed)}; restore that, or "
            "start anew in another out_dir (weights there takes this run's weights)"
        )
