"""Learning from time series of pixels: losses, frozen encoders, weights by name."""

import json
import re

import closeness
import keras
import numpy as np
import programs
import pytest
import series_records
import sklearn.metrics
import tensorflow as tf

from bigearthnet_tf import config as configs
from bigearthnet_tf.metrics import rank
from bigearthnet_tf.models import freezing
from bigearthnet_tf.tasks import base, pixels
from bigearthnet_tf.training import checkpoints, pixel_runs, session
from bigearthnet_tf.training.state import State

SMALL = {
    "model_name": "pixel_transformer",
    "encoder_width": 16,
    "encoder_depth": 1,
    "latent_dim": 8,
    "projector_dims": [12, 6],
    "sample_size": 6,
    "batch_size": 16,
    "pixels_per_block": 40,
    "shuffle_buffer_size": 100,
    "devices": "cpu",
}


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    return series_records.write(tmp_path_factory.mktemp("series"))


def config_of(records, task, **keys):
    if task == "land_cover":
        keys = {"loss": "softmax_cross_entropy", **keys}
    return configs.from_dict(
        {**SMALL, **series_records.files(records), "task": task, **keys}
    )


def open_task(records, task, **keys):
    return base.open_task(config_of(records, task, **keys))


def save_run(folder, task):
    """Writes a checkpoint of an untrained model as a run does."""
    model = task.build_model()
    saved = checkpoints.CheckpointFolder(folder / "checkpoints", task.describe())
    progress = {"config": task.config.model_dump()}
    path = saved.save(State(model), 7, None, progress)
    saved.wait()
    return model, path


def correlate(one, other):
    """The correlation of two views in float64, dimension by dimension."""
    one, other = (view.astype(np.float64) for view in (one, other))
    dims = range(one.shape[1])
    scale = [np.sqrt(view.var(axis=0) + 1e-5) for view in (one, other)]
    return np.array(
        [
            [
                ((one[:, i] - one[:, i].mean()) * (other[:, j] - other[:, j].mean()))
                .mean()
                / (scale[0][i] * scale[1][j])
                for j in dims
            ]
            for i in dims
        ]
    )  # fmt: skip


def test_the_same_ground_in_records_of_two_calls_is_warned_of(
    records, tmp_path, caplog
):
    assert open_task(records, "land_cover").bands
    assert "share the ground" not in caplog.text
    again = series_records.files(series_records.write(tmp_path))
    keys = {"val_tf_record_files": again["tr_tf_record_files"]}
    assert open_task(records, "land_cover", **keys).bands
    (warning,) = [m for m in caplog.messages if "share the ground" in m]
    assert warning.startswith("train and val: the records are in different folders")


def test_the_loss_is_that_of_both_views(records):
    task = open_task(records, "barlow_twins", encoder_drop_rate=0.0)
    model = task.build_model()
    (views,) = next(iter(task.training_data(0)))
    assert views["bands"].shape == (16, 2, 6, 11)
    one, other = (
        np.asarray(model({name: of[:, view] for name, of in views.items()})["p_s2"])
        for view in (0, 1)
    )
    c = correlate(one, other)
    diagonal = np.eye(len(c), dtype=bool)
    expected = ((c[diagonal] - 1) ** 2).sum() + 5e-3 * (c[~diagonal] ** 2).sum()
    found = task.losses(model, (views,), training=True)
    np.testing.assert_allclose(found, np.full(16, expected), rtol=1e-4)


def test_a_split_of_twins_is_measured_in_full_batches(records):
    task, rng = open_task(records, "barlow_twins"), np.random.default_rng(0)
    count = 40  # Two full batches of 16, evenly spread over the split.
    outputs = {
        "h": rng.normal(size=(count, 8)).astype(np.float32),
        "p_one": rng.normal(size=(count, 6)).astype(np.float32),
        "p_other": rng.normal(size=(count, 6)).astype(np.float32),
        "classes": np.full(count, -1),
    }
    found = task.metrics(outputs)
    losses = []
    for first in (0, 1):
        rows = slice(first, None, 2)
        c = correlate(outputs["p_one"][rows][:16], outputs["p_other"][rows][:16])
        off = (c**2).sum() - (np.diag(c) ** 2).sum()
        losses.append(((np.diag(c) - 1) ** 2).sum() + 5e-3 * off)
    assert found["barlow_twins_loss"] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found["rank_me_embedding"] == rank.rank_me(outputs["h"])
    assert found["rank_me_share_projection"] == rank.rank_me_normalised(
        outputs["p_one"]
    )
    assert "knn_accuracy" not in found
    assert set(found) | {"knn_accuracy"} == set(task.metric_names())


