"""Mixup and CutMix against loops over samples and pixels, given what was drawn."""

import importlib.util

import closeness
import keras
import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import run_program

from bigearthnet_tf.models import mixing

ALPHAS = {"mixup": (0.4, 0.0), "cutmix": (0.0, 1.0), "both": (0.4, 1.0)}
# Group -> bands, pixels a side, dtype; a tenth of the sides of BigEarthNet.
GROUPS = {
    "s1_10m": (2, 12, "float32"),
    "s2_10m": (3, 12, "uint16"),
    "s2_20m": (2, 6, "uint16"),
    "s2_60m": (1, 2, "uint16"),
}


def patches(count: int, names=GROUPS, seed: int = 0) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    made = {}
    for name in names:
        bands, pixels, dtype = GROUPS[name]
        shape = (count, bands, pixels, pixels)
        if dtype == "uint16":
            made[name] = rng.integers(0, 2**16, shape).astype(dtype)
            made[name][:, 0, 0, 0] = 65535
        else:
            made[name] = rng.normal(-15, 5, shape).astype(dtype)
    return made


def labels_of(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 2, (count, 19)).astype("float32")


def drawn(alphas, count: int, cells: int, seed: int):
    """What a layer of that seed does to its first batch: shares, north, west, side."""
    shares, cuts = mixing.Mixing(*alphas, seed=seed).draw(count, cells)
    assert cuts.cells == cells
    return [np.asarray(x) for x in (shares, cuts.north, cuts.west, cuts.side)]


def by_hand(groups, labels, alphas, seed, cells):
    """Each pixel in float64, and which of them come from the partner alone."""
    shares, norths, wests, sides = drawn(alphas, len(labels), cells, seed)
    images, cut = {}, {}
    new_labels = labels.astype("float64")
    for name, stored in groups.items():
        images[name] = stored.astype("float64")
        cut[name] = np.zeros((len(stored), *stored.shape[2:]), bool)
    for i, share in enumerate(shares.astype("float64")):
        area = (sides[i] / cells) ** 2
        left = share * (1 - area)
        new_labels[i] = left * labels[i] + (1 - left) * labels[i - 1]
        for name, stored in groups.items():
            scale = stored.shape[2] // cells
            for row in range(stored.shape[2]):
                for column in range(stored.shape[3]):
                    inside = (
                        norths[i] <= row // scale < norths[i] + sides[i]
                        and wests[i] <= column // scale < wests[i] + sides[i]
                    )
                    own = 0.0 if inside else share
                    pixel = (slice(None), row, column)
                    images[name][i][pixel] = (
                        own * stored[i][pixel] + (1 - own) * stored[i - 1][pixel]
                    )
                    cut[name][i, row, column] = inside
    return images, cut, new_labels


@settings(deadline=None, max_examples=12)
@given(
    kind=st.sampled_from(sorted(ALPHAS)),
    names=st.sets(st.sampled_from(sorted(GROUPS)), min_size=1),
    count=st.integers(1, 5),
    seed=st.integers(0, 2**31 - 1),
)
def test_every_pixel_and_label(kind, names, count, seed):
    groups, labels = patches(count, sorted(names), seed), labels_of(count)
    cells = min(image.shape[2] for image in groups.values())
    alphas = ALPHAS[kind]
    mixed, new_labels = mixing.Mixing(*alphas, seed=seed)(groups, labels)
    images, cut, expected_labels = by_hand(groups, labels, alphas, seed, cells)
    assert new_labels.dtype == "float32"
    closeness.assert_close(new_labels, expected_labels, closeness.FORMULA, scale=1)
    assert set(mixed) == set(groups)
    for name, before in groups.items():
        after = mixed[name].numpy()
        assert after.dtype == before.dtype
        rounding = closeness.bound(images[name], closeness.FORMULA)
        bound = 0.51 if before.dtype == "uint16" else rounding
        assert np.abs(after - images[name]).max() <= bound
        inside = np.broadcast_to(cut[name][:, None], before.shape)
        partner = np.roll(before, 1, axis=0)
        np.testing.assert_array_equal(after[inside], partner[inside])
        if kind == "cutmix":
            np.testing.assert_array_equal(after[~inside], before[~inside])


def test_mixup_rounds_to_the_nearest_digital_number():
    groups, labels = patches(64), labels_of(64)
    mixed, _ = mixing.Mixing(1.0, seed=3)(groups, labels)
    images, _, _ = by_hand(groups, labels, (1.0, 0.0), 3, 2)
    errors = mixed["s2_10m"].numpy() - images["s2_10m"]
    assert 0.45 < np.abs(errors).max() <= 0.51
    # Uniform rounding errors: no drift up or down, deviation of 1 / sqrt(12).
    assert abs(errors.mean()) < 5 / np.sqrt(12 * errors.size)


