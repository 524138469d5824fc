"""Names of resamplings, and images that they make; `models` tests the kernels."""

import numpy as np
import pytest

from bigearthnet_tf import resampling
from bigearthnet_tf.resampling import Resampling


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no_interpolation", None),
        ("120_nearest", Resampling(120, "nearest")),
        ("128_tf1_bicubic", Resampling(128, "tf1_bicubic")),
    ],
)
def test_names(text, expected):
    assert resampling.parse(text) == expected
    assert resampling.name(expected) == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bilinear", "such as 120_bilinear"),
        ("120", "such as 120_bilinear"),
        ("-3_nearest", "such as 120_bilinear"),
        ("120_bilinea", "did you mean 'bilinear'"),
        ("0_nearest", "1 to 512"),
        ("9000_nearest", "1 to 512"),
    ],
)
def test_other_names_are_refused(text, message):
    with pytest.raises(ValueError, match=message):
        resampling.parse(text)


@pytest.mark.parametrize("kernel", resampling.KERNELS.names())
@pytest.mark.parametrize(("pixels", "size"), [(20, 120), (60, 50), (12, 12)])
def test_images_are_resampled_along_both_axes(kernel, pixels, size):
    images = np.random.default_rng(0).integers(0, 2**16, (3, pixels, pixels), "uint16")
    weights = resampling.KERNELS.get(kernel)(pixels, size)
    found = Resampling(size, kernel).apply(images)
    expected = np.einsum("ph,bhw,qw->bpq", weights, images.astype("float64"), weights)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-9)
    copied = kernel == "nearest" or pixels == size
    assert found.dtype == ("uint16" if copied else "float64")


@pytest.mark.parametrize(
    ("size", "kernel", "pixels", "repeats"),
    [
        (120, "nearest", 20, True),
        (128, "nearest", 60, False),
        (60, "nearest", 120, False),
        (120, "bilinear", 60, False),
        (60, "bilinear", 60, True),
    ],
)
def test_repeats(size, kernel, pixels, repeats):
    assert Resampling(size, kernel).repeats(pixels) is repeats
    image = np.arange(pixels**2).reshape(pixels, pixels)
    _, times = np.unique(Resampling(size, kernel).apply(image), return_counts=True)
    assert (len(times) == pixels**2 and len(set(times)) == 1) is repeats


@pytest.mark.parametrize("kernel", resampling.KERNELS.names())
@pytest.mark.parametrize("hole", [(0, 0), (4, 7), (9, 3)])
def test_a_hole_reaches_as_far_as_the_kernel(kernel, hole):
    image = np.random.default_rng(1).normal(size=(10, 10)).astype("float32")
    resample = Resampling(25, kernel).apply
    whole, changed, broken = resample(image), image.copy(), image.copy()
    changed[hole] += 1000
    broken[hole] = np.nan
    reached = resample(changed) != whole
    found = resample(broken)
    np.testing.assert_array_equal(np.isnan(found), reached)
    np.testing.assert_allclose(found[~reached], whole[~reached], rtol=1e-6)
    assert 0 < reached.sum() < reached.size / 2