def test_scoring_repeats_and_covers_a_split_once(records):
    task = open_task(records, "barlow_twins")
    runs = [list(task.scoring_data("val").as_numpy_iterator()) for _ in range(2)]
    for one, other in zip(*runs, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, one, other)
    assert sum(b[-1].sum() for b in runs[0]) == task.num_records("val")


def test_land_cover_ignores_what_has_no_class(records):
    task = open_task(records, "land_cover", merge_mangroves=True)
    codes = [0, 10, 90, 95, 100, 255]
    assert task.class_numbers(codes).numpy().tolist() == [-1, 0, 8, 8, 9, -1]
    apart = open_task(records, "land_cover").class_numbers(codes)
    assert len(set(apart.numpy()[1:5])) == 4
    model = task.build_model()
    series, codes = next(iter(task.training_data(0)))
    codes = tf.where(tf.range(16) < 8, 255, codes)
    losses = task.losses(model, (series, codes), training=False).numpy()
    assert (losses[:8] == 0).all()
    assert (losses[8:] > 0).all()


def test_class_weights_are_of_the_valid_labelled_pixels(records):
    task = open_task(
        records, "land_cover", class_weights="balanced", encoder_drop_rate=0.0
    )
    counts = task.count_classes("train")
    assert counts.sum() == task.source("train").num_labelled
    plain = open_task(records, "land_cover")
    model = task.build_model()
    batch = next(iter(task.training_data(0)))
    weighted = task.losses(model, batch, training=True) / plain.losses(
        model, batch, training=True
    )
    classes = task.class_numbers(batch[1]).numpy()
    k = (counts > 0).sum()
    expected = counts.sum() / (k * counts[classes])
    np.testing.assert_allclose(weighted, expected, rtol=1e-4)
    # What is measured is not weighted.
    np.testing.assert_allclose(
        task.losses(model, batch, training=False),
        plain.losses(model, batch, training=False),
        rtol=1e-6,
    )


def test_a_frozen_encoder_drops_nothing_and_only_its_head_learns(records):
    """btfm left dropout on while it learnt the head."""
    task = open_task(records, "land_cover", encoder_drop_rate=0.5)
    model = task.build_model()
    batch = next(iter(task.training_data(0)))

    def repeats() -> bool:
        first, second = (task.losses(model, batch, training=True) for _ in range(2))
        return bool((first.numpy() == second.numpy()).all())

    assert not repeats()
    freezing.freeze_backbone(model)
    assert repeats()
    assert [v.path for v in model.trainable_variables] == ["head/kernel", "head/bias"]


