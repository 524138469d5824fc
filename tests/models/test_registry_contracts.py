"""What may be relied on with every architecture, chosen from the registry by a rule."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import preprocessing

# Built in seconds at 32 pixels: the sizes for tests, and Keras's smallest.
SMALL = [
    name
    for name in models.list_models()
    if name.endswith("_test")
    or name.startswith("short_cnn")
    or name in ("keras/mobilenet_v3_small", "keras/convnext_tiny")
]
FAMILIES = {"resnet_test", "vit_test", "convnext_test", "k_branch_test"}

# Layers of the front, whose shapes Keras works out by itself.
FRONT = (preprocessing.Standardize, preprocessing.Resample, preprocessing.StackBands)


def build(name: str, bands: int = 6, **options) -> keras.Model:
    """A model of 32 pixels; of one by resolution, at 36, 18 and 6."""
    names = tuple(f"b{number}" for number in range(bands))
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    groups = [models.BandGroup("all", names, 32, "float32")]
    if models.get_model(name).inputs == "by_resolution":
        groups = [
            models.BandGroup(f"of_{pixels}", names[first::3], pixels, "float32")
            for first, pixels in enumerate((36, 18, 6))
            if names[first::3]
        ]
    return models.assemble(
        name, 3, groups, names, zeros, ones, image_size=32, **options
    )


def batch(model: keras.Model, count: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {
        name: rng.normal(size=(count, *tensor.shape[1:])).astype("float32")
        for name, tensor in model.input.items()
    }


def test_the_rule_finds_the_families():
    assert set(SMALL) >= FAMILIES


@pytest.mark.parametrize("name", SMALL)
def test_variables_are_named_by_layer_once(name):
    model = build(name)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    places = [(x.name, v.name) for x in model.layers for v in x.weights]
    assert len(places) == len(set(places)) == len(model.weights)
    again = build(name)
    assert [layer.name for layer in again.layers] == [x.name for x in model.layers]


# Keras leaves it out in its LayerScale.
@pytest.mark.parametrize("name", [name for name in SMALL if "/" not in name])
def test_layers_say_the_shape_that_they_give(name):
    model = build(name)
    images = batch(model, 2)
    shapes = {key: image.shape for key, image in images.items()}
    assert model.compute_output_shape(shapes) == (2, 3)
    probe = keras.Model(model.input, [layer.output for layer in model.layers])
    symbolic = [x.shape for x in keras.tree.flatten(probe.output)]
    for said, got in zip(symbolic, keras.tree.flatten(probe(images)), strict=True):
        assert len(said) == len(got.shape)
        expected = [g if s is None else s for s, g in zip(said, got.shape, strict=True)]
        assert list(got.shape) == expected
    inputs = (keras.layers.InputLayer, *FRONT)
    for layer in (x for x in model.layers if not isinstance(x, inputs)):
        shape = keras.tree.map_structure(lambda x: x.shape, layer.input)
        assert layer.compute_output_shape(shape) == layer.output.shape, layer.name


@pytest.mark.parametrize("name", SMALL)
def test_a_sample_does_not_depend_on_its_batch(name):
    model = build(name)
    images = batch(model, 3)
    together = model(images, training=False).numpy()
    alone = [
        model({key: image[i : i + 1] for key, image in images.items()}, training=False)
        for i in range(3)
    ]
    scale = np.abs(together).max()
    np.testing.assert_allclose(
        np.concatenate(alone), together, rtol=1e-4, atol=1e-5 * scale
    )


@pytest.mark.parametrize("name", SMALL)
def test_the_seed_decides_the_weights(name):
    one, same, other = (build(name, seed=seed).get_weights() for seed in (1, 1, 2))
    assert all(map(np.array_equal, one, same))
    assert not all(map(np.array_equal, one, other))


@pytest.mark.parametrize("name", SMALL)
def test_a_deep_head_fits_all(name):
    model = build(name, head_dims=[4], drop_rate=0.1)
    assert model.get_layer("head").kernel.shape == (4, 3)
    assert model(batch(model, 2), training=True).shape == (2, 3)


def test_the_registry_builds_nothing_when_imported():
    code = (
        "import sys; from bigearthnet_tf import models\n"
        "import gc, keras\n"
        "found = [x for x in gc.get_objects() if isinstance(x, keras.layers.Layer)]\n"
        "print(len(found), 'keras_hub' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert done.stdout.split() == ["0", "False"], done.stderr
