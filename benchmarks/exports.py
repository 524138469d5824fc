"""Which architecture can be exported to which format, and at what difference.

    python benchmarks/exports.py -o benchmarks/results/exports.md

Every small architecture of the tests (`*_test`), ResNet-small, ShortCNN and one of
keras.applications learns from 24 generated patches for 36 steps, is written in every
format, opened in the runtime of the format, and compared with the model: the largest
difference of a score over batches of one and of three patches, one of them without
data. `rounding` is how far eight times the effect of float32's rounding may move a
logit (`serving.export.rounding`). A cell with words says why there is no export.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from bigearthnet_tf import console, files

PATCHES = 24


def main() -> None:
    """Runs the command line."""
    parser = console.parser(__doc__.splitlines()[0])
    parser.add_argument("-o", "--out", type=Path, default=None, help="Markdown file")
    arguments = parser.parse_args()
    console.load_tensorflow()
    from bigearthnet_tf import models

    others = ["resnet_small", "short_cnn", "keras/mobilenet_v3_small"]
    forms = ["keras", "savedmodel", "onnx", "litert"]
    heads = ["architecture", "bands", "loss", "largest logit", "rounding", *forms]
    lines = ["| " + " | ".join(heads) + " |", "|---|---|" + "--:|" * (len(heads) - 2)]
    patches = generate()
    for name in [*models.list_models("*_test"), *others]:
        model, *facts = train(name, patches)
        cells = [f"`{name}`", *facts, *(cell(model, form) for form in forms)]
        lines.append("| " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    if arguments.out:
        title = "# Exports of trained models: largest difference of a score\n\n"
        how = "By `python benchmarks/exports.py`; see there.\n\n"
        files.write_text(arguments.out, title + how + "\n".join(lines) + "\n")


def generate():  # noqa: ANN201 - a list of patches
    """Returns generated patches of both sensors."""
    from bigearthnet_tf.archive import archives, metadata, sample

    with tempfile.TemporaryDirectory() as folder:
        root = sample.write_archive(Path(folder) / "v2", PATCHES, seed=3, workers=1)
        table = metadata.read_metadata(root / "metadata.parquet")
        archive = archives.open_archive(
            root / "BigEarthNet-S2", root / "BigEarthNet-S1", metadata=table
        )
        return [archive.read(e) for e in metadata.entries_from_metadata(table)]


def train(name: str, patches):  # noqa: ANN001, ANN201 - a Keras model and texts
    """Returns a trained model that gives scores, and facts of it for the table."""
    import keras

    from bigearthnet_tf import models
    from bigearthnet_tf.archive import bands as band_facts
    from bigearthnet_tf.archive import labels
    from bigearthnet_tf.models import scores
    from bigearthnet_tf.serving import description, export, hub
    from bigearthnet_tf.tasks import assembly
    from bigearthnet_tf.tasks.weight_files import Published

    kind = "s2_full" if models.get_model(name).inputs == "by_resolution" else "all"
    bands = assembly.model_bands(name, kind)
    model = assembly.build_model(name, 19, bands, image_size=64)
    images = {
        group: np.stack([np.stack([p.bands[b] for b in own]) for p in patches])
        for group, own in band_facts.group_bands(bands).items()
    }
    order = labels.ORDERS["O19"]
    truth = np.array([[x in p.labels for x in order] for p in patches], "float32")
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    course = model.fit(images, truth, batch_size=8, epochs=12, verbose=0).history
    weights = Published(
        path=name,
        model_name=name,
        bands=bands,
        labels=order,
        tensors={},
        form="own",
        image_size=64,
        interpolation="nearest",
        statistics="v2_120_nearest",
    )
    finished = hub.Finished(model, weights, order)
    scored = scores.with_scores(model, description.describe(finished))
    some = export.examples(scored.get_layer(scores.OUTPUT).description, 3)
    largest = float(np.abs(np.asarray(model(some, training=False))).max())
    losses = f"{course['loss'][0]:.2f} to {course['loss'][-1]:.2f}"
    moved = f"{export.rounding(scored, some):.1e}"
    return scored, kind, losses, f"{largest:.1f}", moved


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
