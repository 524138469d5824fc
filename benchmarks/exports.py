"""Which architecture can be exported to which format, and at what difference.

    python benchmarks/exports.py -o benchmarks/results/exports.md

Every small architecture of the tests (`*_test`, and ShortCNN), with weights drawn at
random, is written in every format, opened in the runtime of the format, and compared
with the model: the largest difference of a score over batches of one and of three
patches, one of them without data. A cell with words says why there is no export.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bigearthnet_tf import console, files


def main() -> None:
    """Runs the command line."""
    parser = console.parser(__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=None, help="Markdown file")
    arguments = parser.parse_args()
    console.load_tensorflow()
    from bigearthnet_tf import models

    names = [*models.list_models("*_test"), "short_cnn", "keras/mobilenet_v3_small"]
    forms = ["keras", "savedmodel", "onnx", "litert"]
    lines = [
        "| architecture | bands | " + " | ".join(forms) + " |",
        "|---|---|" + "--:|" * len(forms),
    ]
    for name in names:
        model, bands = build(name)
        cells = [cell(model, form) for form in forms]
        lines.append(f"| `{name}` | {bands} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    if arguments.out:
        title = "# Exports: largest difference of a score\n\n"
        how = "By `python benchmarks/exports.py`; see there.\n\n"
        files.write_text(arguments.out, title + how + "\n".join(lines) + "\n")


def build(name: str):  # noqa: ANN201 - a Keras model and the name of its bands
    """Returns a model with drawn weights that gives scores, and its band set."""
    from bigearthnet_tf import models
    from bigearthnet_tf.archive import labels
    from bigearthnet_tf.models import scores
    from bigearthnet_tf.serving import description, hub
    from bigearthnet_tf.tasks import assembly
    from bigearthnet_tf.tasks.weight_files import Published

    bands = "s2_full" if models.get_model(name).inputs == "by_resolution" else "all"
    model = assembly.build_model(name, 19, bands, image_size=64)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if "seed" not in variable.name and "variance" not in variable.name:
            shift = rng.normal(0, 0.02, variable.shape).astype("float32")
            variable.assign(np.asarray(variable) + shift)
    order = labels.ORDERS["O19"]
    weights = Published(
        path=name,
        model_name=name,
        bands=assembly.model_bands(name, bands),
        labels=order,
        tensors={},
        form="own",
        image_size=64,
        interpolation="nearest",
        statistics="v2_120_nearest",
    )
    finished = hub.Finished(model, weights, order)
    return scores.with_scores(model, description.describe(finished)), bands


def cell(model, form: str) -> str:  # noqa: ANN001
    """Returns the difference of an export, or why there is none."""
    from bigearthnet_tf.serving import export
    from bigearthnet_tf.serving.formats import FORMATS

    kind = FORMATS.get(form)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"export{kind.suffix}"
        try:
            kind.check()
            kind.write(model, path)
            return f"{export.verify(model, path, form):.1e}"
        except ValueError as error:
            return str(error)


if __name__ == "__main__":
    console.run(main)
