"""Exports of trained weights, whose rounding goes further than that of drawn ones."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf import models
from bigearthnet_tf.archive import archives, metadata, sample
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.models import scores
from bigearthnet_tf.serving import description, export, hub
from bigearthnet_tf.serving.formats import FORMATS
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training import checkpoints
from bigearthnet_tf.training.state import State

FAMILIES = [
    "resnet_test",
    *(
        pytest.param(name, marks=pytest.mark.long)
        for name in (
            "convmixer_test",
            "convnext_test",
            "inception_v1_test",
            "inception_v3_test",
            "k_branch_test",
            "mixer_test",
            "mobilevit_test",
            "resnet_small",
            "short_cnn",
            "vgg_test",
            "vit_test",
            "keras/mobilenet_v3_small",
        )
    ),
]


@pytest.fixture(scope="module")
def patches(tmp_path_factory):
    """Two dozen generated patches."""
    folder = tmp_path_factory.mktemp("archive") / "v2"
    sample.write_archive(folder, 24, version="v2", seed=3, workers=1)
    table = metadata.read_metadata(folder / "metadata.parquet")
    roots = folder / "BigEarthNet-S2", folder / "BigEarthNet-S1"
    archive = archives.open_archive(*roots, metadata=table)
    return [archive.read(e) for e in metadata.entries_from_metadata(table)]


@pytest.fixture(scope="module", params=FAMILIES)
def run(request, patches, tmp_path_factory):
    """A run of a family that has learnt until its loss was a fifth less."""
    keys = {"modality": "MM"}
    if models.get_model(request.param).inputs == "by_resolution":
        keys = {"bands": list(band_facts.resolve_bands("s2_full"))}
    config = configs.from_dict(
        {
            "model_name": request.param,
            "label_type": "BigEarthNet-19",
            "statistics": "v2_120_nearest",
            "image_size": 64,
            "devices": "cpu",
            **keys,
        }
    )
    task = base.open_task(config)
    model = task.build_model()
    images = {
        name: np.stack([np.stack([p.bands[b] for b in own]) for p in patches])
        for name, own in band_facts.group_bands(task.bands).items()
    }
    labels = [[label in p.labels for label in task.labels] for p in patches]
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss)
    truth = np.array(labels, "float32")
    losses = []
    for _ in range(6):
        course = model.fit(images, truth, batch_size=8, epochs=12, verbose=0)
        losses += course.history["loss"]
        if losses[-1] < 0.8 * losses[0]:
            break
    assert losses[-1] < 0.8 * losses[0]
    folder = tmp_path_factory.mktemp(request.param.replace("/", "_"))
    saved = checkpoints.CheckpointFolder(folder / "checkpoints", task.describe())
    saved.save(
        State(model),
        int(model.optimizer.iterations),
        None,
        {"config": config.model_dump()},
    )
    saved.wait()
    return folder, images


@pytest.mark.parametrize("form", ["keras", "savedmodel", "onnx", "litert"])
def test_every_format_gives_the_scores_of_a_trained_model(tmp_path, run, form):
    if form == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    folder, images = run
    out = export.export(folder, tmp_path / f"model{FORMATS.get(form).suffix}", form)
    score, _ = FORMATS.get(form).open(out)
    some = {name: group[:5] for name, group in images.items()}
    logits = hub.from_pretrained(folder)(some).numpy().astype(float)
    # Logits of 5 or so, to some units of their last place, and less behind the sigmoid.
    np.testing.assert_allclose(score(some), 1 / (1 + np.exp(-logits)), atol=5e-6)
    if "s1_10m" not in some:
        return
    for value in (np.nan, np.inf, -np.inf):
        broken = {**some, "s1_10m": some["s1_10m"].copy()}
        broken["s1_10m"][2, 1, -1, -1] = value
        given = score(broken)
        assert np.isnan(given[2]).all()
        np.testing.assert_allclose(
            np.delete(given, 2, 0), np.delete(score(some), 2, 0), rtol=0, atol=1e-6
        )


def test_the_form_of_timm_and_back(tmp_path, run):
    folder, images = run
    if not hub.has_timm_form(folder):
        with pytest.raises(ValueError, match="is no model of timm"):
            hub.export_timm(folder, tmp_path / "out")
        return
    some = {name: group[:5] for name, group in images.items()}
    loaded = hub.from_pretrained(hub.export_timm(folder, tmp_path / "out"))
    expected = hub.from_pretrained(folder)(some).numpy()
    np.testing.assert_allclose(
        loaded(some), expected, rtol=0, atol=1e-5 * np.abs(expected).max()
    )


def shift_bias(model):
    bias = model.get_layer("head").bias
    bias.assign(bias + 1e-3)


def scale_a_kernel(model):
    layer = next(x for x in model.layers if isinstance(x, keras.layers.Conv2D))
    layer.kernel.assign(layer.kernel * 1.001)


def swap_two_labels(model):
    head = model.get_layer("head")
    order = [1, 0, *range(2, 19)]
    head.set_weights([w[..., order] for w in head.get_weights()])


def forget_an_epsilon(model):
    """The running variance is off by 1e-3, as with the epsilon of another library."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.moving_variance.assign(layer.moving_variance + 1e-3)


def turn_a_band(model):
    layer = next(x for x in model.layers if isinstance(x, keras.layers.Conv2D))
    layer.kernel.assign(tf.gather(layer.kernel, [1, 0, *range(2, 12)], axis=2))


@pytest.mark.parametrize("run", ["resnet_test"], indirect=True)
@pytest.mark.parametrize(
    "change",
    [shift_bias, scale_a_kernel, swap_two_labels, forget_an_epsilon, turn_a_band],
)
def test_a_wrong_export_of_a_trained_model_is_caught(tmp_path, run, change):
    right, wrong = (hub.open_finished(run[0]) for _ in range(2))
    change(wrong.model)
    facts = description.describe(right)
    path = tmp_path / "model.keras"
    FORMATS.get("keras").write(scores.with_scores(wrong.model, facts), path)
    with pytest.raises(ValueError, match=r"where rounding explains .*; nothing"):
        export.verify(scores.with_scores(right.model, facts), path, "keras")
