"""Maps of scenes by a segmentation: each pixel as the model has it, in its place."""

import closeness
import numpy as np
import pytest
import rasterio
import scene_files

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.serving import label_map, maps, trained

BANDS = ("B02", "B03", "B05")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run"
    return scene_files.write_run(
        folder, bands=BANDS, task="segmentation", decoder_width=2
    )


def write_map(run, scene, out, **options):
    """Maps a scene and returns the pixels and what the file says of itself."""
    lines = maps.make_map(run, scene, out, **options)
    with rasterio.open(out) as dataset:
        return dataset.read(), dataset, dataset.tags(), lines


def test_real_patches_side_by_side_are_mapped_as_each_alone(shared, run, tmp_path):
    patches = scene_files.real_patches(shared, BANDS)
    bands = scene_files.mosaic(patches, columns=3)
    bands = {name: values.copy() for name, values in bands.items()}
    bands["B02"][:30, :50] = 0
    bands["B05"][60:65, 170:] = 0
    scene = scene_files.write_bands(tmp_path / "scene", bands, nodata=0)
    options = {"stride": 1200, "output": "scores"}
    found, _, tags, lines = write_map(run, scene, tmp_path / "scores.tif", **options)
    assert lines[0].endswith("scores of 19 labels, 240 x 360 pixels of 10 m")
    assert str(tmp_path) not in " ".join(tags.values())
    model = label_map.load(run / "checkpoints" / "iteration-7")
    groups = {
        name: np.stack([np.stack([own[band] for band in members]) for own in patches])
        for name, members in band_facts.group_bands(BANDS).items()
    }
    alone = model.score(groups)
    assert alone.shape == (6, 120, 120, 19)
    closeness.assert_close(alone.sum(axis=-1), 1)
    none = np.zeros((240, 360), bool)
    none[:30, :50] = True
    none[120:130, 340:] = True
    np.testing.assert_array_equal(np.isnan(found).any(axis=0), none)
    for number in range(6):
        row, column = divmod(number, 3)
        if number in (0, 5):
            continue  # what is around their pixels without data is another picture
        for y, x in ((0, 0), (119, 119), (37, 80)):
            # The centre of the map's pixel is that of the pixel of the patch.
            place = (
                scene_files.LEFT + 1200 * column + 10 * x + 5,
                scene_files.TOP - 1200 * row - 10 * y - 5,
            )
            with rasterio.open(tmp_path / "scores.tif") as scores:
                assert scores.xy(120 * row + y, 120 * column + x) == place
                sampled = next(scores.sample([place]))
            closeness.assert_close(sampled, alone[number, y, x], scale=1)
        there = (
            slice(120 * row, 120 * row + 120),
            slice(120 * column, 120 * column + 120),
        )
        closeness.assert_close(np.moveaxis(found[:, *there], 0, -1), alone[number])
    best, dataset, tags, _ = write_map(
        run, scene, tmp_path / "best.tif", stride=1200, picture=tmp_path / "best.png"
    )
    assert dataset.crs.to_epsg() == 32629 and dataset.nodata == 255
    np.testing.assert_array_equal(best[0] == 255, none)
    np.testing.assert_array_equal(best[0][~none], found.argmax(axis=0)[~none])
    for value, label in enumerate(label_facts.TABLES["BigEarthNet-19"]):
        assert tags[f"CLASS_{value}"] == label.name
    assert (tmp_path / "best.png").stat().st_size > 10_000


def test_any_block_size_gives_the_same_map(run, tmp_path):
    bands = scene_files.noise(216, 270, BANDS)
    scene = scene_files.write_bands(tmp_path / "scene", bands)
    whole, *_ = write_map(run, scene, tmp_path / "1.tif", output="scores")
    assert whole.shape == (19, 216, 270)
    parts, *_ = write_map(
        run, scene, tmp_path / "2.tif", output="scores", block_size=60, batch_size=3
    )
    # Sums of a convolution depend on how many windows it sees.
    closeness.assert_close(parts, whole)


def test_what_a_segmentation_does_not_do(run, tmp_path):
    with pytest.raises(ValueError, match="--thresholds is not for the maps of task"):
        maps.make_map(run, tmp_path, tmp_path / "m.tif", thresholds="0.5")
    with pytest.raises(ValueError, match="--output labels is for labels of patches"):
        maps.make_map(run, tmp_path, tmp_path / "m.tif", output="labels")
    with pytest.raises(ValueError, match=r"'segmentation'.* bigearthnet-tf map"):
        trained.load(run)
