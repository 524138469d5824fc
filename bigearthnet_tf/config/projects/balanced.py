"""Arguments of balanced-bigearthnet's `train.py` as a config."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bigearthnet_tf.config.projects import flags
from bigearthnet_tf.config.projects.translated import Translated

_SCRIPT = "--from-balanced"
_LOSSES = {
    "CrossEntropy": "softmax_cross_entropy",
    "MSE": "mean_squared_error",
    "BCEWithLogits": "sigmoid_cross_entropy",
}
# torch's SGD has no momentum unless it is asked for.
_OPTIMIZERS: dict[str, dict[str, Any]] = {
    "Adam": {"optimizer": "adam"},
    "SGD": {"optimizer": "sgd", "momentum": 0.0},
}
_MODELS = ("ShortCNN", "InceptionV1", "InceptionV3")
_FINETUNE = (0, 1, 2)
# What its data loader and torchvision's InceptionV3 fix in their code.
_FIXED = {"interpolation": "bilinear", "statistics": "v1", "shuffle_buffer_size": 1000}
_INCEPTION_V3_SIZE = 299


def translate(arguments: Sequence[str], overrides: Mapping[str, Any]) -> Translated:
    """Returns the config that the arguments stand for.

    `--optim` and `--finetune`, which that script reads and then ignores, mean here
    what they say. A loss or optimizer that it does not know, for which it takes
    another one, is refused.

    Args:
        arguments: as on the command line of that script.
        overrides: keys and values of `--set`; of these `weights` and `fine_tune_level`
            decide whether InceptionV3 has weights to start from.

    Raises:
        ValueError: an unknown argument, an impossible value, or `--model InceptionV3`
            with a `--finetune` that needs weights which are not given.
    """
    given, strangers = _parser().parse_known_args(arguments)
    known = [f"--{key}" for key in vars(given)]
    flags.refuse(strangers, known, _SCRIPT, "docs/migration/balanced_bigearthnet.md")
    keys, assumed = _model(given, overrides)
    keys |= {
        "records": given.sets,
        "nb_epoch": given.epochs,
        "batch_size": given.batch,
        "learning_rate": given.lr,
        "loss": _LOSSES[given.loss or "CrossEntropy"],
        "seed": given.seed,
        "out_dir": str(Path(given.storage_path, keys["model_name"])),
        **_OPTIMIZERS[given.optim],
        **_FIXED,
    }
    return Translated(keys, [*assumed, *_assumed(given)], _left_out(given, overrides))


def _parser() -> flags.Parser:
    # Defaults as there.
    parser = flags.Parser(_SCRIPT)
    parser.add_argument("--sets", required=True)
    parser.add_argument("--model", choices=_MODELS, default="ShortCNN")
    parser.add_argument("--epochs", type=flags.whole, default=5)
    parser.add_argument("--batch", type=flags.whole, default=500)
    parser.add_argument("--lr", type=flags.real, default=1e-3)
    parser.add_argument("--optim", choices=tuple(_OPTIMIZERS), default="Adam")
    parser.add_argument("--loss", choices=tuple(_LOSSES))
    parser.add_argument("--finetune", type=flags.whole, choices=_FINETUNE, default=0)
    parser.add_argument("--seed", type=flags.whole, default=42)
    parser.add_argument("--storage_path", required=True)
    for flag in ("--rgb", "--verbose", "--count"):
        parser.add_argument(flag, action="store_true")
    return parser


def _model(
    given: argparse.Namespace, overrides: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Returns the keys of the architecture, and what is assumed with them."""
    keys: dict[str, Any]
    if given.model == "ShortCNN":
        keys = {"model_name": "ShortCNN_RGB" if given.rgb else "ShortCNN_All"}
    else:
        rgb = given.rgb or given.model == "InceptionV3"
        keys = {"model_name": given.model, "bands": "rgb" if rgb else "bal_all"}
    if given.model != "InceptionV3":
        return keys, [
            f"{given.model} from random weights, as with any --finetune there"
        ]
    level = overrides.get("fine_tune_level", given.finetune)
    if level != 2 and not (overrides.get("weights") or overrides.get("fine_tune")):
        raise ValueError(
            f"--from-balanced: InceptionV3 with --finetune {given.finetune} begins "
            "with ImageNet weights: add --set weights=FILE (timm's model.safetensors "
            "of inception_v3.tv_in1k), or --finetune 2 for random ones"
        )
    keys |= {"image_size": _INCEPTION_V3_SIZE, "fine_tune_level": given.finetune}
    if level != 2:
        keys["weights_head"] = "new"
    meaning = {
        0: "only the last layer learns",
        1: "all layers learn, from ImageNet weights",
        2: "all layers learn, from random weights",
    }
    learns = f"--finetune {given.finetune}: {meaning[given.finetune]}"
    return keys, [
        "RGB for InceptionV3, resized to 299 pixels, standardised once",
        f"{learns} (there 1 whatever it says)",
    ]


def _assumed(given: argparse.Namespace) -> list[str]:
    found = []
    if given.loss is None:
        found.append(
            "loss CrossEntropy, the default there (a softmax, where BCEWithLogits "
            "decides on each label for itself)"
        )
    if given.optim != "Adam":
        found.append(f"optimizer {given.optim} (there Adam whatever --optim says)")
    return [
        *found,
        "bilinear resampling, statistics of v1, a shuffle buffer of 1000",
        "validation after each epoch (there every epochs // 5)",
        "eval.py takes the best weights (there the last ones: --checkpoint last)",
    ]


def _left_out(given: argparse.Namespace, overrides: Mapping[str, Any]) -> list[str]:
    found = [
        "output/scores.csv: its numbers are in eval_conventions.json, under balanced"
    ]
    if "track_emissions" not in overrides:
        found.append("codecarbon/emissions.csv: --set track_emissions=true writes it")
    if given.verbose:
        found.append("--verbose: progress is always shown")
    if given.count:
        found.append(
            "--count, refused there too: bigearthnet-tf models --summary counts weights"
        )
    return found
