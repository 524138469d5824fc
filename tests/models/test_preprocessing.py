"""The front layers against TensorFlow's resize kernels, torch's formula and algebra."""

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from bigearthnet_tf import resampling
from bigearthnet_tf.models import preprocessing

SIZES = [(60, 120), (20, 120), (120, 120), (60, 128), (20, 128), (120, 60), (7, 50)]


def images(pixels: int, seed: int = 0, bands: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(2, bands, pixels, pixels)).astype("float32")


def as_tensorflow(function, x: np.ndarray) -> np.ndarray:
    """Applies a function of (batch, height, width, bands) to planar images."""
    return function(x.transpose(0, 2, 3, 1)).numpy().transpose(0, 3, 1, 2)


ORACLES = {
    "bilinear": lambda x, size: tf.image.resize(x, (size, size), "bilinear"),
    "bicubic": lambda x, size: tf.image.resize(x, (size, size), "bicubic"),
    "tf1_bicubic": lambda x, size: tf.raw_ops.ResizeBicubic(
        images=x, size=(size, size), align_corners=False, half_pixel_centers=False
    ),
}


@pytest.mark.parametrize("kernel", ORACLES)
@pytest.mark.parametrize(("pixels", "size"), SIZES)
def test_kernels_equal_tensorflow(kernel, pixels, size):
    x = images(pixels)
    ours = preprocessing.Resample(size, kernel)(x)
    theirs = as_tensorflow(lambda nhwc: ORACLES[kernel](nhwc, size), x)
    closeness.assert_close(ours, theirs, closeness.LAYER)


@pytest.mark.parametrize(("pixels", "size"), SIZES)
def test_nearest_copies_the_pixels_of_torchs_formula(pixels, size):
    x = images(pixels)
    ours = preprocessing.Resample(size, "nearest")(x).numpy()
    # torch computes the source with a float32 scale; spelt out pixel by pixel.
    scale = np.float32(pixels / size)
    for row in range(size):
        for column in (0, 1, size // 2, size - 1):
            source = (int(np.float32(row) * scale), int(np.float32(column) * scale))
            np.testing.assert_array_equal(ours[:, :, row, column], x[:, :, *source])


@pytest.mark.parametrize("kernel", resampling.KERNELS.names())
@settings(deadline=None)
@given(pixels=st.integers(1, 40), size=st.integers(1, 40))
def test_every_kernel_keeps_constants_and_identity(kernel, pixels, size):
    weights = resampling.KERNELS.get(kernel)(pixels, size)
    assert weights.shape == (size, pixels)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights.sum(axis=1), 1, atol=1e-12)
    same = resampling.KERNELS.get(kernel)(pixels, pixels)
    np.testing.assert_allclose(same, np.eye(pixels), atol=1e-6)


def test_nearest_matrix_equals_the_copies():
    x = images(20)
    matrix = resampling.nearest_weights(20, 48)
    expected = np.einsum("ph,bchw,qw->bcpq", matrix, x, matrix)
    np.testing.assert_array_equal(preprocessing.Resample(48)(x), expected)


def test_equal_sizes_cost_nothing():
    x = tf.constant(images(12))
    assert preprocessing.Resample(12, "bicubic")(x) is x


@pytest.mark.parametrize("kernel", resampling.KERNELS.names())
def test_standardising_commutes_with_resampling(kernel):
    x = np.random.default_rng(1).integers(0, 10000, (1, 2, 20, 20)).astype("uint16")
    standardize = preprocessing.Standardize([500, 2000], [300, 900])
    resample = preprocessing.Resample(48, kernel)
    closeness.assert_close(
        resample(standardize(x)), standardize(resample(x.astype("float32")))
    )


def test_resampling_compiles_with_xla_and_has_a_gradient():
    resample = preprocessing.Resample(10, "bicubic")
    x = tf.Variable(images(5))

    @tf.function(jit_compile=True)
    def gradient():
        with tf.GradientTape() as tape:
            y = resample(x)
        return tape.gradient(y, x)

    # The gradient of a sum is the column sums of the two matrices.
    columns = resampling.bicubic_weights(5, 10).sum(axis=0)
    expected = np.broadcast_to(np.outer(columns, columns), (2, 3, 5, 5))
    closeness.assert_close(gradient(), expected)


def test_each_polarisation_is_standardised_by_its_own_statistics():
    # The TF project gave VH the pixels and statistics of VV.
    vv, vh = np.full((2, 2), -12.0), np.full((2, 2), -19.0)
    x = np.stack([vv, vh])[None].astype("float32")
    out = preprocessing.Standardize(mean=[-10.0, -20.0], std=[4.0, 5.0])(x)
    np.testing.assert_allclose(out[0, 0], np.full((2, 2), (-12 + 10) / 4), atol=1e-6)
    np.testing.assert_allclose(out[0, 1], np.full((2, 2), (-19 + 20) / 5), atol=1e-6)


def test_standardising_is_exact_for_uint16_under_mixed_precision():
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        layer = preprocessing.Standardize([30000.0], [2.0])
    finally:
        keras.config.set_dtype_policy("float32")
    x = np.array([0, 1, 30001, 65534, 65535], "uint16").reshape(1, 1, 1, 5)
    out = layer(x)
    assert out.dtype == tf.float32
    expected = (x.astype("float64") - 30000) / 2
    np.testing.assert_array_equal(out, expected)


def test_stacking_orders_bands_by_name_and_puts_them_last():
    ten, twenty = images(4, bands=3), images(4, seed=1, bands=2)
    stack = preprocessing.StackBands(
        ["B02", "B03", "B04", "B05", "B06"], ["B04", "B06", "B02"]
    )
    out = stack([ten, twenty])
    expected = np.stack([ten[:, 2], twenty[:, 1], ten[:, 0]], axis=-1)
    np.testing.assert_array_equal(out, expected)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: preprocessing.Standardize([1.0], [1.0, 2.0]), "1 means and 2 dev"),
        (lambda: preprocessing.Standardize([1.0], [0.0]), "positive finite"),
        (lambda: preprocessing.Standardize([np.nan], [1.0]), "finite means"),
        (lambda: preprocessing.Resample(0), "at least one pixel"),
        (lambda: preprocessing.Resample(9, "bicubi"), "did you mean 'bicubic'"),
        (lambda: preprocessing.StackBands(["B02"], ["B03"]), r"\['B03'\] are not"),
        (lambda: preprocessing.StackBands(["B02"], []), "without repetition"),
        (lambda: preprocessing.StackBands(["VV", "VV"], ["VV"]), "without repetition"),
    ],
)
def test_impossible_arguments_are_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()


@pytest.mark.parametrize(
    ("layer", "inputs", "message"),
    [
        (preprocessing.Standardize([1.0], [1.0]), np.ones((1, 2, 3, 3)), "got"),
        (preprocessing.Resample(4), np.ones((1, 1, 2, 3)), "2 by 3"),
        (preprocessing.Resample(4), np.ones((1, 2, 3)), "expected"),
        (
            preprocessing.StackBands(["VV", "VH"], ["VH"]),
            [np.ones((1, 3, 2, 2))],
            "got 3",
        ),
    ],
)
def test_impossible_inputs_are_refused(layer, inputs, message):
    with pytest.raises(ValueError, match=message):
        layer(inputs)
