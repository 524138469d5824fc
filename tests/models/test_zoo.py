"""Parameters, constants and first weights as published; names and options."""

import functools

import keras
import long_tests
import networks
import numpy as np
import pytest
import tensorflow as tf

from bigearthnet_tf import models
from bigearthnet_tf.models import resnet


def convnext_parameters(blocks, width: int, bands: int = 10, labels: int = 19) -> int:
    """Parameters of a ConvNeXt V2, whose width doubles from stage to stage."""
    count = 16 * bands * width + width + 2 * width  # stem
    for stage, number in enumerate(blocks):
        if stage:
            count += 2 * width + 4 * width * 2 * width + 2 * width
            width *= 2
        depthwise = 49 * width + width + 2 * width
        mlp = 2 * 4 * width**2 + 4 * width + width + 2 * 4 * width
        count += number * (depthwise + mlp)
    return count + 2 * width + (width + 1) * labels


def vit_parameters(depth: int, width: int, expansion: int, side: int) -> int:
    """Parameters of a ViT for 10 bands and 19 labels, `side` patches of 8 a side."""
    first = 64 * 10 * width + width + width + (side**2 + 1) * width
    attention = 4 * width**2 + 4 * width
    mlp = 2 * expansion * width**2 + (expansion + 1) * width
    return first + depth * (attention + mlp + 4 * width) + 2 * width + (width + 1) * 19


def by_bands(count: int, a_band: int, labels: int = 19) -> dict:
    """Rows for 2, 10 and 12 bands, from the parameters with 10 and those of a band."""
    return {(bands, labels): count + (bands - 10) * a_band for bands in (2, 10, 12)}


def mobilevit_parameters(stem: int, expansion: int, stages, features: int) -> int:
    """Parameters of a MobileViT for 10 bands and 19 labels.

    Its stages are width, inverted residuals, width of the tokens, transformer blocks.
    """
    count = 9 * 10 * stem + 2 * stem
    incoming = stem
    for width, blocks, tokens, depth in stages:
        for _ in range(blocks):
            inner = expansion * incoming
            count += incoming * inner + 9 * inner + inner * width
            count += 2 * (inner + inner + width)
            incoming = width
        if depth:
            count += (9 + 2 * 9) * width**2 + 2 * width * tokens + 3 * 2 * width
            count += depth * (8 * tokens**2 + 11 * tokens) + 2 * tokens
    return count + incoming * features + 2 * features + (features + 1) * 19


