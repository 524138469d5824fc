"""Encoders of pixel series: sizes, masks, dates, and a transformer in float64."""

import closeness
import keras
import numpy as np
import pytest

from bigearthnet_tf.models import pixel_encoder, pixel_layers, pixel_networks

# Parameters that learn, as btfm's models have them: 16 dates, 11 bands, 64
# dimensions; the masked transformer 10 bands and 128 dimensions.
PARAMETERS = {
    "pixel_mlp": (64_704, {}),
    "pixel_cnn": (739_968, {}),
    "pixel_transformer": (154_880, {}),
    "pixel_masked_transformer": (858_625, {"num_bands": 10, "latent_dim": 128}),
}
PROJECTOR = 24_704
SMALL = {"pixel_masked_transformer": {"depth": 1, "width": 16, "hidden": 16}}


def build(name, num_bands=11, sample_size=16, **options):
    options = {"mean": [2**15] * num_bands, "std": [2e4] * num_bands} | options
    return pixel_encoder.build_pixel_encoder(name, num_bands, sample_size, **options)


def batch(count=4, dates=16, bands=11, seed=0):
    rng = np.random.default_rng(seed)
    doy = np.sort(rng.integers(1, 367, (count, dates)), axis=1)
    return {
        "bands": rng.integers(0, 2**16, (count, dates, bands)).astype(np.uint16),
        "doy": doy.astype(np.uint16),
        "mask": np.ones((count, dates), np.uint8),
    }


def learnt(model) -> int:
    return sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_every_encoder_has_its_row():
    assert set(PARAMETERS) == set(pixel_networks.ENCODERS.names())


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_are_those_of_btfm(name):
    expected, options = PARAMETERS[name]
    assert learnt(build(name, **options)) == expected


def test_the_projector_too():
    whole = pixel_encoder.build_twins("pixel_mlp", 11, 16)
    assert learnt(whole) - PARAMETERS["pixel_mlp"][0] == PROJECTOR
    found = whole(batch())
    assert found["h_s2"].shape == (4, 64)
    assert found["p_s2"].shape == (4, 128)


