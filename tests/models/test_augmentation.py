"""Augmentations: what comes out, how often, and the same on several replicas."""

import importlib.util

import closeness
import keras
import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import run_program

from bigearthnet_tf.models import augmentation

NAMES = augmentation.AUGMENTATIONS.names()
PATCH = np.arange(3 * 3 * 2, dtype="float32").reshape(3, 3, 2)
FLIPS = [PATCH, PATCH[:, ::-1], PATCH[::-1], PATCH[::-1, ::-1]]
TURNS = [np.rot90(PATCH, quarters) for quarters in range(4)]
MOVES = {"flips": FLIPS, "quarter_turns": TURNS}
# What is not the default, to see that it counts.
OPTIONS = {
    "crops": {"smallest_share": 0.2},
    "band_drop": {"rate": 0.3},
    "noise": {"deviation": 0.5},
}


def build(name: str, seed: int = 1) -> augmentation.Augmentation:
    return augmentation.AUGMENTATIONS.get(name)(seed=seed, **OPTIONS.get(name, {}))


def images(*sides: int, batch: int = 40, bands: int = 2) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = [(batch, side, side, bands) for side in sides]
    return [rng.normal(size=shape).astype("float32") for shape in shapes]


def test_the_abstract_is_not_built():
    with pytest.raises(TypeError, match="abstract"):
        augmentation.Augmentation()


def which(moved: np.ndarray, moves: list[np.ndarray]) -> list[int]:
    """Index of the move that each sample went through; fails if it is none."""
    hits = [[np.array_equal(sample, move) for move in moves] for sample in moved]
    assert all(sum(row) == 1 for row in hits)
    return [row.index(True) for row in hits]


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("jit", [False, True])
def test_all_moves_come_equally_often(name, jit):
    layer = build(name)
    run = tf.function(lambda x: layer(x, training=True), jit_compile=jit)
    counts = np.bincount(which(run(np.stack([PATCH] * 2000)).numpy(), MOVES[name]))
    # 2000 draws of one quarter: deviation 19.
    assert counts.shape == (4,)
    np.testing.assert_allclose(counts, 500, atol=5 * 19.4)


@pytest.mark.parametrize("name", MOVES)
def test_tensors_of_a_list_move_alike(name):
    layer = build(name)
    coarse = np.stack([PATCH] * 40)
    fine = coarse.repeat(2, axis=1).repeat(2, axis=2)
    moved_fine, moved_coarse = layer([fine, coarse], training=True)
    np.testing.assert_array_equal(moved_fine[:, ::2, ::2], moved_coarse)


def test_turning_needs_square_images():
    layer = augmentation.RandomQuarterTurns()
    with pytest.raises(ValueError, match="2 by 3 pixels"):
        layer(np.ones((1, 2, 3, 1)))