# Trainable parameters by (bands, labels) at 120 pixels. ShortCNN and the slim forms:
# the figures of the projects they come from; timm's: timm 1.0.31, and for resnet18
# torchvision's 11,689,512 with a head of 19 in place of 1000; our own two: by hand.
SLIM_50 = {
    (2, 19): 23_543_827,
    (2, 43): 23_593_003,
    (10, 19): 23_568_915,
    (10, 43): 23_618_091,
    (12, 19): 23_575_187,
    (12, 43): 23_624_363,
}
SHORT_CNN = {
    (2, 19): 1_140_979 - 25 * 32,
    (3, 19): 1_140_979,
    (3, 43): 2_523_403,
    (10, 19): 1_148_179 - 2 * 25 * 32,
    (12, 19): 1_148_179,
    (12, 43): 2_530_603,
}
RESNET_STEM = 49 * 64  # parameters of a band
RESNET_18 = by_bands(11_689_512 - 513 * (1000 - 19) + 7 * RESNET_STEM, RESNET_STEM)
RESNET_152 = by_bands(58_204_691, RESNET_STEM)
PARAMETERS = {
    "short_cnn": SHORT_CNN,
    "short_cnn_rgb": SHORT_CNN,
    "short_cnn_all": SHORT_CNN,
    "resnet18": RESNET_18,
    # No published counterpart: neither form changes the number.
    "resnet18_slim": RESNET_18,
    "resnet50": {
        (2, 19): 23_543_827,
        (10, 19): 23_568_915,
        (12, 19): 23_575_187,
    },
    "resnet101": {
        (2, 19): 42_535_955,
        (10, 19): 42_561_043,
        (12, 19): 42_567_315,
    },
    "resnet152": RESNET_152,
    "resnet50_slim": SLIM_50,
    "resnet101_slim": {**by_bands(42_561_043, RESNET_STEM), (10, 43): 42_610_219},
    "resnet152_slim": {**RESNET_152, (10, 43): 58_253_867},
    "convmixer_768_32": {
        (2, 19): 20_318_227,
        (10, 19): 20_619_283,
        (12, 19): 20_694_547,
    },
    "convmixer_test": {
        (10, 19): (49 * 10 * 32 + 32 + 64)  # stem
        + 2 * (25 * 32 + 32 + 64 + 32 * 32 + 32 + 64)
        + 33 * 19
    },
    **{
        f"convnextv2_{size}": by_bands(convnext_parameters(blocks, width), 16 * width)
        for size, blocks, width in (
            ("atto", (2, 2, 6, 2), 40),
            ("femto", (2, 2, 6, 2), 48),
            ("pico", (2, 2, 6, 2), 64),
            ("nano", (2, 2, 8, 2), 80),
            ("tiny", (3, 3, 9, 3), 96),
        )
    },
    "convnextv2_base": {
        (2, 19): 87_710_227,
        (10, 19): 87_726_611,
        (12, 19): 87_730_707,
    },
    "convnext_test": {(10, 19): convnext_parameters((1, 2), 8)},
    "mixer_b16_224": {
        (2, 19): 57_572_959,
        (10, 19): 59_145_823,
        (12, 19): 59_539_039,
    },
    "mixer_test": {
        (10, 19): (64 * 10 * 32 + 32)  # stem
        + 2 * (2 * 32 + 225 * 16 + 16 + 16 * 225 + 225)
        + 2 * (2 * 32 + 32 * 128 + 128 + 128 * 32 + 32)
        + (2 * 32)
        + 33 * 19
    },
    "mobilevit_s": {
        (2, 19): 4_949_667,
        (10, 19): 4_950_819,
        (12, 19): 4_951_107,
    },
    "mobilevit_xs": by_bands(
        mobilevit_parameters(
            16,
            4,
            (
                (32, 1, 0, 0),
                (48, 3, 0, 0),
                (64, 1, 96, 2),
                (80, 1, 120, 4),
                (96, 1, 144, 3),
            ),
            384,
        ),
        9 * 16,
    ),
    "mobilevit_xxs": by_bands(958_419 - 9 * 2 * 16, 9 * 16),
    "mobilevit_test": {
        (10, 19): mobilevit_parameters(
            8, 2, ((8, 1, 0, 0), (12, 1, 0, 0), (16, 1, 16, 1)), 32
        )
    },
    "resnet_small": by_bands(
        (49 * 10 * 32 + 64)  # stem
        + (2 * 9 * 32 * 32 + 2 * (32 + 32))
        + (9 * 32 * 64 + 9 * 64 * 64 + 32 * 64 + 2 * 3 * 64)
        + (9 * 64 * 128 + 9 * 128 * 128 + 64 * 128 + 2 * 3 * 128)
        + 129 * 19,
        49 * 32,
    ),
    "resnet_test": {
        (10, 19): (49 * 10 * 8 + 16)  # stem
        + (8 * 8 + 9 * 8 * 8 + 8 * 32 + 8 * 32 + 2 * (8 + 8 + 32 + 32))
        + (32 * 16 + 9 * 16 * 16 + 16 * 64 + 32 * 64 + 2 * (16 + 16 + 64 + 64))
        + (64 * 16 + 9 * 16 * 16 + 16 * 64 + 2 * (16 + 16 + 64))
        + 65 * 19
    },
    "vit_base_patch8_224": {
        (2, 19): 85_344_019,
        (10, 19): 85_737_235,
        (12, 19): 85_835_539,
    },
    "vit_test": {(10, 19): vit_parameters(2, 32, 2, side=15)},
    # The figures of the TF project and of balanced-bigearthnet; the latter's 25,200,371
    # for InceptionV3 have 3,326,696 of the auxiliary head. The small ones by hand.
    "k_branch": {(12, 19): 16_523_251, (12, 43): 16_526_347},
    "k_branch_test": {
        (12, 19): (25 * 4 * 2 + 25 * 2 * 2 + 9 * 2 * 4 + 3 * (2 + 2 + 4))
        + (9 * 6 * 2 + 9 * 2 * 2 + 9 * 2 * 4 + 3 * (2 + 2 + 4))
        + (4 * 2 * 2 + 4 * 2 * 2 + 4 * 2 * 2 + 3 * (2 + 2 + 2))
        + (30 * 30 * 4 + 30 * 30 * 4 + 20 * 20 * 2 + 3 * 3) * 8
        + (3 * 8 + 3) * 8
        + 9 * 19
    },
    "vgg16": {
        (2, 19): 134_337_811,
        (10, 19): 134_342_419,
        (10, 43): 134_440_747,
        (12, 19): 134_343_571,
    },
    "vgg19": {
        (2, 19): 139_647_507,
        (10, 19): 139_652_115,
        (10, 43): 139_750_443,
        (12, 19): 139_653_267,
    },
    "vgg_test": {
        (10, 19): (9 * 10 * 8 + 9 * 8 * 8 + 9 * 8 * 16 + 9 * 16 * 16)
        + (8 + 8 + 16 + 16)
        + (49 * 16 + 1) * 32
        + 33 * 32
        + 33 * 19
    },
    "inception_v1": {
        (3, 19): 6_000_307,
        (3, 43): 6_024_907,
        **by_bands(6_000_307 + 7 * 49 * 64, 49 * 64),
    },
    "inception_v1_test": {
        (10, 19): (49 * 10 * 8 + 8 * 8 + 9 * 8 * 16 + 2 * (8 + 8 + 16))
        + (16 * (4 + 4 + 2 + 4) + 9 * 4 * 8 + 25 * 2 * 4 + 2 * (14 + 8 + 4))
        + (20 * (8 + 8 + 4 + 8) + 9 * 8 * 16 + 25 * 4 * 8 + 2 * (28 + 16 + 8))
        + 41 * 19
    },
    "inception_v3": {
        (3, 19): 21_873_675 - 24 * 2049,
        (3, 43): 21_873_675,
        **by_bands(21_873_675 - 24 * 2049 + 7 * 9 * 32, 9 * 32),
    },
    "inception_v3_test": {
        (10, 19): (9 * 10 * 2 + 2 * 2)
        # A: 1x1 | 5x5 | twice 3x3 | pool, 2 to 16
        + (2 * (4 + 3 + 4 + 2) + 25 * 3 * 4 + 9 * (4 * 6 + 6 * 6))
        + 2 * (4 + 3 + 4 + 4 + 6 + 6 + 2)
        # B: 3x3 | twice 3x3, 16 to 46
        + (16 * 4 + 9 * (16 * 24 + 4 * 6 + 6 * 6) + 2 * (24 + 4 + 6 + 6))
        # C: 1x1 | 7x7 | twice 7x7 | pool, 46 to 48
        + (46 * (12 + 8 + 8 + 12) + 7 * (8 * 8 + 8 * 12) + 7 * (3 * 8 * 8 + 8 * 12))
        + 2 * (12 + 8 + 8 + 12 + 4 * 8 + 12 + 12)
        # D: 3x3 | 7x7 and 3x3, 48 to 80
        + (48 * (12 + 12) + 9 * 12 * 20 + (7 + 7 + 9) * 12 * 12)
        + 2 * (12 + 20 + 4 * 12)
        # E: 1x1 | 3x3 | twice 3x3 | pool, 80 to 128
        + (80 * (20 + 24 + 28 + 12) + 9 * 28 * 24 + (3 + 3 + 3 + 3) * 24 * 24)
        + 2 * (20 + 24 + 28 + 12 + 24 + 4 * 24)
        + 129 * 19
    },
}
# Borrowed ones have a prefix, and tests of their own.
OWN = {name for name in models.list_models() if "/" not in name}