@pytest.mark.parametrize(
    ("level", "head_dims"), [(0, []), (0, [5, 4]), (1, []), (1, [5])]
)
def test_a_probe_a_head_and_fine_tuning_learn_what_they_say(records, level, head_dims):
    config = config_of(
        records, "land_cover", fine_tune_level=level, head_dims=head_dims,
        encoder_drop_rate=0.0, learning_rate=0.1, weights="opened by the loop",
    )  # fmt: skip
    opened = session.open_session(config)
    model, optimizer = session.build(opened)
    before = {v.path: v.numpy() for v in model.weights}
    batch = next(iter(opened.task.training_data(0)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(opened.task.losses(model, batch, training=True))
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [v.value for v in variables])
    optimizer.apply(gradients, variables)
    changed = {v.path for v in model.weights if (v.numpy() != before[v.path]).any()}
    head = {path for path in before if path.startswith("head")}
    # A normalisation takes its own statistics, also of a frozen encoder's features,
    # and leaves a bias before it without a gradient.
    assert sum("moving" in path for path in head) == 2 * len(head_dims)
    learns = {path for path in head if not ("hidden" in path and "bias" in path)}
    if level == 0:
        assert learns <= changed <= head
    else:
        encoder = {"embedding/kernel", "block1_fc1/kernel", "output/kernel"}
        assert learns | encoder <= changed
        assert not {path for path in changed if "standardize" in path}
    keras.utils.clear_session()


@pytest.mark.parametrize("merge", [False, True])
def test_land_cover_is_measured_as_scikit_learn_does(records, merge):
    """Pixels without data (0) or label (255) count nowhere."""
    task = open_task(records, "land_cover", merge_mangroves=merge)
    rng = np.random.default_rng(0)
    codes = rng.choice([0, 10, 30, 80, 90, 95, 100, 255], 400)
    classes = task.class_numbers(codes).numpy()
    told = np.where(rng.random(400) < 0.6, classes, rng.integers(0, 10, 400))
    scores = np.eye(len(task.classes))[np.maximum(told, 0)]
    outputs = {"classes": classes, "scores": scores, "losses": np.ones(400)}
    found = task.metrics(outputs)
    known = np.isin(codes, [0, 255], invert=True)
    truth, given = codes[known].copy(), scores[known].argmax(axis=1)
    if merge:
        truth[truth == 95] = 90
    given = np.array([task.classes[j].code for j in given])
    sk, average = sklearn.metrics, {"average": "macro", "zero_division": 0}
    expected = {
        "pixel_accuracy": sk.accuracy_score(truth, given),
        "balanced_accuracy": sk.recall_score(
            truth, given, labels=np.unique(truth), **average
        ),
        "macro_f1": sk.f1_score(truth, given, **average),
        "mean_iou": sk.jaccard_score(truth, given, **average),
        "kappa": sk.cohen_kappa_score(truth, given),
        "labelled_pixels": known.sum(),
    }
    assert {key: found[key] for key in expected} == pytest.approx(expected)


EMBED = """
    import sys
    import numpy as np
    from bigearthnet_tf import console
    console.load_tensorflow()
    from bigearthnet_tf.training import pixel_runs

    with np.load(sys.argv[2]) as view:
        inputs = dict(view)
    run = pixel_runs.restore_pixel_run(sys.argv[1])
    np.save(sys.argv[3], run.model(inputs, training=False)["h_s2"])
"""


def test_a_new_process_gives_the_same_embeddings(records, tmp_path):
    task = open_task(records, "barlow_twins", time_dim=2, seed=5)
    model, _ = save_run(tmp_path, task)
    view = pixels.one_view(next(iter(task.training_data(0)))[0], 0)
    np.savez(tmp_path / "view.npz", **{k: v.numpy() for k, v in view.items()})
    out = tmp_path / "embeddings.npy"
    programs.run_program(EMBED, tmp_path, tmp_path / "view.npz", out)
    expected = model(view, training=False)["h_s2"]
    closeness.assert_close(np.load(out), expected)


def test_the_encoder_of_a_run_comes_whole(records, tmp_path):
    twins = open_task(records, "barlow_twins", seed=1)
    trained, path = save_run(tmp_path, twins)
    series = next(iter(twins.training_data(0)))[0]
    view = pixels.one_view(series, 0)
    expected = trained(view, training=False)
    # Maps and points have nothing but the folder.
    run = pixel_runs.restore_pixel_run(tmp_path)
    np.testing.assert_array_equal(run.model(view)["h_s2"], expected["h_s2"])
    assert run.description["bands"] == list(twins.bands)
    task = open_task(records, "land_cover", seed=2)
    model = task.build_model()
    head = [np.asarray(w) for w in model.get_layer("head").get_weights()]
    assert np.abs(model(view)["h_s2"] - expected["h_s2"]).max() > 1e-3
    assert pixel_runs.load_encoder(model, task, tmp_path) == path
    np.testing.assert_array_equal(model(view)["h_s2"], expected["h_s2"])
    for before, after in zip(head, model.get_layer("head").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)


def rename_a_weight(path, old: bytes, new: bytes) -> None:
    """Writes a checkpoint again with one weight under another name."""
    reader = tf.train.load_checkpoint(str(path / "state"))
    values = {
        name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()
    }
    assert any(old.decode() in name for name in values)
    renamed = [name.replace(old.decode(), new.decode()) for name in values]
    tf.raw_ops.SaveV2(
        prefix=str(path / "state"),
        tensor_names=renamed,
        shape_and_slices=[""] * len(values),
        tensors=list(values.values()),
    )


@pytest.mark.parametrize("load", ["encoder", "run"])
def test_a_renamed_weight_is_refused_by_name(records, tmp_path, load):
    _, path = save_run(tmp_path, open_task(records, "barlow_twins"))
    rename_a_weight(path, b"block1_fc1/kernel", b"block1_fc9/kernel")
    task = open_task(records, "land_cover")
    with pytest.raises(ValueError, match="block1_fc1/kernel is missing") as refused:
        if load == "run":
            pixel_runs.restore_pixel_run(tmp_path)
        else:
            pixel_runs.load_encoder(task.build_model(), task, tmp_path)
    assert "block1_fc9/kernel is unknown to the model" in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"model_name": "pixel_mlp"}, "of other model_name: 'pixel_transformer', but"),
        ({"latent_dim": 4}, "of other latent_dim: 8, but the config"),
        ({"date_encoding": "slots"}, "of other date_encoding: 'index', but"),
        ({"encoder_width": 32}, "of other width: 16, but"),
    ],
)
def test_the_encoder_of_another_run_is_refused(records, tmp_path, keys, message):
    save_run(tmp_path, open_task(records, "barlow_twins"))
    keys = {"encoder_width": 16, "encoder_depth": 1} | keys
    task = open_task(records, "land_cover", **keys)
    with pytest.raises(ValueError, match=re.escape(message)):
        pixel_runs.load_encoder(task.build_model(), task, tmp_path)


