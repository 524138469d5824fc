import numpy as np
import pytest
import tensorflow as tf
import toy
from hypothesis import given, settings
from hypothesis import strategies as st

import bigearthnet_tf
from bigearthnet_tf.data import pipeline
from bigearthnet_tf.records import reader

SHUFFLED = {"shuffle_buffer_size": 6, "seed": 3}


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    """Twelve patches in four shards."""
    folder = tmp_path_factory.mktemp("records")
    for split in "abcd":
        toy.write_records(
            folder, split, count=3, first="abcd".index(split) * 3, bands=("VV", "B01")
        )
    return [str(folder / f"{split}-00000-of-00001.tfrecord") for split in "abcd"]


PRINTS = {
    toy.patch(n, bands=("VV", "B01")).bands["B01"].tobytes(): n for n in range(12)
}


def order(dataset, take=None) -> list[int]:
    """The toy numbers of the patches as they come."""
    numbers = []
    for batch in dataset.take(take or -1):
        rasters = batch[0]["s2_60m"].numpy()[:, 0]
        numbers += [PRINTS[raster.tobytes()] for raster in rasters]
    return numbers


def load(shards, batch_size=1, **options):
    return bigearthnet_tf.load_dataset(
        shards, batch_size, ["VV", "B01"], "original", **options
    )


def test_files_in_order_when_not_shuffled(shards):
    once = order(load(shards))
    assert sorted(once) == list(range(12))
    assert once == order(load(shards, 5))


def test_each_epoch_holds_each_record_once_in_its_own_order(shards):
    endless = order(load(shards, repeat=True, **SHUFFLED), take=36)
    epochs = [endless[i : i + 12] for i in (0, 12, 24)]
    assert all(sorted(epoch) == list(range(12)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_order_follows_from_seed_and_epoch_not_from_the_global_seed(shards):
    tf.random.set_seed(1)
    first = order(load(shards, repeat=True, **SHUFFLED), take=24)
    tf.random.set_seed(2)
    assert order(load(shards, repeat=True, **SHUFFLED), take=24) == first
    other = order(load(shards, repeat=True, **SHUFFLED | {"seed": 4}), take=24)
    assert other != first


@pytest.mark.parametrize("start", [0, 1, 2, 5, 8])
def test_start_at_an_iteration_continues_the_same_stream(shards, start):
    whole = order(load(shards, 5, repeat=True, **SHUFFLED), take=10)
    rest = load(shards, 5, repeat=True, start_iteration=start, **SHUFFLED)
    assert order(rest, take=10 - start) == whole[start * 5 :]


@given(
    workers=st.integers(1, 4),
    replicas=st.integers(1, 3),
    part=st.integers(1, 4),
    buffer=st.integers(0, 12),
    seed=st.integers(0, 2**31 - 1),
    start=st.integers(0, 3),
)
@settings(deadline=None, max_examples=10)
def test_all_parts_together_are_the_batches_of_a_single_process(
    shards, workers, replicas, part, buffer, seed, start
):
    batch_size = workers * replicas * part
    options = {
        "shuffle_buffer_size": buffer,
        "seed": seed,
        "repeat": True,
        "start_iteration": start,
    }
    whole = order(load(shards, batch_size, **options), take=3)
    source = reader.open_records(shards)
    streams = []
    for worker in range(workers):
        share = pipeline.Share(worker, workers, replicas)
        data = pipeline.batches(
            source, batch_size, ["VV", "B01"], "original", share=share, **options
        )
        numbers = order(data, take=3 * replicas)
        streams.append(np.reshape(numbers, (3, replicas * part)))
    assert np.concatenate(streams, axis=1).ravel().tolist() == whole


@pytest.mark.parametrize("count", [1, 2, 3])
def test_workers_cover_every_record_exactly_once(shards, count):
    """An uneven last batch is filled, and every worker gets as many batches."""
    found, lengths = [], []
    for index in range(count):
        data = load(shards, 5 * count, worker=(index, count), pad=True, **SHUFFLED)
        weights = np.concatenate([weight for *_, weight in data])
        numbers = np.array(order(data))
        found += numbers[weights > 0].tolist()
        lengths.append(len(weights))
    assert sorted(found) == list(range(12))
    assert len(set(lengths)) == 1


def test_workers_need_full_batches(shards):
    with pytest.raises(ValueError, match="need full batches"):
        load(shards, 4, worker=(0, 2))
    with pytest.raises(ValueError, match="5 does not divide into 2 equal parts"):
        load(shards, 5, worker=(0, 2), pad=True)


@pytest.mark.parametrize("batch_size", [1, 4, 5, 12, 20])
def test_padding_fills_the_last_batch_and_says_so(shards, batch_size):
    sizes, weights = [], []
    for images, labels, weight in load(shards, batch_size, pad=True):
        assert images["s1_10m"].shape[0] == labels.shape[0] == batch_size
        sizes.append(len(weight))
        weights += weight.numpy().tolist()
    assert set(sizes) == {batch_size}
    assert weights == [1.0] * 12 + [0.0] * (len(weights) - 12)


@pytest.mark.parametrize("full", ["drop_remainder", "pad"])
@pytest.mark.parametrize("worker", [(0, 1), (1, 2), (2, 5)])
def test_cardinality_is_known_and_true(shards, full, worker):
    dataset = load(shards, 10, worker=worker, **{full: True})
    assert dataset.cardinality().numpy() == len(list(dataset))


def test_keras_fits_on_it(shards):
    import keras

    inputs = {
        "s1_10m": keras.Input((1, 120, 120), name="s1_10m"),
        "s2_60m": keras.Input((1, 20, 20), name="s2_60m"),
    }
    flat = [
        keras.layers.Flatten()(keras.ops.cast(x, "float32")) for x in inputs.values()
    ]
    outputs = keras.layers.Dense(43)(keras.layers.Concatenate()(flat))
    model = keras.Model(inputs, outputs)
    model.compile("sgd", keras.losses.BinaryCrossentropy(from_logits=True))
    history = model.fit(load(shards, 4), shuffle=False, verbose=0)
    assert np.isfinite(history.history["loss"][0])


@pytest.mark.parametrize("start", [3, 4, 9])
def test_beyond_the_end_of_one_epoch_there_is_nothing(shards, start):
    dataset = load(shards, 5, start_iteration=start, **SHUFFLED)
    assert order(dataset) == []
    assert dataset.cardinality().numpy() == 0


@pytest.mark.parametrize("worker", [(0, 0), (2, 2), (-1, 2)])
def test_impossible_workers(shards, worker):
    with pytest.raises(ValueError, match="0 <= index < count"):
        load(shards, worker=worker)