# Few at a time: the largest take half a gigabyte.
@functools.lru_cache(maxsize=4)
def model_of(name: str, bands: int, labels: int) -> keras.Model:
    """A model of images of 120 pixels a side."""
    return networks.build(name, bands, labels, 120)


def trainable_parameters(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_every_model_has_its_rows_of_parameters():
    assert set(PARAMETERS) == OWN
    for name in OWN:
        # K-BranchCNN has one number of bands, for three resolutions.
        if not name.endswith("_test") and name != "k_branch":
            assert {(2, 19), (10, 19), (12, 19)} <= PARAMETERS[name].keys(), name


# Seconds and up to half a gigabyte each: they are built once.
LARGE = {name for name, rows in PARAMETERS.items() if max(rows.values()) > 30_000_000}


@pytest.mark.parametrize(
    ("name", "bands", "labels"),
    long_tests.beyond(
        [(name, *next(iter(PARAMETERS[name]))) for name in OWN - LARGE],
        [(name, *row) for name in sorted(OWN - LARGE) for row in PARAMETERS[name]],
    ),
)
def test_parameter_counts(name, bands, labels):
    model = networks.build(name, bands, labels, 120)
    assert trainable_parameters(model) == PARAMETERS[name][bands, labels]


@pytest.mark.parametrize("name", sorted(LARGE))
def test_parameter_counts_of_large_models(name):
    bands, labels = 10, 19
    model = model_of(name, bands, labels)
    count = trainable_parameters(model)
    assert count == PARAMETERS[name][bands, labels]
    # The other rows differ in the first kernel and in the head alone.
    first = next(v for v in model.trainable_variables if len(v.shape) == 4)
    a_band = int(np.prod(first.shape)) // bands
    a_label = model.get_layer("head").count_params() // labels
    for (more_bands, more_labels), expected in PARAMETERS[name].items():
        extra = (more_bands - bands) * a_band + (more_labels - labels) * a_label
        assert count + extra == expected


def test_names_aliases_and_band_sets():
    assert models.list_models("short*") == [
        "short_cnn",
        "short_cnn_all",
        "short_cnn_rgb",
    ]
    assert models.get_model("ResNet50").name == "resnet50_slim"
    assert models.get_model("ResNet101").name == "resnet101_slim"
    assert models.get_model("ResNet152").name == "resnet152_slim"
    assert models.get_model("resnet152").name == "resnet152"
    assert models.list_models("RESNET152*") == ["resnet152", "resnet152_slim"]
    assert models.list_models("K-Branch*") == ["k_branch"]
    assert models.get_model("ShortCNN").bands is None
    assert models.get_model("ShortCNN_RGB").bands == "rgb"
    assert models.get_model("ShortCNN_All").bands == "s2_full"
    with pytest.raises(ValueError, match="did you mean 'resnet_test'"):
        models.get_model("resnet_tset")
    with pytest.raises(ValueError, match="'ShortCNN' of a model is taken"):
        models.register_model("new_cnn", "ShortCNN")(lambda x: x)
    assert "new_cnn" not in models.list_models()


def test_options_are_checked_against_the_builder():
    entry = models.get_model("resnet50")
    assert entry.options() == ["drop_path_rate"]
    entry.check_options({"drop_path_rate": 0.1})
    with pytest.raises(ValueError, match="did you mean 'drop_path_rate'"):
        entry.check_options({"drop_path": 0.1})
    with pytest.raises(ValueError, match="model 'short_cnn': it has none"):
        models.get_model("short_cnn").check_options({"drop_path_rate": 0.1})


def test_stochastic_depth_grows_linearly():
    inputs = keras.Input((32, 32, 2))
    outputs = resnet.resnet(
        inputs, (2, 1, 2), widths=(2, 2, 2), stem_width=2, drop_path_rate=0.4
    )
    model = keras.Model(inputs, outputs)
    rates = [layer.rate for layer in model.layers if "drop_path" in layer.name]
    np.testing.assert_allclose(rates, [0.1, 0.2, 0.3, 0.4])


def test_slim_gradients_reach_every_variable():
    inputs = keras.Input((40, 40, 2))
    features = resnet.resnet(
        inputs, (2, 1), form=resnet.SLIM, widths=(2, 4), stem_width=2
    )
    model = keras.Model(inputs, features)
    with tf.GradientTape() as tape:
        x = np.random.default_rng(0).normal(size=(3, 40, 40, 2))
        loss = tf.reduce_mean(model(x, training=True) ** 2)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    for variable, gradient in zip(variables, gradients, strict=True):
        assert np.isfinite(gradient).all(), variable.path
        assert np.any(gradient), variable.path


@pytest.mark.parametrize(
    ("name", "momentum"), [("resnet50", 0.9), ("resnet50_slim", 0.997)]
)
def test_normalisation_has_the_published_constants(name, momentum):
    norms = [
        layer
        for layer in model_of(name, 10, 19).layers
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    assert len(norms) == 53
    assert {layer.momentum for layer in norms} == {momentum}
    assert {layer.epsilon for layer in norms} == {1e-5}


def deviation(values) -> float:
    return float(np.std(np.asarray(values)))


def test_initial_weights_have_the_published_spread():
    shape = (3, 3, 64, 32)
    # timm: variance 2 / fan_out. slim: a normal of variance 1.3 * 2 / fan_in cut at
    # two deviations, which leaves 0.7737 of the variance.
    np.testing.assert_allclose(
        deviation(resnet.he_fan_out()(shape)), (2 / (9 * 32)) ** 0.5, rtol=0.02
    )
    slim = np.asarray(resnet.he_slim()(shape))
    widest = (1.3 * 2 / (9 * 64)) ** 0.5
    np.testing.assert_allclose(slim.std(), widest * 0.7737**0.5, rtol=0.02)
    assert 1.9 * widest < np.abs(slim).max() <= 2 * widest * (1 + 1e-6)

    timm = model_of("resnet50", 10, 19)
    last = [n for n in (x.name for x in timm.layers) if n.endswith("part3_norm")]
    assert len(last) == 16
    for name in last:
        assert not np.any(timm.get_layer(name).gamma)
    assert np.all(timm.get_layer("stage1_unit1_part2_norm").gamma)
    bound = 2048**-0.5
    head = timm.get_layer("head")
    for values in (head.kernel, head.bias):
        assert 0.9 * bound < np.abs(values).max() <= bound

    slim = model_of("resnet50_slim", 10, 19).get_layer("head")
    spread = (1.3 * 2 * 0.7737 / 2048) ** 0.5
    np.testing.assert_allclose(deviation(slim.kernel), spread, rtol=0.02)
    assert not np.any(slim.bias)

    short = model_of("short_cnn", 3, 19)
    assert np.abs(short.get_layer("conv1").kernel).max() <= (6 / (25 * 35)) ** 0.5
    assert 0 < np.abs(short.get_layer("conv1").bias).max() <= (25 * 3) ** -0.5