def test_cutmix_cuts_all_resolutions_and_sensors_alike():
    """Samples 0 and 1 take turns, so each pixel says where it is from."""
    count = 300
    source = (np.arange(count) % 2)[:, None, None, None]
    groups = {
        name: (source + np.zeros(before.shape)).astype(before.dtype)
        for name, before in patches(count).items()
    }
    labels = source[:, 0, 0].astype("float32")
    mixed, new_labels = mixing.Mixing(0.0, 1.0, seed=2)(groups, labels)
    reference = mixed["s2_60m"].numpy()[:, 0]
    for name, after in mixed.items():
        scale = groups[name].shape[2] // 2
        grown = reference.repeat(scale, axis=1).repeat(scale, axis=2)
        expected = np.broadcast_to(grown[:, None], after.shape)
        np.testing.assert_array_equal(after, expected)
    share = reference.mean(axis=(1, 2), dtype="float64")
    np.testing.assert_allclose(new_labels[:, 0], share, atol=1e-7)
    assert {0.0, 0.25, 0.75, 1.0} == set(share)


@pytest.mark.parametrize(
    ("names", "cells"),
    [(["s2_10m"], 12), (["s1_10m", "s2_20m"], 6), (GROUPS, 2)],
)
def test_squares_are_of_whole_pixels_of_the_coarsest_group(names, cells):
    count = 400
    groups = {name: np.zeros_like(x) for name, x in patches(count, names).items()}
    for image in groups.values():
        image[1::2] = 1
    mixed, _ = mixing.Mixing(0.0, 1.0, seed=2)(groups, labels_of(count))
    after = mixed[next(iter(groups))].numpy()[:, 0]
    squares = (after != after[:, :1, :1]).sum(axis=(1, 2)) * (
        cells / after.shape[1]
    ) ** 2
    # A square that covers the first pixel is seen by what it leaves.
    areas = {side**2 for side in range(cells + 1)}
    assert set(squares) <= areas | {cells**2 - area for area in areas}
    assert len(set(squares)) > cells


COUNT, CELLS = 20_000, 20


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_shares_of_mixup(alpha):
    shares, _, _, side = drawn((alpha, 0.0), COUNT, CELLS, seed=1)
    expected = scipy.stats.beta(alpha, alpha)
    low = shares[shares < 0.5]
    assert scipy.stats.kstest(low, lambda x: 2 * expected.cdf(x)).pvalue > 0.001
    np.testing.assert_allclose((shares < 0.5).mean(), 0.5, atol=2 / COUNT**0.5)
    assert not side.any()


@pytest.mark.parametrize("alpha", [0.3, 1.0, 3.0])
def test_squares_of_cutmix(alpha):
    shares, north, west, side = drawn((0.0, alpha), COUNT, CELLS, seed=1)
    assert (shares == 1).all()
    # A side comes out where its area lies between those of half a cell less and more.
    edges = np.clip((np.arange(CELLS + 2) - 0.5) / CELLS, 0, 1) ** 2
    expected = np.diff(scipy.stats.beta(alpha, alpha).cdf(edges)) * COUNT
    counts = np.bincount(side, minlength=CELLS + 1)
    rare = expected < 10
    counts = [*counts[~rare], counts[rare].sum()]
    expected = [*expected[~rare], expected[rare].sum() + 1e-9]
    assert scipy.stats.chisquare(counts, expected).pvalue > 0.001
    for start in (north, west):
        assert (start >= 0).all() and (start + side <= CELLS).all()
        for one_side in (5, 10, 15):
            places = np.bincount(
                start[side == one_side], minlength=CELLS - one_side + 1
            )
            assert scipy.stats.chisquare(places).pvalue > 0.001
    free = (side > 0) & (side < CELLS)
    corners = np.corrcoef(north[free] / (CELLS - side[free]), west[free])
    assert abs(corners[0, 1]) < 4 / free.sum() ** 0.5


def test_both_take_turns():
    shares, _, _, side = drawn((1.0, 1.0), COUNT, CELLS, seed=1)
    mixed_up = shares < 1
    assert not side[mixed_up].any()
    np.testing.assert_allclose(mixed_up.mean(), 0.5, atol=2 / COUNT**0.5)
    assert scipy.stats.kstest(shares[mixed_up], "uniform").pvalue > 0.001
    areas = (side[~mixed_up] / CELLS) ** 2
    # Of a uniform area the deviation is 1 / sqrt(12).
    np.testing.assert_allclose(areas.mean(), 0.5, atol=4 * (12 * areas.size) ** -0.5)


def run(layer, jit=None):
    groups, labels = patches(16), labels_of(16)
    call = layer if jit is None else tf.function(layer, jit_compile=jit)
    mixed, new_labels = call(groups, labels)
    return {**{k: v.numpy() for k, v in mixed.items()}, "labels": new_labels.numpy()}


@pytest.mark.parametrize("kind", ALPHAS)
def test_the_seed_decides_and_the_stream_can_be_put_back(kind):
    first, again, other = (mixing.Mixing(*ALPHAS[kind], seed=s) for s in (1, 1, 2))
    (state,) = first.variables
    begun = state.numpy().copy()
    one, two = run(first), run(first)
    repeated, different = run(again), run(other)
    state.assign(begun)
    put_back = run(first)
    for name in one:
        np.testing.assert_array_equal(one[name], repeated[name])
        np.testing.assert_array_equal(one[name], put_back[name])
        assert not np.array_equal(one[name], two[name])
        assert not np.array_equal(one[name], different[name])


