"""Learning from pairs: what the task computes and what it refuses."""

import keras
import numpy as np
import pytest
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf.tasks import base


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    for split in ("train", "val", "test"):
        toy.write_records(folder, split, 6, version="v2")
    return folder


def open_task(records, **keys):
    files = {
        f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }
    content = {
        "task": "contrastive",
        "encoders": "separate",
        "modality": "MM",
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "batch_size": 4,
        "image_size": 32,
        **files,
    }
    return base.open_task(configs.from_dict(content | keys))


def brute_force(one, other, temperature):
    """NT-Xent in float64, row by row: the mean over both rows of each pair."""
    z = np.concatenate([one, other]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    count, rows = len(one), []
    for i in range(2 * count):
        exponents = [z[i] @ z[j] / temperature for j in range(2 * count) if j != i]
        positive = z[i] @ z[(i + count) % (2 * count)] / temperature
        rows.append(np.log(np.exp(exponents).sum()) - positive)
    return (np.array(rows[:count]) + rows[count:]) / 2


def test_the_loss_is_that_of_the_projections(records):
    task = open_task(records, temperature=0.2)
    model = task.build_model()
    batch = next(iter(task.training_data(0)))
    found = model(batch[0], training=False)
    expected = brute_force(
        np.asarray(found["p_s1"]), np.asarray(found["p_s2"]), temperature=0.2
    )
    losses = task.losses(model, batch, training=False)
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_views_of_one_sensor_are_compared_too(records):
    keras.utils.set_random_seed(1)
    plain = open_task(records, augmentation=["flips"])
    both = open_task(records, augmentation=["flips"], intra_modal_weight=0.5)
    batch = next(iter(plain.training_data(0)))
    losses = {}
    for name, task in (("plain", plain), ("both", both)):
        losses[name] = task.losses(task.build_model(), batch, training=True)
    # The first views are drawn alike; every further term is above zero.
    assert (losses["both"].numpy() > losses["plain"].numpy()).all()


def test_a_learnt_temperature_is_used_and_has_a_gradient(records):
    import tensorflow as tf

    task = open_task(records, learn_temperature=True, temperature=0.5)
    model = task.build_model()
    batch = next(iter(task.training_data(0)))
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(task.losses(model, batch, training=True))
    gradients = tape.gradient(loss, [v.value for v in model.trainable_variables])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)
    fixed = open_task(records, temperature=0.5)
    np.testing.assert_allclose(
        task.losses(model, batch, training=False),
        fixed.losses(model, batch, training=False),
        rtol=1e-5,
    )
    outputs = task.outputs(model, (*batch[:2], np.ones(4, np.float32)))
    np.testing.assert_allclose(outputs["temperature"], 0.5, rtol=1e-6)


def test_a_split_has_the_mean_loss_of_its_batches(records):
    task, rng = open_task(records), np.random.default_rng(0)
    count = 10  # Two full batches of 4 and one of 2.
    outputs = {
        "p_s1": rng.normal(size=(count, 8)).astype(np.float32),
        "p_s2": rng.normal(size=(count, 8)).astype(np.float32),
        "labels": rng.random((count, 19)) < 0.2,
        "temperature": np.full(count, 0.1),
    }
    found = task.metrics(outputs)
    expected = np.concatenate(
        [
            brute_force(outputs["p_s1"][a : a + 4], outputs["p_s2"][a : a + 4], 0.1)
            for a in (0, 4, 8)
        ]
    )
    assert found["nt_xent_loss"] == pytest.approx(expected.mean(), rel=1e-5)
    assert list(found) == task.metric_names()


def test_a_split_whose_sensors_agree_finds_every_partner(records):
    task, rng = open_task(records), np.random.default_rng(0)
    p = rng.normal(size=(20, 8)).astype(np.float32)
    labels = np.eye(20, 19, dtype=np.float32)
    outputs = {"p_s1": p, "p_s2": 3 * p, "labels": labels, "temperature": np.ones(20)}
    found = task.metrics(outputs)
    assert found["s1_s2_partner_recall@1"] == found["s2_s1_partner_recall@1"] == 1.0
    assert task.watch(outputs)["similarities"].get_axes()


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"encoders": "single"}, "needs two encoders"),
        ({"modality": "S2"}, "both sensors"),
        ({"bands": "s2"}, "both sensors|Sentinel-1"),
        ({"gradient_accumulation": 2}, "gradient_accumulation"),
        ({"intra_modal_weight": 1.0}, "name some in augmentation"),
        ({"mixup_alpha": 0.2}, "mixup_alpha goes with labels"),
        ({"temperature": 0.0}, "temperature"),
        ({"batch_size": 1}, "other patches to compare"),
        ({"monitor": "macro_average_precision"}, None),
    ],
)
def test_what_does_not_go_with_pairs_is_refused(records, keys, reason):
    if reason is None:  # The loop compares it with these.
        assert keys["monitor"] not in open_task(records).metric_names()
        return
    with pytest.raises(ValueError, match=reason):
        open_task(records, **keys).build_model()
