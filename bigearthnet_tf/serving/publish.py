"""A finished run as a folder that others can load, evaluate and cite, or on the hub.

config.json          architecture, bands, labels, statistics, resampling
model.safetensors    weights by our own names
training.json        the config of the run, without paths of the machine
thresholds.json      where they were tuned for these weights
statistics.json      where they are not published ones
eval_result.json, eval_per_class.csv    if these weights were evaluated
example.png          patches of the run's records with what the model says of them
README.md            the model card
"""

from __future__ import annotations

import json
import logging
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf import extras, files, outputs, pictures
from bigearthnet_tf.config import Config
from bigearthnet_tf.data import pipeline
from bigearthnet_tf.evaluation import predictions, thresholds
from bigearthnet_tf.models import published
from bigearthnet_tf.records import damage
from bigearthnet_tf.serving import description, hub, model_card
from bigearthnet_tf.tasks import hub_folder, patches, weight_files
from bigearthnet_tf.tasks import pictures as patch_pictures

logger = logging.getLogger(__name__)

STATISTICS, PICTURE = "statistics.json", "example.png"
_RESULTS = ("eval_result.json", "eval_per_class.csv")
_WRITTEN = (
    *("config.json", "model.safetensors", "README.md", STATISTICS, PICTURE),
    *(hub_folder.TRAINING, hub_folder.THRESHOLDS, *_RESULTS),
)
# Patches in the picture: the first ones, whatever the model makes of them.
_PATCHES = 8
# Keys of a config that are of one machine; they get their defaults.
_LOCAL = (
    "out_dir",
    "cache",
    "weights",
    "model_file",
    "modules",
    "fine_tune",
    "wandb_project",
    "devices",
    "cluster",
    "metadata",
    "thresholds",
)
_RECORDS = {
    f"{key}_tf_record_files": [f"records/{split}-*.tfrecord"]
    for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
}


def publish(
    run: Path | str,
    out: Path | str,
    *,
    data: str,
    licence: str = "unknown",
    repo_id: str | None = None,
    overwrite: bool = False,
    allow_generated: bool = False,
) -> Path:
    """Writes a run as a folder that `from_pretrained` and `eval.py` take.

    Args:
        run: folder of a classification, or of one of its checkpoints.
        out: the folder to make; it appears when it is complete.
        data: what the records hold, for the model card.
        licence: of the weights, by a name of the hub, such as `mit`.
        repo_id: under which it will be on the hub, for the commands of the card.
        overwrite: replace an earlier publication.
        allow_generated: publish also what was trained on generated data.

    Returns:
        The folder.

    Raises:
        FileNotFoundError: no such run.
        ValueError: it is no classification, is damaged, was trained on generated data,
            or something is in the way.
        OSError: it can't be written.
    """
    out = Path(out)
    _check_free(out, overwrite, run)
    files.check_unpacked(run, "the folder of a run")
    if Path(run).exists() and weight_files.is_published(str(run)):
        raise ValueError(
            f"{run}: is no run; expected the folder of one, or of a checkpoint"
        )
    finished = hub.open_finished(run)
    facts = description.describe(finished)
    if facts["generated"] and not allow_generated:
        raise ValueError(
            f"{run}: its records, or the weights it began with, are generated, so it "
            "says nothing about the Earth; train on real records, or pass "
            "--allow-generated, which the model card will say"
        )
    with files.temporary_beside(out) as folder:
        made = folder / "made"
        made.mkdir()
        _write(finished, facts, made)
        card = model_card.render(
            made,
            facts,
            name=repo_id or out.name,
            data=data,
            licence=licence,
        )
        files.write_text(made / "README.md", card)
        if out.is_dir():
            out.rename(folder / "earlier")
        made.rename(out)
    return out


def upload(folder: Path, repo_id: str, private: bool = False) -> str:
    """Uploads a published folder to the Hugging Face hub; returns its address there.

    Args:
        folder: of `publish`.
        repo_id: `ORG/NAME`; made if it is not there.
        private: whether it is made for its owner alone.

    Raises:
        OSError: the hub can't be reached, or refuses.
        ValueError: as for `check_hub`.
    """
    check_hub(repo_id)
    library = extras.load("huggingface_hub", extra="huggingface")
    api = library.HfApi()
    try:
        address = api.create_repo(repo_id, private=private, exist_ok=True)
        api.upload_folder(
            repo_id=repo_id,
            folder_path=folder,
            commit_message=f"Published with bigearthnet_tf: {repo_id.split('/')[1]}",
        )
    except Exception as error:  # Of several HTTP libraries.
        reason = " ".join(str(error).split())[:200]
        raise OSError(
            f"{repo_id}: can't be uploaded ({reason}); with -o FOLDER there is a "
            f"folder for another try: hf upload {repo_id} FOLDER"
        ) from error
    return str(address)