@pytest.mark.parametrize("name", NAMES)
def test_inference_changes_nothing(name):
    layer = build(name)
    (x,) = images(3)
    np.testing.assert_array_equal(layer(x), x)
    np.testing.assert_array_equal(layer(x, training=False), x)


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides_and_the_stream_moves_on(name):
    first, again, other = (build(name, seed) for seed in (1, 1, 2))
    (x,) = images(3)
    one, two = first(x, training=True), first(x, training=True)
    np.testing.assert_array_equal(one, again(x, training=True))
    np.testing.assert_array_equal(two, again(x, training=True))
    assert not np.array_equal(one, two)
    assert not np.array_equal(one, other(x, training=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_stream_is_a_variable_that_can_be_put_back(name):
    layer = build(name)
    (x,) = images(3)
    (state,) = layer.variables
    begun = state.numpy().copy()
    first = layer(x, training=True)
    state.assign(begun)
    np.testing.assert_array_equal(layer(x, training=True), first)


@pytest.mark.parametrize("name", NAMES)
def test_reloaded_layers_draw_the_same(name):
    layer = build(name, seed=9)
    config = keras.saving.serialize_keras_object(layer)
    reloaded = keras.saving.deserialize_keras_object(config)
    (x,) = images(3)
    np.testing.assert_array_equal(reloaded(x, training=True), layer(x, training=True))


@pytest.mark.parametrize("name", NAMES)
def test_xla_gives_the_same(name):
    x = images(12, 6, 2)
    plain, compiled = build(name), build(name)
    expected = tf.function(lambda x: plain(x, training=True))(x)
    run = tf.function(lambda x: compiled(x, training=True), jit_compile=True)
    for ours, theirs in zip(run(x), expected, strict=True):
        closeness.assert_close(ours, theirs)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("policy", "digits"), [("bfloat16", 8), ("float16", 11)])
def test_low_precision_rounds_once_more(name, policy, digits):
    """The same numbers are drawn, and nothing is worked out in that precision."""
    kind = augmentation.AUGMENTATIONS.get(name)
    low = kind(seed=1, dtype=f"mixed_{policy}", **OPTIONS.get(name, {}))
    x = tf.cast(tf.cast(images(24)[0], policy), "float32")
    expected = build(name)(x, training=True).numpy()
    changed = low(x, training=True)
    assert changed.dtype == policy
    changed = tf.cast(changed, "float32").numpy()
    np.testing.assert_allclose(changed, expected, rtol=2.0**-digits, atol=1e-6)


def boxes(batch: int, smallest_share: float, seed: int) -> np.ndarray:
    """What a layer of that seed cuts in its first batch, (north, west, side)."""
    layer = augmentation.RandomCrops(smallest_share, seed=seed)
    return np.stack([np.asarray(x, "float64") for x in layer.draw(batch)])


def cut_with_scipy(image: np.ndarray, north: float, west: float, side: float):
    """Samples an image (rows, columns, bands) at the centres of a box's pixels."""
    size = len(image)
    centres = (np.arange(size) + 0.5) / size
    places = np.meshgrid(
        (north + side * centres) * size - 0.5,
        (west + side * centres) * size - 0.5,
        indexing="ij",
    )
    bands = [
        scipy.ndimage.map_coordinates(band, places, order=1, mode="nearest")
        for band in np.moveaxis(image.astype("float64"), -1, 0)
    ]
    return np.stack(bands, axis=-1)


@settings(deadline=None, max_examples=15)
@given(
    side=st.integers(1, 40),
    share=st.floats(0.01, 1),
    seed=st.integers(0, 2**31 - 1),
)
def test_crops_are_bilinear(side, share, seed):
    (x,) = images(side, batch=4, bands=3)
    cropped = augmentation.RandomCrops(share, seed=seed)(x, training=True)
    for image, result, box in zip(x, cropped, boxes(4, share, seed).T, strict=True):
        # A place is rounded to what counts in `side` pixels, and so is the step there.
        scale = side * np.abs(image).max()
        expected = cut_with_scipy(image, *box)
        closeness.assert_close(result, expected, closeness.FORMULA, scale)


def test_crops_of_all_resolutions_show_the_same_ground():
    """Pixels hold their own place: what is cut, they say themselves."""
    x = []
    for pixels in (120, 60, 20):
        centre = ((np.arange(pixels) + 0.5) / pixels).astype("float32")
        place = np.stack(np.meshgrid(centre, centre, indexing="ij"), axis=-1)
        x.append(np.broadcast_to(place, (16, *place.shape)))
    cropped = augmentation.RandomCrops(0.3, seed=4)(x, training=True)
    north, west, side = boxes(16, 0.3, seed=4)
    for images_of_one, pixels in zip(cropped, (120, 60, 20), strict=True):
        centre = (np.arange(pixels) + 0.5) / pixels
        # Beyond the centres of the outermost pixels there is nothing to interpolate.
        bounds = 0.5 / pixels, 1 - 0.5 / pixels
        for axis, start in ((1, north), (2, west)):
            ground = np.clip(start[:, None] + side[:, None] * centre, *bounds)
            seen = np.moveaxis(images_of_one[..., axis - 1], axis, 1)
            expected = np.broadcast_to(ground[..., None], seen.shape)
            closeness.assert_close(seen, expected)


def test_crops_are_spread_over_areas_and_places():
    north, west, side = boxes(20_000, 0.3, seed=1)
    area = scipy.stats.uniform(0.3, 0.7)
    assert scipy.stats.kstest(side**2, area.cdf).pvalue > 0.001
    for start in (north, west):
        assert (start >= 0).all() and (start + side <= 1 + 1e-6).all()
        assert scipy.stats.kstest(start / (1 - side), "uniform").pvalue > 0.001
    together = np.corrcoef([side**2, north / (1 - side), west / (1 - side)])
    np.testing.assert_allclose(together, np.eye(3), atol=4 / 20_000**0.5)


def test_crops_of_the_whole_are_the_image():
    (x,) = images(24)
    cropped = augmentation.RandomCrops(1.0, seed=1)(x, training=True)
    np.testing.assert_array_equal(cropped, x)


def dropped(rate: float, *bands: int, batch: int, jit: bool = False) -> np.ndarray:
    """Which bands of which samples a layer drops, (batch, bands) bool."""
    layer = augmentation.RandomBandDrop(rate, seed=1)
    x = [np.ones((batch, 2, 2, count), "float32") for count in bands]
    run = tf.function(lambda x: layer(x, training=True), jit_compile=jit)
    flat = [image.numpy().reshape(batch, 4, -1) for image in run(x)]
    drops = np.concatenate(flat, axis=-1) == 0
    assert (drops == drops[:, :1]).all()
    return drops[:, 0]


@pytest.mark.parametrize("jit", [False, True])
def test_bands_drop_by_their_rate_and_one_stays(jit):
    batch, rate, bands = 20_000, 0.6, 4
    drops = dropped(rate, 1, 3, batch=batch, jit=jit)
    counts = np.bincount(drops.sum(axis=1), minlength=bands + 1)
    expected = scipy.stats.binom(bands, rate).pmf(range(bands + 1)) * batch
    expected[bands - 1] += expected[bands]
    assert counts[bands] == 0
    assert scipy.stats.chisquare(counts[:bands], expected[:bands]).pvalue > 0.001
    # Where all would go, each is the one that stays as often.
    share = rate - rate**bands / bands
    deviation = (share * (1 - share) / batch) ** 0.5
    np.testing.assert_allclose(drops.mean(axis=0), share, atol=4 * deviation)


def test_a_single_band_is_never_dropped_and_rate_0_drops_none():
    assert not dropped(0.9, 1, batch=1000).any()
    assert not dropped(0.0, 3, batch=1000).any()


def test_bands_that_stay_are_untouched():
    x = images(5, 3, bands=6)
    changed = augmentation.RandomBandDrop(0.5, seed=1)(x, training=True)
    for before, after in zip(x, changed, strict=True):
        after = after.numpy()
        gone = (after == 0).all(axis=(1, 2), keepdims=True)
        np.testing.assert_array_equal(after, np.where(gone, 0, before))
        assert gone.any() and not gone.all()


def test_noise_is_normal_and_each_pixel_its_own():
    x = images(16, 8, batch=200, bands=3)
    changed = augmentation.RandomNoise(0.25, seed=1)(x, training=True)
    noise = [(a.numpy() - b) / 0.25 for a, b in zip(changed, x, strict=True)]
    for part in noise:
        assert scipy.stats.kstest(part.ravel(), "norm").pvalue > 0.001
    by_band = np.corrcoef(noise[0].reshape(-1, 3).T)
    np.testing.assert_allclose(by_band, np.eye(3), atol=4 / 51_200**0.5)
    neighbours = np.corrcoef(noise[0][:, :, 1:].ravel(), noise[0][:, :, :-1].ravel())
    assert abs(neighbours[0, 1]) < 4 / 144_000**0.5
    assert abs(np.corrcoef(noise[1].ravel(), noise[0][:, :8, :8].ravel())[0, 1]) < 0.03


def test_no_noise_is_no_change():
    (x,) = images(5)
    layer = augmentation.RandomNoise(0.0, seed=1)
    np.testing.assert_array_equal(layer(x, training=True), x)


@pytest.mark.parametrize(
    ("name", "option", "values", "message"),
    [
        ("crops", "smallest_share", (0, -0.1, 1.1, np.nan), "above 0 and at most 1"),
        ("band_drop", "rate", (-0.1, 1.0, np.nan), "at least 0 and below 1"),
        ("noise", "deviation", (-0.1, np.inf, np.nan), "finite deviation"),
    ],
)
def test_impossible_options_are_refused_in_one_line(name, option, values, message):
    for value in values:
        with pytest.raises(ValueError, match=message) as caught:
            augmentation.AUGMENTATIONS.get(name)(**{option: value})
        assert str(value) in str(caught.value) and "\n" not in str(caught.value)


TWO_REPLICAS = """
    import keras
    import numpy as np
    import tensorflow as tf
    from bigearthnet_tf.models import augmentation

    cpu = tf.config.list_physical_devices("CPU")[0]
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
    x = np.arange(64 * 32, dtype="float32").reshape(64, 4, 4, 2)

    def own():
        context = tf.distribute.get_replica_context()
        return tf.reshape(x, (2, 32, 4, 4, 2))[context.replica_id_in_sync_group]

    def check(step, single, name):
        first, second = (part.numpy() for part in step().values)
        if name == "noise":
            alone = single(x[:32], training=True)
            np.testing.assert_allclose(first, alone, rtol=1e-5)
            assert not np.array_equal(first - x[:32], second - x[32:])
        else:
            alone = single(x, training=True)
            np.testing.assert_allclose([*first, *second], alone, rtol=1e-5)

    for name in augmentation.AUGMENTATIONS.names():
        kind = augmentation.AUGMENTATIONS.get(name)
        for nested in (False, True):
            with strategy.scope():
                layer = kind(seed=5)
            single = kind(seed=5)
            move = lambda: layer(own(), training=True)
            move = tf.function(move) if nested else move
            step = tf.function(lambda: strategy.run(move))
            for _ in range(2):
                check(step, single, name)
            states = [v.numpy() for v in layer.seed_generator.state.value.values]
            assert np.array_equal(*states), name

        # With XLA, which can't write to variables of several devices.
        state = layer.seed_generator.state
        single.seed_generator.state.assign(states[0])

        @tf.function(jit_compile=True)
        def compiled(value, part):
            with keras.StatelessScope([(state, value)]):
                return layer(part, training=True)

        pure = lambda: compiled(tf.convert_to_tensor(state.value), own())
        step = tf.function(lambda: strategy.run(pure))
        check(step, single, name)
    print("as on one device")
"""


def test_replicas_change_a_patch_as_one_device_does():
    assert run_program(TWO_REPLICAS) == "as on one device"


OTHER_BACKEND = """
    import sys
    import keras
    import numpy as np
    from bigearthnet_tf.models import augmentation

    assert keras.config.backend() == sys.argv[1]
    stored = np.load(sys.argv[2])
    x = [stored["fine"], stored["coarse"]]
    given, read = keras.ops.convert_to_tensor, keras.ops.convert_to_numpy
    for name in augmentation.AUGMENTATIONS.names():
        layer = augmentation.AUGMENTATIONS.get(name)(seed=1)
        changed = layer([given(each) for each in x], training=True)
        for before, after in zip(x, changed):
            assert read(after).shape == before.shape, name
            assert not np.array_equal(read(after), before), name
    moves = [given(each) for each in stored["moves"]]
    cropped = augmentation.RandomCrops().move(given(x[0]), moves)
    np.testing.assert_allclose(read(cropped), stored["cropped"], atol=1e-5)
    print("equal")
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_other_backends(tmp_path, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    fine, coarse = images(12, 6)
    layer = augmentation.RandomCrops(0.3, seed=1)
    moves = layer.draw(len(fine))
    cropped = layer.move(tf.constant(fine), moves)
    stored = tmp_path / "stored.npz"
    np.savez(stored, fine=fine, coarse=coarse, moves=np.stack(moves), cropped=cropped)
    assert run_program(OTHER_BACKEND, backend, stored, backend=backend) == "equal"
