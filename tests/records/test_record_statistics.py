"""Statistics of records against NumPy on the stacked patches."""

import json

import numpy as np
import pytest
import rasterio
import tensorflow as tf
import toy

from bigearthnet_tf import resampling
from bigearthnet_tf.archive import archives, splits
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.records import convert, reader, schema, statistics
from bigearthnet_tf.records.plan import plan_split

PERCENTAGES = (0, 1, 50, 99.9, 100)
COUNT = 7


def measure(path, *names, bands=None, workers=1):
    source = reader.open_records(str(path))
    wanted = [resampling.parse(name) for name in names or ["no_interpolation"]]
    return statistics.measure(source, bands, wanted, workers=workers)


def resampled(images: np.ndarray, name: str) -> np.ndarray:
    """Stacked (patches, pixels, pixels) in float64, by matrices or as they are."""
    wanted, images = resampling.parse(name), images.astype(np.float64)
    if wanted is None:
        return images
    weights = resampling.KERNELS.get(wanted.kernel)(images.shape[1], wanted.size)
    return np.einsum("ph,bhw,qw->bpq", weights, images, weights, optimize=True)


def check(summary, pixels):
    """Compares what was measured with NumPy's statistics of all pixels."""
    assert summary.pixels == pixels.size
    np.testing.assert_allclose(summary.mean, pixels.mean(), rtol=1e-9)
    np.testing.assert_allclose(summary.std, pixels.std(), rtol=1e-9)
    np.testing.assert_allclose(
        [summary.minimum, summary.maximum], [pixels.min(), pixels.max()], atol=1e-9
    )
    expected = np.percentile(pixels, PERCENTAGES)
    found = list(summary.percentiles.values())
    error = summary.percentile_error + 1e-9
    np.testing.assert_allclose(found, expected, rtol=0, atol=error)


@pytest.mark.parametrize("record_format", schema.RECORD_FORMATS)
def test_statistics_equal_numpys(tmp_path, record_format):
    names = (
        "no_interpolation",
        "120_nearest",
        "128_nearest",
        "120_bilinear",
        "60_bicubic",
        "64_tf1_bicubic",
    )
    toy.write_records(
        tmp_path, count=COUNT, record_format=record_format, shard_size_mb=0.6
    )
    source = reader.open_records(str(tmp_path / "train*"))
    assert len(source.files) > 2
    found = measure(tmp_path / "train*", *names).summaries(PERCENTAGES)
    assert list(found) == list(names)
    patches = [toy.patch(number) for number in range(COUNT)]
    for name in names:
        assert tuple(found[name]) == toy.ALL_BANDS
        for band, summary in found[name].items():
            stacked = np.stack([patch.bands[band] for patch in patches])
            check(summary, resampled(stacked, name))
            copied = "nearest" in name or name == "no_interpolation"
            if stacked.dtype == np.uint16 and copied:
                assert summary.percentile_error == 0


def test_interpolation_is_that_of_the_models(tmp_path):
    """TensorFlow's own resize, in float32, as another oracle of the kernels."""
    toy.write_records(tmp_path, count=3)
    found = measure(tmp_path / "train*", "128_bilinear", bands=["B05"]).summaries([50])
    images = np.stack([toy.patch(number).bands["B05"] for number in range(3)])
    seen = tf.image.resize(images[..., None], (128, 128), "bilinear").numpy()
    summary = found["128_bilinear"]["B05"]
    np.testing.assert_allclose(summary.mean, seen.mean(dtype="float64"), rtol=1e-6)
    np.testing.assert_allclose(summary.std, seen.std(dtype="float64"), rtol=1e-6)


def test_real_patches(shared, tmp_path):
    """All bands of the six real pairs, read another way."""
    v1 = shared / "data" / "v1"
    roots = v1 / "BigEarthNet-v1.0", v1 / "BigEarthNet-S1-v1.0"
    archive = archives.open_archive(*roots)
    entries = [
        entry
        for split in ("train", "val", "test")
        for entry in splits.read_split_csv(v1 / f"{split}.csv")
    ]
    plan = plan_split(archive, entries, "train", shard_size_mb=0.6)
    convert.convert(archive, [plan], tmp_path)
    names = ("no_interpolation", "120_bicubic")
    found = measure(tmp_path / "train*", *names).summaries(PERCENTAGES)
    for band, facts in band_facts.BANDS.items():
        root = roots[facts.sensor == "S1"]
        paths = sorted(root.glob(f"*/*_{band}.tif"))
        assert len(paths) == len(entries) == 6
        rasters = []
        for path in paths:
            with rasterio.open(path) as file:
                rasters.append(file.read(1))
        for name in names:
            check(found[name][band], resampled(np.stack(rasters), name))


