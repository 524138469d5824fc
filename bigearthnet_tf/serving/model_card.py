"""The model card of a published folder: what it is, how to use it, how good it is.

It says what lies in the folder and what it was told, and nothing else. Its head is YAML
as the Hugging Face hub reads it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from bigearthnet_tf import escapes, files, tables
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.config import Config
from bigearthnet_tf.evaluation import generated
from bigearthnet_tf.tasks import hub_folder

# Keys of `eval_result.json`: the hub's name of such a metric, and words.
_METRICS = {
    "macro_average_precision": ("average_precision", "average precision, macro"),
    "micro_average_precision": ("average_precision", "average precision, micro"),
    "macro_f1_score_class_avg": ("f1", "F1, macro"),
    "micro_f1_score": ("f1", "F1, micro"),
    "macro_precision_class_avg": ("precision", "precision, macro"),
    "macro_recall_class_avg": ("recall", "recall, macro"),
    "macro_auroc": ("roc_auc", "ROC area, macro"),
    "hamming_loss": ("hamming_loss", "Hamming loss"),
}
# Keys of a config that say how the weights came about.
_RECIPE = (
    "model_name",
    "encoders",
    "fusion",
    "label_type",
    "image_size",
    "interpolation",
    "augmentation",
    "mixup_alpha",
    "cutmix_alpha",
    "batch_size",
    "nb_epoch",
    "optimizer",
    "learning_rate",
    "learning_rate_schedule",
    "weight_decay",
    "loss",
    "label_smoothing",
    "drop_rate",
    "drop_path_rate",
    "head_dims",
    "ema_momentum",
    "precision",
    "seed",
)


def render(
    folder: Path, facts: Mapping[str, Any], *, name: str, data: str, licence: str
) -> str:
    """Returns the Markdown of a card.

    Args:
        folder: with the files of `publish`.
        facts: of `description.describe`.
        name: of the model: its id on the hub, or its folder.
        data: what the records hold that it learnt and was tested on.
        licence: of the weights, by a name of the hub.
    """
    short = name.split("/")[-1]
    result = _read(folder / "eval_result.json")
    config = files.read_json(folder / hub_folder.TRAINING)
    sections = [
        _head(facts, short, data, licence, result),
        f"# {escapes.in_markdown(short)}\n",
        _banner(facts, data),
        _summary(facts, data),
        _picture(folder),
        _usage(folder, facts, name, short),
        _results(folder, facts, result),
        _recipe(facts, config, data),
    ]
    return "\n".join(filter(None, sections))


def _read(path: Path) -> dict[str, Any]:
    return files.read_json(path) if path.is_file() else {}


def _banner(facts: Mapping[str, Any], data: str) -> str:
    is_generated = facts["generated"] or "generated" in data.lower()
    return f"{generated.as_markdown(True)}\n" if is_generated else ""


def _head(
    facts: Mapping[str, Any],
    short: str,
    data: str,
    licence: str,
    result: Mapping[str, float],
) -> str:
    sensors = {band_facts.BANDS[band].group[:2] for band in facts["band_order"]}
    known = {key: kind for key, kind in _METRICS.items() if key in result}
    content: dict[str, Any] = {
        "license": licence,
        "library_name": "bigearthnet_tf",
        "pipeline_tag": "image-classification",
        "tags": [
            "remote-sensing",
            "earth-observation",
            "land-cover",
            "multi-label-classification",
            "bigearthnet",
            "tensorflow",
            "keras",
            *(f"sentinel-{sensor[1]}" for sensor in sorted(sensors)),
            facts["model_name"],
        ],
    }
    if known:
        content["metrics"] = list(dict.fromkeys(kind for kind, _ in known.values()))
        metrics = [
            {"type": kind, "name": words, "value": float(result[key])}
            for key, (kind, words) in known.items()
        ]
        task = {"type": "image-classification", "name": "Multi-label classification"}
        of = {"type": "bigearthnet", "name": data, "split": "test"}
        results = [{"task": task, "dataset": of, "metrics": metrics}]
        content["model-index"] = [{"name": short, "results": results}]
    return f"---\n{yaml.safe_dump(content, sort_keys=False, allow_unicode=True)}---\n"


def _summary(facts: Mapping[str, Any], data: str) -> str:
    bands = facts["band_order"]
    return (
        f"A `{facts['model_name']}` that gives a patch of 1.2 km x 1.2 km the "
        f"{len(facts['labels'])} land-cover labels of BigEarthNet from {len(bands)} "
        f"bands: {' '.join(bands)}. It takes digital numbers: selection, resampling "
        f"({facts['interpolation']}, to {facts['image_size']} pixels) and "
        f"standardisation ({_statistics(facts)}) of the bands are its first layers."
        f"\n\nData: {escapes.in_markdown(data)}\n"
    )


def _statistics(facts: Mapping[str, Any]) -> str:
    name = facts["statistics"]["name"]
    return (
        escapes.as_code(name)
        if name.startswith(("v1", "v2_"))
        else "statistics of its own"
    )


def _picture(folder: Path) -> str:
    if not (folder / "example.png").is_file():
        return ""
    return (
        "![Patches with their labels and the model's scores](example.png)\n\n"
        "The first patches of the records, not chosen by their result.\n"
    )


def _usage(folder: Path, facts: Mapping[str, Any], name: str, short: str) -> str:
    groups = "\n".join(
        f"| `{group['name']}` | {group['dtype']} | {group['shape'][1:]} | "
        f"{' '.join(group['bands'])} | {group['unit']} |"
        for group in facts["inputs"]
    )
    options = [
        f"--set out_dir=runs/{short}",
        "--set 'test_tf_record_files=[\"records/test-*.tfrecord\"]'",
    ]
    if (folder / "statistics.json").is_file():
        options.append(f"--set statistics={short}/statistics.json")
    if (folder / hub_folder.THRESHOLDS).is_file():
        options.append(f"--thresholds {short}/{hub_folder.THRESHOLDS}")
    joined = " \\\n    ".join(
        [f"python eval.py {short}/training.json --checkpoint {short}", *options]
    )
    fetch = f"hf download {name} --local-dir {short}\n" if "/" in name else ""
    return f"""## Use