@pytest.mark.parametrize("kind", ALPHAS)
def test_xla_gives_the_same(kind):
    plain, compiled = (
        run(mixing.Mixing(*ALPHAS[kind], seed=1), jit) for jit in (False, True)
    )
    for name, expected in plain.items():
        # Another rounding in float32 may tip a digital number over.
        rounding = closeness.bound(expected, closeness.FORMULA)
        bound = 1 if expected.dtype == "uint16" else rounding
        assert np.abs(compiled[name].astype("float64") - expected).max() <= bound
        assert (compiled[name] == expected).mean() > 0.99 or bound < 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_changes_nothing(policy):
    expected = run(mixing.Mixing(0.4, 1.0, seed=1))
    before = keras.config.dtype_policy()
    try:
        keras.config.set_dtype_policy(policy)
        found = run(mixing.Mixing(0.4, 1.0, seed=1))
    finally:
        keras.config.set_dtype_policy(before)
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


def test_a_single_sample_is_its_own_partner():
    groups, labels = patches(1), labels_of(1)
    mixed, new_labels = mixing.Mixing(0.4, 1.0, seed=1)(groups, labels)
    np.testing.assert_allclose(new_labels, labels, atol=1e-6)
    for name, before in groups.items():
        np.testing.assert_allclose(mixed[name], before, rtol=1e-6)


def test_layers_come_back_from_their_config():
    layer = mixing.Mixing(0.4, 1.0, seed=5)
    again = mixing.Mixing.from_config(layer.get_config())
    for ours, theirs in zip(run(layer).values(), run(again).values(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize(
    "alphas", [(0.0, 0.0), (-0.1, 1.0), (1.0, -1.0), (np.nan, 1.0), (np.inf, 0.0)]
)
def test_impossible_alphas_are_refused_in_one_line(alphas):
    with pytest.raises(ValueError, match="expected a mixup_alpha") as caught:
        mixing.Mixing(*alphas)
    assert "\n" not in str(caught.value)


def test_images_must_be_square():
    groups = {"s2_10m": np.zeros((2, 1, 4, 6), "uint16")}
    with pytest.raises(ValueError, match=r"'s2_10m', got \(2, 1, 4, 6\)"):
        mixing.Mixing(1.0).call(groups, labels_of(2))


TWO_REPLICAS = """
    import numpy as np
    import tensorflow as tf
    from bigearthnet_tf.models import mixing

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    images = np.arange(8 * 16, dtype="uint16").reshape(8, 1, 4, 4)
    labels = np.eye(8, dtype="float32")
    with strategy.scope():
        layer = mixing.Mixing(0.4, 1.0, seed=5)
    single = mixing.Mixing(0.4, 1.0, seed=5)
    call = lambda: layer({"s2_10m": images}, labels)
    step = tf.function(lambda: strategy.run(call))
    for _ in range(2):
        groups, mixed = step()
        first, second = (part.numpy() for part in groups["s2_10m"].values)
        alone, alone_labels = single({"s2_10m": images}, labels)
        assert np.array_equal(first, alone["s2_10m"])
        np.testing.assert_allclose(mixed.values[0], alone_labels, atol=1e-6)
        assert not np.array_equal(first, second)
    (state,) = layer.variables
    assert np.array_equal(*[v.numpy() for v in state.value.values])
    print("replicas differ")
"""


def test_replicas_draw_their_own_numbers_and_keep_one_state():
    assert run_program(TWO_REPLICAS) == "replicas differ"


ON_JAX = """
    import keras
    import numpy as np
    from bigearthnet_tf.models import mixing

    assert keras.config.backend() == "jax"
    rng = np.random.default_rng(0)
    images = rng.integers(0, 2**16, (6, 2, 4, 4)).astype("uint16")
    coarse = rng.integers(0, 2**16, (6, 1, 2, 2)).astype("uint16")
    labels = np.eye(6, dtype="float32")
    shares, cuts = mixing.Mixing(0.4, 1.0, seed=2).draw(6, 2)
    layer = mixing.Mixing(0.4, 1.0, seed=2)
    mixed, new_labels = layer({"fine": images, "coarse": coarse}, labels)
    for before, after in ((images, mixed["fine"]), (coarse, mixed["coarse"])):
        inside = np.asarray(cuts.inside(before.shape[2]))
        own = np.where(inside, 0, np.asarray(shares)[:, None, None, None])
        expected = own * before.astype(float) + (1 - own) * np.roll(before, 1, axis=0)
        assert after.dtype == "uint16"
        assert np.abs(np.asarray(after) - expected).max() <= 0.51
    np.testing.assert_allclose(np.asarray(new_labels).sum(axis=1), 1, atol=1e-6)
    assert 0 < np.asarray(new_labels).diagonal().mean() < 1
    print("mixed")
"""


@pytest.mark.slow
def test_jax():
    if importlib.util.find_spec("jax") is None:
        pytest.skip("jax is not installed")
    assert run_program(ON_JAX, backend="jax") == "mixed"