def test_older_records(shared):
    path = shared / "data" / "legacy_tfrecords" / "mm_19.tfrecord"
    found = measure(path).summaries(PERCENTAGES)["no_interpolation"]
    examples = [
        tf.train.Example.FromString(record.numpy()).features.feature
        for record in tf.data.TFRecordDataset(str(path))
    ]
    for band, facts in band_facts.BANDS.items():
        pixels = [
            e[band].float_list.value
            if facts.sensor == "S1"
            else e[band].int64_list.value
            for e in examples
        ]
        check(found[band], np.array(pixels, np.float64))
    assert found["VV"] != found["VH"]


def written(measured, path) -> bytes:
    band_statistics.write(path, measured.summaries(PERCENTAGES), measured.facts)
    return path.read_bytes()


@pytest.mark.long
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(tmp_path, workers):
    toy.write_records(tmp_path, count=COUNT, shard_size_mb=0.4)
    names = "no_interpolation", "128_bicubic"
    alone = measure(tmp_path / "train*", *names)
    together = measure(tmp_path / "train*", *names, workers=workers)
    one = written(alone, tmp_path / "one.json")
    assert written(together, tmp_path / "many.json") == one


def test_results_are_merged_in_the_order_of_the_shards():
    late = [(3, "d"), (1, "b"), (0, "a"), (2, "c"), (4, "e")]
    assert "".join(statistics._in_order(late)) == "abcde"


def test_the_file_standardises(tmp_path):
    toy.write_records(tmp_path, count=3, version="v2")
    path = tmp_path / "own.json"
    measured = measure(tmp_path / "train*", "no_interpolation", "60_bicubic")
    written(measured, path)
    found = band_statistics.band_statistics(f"{path}#60_bicubic")
    summaries = measured.summaries([])["60_bicubic"]
    assert found.mean == {band: s.mean for band, s in summaries.items()}
    assert found.std == {band: s.std for band, s in summaries.items()}
    content = json.loads(path.read_text())
    assert content["archive_version"] == "v2"
    assert (content["splits"], content["num_patches"]) == (["train"], 3)


def test_pixels_that_are_not_finite_are_left_out_and_counted(tmp_path):
    patch = toy.patch(0)
    patch.bands["VV"][:3] = np.nan
    patch.bands["VH"][:] = np.inf
    # Our own conversion writes no such records, others do.
    with tf.io.TFRecordWriter(str(tmp_path / "train-00000-of-00001.tfrecord")) as out:
        out.write(schema.encode(patch, "int64"))
    measured = measure(tmp_path / "train*", "no_interpolation", "60_bilinear")
    vv = measured.accumulators["no_interpolation"]["VV"].summary()
    assert (vv.nonfinite, vv.pixels) == (360, 14400 - 360)
    rest = patch.bands["VV"][3:].astype(np.float64)
    np.testing.assert_allclose([vv.mean, vv.std], [rest.mean(), rest.std()], rtol=1e-12)
    # Rows 0 and 1 make the first row of 60, rows 2 and 3 the second.
    vv = measured.accumulators["60_bilinear"]["VV"].summary()
    assert (vv.nonfinite, vv.pixels) == (120, 3600 - 120)
    with pytest.raises(ValueError, match="no finite pixel in VH"):
        measured.summaries([50])


def test_bands_are_chosen(tmp_path):
    toy.write_records(tmp_path, count=2, bands=toy.ALL_BANDS[2:])
    found = measure(tmp_path / "train*", bands=["B12", "B02"])
    assert tuple(found.accumulators["no_interpolation"]) == ("B02", "B12")
    with pytest.raises(ValueError, match="no band VV in these records"):
        measure(tmp_path / "train*", bands=["VV"])


def test_a_damaged_record_is_named(tmp_path):
    toy.write_records(tmp_path, count=2)
    (path,) = tmp_path.glob("*.tfrecord")
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match="tfrecord: record 1 is damaged"):
        measure(tmp_path / "train*")


def test_every_record_is_reported(tmp_path):
    toy.write_records(tmp_path, count=3)
    source = reader.open_records(str(tmp_path / "train*"))
    seen = []
    statistics.measure(source, ["B01"], on_records=seen.append)
    assert sum(seen) == 3