```python
import bigearthnet_tf
import keras

model = bigearthnet_tf.from_pretrained("{name}")
scores = keras.ops.sigmoid(model(groups))  # (batch, {len(facts["labels"])})
```

`groups` is a dictionary of what the patches hold, band by band as stored:

| group | dtype | shape of a patch | bands | unit |
|---|---|---|---|---|
{groups}

Evaluate it on records of your own:

```sh
{fetch}{joined}
```

For TensorFlow Serving, ONNX or LiteRT: `bigearthnet-tf export {name} --format onnx
-o {short}.onnx`.

Labels, in the order of the scores: {"; ".join(facts["labels"])}.
"""


def _results(
    folder: Path, facts: Mapping[str, Any], result: Mapping[str, float]
) -> str:
    if not result:
        return "## Results\n\nThese weights were not evaluated.\n"
    rows = [
        f"| {words} | {result[key]:.4f} |"
        for key, (_, words) in _METRICS.items()
        if key in result
    ]
    about = "On the test split, a label given from a score of 0.5 on; all are in "
    lines = [
        "## Results\n",
        f"{about}`eval_result.json`.\n",
        "| measure | value |\n|---|--:|\n" + "\n".join(rows) + "\n",
    ]
    if (folder / "eval_per_class.csv").is_file():
        lines.append(_per_class(folder / "eval_per_class.csv"))
    if facts["tuned"]:
        lines.append(
            "Thresholds tuned for each label on the validation split are in "
            "`thresholds.json`; exports carry them.\n"
        )
    return "\n".join(lines)


def _per_class(path: Path) -> str:
    table = tables.read_csv(path, "results of each label")
    every = ("count", "precision", "recall", "f1", "average_precision")
    columns = [column for column in every if column in table]
    head = " | ".join(c.replace("_", " ") for c in columns)
    lines = [f"| label | {head} |", "|---|" + "--:|" * len(columns)]
    for _, row in table.iterrows():
        cells = [f"{row[c]:.0f}" if c == "count" else f"{row[c]:.3f}" for c in columns]
        lines.append(f"| {escapes.in_markdown(row['label'])} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _recipe(facts: Mapping[str, Any], config: Mapping[str, Any], data: str) -> str:
    defaults = {key: field.default for key, field in Config.model_fields.items()}
    shown = [
        f"| `{key}` | {escapes.in_markdown(config[key])} |"
        for key in _RECIPE
        if key in config
        and (config[key] != defaults[key] or key in ("batch_size", "seed", "optimizer"))
    ]
    return (
        f"## Training\n\n{facts['iteration']:,} iterations with {facts['made_by']} on: "
        f"{escapes.in_markdown(data)}. All keys are in `training.json`; those that "
        "matter and differ from the defaults:\n\n| key | value |\n|---|---|\n"
        + "\n".join(shown)
        + "\n"
    )
