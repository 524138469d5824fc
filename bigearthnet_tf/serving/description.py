"""What an exported model says of itself: inputs, labels, statistics, thresholds.

The description is JSON, and the same in every format:

  model_name, made_by, iteration
  inputs       name, dtype, shape and bands of each group, and their unit
  band_order   bands in the order in which the network sees them
  output       "scores", (batch, labels)
  labels       in the order of the scores
  statistics   mean and standard deviation of each band, which the model applies itself
  interpolation, image_size
  rule         "score >= threshold"
  generated    whether records or weights that it was trained with are generated
  thresholds   label -> threshold; 0.5 each where none were tuned (`tuned`)
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import bigearthnet_tf
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.evaluation import thresholds
from bigearthnet_tf.models import scores
from bigearthnet_tf.serving.hub import Finished
from bigearthnet_tf.tasks import hub_folder
from bigearthnet_tf.tasks.weight_files import Published

logger = logging.getLogger(__name__)

DEFAULT_THRESHOLD = 0.5
# BigEarthNet's patches are of processing baselines before 04.00, which have no offset.
_UNITS = {
    "uint16": "digital numbers: reflectance times 10,000, without an offset",
    "float32": "decibels",
}


def describe(finished: Finished) -> dict[str, Any]:
    """Returns the description of a model.

    Args:
        finished: the model with its weights; thresholds that lie in the folder of its
            run, or beside published weights, come along.

    Raises:
        ValueError: those thresholds are damaged or of other labels.
    """
    weights = finished.weights
    groups = band_facts.group_bands(weights.bands)
    facts = band_statistics.band_statistics(weights.statistics or "v2_120_nearest")
    tuned = tuned_thresholds(finished)
    return {
        "made_by": f"bigearthnet_tf {bigearthnet_tf.__version__}",
        "model_name": weights.model_name,
        "iteration": weights.iteration,
        "inputs": [
            {
                "name": name,
                "dtype": tensor.dtype,
                "shape": ["batch", *tensor.shape[1:]],
                "bands": list(groups[name]),
                "unit": _UNITS[tensor.dtype],
            }
            for name, tensor in finished.model.input.items()
        ],
        "band_order": list(weights.bands),
        "output": {"name": scores.OUTPUT, "shape": ["batch", len(finished.labels)]},
        "labels": list(finished.labels),
        "statistics": {
            "name": facts.name,
            "mean": {band: facts.mean[band] for band in weights.bands},
            "std": {band: facts.std[band] for band in weights.bands},
        },
        "interpolation": weights.interpolation or "nearest",
        "image_size": weights.image_size or 120,
        "generated": weights.config is not None and weights.config.generated,
        "rule": "score >= threshold",
        "tuned": tuned is not None,
        "thresholds": tuned or dict.fromkeys(finished.labels, DEFAULT_THRESHOLD),
    }


def thresholds_file(weights: Published) -> Path:
    """Returns where the thresholds of a run or of published weights would lie."""
    path = Path(weights.path)
    of_run = path.parent.name == "checkpoints"
    return (path.parents[1] if of_run else path.parent) / hub_folder.THRESHOLDS


def tuned_thresholds(finished: Finished) -> dict[str, float] | None:
    """Returns label -> threshold, None where none were tuned for these weights.

    Args:
        finished: of a run, or published.

    Raises:
        ValueError: damaged, or of other labels.
    """
    weights = finished.weights
    path = thresholds_file(weights)
    if not path.is_file():
        return None
    found = thresholds.load(path)
    thresholds.check(found, path, finished.labels, "")
    if found.iteration != weights.iteration:
        logger.warning(
            "%s: tuned for iteration %d, the weights are of %d; left out",
            path,
            found.iteration,
            weights.iteration,
        )
        return None
    if found.fingerprint != thresholds.fingerprint(finished.model):
        logger.warning("%s: tuned for other weights; left out", path)
        return None
    return dict(zip(found.labels, found.thresholds, strict=True))
