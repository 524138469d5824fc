"""Maps of tiles lie where they belong, and are the same however they are made."""

import closeness
import numpy as np
import pytest
import rasterio
import tile_stand_ins as stand_ins

from bigearthnet_tf import files
from bigearthnet_tf.serving import colour_space, tile_maps
from bigearthnet_tf.serving.pixel_dates import DateRule
from bigearthnet_tf.serving.tile_maps import Request
from bigearthnet_tf.serving.tile_products import KINDS

ALL = DateRule(0)
DRAWN = DateRule(2, seed=7)
SIZE, HALF = 40, 20
# Rows of the stand-in with three valid dates, fewer than its encoder needs.
CLOUDY = slice(5, 8)


def make(out, tiles, model=None, kinds=KINDS, rule=ALL, **options):
    model = model or stand_ins.model(takes_all=True)
    request = Request(tuple(kinds), rule, **options)
    return [report for _, report in tile_maps.map_tiles(model, tiles, request, out)]


def pixels(folder):
    """All maps of a folder, as bytes so that NaN equals NaN."""
    found = {}
    for path in sorted(folder.glob("*.tif")):
        with rasterio.open(path) as dataset:
            found[path.name] = dataset.read().tobytes()
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return stand_ins.write_tile(tmp_path_factory.mktemp("tiles") / "quad", SIZE)


@pytest.fixture(scope="module")
def out(folder, tmp_path_factory):
    """All kinds of maps of the stand-in, from all dates."""
    out = tmp_path_factory.mktemp("maps")
    make(out, [stand_ins.open_tile(folder)])
    return out


@pytest.fixture(scope="module")
def report(out):
    return files.read_json(out / "quad.json")


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """Pictures take longest; those of `out` are drawn before."""
    monkeypatch.setattr("bigearthnet_tf.pictures.to_png", lambda figure: b"")
    monkeypatch.setattr("bigearthnet_tf.serving.map_picture.draw", lambda *a: None)
    monkeypatch.setattr(
        "bigearthnet_tf.serving.embedding_picture.draw", lambda *a: None
    )


def test_classes_lie_where_they_belong(out):
    east, north = stand_ins.ORIGIN
    with rasterio.open(out / "quad.class.tif") as dataset:
        assert dataset.crs.to_epsg() == 32633
        assert dataset.transform == rasterio.Affine(10, 0, east, 0, -10, north)
        codes = [c.code for c in stand_ins.CLASSES]
        for code, (rows, columns) in zip(
            stand_ins.CODES, stand_ins.quadrants(HALF), strict=True
        ):
            # Pixel centres, worked out from the corner of the tile alone.
            centres = [
                (east + 10 * (column + 0.5), north - 10 * (row + 0.5))
                for row in range(rows.start, rows.stop)
                for column in range(columns.start, columns.stop)
                if not CLOUDY.start <= row < CLOUDY.stop
            ]
            found = {int(value[0]) for value in dataset.sample(centres)}
            assert found == {codes.index(code)}


def test_pixels_with_few_dates_have_no_data_in_any_map(out, report):
    nodata = {"class": 255, "difference": 255, "false-colour": 0}
    for kind in (*KINDS, "difference"):
        with rasterio.open(out / f"quad.{kind}.tif") as dataset:
            values = dataset.read()
            missing = (
                np.isnan(values) if kind not in nodata else values == dataset.nodata
            ).all(axis=0)
            assert kind not in nodata or dataset.nodata == nodata[kind]
        expected = np.zeros((SIZE, SIZE), bool)
        expected[CLOUDY] = True
        if kind == "difference":
            expected[:, 12:14] = True  # no label
        np.testing.assert_array_equal(missing, expected)
    assert report["valid_pixels"] == SIZE * SIZE - 3 * SIZE


def test_a_class_map_says_what_its_values_mean(out):
    with rasterio.open(out / "quad.class.tif") as dataset:
        colours, tags = dataset.colormap(1), dataset.tags()
    for number, each in enumerate(stand_ins.CLASSES):
        assert tags[f"CLASS_{number}"] == each.name
        assert "#{:02x}{:02x}{:02x}".format(*colours[number]) == each.colour.lower()
    assert "10" in tags["WORLDCOVER_CODES"]
    assert tags["DATES"] == "all valid dates"


def test_probabilities_are_those_of_the_encoder(out, folder):
    block = stand_ins.open_tile(folder, SIZE)
    block = next(iter(block.read(lambda window: True)))
    _, expected = stand_ins.forward(
        {
            "bands": block.bands.reshape(SIZE * SIZE, *block.bands.shape[2:]),
            "mask": block.mask.reshape(SIZE * SIZE, -1),
            "doy": np.broadcast_to(block.doys, (SIZE * SIZE, len(block.doys))),
        }
    )
    with rasterio.open(out / "quad.probability.tif") as dataset:
        found = dataset.read()
        names = dataset.descriptions
    valid = ~np.isnan(found[0])
    assert names == ("maximum probability", *(c.name for c in stand_ins.CLASSES))
    np.testing.assert_array_equal(found[0][valid], found[1:].max(axis=0)[valid])
    closeness.assert_close(found[1:, valid].T, expected.reshape(SIZE, SIZE, -1)[valid])