@pytest.mark.parametrize("name", PARAMETERS)
def test_dates_reach_an_embedding_of_the_week_and_it_learns(name):
    """In btfm it reached nothing, and broke the transformer."""
    import tensorflow as tf

    options = {"time_dim": 4, "latent_dim": 8, **SMALL.get(name, {})}
    model, inputs = build(name, num_bands=3, **options), batch(bands=3)
    other = {**inputs, "doy": (inputs["doy"] + 99) % 366 + 1}
    assert np.abs(model(inputs) - model(other)).max() > 1e-3
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(inputs) ** 2)
    table = model.get_layer("week").table
    gradient = tf.convert_to_tensor(tape.gradient(loss, table.value))
    weeks = np.unique(inputs["doy"] // 7)
    assert all(np.abs(gradient[week]).max() > 0 for week in weeks)
    assert np.abs(np.delete(gradient.numpy(), weeks, axis=0)).max() == 0


@pytest.mark.parametrize("encoding", ["day_of_year", "slots", "index"])
@pytest.mark.parametrize("pooling", ["mean", "attention"])
def test_unobserved_dates_change_nothing(encoding, pooling):
    options = {"date_encoding": encoding, "date_pooling": pooling}
    model = build(
        "pixel_transformer", 3, width=16, depth=2,
        date_encoding=encoding, pooling=options["date_pooling"],
    )  # fmt: skip
    short = batch(dates=5, bands=3)
    longer = {k: np.repeat(v, 2, axis=1)[:, :9] for k, v in short.items()}
    for key, value in short.items():
        longer[key][:, :5], longer["mask"][:, 5:] = value, 0
    closeness.assert_close(model(longer), model(short))
    nothing = {**short, "mask": np.zeros_like(short["mask"])}
    assert np.isfinite(model(nothing)).all()


def test_only_a_code_of_the_date_knows_the_date():
    moved = batch(bands=3)
    moved["doy"] = moved["doy"] % 300 + 40
    for encoding, differs in {
        "index": False,
        "day_of_year": True,
        "slots": True,
    }.items():
        model = build("pixel_transformer", 3, depth=1, date_encoding=encoding)
        far = np.abs(model(batch(bands=3)) - model(moved)).max()
        assert (far > 1e-3) == differs, encoding


def test_every_day_of_a_leap_year_has_its_slot():
    layer = pixel_layers.DateCode("slots", slots=96)
    days = np.arange(1, 367)[None]
    series = np.zeros((1, 366, 2), np.float32)
    layer(series, days)
    layer.positions.assign(np.repeat(np.arange(96.0)[:, None], 2, axis=1))
    found = np.asarray(layer(series, days))[0, :, 0]
    np.testing.assert_array_equal(found, (np.arange(366) * 96) // 366)


def test_sinusoids_are_those_of_the_paper():
    found = np.asarray(pixel_layers.sinusoids(np.float32([[0, 5, 365]]), 8))
    for place, day in enumerate((0, 5, 365)):
        for i in range(4):
            angle = day / 10_000 ** (2 * i / 8)
            # An angle is rounded like any number, here to what is much in a circle.
            off = closeness.EPS * (1 + angle)
            assert found[0, place, 2 * i] == pytest.approx(np.sin(angle), abs=off)
            assert found[0, place, 2 * i + 1] == pytest.approx(np.cos(angle), abs=off)


def test_the_standardisation_is_of_the_model():
    mean, std = np.array([1000.0, 2000.0]), np.array([10.0, 500.0])
    model = build("pixel_mlp", 2, 3, mean=mean, std=std)
    inputs = batch(2, 3, 2)
    inputs["mask"][0, 1] = 0
    layer = model.get_layer("preprocessing_standardize")
    found = np.asarray(layer(inputs["bands"], inputs["mask"]))
    expected = (inputs["bands"].astype(float) - mean) / std
    expected[0, 1] = 0
    size = ((inputs["bands"] + mean) / std).max()  # what cancels out
    closeness.assert_close(found, expected, closeness.FORMULA, size)
    empty = build("pixel_mlp", 2, 3)
    empty.set_weights(model.get_weights())
    np.testing.assert_array_equal(empty(inputs), model(inputs))


def test_constants_are_those_of_torch():
    model = build("pixel_mlp")
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    assert {(x.epsilon, x.momentum) for x in norms} == {(1e-5, 0.9)}
    assert len(norms) == 3
    model = build("pixel_transformer", depth=1)
    norms = [x for x in model.layers if isinstance(x, keras.layers.LayerNormalization)]
    assert {x.epsilon for x in norms} == {1e-5}


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def in_float64(model, inputs, heads=2):
    """The transformer of one block, from its weights: post-norm, ReLU, masked."""
    w = {v.path: np.asarray(v).astype(np.float64) for v in model.weights}

    def dense(x, name):
        return x @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5)
        return scaled * w[f"{name}/gamma"] + w[f"{name}/beta"]

    mask = inputs["mask"].astype(bool)
    x = (inputs["bands"].astype(np.float64) - 2**15) / 2e4
    x = x * inputs["mask"][..., None]
    x = dense(x, "embedding")
    count, dates, width = x.shape
    for c in range(width):
        angle = inputs["doy"] / 10_000 ** ((c // 2 * 2) / width)
        x[..., c] += np.cos(angle) if c % 2 else np.sin(angle)
    qkv = dense(x, "block1_qkv").reshape(count, dates, 3, heads, width // heads)
    q, k, v = (qkv[:, :, i].transpose(0, 2, 1, 3) for i in range(3))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(width // heads)
    scores = np.where(mask[:, None, None], scores, -np.inf)
    gathered = (softmax(scores) @ v).transpose(0, 2, 1, 3).reshape(x.shape)
    x = norm(x + dense(gathered, "block1_proj"), "block1_norm1")
    inner = dense(np.maximum(dense(x, "block1_fc1"), 0), "block1_fc2")
    x = norm(x + inner, "block1_norm2")
    shares = dense(np.maximum(dense(x, "pool_hidden"), 0), "pool_score")[..., 0]
    shares = softmax(np.where(mask, shares, -np.inf))
    return dense((shares[..., None] * x).sum(1), "output")


def test_a_transformer_in_float64():
    model = build(
        "pixel_transformer", 3, width=8, depth=1, heads=2, hidden=12, latent_dim=5,
        date_encoding="day_of_year", pooling="attention",
    )  # fmt: skip
    inputs = batch(6, 7, 3)
    inputs["mask"][:, 4] = inputs["mask"][2, 1:] = 0
    found, expected = model(inputs, training=False), in_float64(model, inputs)
    closeness.assert_close(found, expected)


def test_the_block_is_torchs_encoder_layer():
    torch = pytest.importorskip("torch")
    model = build("pixel_transformer", 3, width=16, depth=1, date_encoding="index")
    w = {v.path: torch.tensor(np.asarray(v)) for v in model.weights}
    layer = torch.nn.TransformerEncoderLayer(16, 8, 256, 0.0, batch_first=True)
    names = {
        "self_attn.in_proj": "block1_qkv",
        "self_attn.out_proj": "block1_proj",
        "linear1": "block1_fc1",
        "linear2": "block1_fc2",
        "norm1": "block1_norm1",
        "norm2": "block1_norm2",
    }
    state = {}
    for theirs, ours in names.items():
        join = "_" if theirs.endswith("in_proj") else "."
        scale = "gamma" if "norm" in ours else "kernel"
        shift = "beta" if "norm" in ours else "bias"
        state[f"{theirs}{join}weight"] = w[f"{ours}/{scale}"].T
        state[f"{theirs}{join}bias"] = w[f"{ours}/{shift}"]
    layer.load_state_dict(state)
    part = keras.Model(
        model.get_layer("date").output, model.get_layer("block1_norm2").output
    )
    x = np.random.default_rng(0).normal(size=(2, 16, 16)).astype(np.float32)
    with torch.no_grad():
        expected = layer.eval()(torch.tensor(x)).numpy()
    closeness.assert_close(part(x, training=False), expected)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("pixel_cnn", {"width": 4}, "unknown option 'width' of pixel encoder"),
        ("pixel_mlp", {"pooling": "mean"}, "unknown option 'pooling'"),
        ("pixel_mpl", {}, "did you mean 'pixel_mlp'"),
        ("pixel_transformer", {"pooling": "max"}, "expected a pooling of mean, att"),
        ("pixel_transformer", {"date_encoding": "x"}, "expected a date_encoding of"),
        ("pixel_transformer", {"heads": 7}, "three times 7 heads"),
        ("pixel_mlp", {"mean": [0.0], "std": [1.0, 2.0]}, "1 means and 2 deviations"),
        ("pixel_mlp", {"mean": [0.0], "std": [1.0]}, "expected statistics of 11 bands"),
        ("pixel_mlp", {"mean": [np.nan], "std": [1.0]}, "finite means"),
        ("pixel_mlp", {"mean": [0.0] * 11, "std": [0.0] * 11}, "positive finite"),
        ("pixel_mlp", {"sample_size": 0}, "at least one of dates"),
    ],
)
def test_what_an_encoder_does_not_know_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        build(name, **options)


def test_the_perceptron_in_float64():
    model = build("pixel_mlp", 3, 5, width=8, latent_dim=4)
    rng = np.random.default_rng(0)
    for v in model.weights:
        if "moving" in v.path or "gamma" in v.path or "beta" in v.path:
            v.assign(rng.uniform(0.5, 2, v.shape))
    w = {v.path: np.asarray(v).astype(np.float64) for v in model.weights}
    inputs = batch(dates=5, bands=3)
    inputs["mask"][:, 1] = 0
    x = (inputs["bands"].astype(np.float64) - 2**15) / 2e4
    x = (x * inputs["mask"][..., None]).reshape(4, 15)
    for number in range(3):
        name = f"layer{number}"
        x = x @ w[f"{name}/kernel"] + w[f"{name}/bias"]
        norm = f"{name}_norm"
        scale = np.sqrt(w[f"{norm}/moving_variance"] + 1e-5)
        x = (x - w[f"{norm}/moving_mean"]) / scale
        x = np.maximum(x * w[f"{norm}/gamma"] + w[f"{norm}/beta"], 0)
    expected = x @ w["output/kernel"] + w["output/bias"]
    closeness.assert_close(model(inputs, training=False), expected)


def test_the_seed_makes_the_weights():
    one, same, other = (build("pixel_mlp", seed=s).get_weights() for s in (1, 1, 2))
    assert all(np.array_equal(a, b) for a, b in zip(one, same, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))
