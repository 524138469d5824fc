"""Backbones of keras-hub, for any number of bands; most need the extra of that name."""

import importlib.util

import keras
import numpy as np
import pytest

from bigearthnet_tf import models
from bigearthnet_tf.models import complexity, published
from bigearthnet_tf.models import keras_hub_backbones as backbones

BANDS = 5
# Of each kind a small one, at the smallest side and at one that is usual for patches.
TINY = {
    "swin": (backbones.swin(8, (1, 2), (1, 2)), (32, 128)),
    "vit": (backbones.vit(8, 16, 2, depth=2), (32, 120)),
    "dinov3": (backbones.dinov3(16, 2, depth=2), (32, 112)),
}
CASES = [(kind, pixels) for kind, (_, sides) in TINY.items() for pixels in sides]

needs_hub = pytest.mark.skipif(
    importlib.util.find_spec("keras_hub") is None,
    reason="keras-hub (the extra of that name) is not installed",
)
# Swin hands its masks over in a way that Keras warns of; they do arrive.
pytestmark = pytest.mark.filterwarnings("ignore:Layer .attn. .of type WindowAttention")


@pytest.fixture
def small(monkeypatch):
    """Builds one of the small backbones as a whole model."""

    def build(kind: str, pixels: int) -> keras.Model:
        backbone, _ = TINY[kind]
        entry = models.get_model("keras_hub/vit_base_patch16")
        object_entry = type(entry)(
            f"keras_hub/{kind}",
            lambda x: backbones.features(x, kind, backbone),
            entry.inputs,
            entry.bands,
            entry.head,
        )
        monkeypatch.setattr(models.zoo, "get_model", lambda name: object_entry)
        names = tuple(f"b{number}" for number in range(BANDS))
        group = models.BandGroup("all", names, pixels, "float32")
        zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
        return models.assemble(kind, 3, [group], names, zeros, ones, image_size=pixels)

    return build


def batch(pixels: int, count: int = 4) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (count, BANDS, pixels, pixels)
    return {"all": rng.normal(size=shape).astype("float32")}


def test_keras_hub_is_an_extra():
    assert "keras_hub/swin_tiny" in models.list_models("keras_hub/*")
    if importlib.util.find_spec("keras_hub"):
        pytest.skip("keras-hub is installed")
    x = keras.Input((32, 32, 2))
    with pytest.raises(ValueError, match=r"pip install '\.\[keras-hub\]'"):
        backbones.features(x, "vit", TINY["vit"][0])


@pytest.mark.parametrize(
    ("height", "width", "message"),
    [
        (120, 120, "multiple of 16 pixels, got 120 by 120: set image_size to 112 or"),
        (8, 8, "set image_size to 16 or 32"),
        (32, 48, "square images"),
    ],
)
def test_images_that_do_not_divide_into_patches_are_refused(height, width, message):
    with pytest.raises(ValueError, match=message):
        backbones.features(keras.Input((height, width, 2)), "dinov3", TINY["dinov3"][0])


@needs_hub
@pytest.mark.slow
@pytest.mark.parametrize(("kind", "pixels"), CASES)
def test_it_learns_in_every_variable_and_is_saved(kind, pixels, small, tmp_path):
    model = small(kind, pixels)
    images, labels = batch(pixels), np.eye(4, 3)
    before = [v.numpy() for v in model.trainable_variables]
    model.compile(keras.optimizers.SGD(1.0), "mse")
    history = model.fit(images, labels, batch_size=3, verbose=0)
    assert np.isfinite(history.history["loss"]).all()
    for old, variable in zip(before, model.trainable_variables, strict=True):
        assert not np.array_equal(old, variable.numpy()), variable.path
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(again(images), model(images))


@needs_hub
@pytest.mark.parametrize("kind", TINY)
def test_bfloat16_keeps_float32_weights(kind, small):
    pixels = TINY[kind][1][0]
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = small(kind, pixels)
    finally:
        keras.config.set_dtype_policy("float32")
    assert {v.dtype for v in model.trainable_variables} == {"float32"}
    assert model.get_layer("features").output.dtype == "bfloat16"
    assert np.isfinite(model(batch(pixels))).all()


@needs_hub
def test_what_cannot_be_counted_is_named(small):
    cost = complexity.cost_of(small("vit", 32))
    assert cost.uncounted == ("backbone",)
    assert cost.multiply_adds == 16 * 3


@needs_hub
def test_weights_of_nested_layers_have_names_of_their_own(small):
    one, other = small("vit", 32), small("vit", 32)
    for variable in one.trainable_variables:
        variable.assign(keras.random.normal(variable.shape))
    tensors = published.dump(one, published.own_name, torch=False)
    assert len(tensors) == len(one.trainable_variables)
    published.load(other, tensors, published.own_name, torch=False, where="run")
    np.testing.assert_array_equal(other(batch(32)), one(batch(32)))


# Parameters that keras-hub states for its published weights, of 3 bands.
@needs_hub
@pytest.mark.long
@pytest.mark.parametrize(
    ("name", "pixels", "expected"),
    [
        ("swin_tiny", 224, 27_519_354),
        ("swin_small", 224, 48_837_258),
        ("swin_base", 224, 86_743_224),
        ("vit_base_patch16", 224, 85_798_656),
    ],
)
def test_full_sizes_are_the_published_ones(name, pixels, expected):
    x = keras.Input((pixels, pixels, 3))
    model = keras.Model(x, backbones.features(x, name, backbones.BACKBONES[name]))
    variables = [v for v in model.variables if "seed" not in v.name]
    assert sum(int(np.prod(v.shape)) for v in variables) == expected