def test_differences_hold_the_confusion_matrix(out, report):
    with rasterio.open(out / "quad.difference.tif") as dataset:
        found = dataset.read(1)
    codes = [c.code for c in stand_ins.CLASSES]
    # The reference says 50 at four pixels whose spectra say 10.
    assert (found[:2, :2] == 1 + codes.index(50)).all()
    assert np.count_nonzero((found != 0) & (found != 255)) == 4
    reference = report["reference"]
    confusion = np.array(reference["confusion"])
    assert confusion[codes.index(50), codes.index(10)] == 4
    assert confusion.sum() - np.trace(confusion) == 4
    labelled = SIZE * SIZE - 3 * SIZE - 2 * (SIZE - 3)
    assert reference["labelled_pixels"] == labelled == confusion.sum()
    assert reference["pixel_accuracy"] == pytest.approx(1 - 4 / labelled)


def test_every_map_has_a_picture(out, report):
    assert set(report["pictures"]) == {*KINDS, "difference"}
    for name in report["pictures"].values():
        assert (out / name).read_bytes().startswith(b"\x89PNG")


def test_the_report_counts_classes(report):
    shares = {each["code"]: each["share"] for each in report["classes"]}
    assert sum(shares.values()) == pytest.approx(1)
    # Each quadrant has 400 pixels of 100 m2, the upper ones lack 3 rows of 20.
    areas = {each["code"]: each["hectares"] for each in report["classes"]}
    assert areas == pytest.approx({10: 3.4, 40: 3.4, 80: 4.0, 50: 4.0})


@pytest.mark.parametrize("rule", [ALL, DRAWN], ids=["all", "drawn"])
def test_a_map_does_not_depend_on_its_blocks(folder, tmp_path, rule):
    for size in (7, 16, SIZE):
        make(tmp_path / str(size), [stand_ins.open_tile(folder, size)], rule=rule)
    assert pixels(tmp_path / "7") == pixels(tmp_path / "16") == pixels(tmp_path / "40")
    stability = [
        files.read_json(tmp_path / size / "quad.json")["stability"]
        for size in ("7", "16")
    ]
    assert stability[0] == stability[1]


def test_the_seed_alone_decides_what_is_drawn(folder, tmp_path):
    for name, seed in (("one", 7), ("again", 7), ("other", 8)):
        tiles = [stand_ins.open_tile(folder)]
        make(tmp_path / name, tiles, kinds=["embedding"], rule=DateRule(2, seed))
    one, again, other = (pixels(tmp_path / name) for name in ("one", "again", "other"))
    assert one == again
    assert one != other


def test_more_draws_are_more_stable(folder, tmp_path):
    found = [
        make(
            tmp_path / str(draws),
            [stand_ins.open_tile(folder)],
            kinds=["embedding"],
            rule=DateRule(draws),
        )[0]["stability"]
        for draws in (1, 8)
    ]
    assert found[0]["cosine"] < found[1]["cosine"] < 1
    assert found[1]["cosine_of_different_pixels"] < found[1]["cosine_p5"]
    assert found[1]["label_agreement"] == 1


class Killed(BaseException):
    """What ends a process."""


def _dies_after(calls):
    """A stand-in that is killed when it has been called so often."""
    model = stand_ins.model(takes_all=True)
    left = [calls]

    def forward(inputs):
        left[0] -= 1
        if left[0] < 0:
            raise Killed
        return model.forward(inputs)

    return type(model)(**{**vars(model), "forward": forward})


def test_what_was_killed_goes_on_and_is_the_same(folder, out, tmp_path):
    counts, tile = [], stand_ins.open_tile(folder, 8)
    make(tmp_path / "whole", [tile], stand_ins.model(takes_all=True, calls=counts))
    with pytest.raises(Killed):
        make(tmp_path / "killed", [tile], _dies_after(int(0.9 * len(counts))))
    assert not list((tmp_path / "killed").glob("*.tif"))
    again = []
    make(tmp_path / "killed", [tile], stand_ins.model(takes_all=True, calls=again))
    assert len(again) < len(counts)
    assert pixels(tmp_path / "killed") == pixels(tmp_path / "whole") == pixels(out)
    left = [path.name for path in (tmp_path / "killed").iterdir()]
    assert sorted(left) == sorted(p.name for p in (tmp_path / "whole").iterdir())


def test_what_is_finished_stays(folder, tmp_path):
    calls = []
    for _ in range(2):
        before = len(calls)
        make(tmp_path, [stand_ins.open_tile(folder)], stand_ins.model(calls=calls))
    assert len(calls) == before
    # Of other weights it is another map.
    make(tmp_path, [stand_ins.open_tile(folder)], stand_ins.model(key="2", calls=calls))
    assert len(calls) > before