def check_hub(repo_id: str) -> None:
    """Checks all that an upload needs before there is work to lose.

    Raises:
        ValueError: no id of the hub, the package is missing, or nobody is logged in.
    """
    if not weight_files.is_hub_id(repo_id):
        raise ValueError(f"--repo-id: expected ORG/NAME, got {repo_id!r}")
    library = extras.load("huggingface_hub", extra="huggingface")
    if library.get_token() is None:
        raise ValueError(
            f"{repo_id}: nobody is logged in to the Hugging Face hub; run hf auth "
            "login, or set HF_TOKEN to a token that may write (made at "
            "https://huggingface.co/settings/tokens)"
        )


def _check_free(out: Path, overwrite: bool, run: Path | str) -> None:
    outputs.check_folder(out, [run])
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / hub_folder.TRAINING).is_file() or (out / "checkpoints").exists():
        raise ValueError(
            f"{out}: holds something else than an earlier publication; choose another "
            "folder"
        )
    outputs.check_replaceable(out, _WRITTEN, [run])
    if not overwrite:
        raise ValueError(
            f"{out}: is there already; choose another folder, or say --overwrite"
        )


def _write(finished: hub.Finished, facts: dict[str, Any], made: Path) -> None:
    """Writes everything but the card."""
    weights = finished.weights
    config = weights.config
    if config is None:
        raise ValueError(f"{weights.path}: does not say how it was trained")
    tensors = published.dump(finished.model, published.own_name, torch=False)
    content = safetensors.numpy.save(tensors, {"format": "tf"})
    (made / "model.safetensors").write_bytes(content)
    meaning = {
        "library_name": "bigearthnet_tf",
        "made_by": facts["made_by"],
        "timm_model_name": weights.model_name,
        "names": "own",
        "channels": len(weights.bands),
        "classes": len(finished.labels),
        "image_size": weights.image_size,
        "bands": list(weights.bands),
        "class_names": list(finished.labels),
        "statistics": weights.statistics,
        "interpolation": weights.interpolation,
        "head_dims": list(weights.head_dims),
        "iteration": weights.iteration,
    }
    files.write_text(made / "config.json", json.dumps(meaning, indent=2) + "\n")
    own = not isinstance(weights.statistics, str)
    if own:
        files.write_json(made / STATISTICS, weights.statistics)
    keys = {k: v for k, v in config.model_dump().items() if k not in _LOCAL}
    keys |= _RECORDS | {
        "bands": list(weights.bands),
        "statistics": None if own else weights.statistics,
    }
    configs.save(configs.from_dict(keys), made / hub_folder.TRAINING)
    if facts["tuned"]:
        shutil.copyfile(
            description.thresholds_file(weights), made / hub_folder.THRESHOLDS
        )
    _copy_results(finished, made)
    picture = _picture(finished, config)
    if picture is not None:
        (made / PICTURE).write_bytes(picture)


def _copy_results(finished: hub.Finished, made: Path) -> None:
    """Copies the results of these very weights, if there are any."""
    checkpoint, iteration = Path(finished.weights.path), finished.weights.iteration
    if checkpoint.parent.name != "checkpoints":
        logger.warning("%s: lies alone, so its results are not known", checkpoint)
        return
    folder = checkpoint.parents[1]
    try:
        found = predictions.load(folder / predictions.FILE)
    except FileNotFoundError:
        logger.warning(
            "%s: was not evaluated, so the model card has no results; eval.py first",
            folder,
        )
        return
    if found.fingerprint != thresholds.fingerprint(finished.model):
        other = found.iteration not in (-1, iteration)
        logger.warning(
            "%s: evaluated was %s, published is iteration %d, so the model card has "
            "no results; eval.py with --checkpoint %s first",
            folder,
            f"iteration {found.iteration}" if other else "another version",
            iteration,
            checkpoint,
        )
        return
    for name in _RESULTS:
        shutil.copyfile(folder / name, made / name)


def _picture(finished: hub.Finished, config: Config) -> bytes | None:
    """Returns a PNG of the first patches of the test, else the validation split."""
    task = patches.PatchTask(config)
    for split in ("test", "val"):
        try:
            source = task.source(split)
        except (OSError, ValueError):
            continue
        count = min(_PATCHES, source.num_records)
        data = pipeline.batches(source, count, task.bands, task.label_type)
        with damage.reading(partial(task.files, split), split):
            groups, labels = next(data.take(1).as_numpy_iterator())
        logits = finished.model(groups, training=False)
        figure = patch_pictures.sample_sheet(
            patch_pictures.composite(groups, task.bands),
            labels,
            np.asarray(tf.sigmoid(logits)),
            finished.labels,
        )
        return pictures.to_png(figure, dpi=150)
    logger.warning(
        "no example picture: the records that the config names are not here (paths "
        "are relative to the working directory)"
    )
    return None
