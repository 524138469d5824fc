import closeness
import keras
import numpy as np
import pytest
import toy

from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.records.plan import plan_split
from bigearthnet_tf.tasks import assembly, base


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("records")
    for split, count in (("train", 6), ("val", 3), ("test", 3)):
        toy.write_records(folder / "v1", split, count)
        toy.write_records(folder / "v2", split, count, version="v2")
    return folder


def open_task(records, version="v1", **keys):
    files = {
        f"{key}_tf_record_files": [str(records / version / f"{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }
    content = {
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "batch_size": 2,
        **files,
    }
    return base.open_task(configs.from_dict(content | keys))


def preprocessed(model: keras.Model, images) -> np.ndarray:
    """What leaves the preprocessing of a model, (batch, rows, columns, bands)."""
    front = keras.Model(model.input, model.get_layer("preprocessing_stack").output)
    return np.asarray(front(images))


@pytest.mark.parametrize(
    ("keys", "bands"),
    [
        ({"modality": "S1"}, "s1"),
        ({"modality": "S2"}, "s2"),
        ({"modality": "MM"}, "all"),
        ({"modality": "MM", "bands": "rgb"}, "rgb"),
        ({"model_name": "ShortCNN_RGB"}, "rgb"),
        ({"model_name": "ShortCNN_All"}, "s2_full"),
        ({"bands": ["B08", "VV"]}, ["B08", "VV"]),
    ],
)
def test_bands_follow_from_config_and_model(records, keys, bands):
    task = open_task(records, **keys)
    assert task.bands == band_facts.resolve_bands(bands)


def test_shards_in_two_splits_are_told(records, caplog):
    task = open_task(records)
    assert [task.num_records(split) for split in ("train", "val", "test")] == [6, 3, 3]
    assert "shards are those" not in caplog.text
    shards = [str(records / "v1" / "*-*.tfrecord")]
    task = open_task(records, test_tf_record_files=shards)
    assert task.num_records("test") == 12
    train, val = [m for m in caplog.messages if "shards are those" in m]
    assert train.startswith("test: ") and " shards are those of train too" in train
    assert " shards are those of val too" in val


def test_a_model_with_bands_of_its_own_refuses_other_sensors(records):
    for modality in ("S1", "MM"):
        with pytest.raises(ValueError, match=f"modality {modality}: short_cnn_rgb tak"):
            open_task(records, model_name="ShortCNN_RGB", modality=modality)
    task = open_task(records, model_name="ShortCNN_RGB", modality="S1", bands="rgb")
    assert task.bands == band_facts.resolve_bands("rgb")


@pytest.mark.parametrize(
    "bands", ["s1", "all", "rgb", "all_full", ["B12", "VH", "B02"]]
)
def test_every_band_reaches_the_model_standardised_by_its_own_statistics(
    records, bands
):
    """From the record to the first layer: each band in its place, none twice."""
    task = open_task(records, bands=bands)
    model = task.build_model()
    images, _, _ = next(iter(task.scoring_data("test")))
    seen = preprocessed(model, images)
    facts = band_statistics.band_statistics("v1")
    names = _names_in_order(records)
    assert seen.shape[-1] == len(task.bands) > 0
    for index, band in enumerate(task.bands):
        rasters = np.stack([toy.patch(n).bands[band] for n in names[:2]])
        repeat = 120 // rasters.shape[1]
        rasters = rasters.repeat(repeat, axis=1).repeat(repeat, axis=2)
        expected = (rasters.astype(np.float64) - facts.mean[band]) / facts.std[band]
        closeness.assert_close(seen[..., index], expected, closeness.FORMULA)


def _names_in_order(records):
    from bigearthnet_tf.records import reader

    source = reader.open_records(str(records / "v1" / "test-*.tfrecord"))
    indices = [name.split("_")[-2:] for name in reader.read_names(source)]
    return [int(h) * 91 + int(v) for h, v in indices]


def test_vv_and_vh_are_different_numbers(shared, tmp_path):
    """The TF project read VV twice; here both are compared with rasterio."""
    import rasterio

    from bigearthnet_tf.archive import archives, splits
    from bigearthnet_tf.records import convert

    v1 = shared / "data" / "v1"
    archive = archives.open_archive(v1 / "BigEarthNet-v1.0", v1 / "BigEarthNet-S1-v1.0")
    (entry,) = splits.read_split_csv(v1 / "val.csv")
    plan = plan_split(archive, [entry], "train")
    convert.convert(archive, [plan], tmp_path / "v1")
    task = open_task(tmp_path, modality="S1", batch_size=1)
    images, _, _ = next(iter(task.scoring_data("train")))
    seen = preprocessed(task.build_model(), images)
    folder = v1 / "BigEarthNet-S1-v1.0" / entry.name_s1
    # Mean and deviation of VV and VH in v1, in dB.
    for index, (band, mean, std) in enumerate(
        (("VV", -12.619993, 5.115912), ("VH", -19.290446, 5.464428))
    ):
        with rasterio.open(folder / f"{entry.name_s1}_{band}.tif") as file:
            expected = (file.read(1).astype(np.float64) - mean) / std
        closeness.assert_close(seen[0, ..., index], expected, closeness.FORMULA)
    assert np.abs(seen[..., 0] - seen[..., 1]).mean() > 0.1


@pytest.mark.parametrize(
    ("version", "keys", "expected"),
    [
        ("v1", {}, "v1"),
        ("v2", {}, "v2_120_nearest"),
        ("v2", {"interpolation": "bilinear"}, "v2_120_bilinear"),
        ("v2", {"statistics": "v1"}, "v1"),
    ],
)
def test_statistics_are_those_of_the_archive(records, version, keys, expected):
    assert open_task(records, version, **keys).statistics == expected


def test_validation_can_be_switched_off(records):
    task = open_task(records, val_tf_record_files=[])
    assert task.num_records("val") == 0
    with pytest.raises(ValueError, match="val_tf_record_files is empty"):
        task.scoring_data("val")


def test_losses_and_metrics_fit_together(records):
    """The loss of a split is the mean of the losses of its patches."""
    task = open_task(records)
    model = task.build_model()
    batch = next(iter(task.scoring_data("test")))
    outputs = {k: np.asarray(v) for k, v in task.outputs(model, batch).items()}
    losses = np.asarray(task.losses(model, batch, training=False))
    np.testing.assert_allclose(outputs["losses"], losses, rtol=1e-6)
    report = task.metrics(outputs)
    assert report["sigmoid_cross_entropy_loss"] == pytest.approx(
        losses.mean(), rel=1e-6
    )
    y, x = outputs["labels"], np.float64(model(batch[0]))
    brute_force = (np.logaddexp(0, x) - x * y).mean()
    assert report["sigmoid_cross_entropy_loss"] == pytest.approx(brute_force, rel=1e-5)


def test_v2_has_no_original_labels(records):
    with pytest.raises(ValueError, match="label_type 'original' was asked for"):
        open_task(records, "v2", label_type="original").num_records("train")


def test_build_model_by_name():
    model = assembly.build_model("resnet_test", 19, "all")
    shapes = {name: tensor.shape for name, tensor in model.input.items()}
    assert shapes == {
        "s1_10m": (None, 2, 120, 120),
        "s2_10m": (None, 4, 120, 120),
        "s2_20m": (None, 6, 60, 60),
    }
    assert model.output.shape == (None, 19)
    with pytest.raises(ValueError, match="unknown model 'resnet5': did you mean"):
        assembly.build_model("resnet5")