def test_bytes_are_within_half_a_scale(folder, out, tmp_path):
    found = make(
        tmp_path, [stand_ins.open_tile(folder)], kinds=["embedding"], int8=True
    )
    with rasterio.open(tmp_path / "quad.embedding.tif") as dataset:
        assert dataset.dtypes[0] == "int8"
        stored = dataset.read(masked=True)
        scales, offsets = dataset.scales, dataset.offsets
    with rasterio.open(out / "quad.embedding.tif") as dataset:
        exact = dataset.read()
    scale, offset = (np.reshape(x, (-1, 1, 1)) for x in (scales, offsets))
    decoded = stored * scale + offset
    np.testing.assert_array_equal(np.ma.getmaskarray(stored), np.isnan(exact))
    assert found[0]["cut_off_share"] == 0  # the sample is all pixels here
    assert (np.abs(decoded - exact) <= scale / 2 + 1e-6).all()


def test_tiles_share_their_colours(tmp_path):
    folders = [
        stand_ins.write_tile(tmp_path / name, SIZE, seed, shift=shift)
        for name, seed, shift in (("a", 0, 0), ("b", 1, 400))
    ]
    tiles = [stand_ins.open_tile(folder) for folder in folders]
    make(tmp_path / "both", tiles, kinds=["false-colour"])
    pca = tmp_path / "both" / "pca.npz"
    make(tmp_path / "later", tiles[1:], kinds=["false-colour"], pca=pca)
    assert not (tmp_path / "later" / "pca.npz").exists()
    name = "b.false-colour.tif"
    assert pixels(tmp_path / "later")[name] == pixels(tmp_path / "both")[name]
    space = colour_space.load(pca)
    assert space.count == 2 * (SIZE * SIZE - 3 * SIZE)  # valid pixels alone
    with pytest.raises(ValueError, match="fitted on another encoder"):
        make(
            tmp_path / "other",
            tiles,
            stand_ins.model(takes_all=True, key="other"),
            kinds=["false-colour"],
            pca=pca,
        )


def _without(name, **options):
    return lambda path: stand_ins.write_tile(path / name, 16, **options)


def _half_placed(path):
    folder = stand_ins.write_tile(path / "t", 16, place=False)
    facts = files.read_json(folder / "tile.json")
    files.write_json(folder / "tile.json", facts | {"crs": stand_ins.CRS})
    return folder


@pytest.mark.parametrize(
    ("write", "options", "message"),
    [
        (_half_placed, {}, "t: has no transform to place it by"),
        (
            _without("t", dates=5),
            {"rule": DateRule(1)},
            "sees 6 dates of a pixel, the tile has 5",
        ),
        (
            _without("t"),
            {"model": stand_ins.model(classes=()), "kinds": ["class"]},
            "has learnt no classes",
        ),
    ],
    ids=["half a place", "few dates", "no classes"],
)
def test_what_cannot_be_mapped_is_refused(tmp_path, write, options, message):
    tile = stand_ins.open_tile(write(tmp_path))
    with pytest.raises(ValueError, match=message):
        make(tmp_path / "out", [tile], **options)
    assert not list(tmp_path.glob("out/*"))


def test_a_tile_that_lacks_bands_is_refused(folder, tmp_path):
    model = stand_ins.model(takes_all=True)
    other = type(model)(**{**vars(model), "bands": ("B02", "B11")})
    with pytest.raises(ValueError, match="the tile lacks B11"):
        make(tmp_path, [stand_ins.open_tile(folder)], other)


def test_a_tile_of_clouds_is_an_empty_map(tmp_path):
    folder = stand_ins.write_tile(tmp_path / "t", 16)
    np.save(folder / "masks.npy", np.zeros((stand_ins.DATES, 16, 16), np.uint8))
    cloudy = stand_ins.open_tile(folder)
    clear = stand_ins.open_tile(stand_ins.write_tile(tmp_path / "clear", 16))
    found = make(tmp_path / "out", [cloudy, clear], kinds=["class"])[0]
    assert (found["valid_pixels"], found["pictures"]) == (0, {})
    assert found["stability"] == {"pixels": 0}
    # Of nothing else there is no map at all.
    with pytest.raises(
        ValueError, match=r"t: nothing to map: no pixel has more than \d+ usable"
    ):
        make(tmp_path / "alone", [cloudy], kinds=["class"])
    assert not list(tmp_path.glob("alone/*"))


def test_numbers_that_are_not_finite_are_refused(folder, tmp_path):
    model = stand_ins.model(takes_all=True)

    def forward(inputs):
        embeddings, scores = model.forward(inputs)
        return embeddings * np.float32("nan"), scores

    broken = type(model)(**{**vars(model), "forward": forward})
    with pytest.raises(ValueError, match="not finite; look for NaN in the statistics"):
        make(tmp_path, [stand_ins.open_tile(folder)], broken)