def test_what_is_no_run_of_pixels_is_refused(records, tmp_path):
    _, path = save_run(tmp_path, open_task(records, "barlow_twins"))
    with pytest.raises(FileNotFoundError, match=r"nothing: no run; expected the fold"):
        pixel_runs.restore_pixel_run(tmp_path / "nothing")
    description = path / "description.json"
    content = json.loads(description.read_text()) | {"task": "classification"}
    description.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"a run of task 'classification'; expected"):
        pixel_runs.restore_pixel_run(tmp_path)


@pytest.mark.parametrize(
    ("task", "keys", "message"),
    [
        ("barlow_twins", {"model_name": "pixel_mpl"}, "did you mean 'pixel_mlp'"),
        ("barlow_twins", {"batch_size": 1}, "a batch to correlate dimensions over"),
        ("barlow_twins", {"gradient_accumulation": 2}, "hide most of the batch"),
        ("barlow_twins", {"augmentation": ["flips"]}, "augmentation goes with patches"),
        ("land_cover", {"loss": "asymmetric"}, "choose softmax_cross_entropy or focal"),
        ("land_cover", {"spatial_folds": 1}, "expected 0 or at least 2, got 1"),
        (
            "barlow_twins",
            {"model_name": "pixel_mlp", "date_encoding": "slots"},
            "unknown option 'date_encoding' of pixel encoder 'pixel_mlp'",
        ),
        ("classification", {}, "is of pixel time series: set task to barlow_twins or"),
    ],
)
def test_impossible_configs(records, task, keys, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        open_task(records, task, **keys)


def test_records_that_do_not_go(records, tmp_path):
    with pytest.raises(ValueError, match=r"but bands asks for \['B04'\]; leave bands"):
        open_task(records, "barlow_twins", bands=["B04"]).source("train")
    with pytest.raises(ValueError, match=r"counts pixels as valid from 21 on"):
        open_task(records, "barlow_twins", sample_size=22).training_data(0)
    with pytest.raises(ValueError, match=r"needs 22 usable dates a pixel"):
        open_task(
            records, "barlow_twins", sample_size=11, disjoint_views=True
        ).training_data(0)


def test_biases_and_encoders_learn_slower(records):
    config = config_of(
        records, "land_cover", loss="focal", optimizer="sgd", momentum=0.0,
        learning_rate=1.0, backbone_learning_rate_factor=0.1,
        bias_learning_rate_factor=0.5,
    )  # fmt: skip
    opened = session.open_session(config)
    model, optimizer = session.build(opened)
    before = {v.path: v.numpy() for v in model.trainable_variables}
    ones = [tf.ones(v.shape) for v in model.trainable_variables]
    optimizer.apply(ones, model.trainable_variables)
    steps = {v.path: float((before[v.path] - v.numpy()).mean())
             for v in model.trainable_variables}  # fmt: skip
    assert steps["head/kernel"] == pytest.approx(1.0, rel=1e-4)
    assert steps["head/bias"] == pytest.approx(0.5, rel=1e-4)
    assert steps["embedding/kernel"] == pytest.approx(0.1, rel=1e-3)
    assert steps["embedding/bias"] == pytest.approx(0.05, rel=1e-3)
    keras.utils.clear_session()
