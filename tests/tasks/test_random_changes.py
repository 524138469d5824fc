"""From the config to the layers: augmentations with their options, and mixing."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf.models import augmentation, mixing
from bigearthnet_tf.tasks import assembly, base


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    toy.write_records(folder, "train", 6)
    return folder


def open_task(records, **keys):
    content = {
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "modality": "MM",
        "batch_size": 4,
        "image_size": 24,
        "tr_tf_record_files": [str(records / "train-*.tfrecord")],
        "val_tf_record_files": [],
        "test_tf_record_files": [],
    }
    return base.open_task(configs.from_dict(content | keys))


def a_batch(task):
    return next(iter(task.training_data(0)))


class Seen:
    """Stands for a model and keeps what it is called with."""

    def __call__(self, images, training):
        self.images, self.training = images, training
        return tf.zeros((len(next(iter(images.values()))), 19))


def losses_and_inputs(task, batch, training):
    """The losses of logits of zero, and the images and labels they were made from."""
    seen, found = Seen(), []

    def watched(loss):
        def keep(labels, logits):
            found.append(labels)
            return loss(labels, logits)

        return keep

    task._loss = watched(task._loss)
    task._training_loss = watched(task._training_loss)
    values = task.losses(seen, batch, training=training)
    assert seen.training == training
    assert values.shape == (len(found[0]),) and values.dtype == "float32"
    return seen.images, found[0]


def assert_same(images, labels, batch):
    assert set(images) == set(batch[0])
    for name, image in images.items():
        np.testing.assert_array_equal(image, batch[0][name])
    np.testing.assert_array_equal(labels, batch[1])


def test_options_reach_the_layers(records):
    task = open_task(
        records,
        augmentation=["noise", "flips", "band_drop", "crops", "quarter_turns"],
        crop_smallest_share=0.25,
        band_drop_rate=0.35,
        noise_deviation=0.45,
    )
    model = task.build_model()
    changing = [x for x in model.layers if isinstance(x, augmentation.Augmentation)]
    assert [layer.name.removeprefix("augmentation_") for layer in changing] == [
        "noise",
        "flips",
        "band_drop",
        "crops",
        "quarter_turns",
    ]
    noise, _, band_drop, crops, _ = changing
    assert noise.deviation == 0.45
    assert band_drop.rate == 0.35
    assert crops.smallest_share == 0.25
    seeds = [tuple(layer.seed_generator.state.numpy()) for layer in changing]
    assert len(set(seeds)) == 5
    states = {id(layer.seed_generator.state) for layer in changing}
    assert states <= {id(variable) for variable in model.variables}


@pytest.mark.parametrize("name", ["resnet_test", "k_branch_test"])
def test_training_changes_the_images_and_inference_does_not(records, name):
    changes = ["flips", "quarter_turns", "crops", "band_drop", "noise"]
    task = open_task(
        records, model_name=name, bands="s2", image_size=120, augmentation=changes
    )
    images = a_batch(task)[0]
    model = task.build_model()
    first, last = (
        model.get_layer(f"augmentation_{name}") for name in (changes[0], changes[-1])
    )
    outputs = [first.input, last.output]
    front = keras.Model(model.input, keras.tree.flatten(outputs))
    for training in (True, False):
        found = [x.numpy() for x in front(images, training=training)]
        half = len(found) // 2
        assert half > 0
        for before, after in zip(found[:half], found[half:], strict=True):
            assert before.shape == after.shape
            assert np.isfinite(after).all()
            assert np.array_equal(before, after) != training


def test_a_name_comes_once_and_options_have_known_names():
    with pytest.raises(ValueError, match="each augmentation once, got") as caught:
        assembly.build_model("resnet_test", augmentation=["flips", "flips"])
    assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="unknown augmentation 'crop': did you mean"):
        assembly.build_model(
            "resnet_test", augmentation_options={"crop": {"smallest_share": 0.3}}
        )
    with pytest.raises(ValueError, match="above 0 and at most 1, got 2"):
        assembly.build_model(
            "resnet_test",
            augmentation=["crops"],
            augmentation_options={"crops": {"smallest_share": 2}},
        )


@pytest.mark.parametrize("training", [False, True])
def test_without_mixing_images_and_labels_are_those_of_the_records(records, training):
    task = open_task(records)
    task.build_model()
    assert task.random_state == []
    batch = a_batch(task)
    assert_same(*losses_and_inputs(task, batch, training), batch)


@pytest.mark.parametrize(
    "alphas",
    [
        {"mixup_alpha": 0.4},
        {"cutmix_alpha": 1.0},
        {"mixup_alpha": 0.4} | {"cutmix_alpha": 1.0},
    ],
)
def test_training_mixes_as_the_layer_says(records, alphas):
    task = open_task(records, seed=7, **alphas)
    task.build_model()
    batch = a_batch(task)
    layer = mixing.Mixing(**alphas, seed=7)
    for _ in range(2):
        expected = layer(*batch[:2])
        images, labels = losses_and_inputs(task, batch, training=True)
        assert_same(images, labels, expected)
        assert not np.array_equal(labels, batch[1])
        assert {name: x.dtype for name, x in images.items()} == {
            name: x.dtype for name, x in batch[0].items()
        }


def test_scoring_does_not_mix_nor_draw(records):
    task = open_task(records, mixup_alpha=0.4)
    task.build_model()
    batch = a_batch(task)
    (state,) = task.random_state
    begun = state.numpy().copy()
    assert_same(*losses_and_inputs(task, batch, training=False), batch)
    np.testing.assert_array_equal(state.numpy(), begun)


def test_the_random_state_repeats_what_was_drawn(records):
    task = open_task(records, mixup_alpha=0.4, cutmix_alpha=1.0)
    model = task.build_model()
    (state,) = task.random_state
    assert isinstance(state, keras.Variable)
    assert id(state) not in {id(variable) for variable in model.variables}
    batch = a_batch(task)
    begun = state.numpy().copy()
    first = losses_and_inputs(task, batch, training=True)
    second = losses_and_inputs(task, batch, training=True)
    assert not np.array_equal(first[1], second[1])
    state.assign(begun)
    again = losses_and_inputs(task, batch, training=True)
    assert_same(*again, first)


def test_mixed_labels_give_the_blend_of_the_losses(records):
    """Cross-entropy is linear in the labels."""
    task = open_task(records, mixup_alpha=0.4)
    task.build_model()
    batch = a_batch(task)
    logits = tf.random.stateless_normal((4, 19), [1, 2])
    found = task.losses(lambda images, training: logits, batch, training=True)
    layer = mixing.Mixing(0.4, seed=task.config.seed)
    shares, _ = layer.draw(4, 60)
    own = task._loss(batch[1], logits)
    partner = task._loss(tf.roll(batch[1], 1, axis=0), logits)
    expected = shares * own + (1 - shares) * partner
    np.testing.assert_allclose(found, expected, rtol=1e-5)
