import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
import tile_folders

from bigearthnet_tf.archive import tiles
from bigearthnet_tf.data import series_views, time_series
from bigearthnet_tf.data.pipeline import Share
from bigearthnet_tf.records import block_plan, block_writer, blocks

NAMES = ["B02", "B03", "B04"]
CLASSES = {10: "a", 40: "b", 95: "c", 100: "d"}
BATCH = 42
SHUFFLED = {
    "sample_size": 5,
    "pixels_per_block": 40,
    "shuffle_buffer_size": 300,
    "places": True,
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """16 blocks of two tiles with 40 and 33 dates, in four shards."""
    root = tmp_path_factory.mktemp("series")
    tile_folders.write_npy(root / "tiles" / "a", 40, 45, 50, num_bands=3, bands=NAMES)
    tile_folders.write_npy(
        root / "tiles" / "b", 33, 20, 20, num_bands=3, seed=1, bands=NAMES
    )
    opened = [tiles.open_tile(path) for path in tiles.find_tiles(root / "tiles")]
    areas = block_plan.by_tiles(opened)["train"]
    plan = block_plan.plan_blocks(
        "train", areas, CLASSES, "here", side=16, min_valid=20, shard_size_mb=0.3
    )
    block_writer.write_blocks(opened, [plan], root / "records")
    return blocks.open_blocks(str(root / "records" / "train-*"))


def take(source, count=None, batch_size=BATCH, **options):
    dataset = time_series.pixel_batches(source, batch_size, **{**SHUFFLED, **options})
    dataset = dataset if count is None else dataset.take(count)
    return list(dataset.as_numpy_iterator())


def same(one, other):
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        tf.nest.map_structure(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def endless(source):
    """The first 30 batches of the endless stream, more than two epochs."""
    assert time_series.count_pixels(source, pixels_per_block=40) < 15 * BATCH
    return take(source, 30, repeat=True)


def places_of(batches):
    return [
        place
        for batch in batches
        for place in zip(
            *(batch[name].tolist() for name in ("tile", "row", "column")), strict=True
        )
    ]


def test_views_are_uniform_subsets_of_the_usable_dates():
    """Each usable date is in a view with probability S / n (chi-square test)."""
    pixels, dates, size = 3000, 30, 8
    mask = np.zeros((pixels, dates), np.uint8)
    usable = [0, 3, 4, 7, 9, 11, 12, 15, 18, 19, 20, 22, 25, 28, 29]
    mask[:, usable] = 1
    numbers = np.arange(pixels * dates, dtype=np.uint16).reshape(pixels, dates, 1)
    doy = (10 * np.arange(dates) + 1).astype(np.uint16)
    found = series_views.draw_views(numbers, mask, doy, (1, 2), sample_size=size)
    days = found["doy"].numpy()
    assert days.shape == (pixels, 2, size)
    assert (np.diff(days.astype(int)) > 0).all()
    assert found["mask"].numpy().all()
    drawn = (days - 1) // 10
    rows = np.arange(pixels)[:, None, None]
    np.testing.assert_array_equal(found["bands"][..., 0], numbers[rows, drawn, 0])
    expected = pixels * size / len(usable)
    for view in (0, 1):
        counts = np.bincount(drawn[:, view].ravel(), minlength=dates)
        assert counts[np.setdiff1d(np.arange(dates), usable)].sum() == 0
        # Without replacement, so of smaller variance than the test takes for granted.
        statistic = ((counts[usable] - expected) ** 2 / expected).sum()
        statistic /= 1 - size / len(usable)
        low, high = scipy.stats.chi2.ppf([0.001, 0.999], len(usable) - 1)
        assert low < statistic < high
    # The views are independent: they share S * S / n dates on average.
    shared = (drawn[:, 0, :, None] == drawn[:, 1, None, :]).sum(axis=(1, 2))
    assert shared.mean() == pytest.approx(size * size / len(usable), abs=0.1)
    again = series_views.draw_views(numbers, mask, doy, (1, 2), sample_size=size)
    other = series_views.draw_views(numbers, mask, doy, (1, 3), sample_size=size)
    np.testing.assert_array_equal(again["doy"], days)
    assert (other["doy"].numpy() != days).any()


def test_disjoint_views_share_no_date():
    rng = np.random.default_rng(0)
    mask = (rng.random((500, 20)) < 0.9).astype(np.uint8)
    mask[:, :12] = 1
    doy = np.arange(1, 21, dtype=np.uint16)
    numbers = np.zeros((500, 20, 2), np.uint16)
    found = series_views.draw_views(
        numbers, mask, doy, (0, 0), sample_size=6, disjoint=True
    )
    for first, second in found["doy"].numpy():
        assert len({*first, *second}) == 12
        assert (np.diff(first.astype(int)) > 0).all()
        assert (np.diff(second.astype(int)) > 0).all()
    counts = np.bincount(found["doy"].numpy()[:, 0].ravel(), minlength=21)[1:]
    assert scipy.stats.chisquare(counts[:12]).pvalue > 1e-3


def test_all_dates_and_too_few():
    mask = np.array([[0, 1, 1, 0, 1], [0, 0, 0, 0, 0]], np.uint8)
    doy = np.array([10, 20, 30, 40, 50], np.uint16)
    numbers = np.arange(1, 11, dtype=np.uint16).reshape(2, 5, 1)
    whole = series_views.take_all(numbers, mask, doy, 7)
    assert whole["doy"][0, 0].numpy().tolist() == [20, 30, 50, 0, 0, 0, 0]
    assert whole["bands"][0, 0, :, 0].numpy().tolist() == [2, 3, 5, 0, 0, 0, 0]
    assert whole["mask"][0, 0].numpy().tolist() == [1, 1, 1, 0, 0, 0, 0]
    assert not whole["mask"][1].numpy().any()
    assert not whole["bands"][1].numpy().any()
    few = series_views.draw_views(numbers, mask, doy, (0, 0), sample_size=4, views=1)
    assert few["doy"][0, 0].numpy().tolist() == [20, 30, 50, 0]
    assert few["mask"][0, 0].numpy().tolist() == [1, 1, 1, 0]


def test_days_of_each_pixel():
    mask = np.ones((2, 3), np.uint8)
    doy = np.array([[1, 2, 3], [4, 5, 6]], np.uint16)
    numbers = np.zeros((2, 3, 1), np.uint16)
    found = series_views.draw_views(numbers, mask, doy, (0, 0), sample_size=3, views=1)
    np.testing.assert_array_equal(found["doy"][:, 0], doy)


@pytest.mark.parametrize("size", [*range(1, 14), 16, 23])
def test_columns_are_sorted_row_by_row(size):
    """All orders of zeros and ones (Knuth's principle), or some where too many."""
    rng = np.random.default_rng(size)
    table = rng.integers(0, 2, (2000, size))
    if size < 12:
        table = (np.arange(2**size)[:, None] >> np.arange(size)) & 1
    columns = [tf.constant(column) for column in table.T]
    found = np.stack(series_views.sort_columns(columns), axis=1)
    np.testing.assert_array_equal(found, np.sort(table, axis=1))


def test_an_epoch_has_every_block_once(source, endless):
    per_epoch = sum(min(count, 40) for shard in source.valid for count in shard)
    assert time_series.count_pixels(source, pixels_per_block=40) == per_epoch
    found = places_of(endless)
    for epoch in (found[:per_epoch], found[per_epoch : 2 * per_epoch]):
        assert len(set(epoch)) == per_epoch
        by_block = {(tile, row // 16, column // 16) for tile, row, column in epoch}
        assert len(by_block) == source.num_blocks
    first = {(tile, row // 16, column // 16) for tile, row, column in found[:BATCH]}
    assert len(first) >= 10
    # In another order, and of other pixels of the blocks.
    assert set(found[:per_epoch]) != set(found[per_epoch : 2 * per_epoch])
    whole = places_of(take(source, pixels_per_block=None))
    assert len(whole) == len(set(whole)) == source.num_pixels


def test_views_hold_what_the_tile_holds(source, endless):
    series = {}
    for block in blocks.iterate_blocks(source):
        for row, column in np.ndindex(block.mask.shape[:2]):
            key = (block.tile, block.row + row, block.column + column)
            series[key] = (
                block.bands[row, column],
                block.mask[row, column],
                block.doys,
            )
    names = list(source.tiles)
    for batch in endless[:3]:
        assert batch["mask"].all()
        for place, bands_, days in zip(
            places_of([batch]), batch["bands"], batch["doy"], strict=True
        ):
            numbers, mask, doys = series[(names[place[0]], *place[1:])]
            assert mask.sum() > source.min_valid
            usable = {
                (day, *row)
                for day, row in zip(
                    doys[mask == 1].tolist(), numbers[mask == 1].tolist(), strict=True
                )
            }
            found = np.concatenate([days.reshape(-1, 1), bands_.reshape(-1, 3)], axis=1)
            assert {tuple(row) for row in found.tolist()} <= usable


def test_order_follows_from_the_seed(source, endless):
    same(endless[:5], take(source, 5))
    assert places_of(endless[:1]) != places_of(take(source, 1, seed=1))


@pytest.mark.parametrize("start", [1, 12, 13, 26])
def test_a_run_continues_anywhere(source, endless, start):
    later = take(source, 3, start_iteration=start, repeat=True)
    same(endless[start : start + 3], later)


def test_a_run_in_the_order_of_the_files_continues_anywhere(source):
    options = {"repeat": True, "shuffle_buffer_size": 0}
    whole = take(source, 17, **options)
    for start in (2, 14):
        later = take(source, 3, start_iteration=start, **options)
        same(whole[start : start + 3], later)


@pytest.mark.parametrize(("workers", "own"), [(3, (0, 1, 2)), (7, (0, 5))])
def test_workers_share_every_batch(source, endless, workers, own):
    size = BATCH // workers
    for worker in own:
        share = take(source, 14, repeat=True, share=Share(worker, workers))
        part = slice(worker * size, (worker + 1) * size)
        whole = [
            {name: values[part] for name, values in batch.items()}
            for batch in endless[:14]
        ]
        same(whole, share)


def test_replicas_get_their_parts_one_after_another(source, endless):
    parts = take(source, 8, repeat=True, share=Share(1, 3, 2))
    for number, part in enumerate(parts):
        begin = 14 + 7 * (number % 2)
        batch = endless[number // 2]
        same([{name: of[begin : begin + 7] for name, of in batch.items()}], [part])


def test_scoring_goes_through_labelled_pixels_in_order(source):
    options = {
        "labelled": True,
        "pad": True,
        "shuffle_buffer_size": 0,
        "pixels_per_block": None,
        "sample_size": None,
    }
    batches = take(source, batch_size=64, **options)
    assert {batch[0]["bands"].shape for batch in batches} == {(64, 1, 40, 3)}
    weights = np.concatenate([weights for *_, weights in batches])
    assert weights.sum() == source.num_labelled
    assert time_series.count_pixels(source, labelled=True) == source.num_labelled
    real = weights > 0
    found = np.array(places_of([batch[0] for batch in batches]))[real]
    codes = np.concatenate([labels for _, labels, _ in batches])[real]
    expected, labels = [], []
    for block in blocks.iterate_blocks(source):
        if block.labels is None:
            continue
        wanted = block.valid(source.min_valid) & (block.labels != 255)
        tile = list(source.tiles).index(block.tile)
        for row, column in np.argwhere(wanted):
            expected.append((tile, block.row + row, block.column + column))
            labels.append(block.labels[row, column])
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_array_equal(codes, labels)
    masks = np.concatenate([batch[0]["mask"] for batch in batches])[real]
    assert masks.sum(axis=(1, 2)).min() > source.min_valid
    same(batches[:2], take(source, 2, batch_size=64, **options))
    # Several workers see the same padded batches.
    second = take(source, batch_size=64, share=Share(1, 2), **options)
    np.testing.assert_array_equal(second[-1][2], batches[-1][2][32:])


@pytest.mark.parametrize(("drop", "start"), [(False, 0), (True, 3), (False, 10_000)])
def test_the_number_of_batches_is_known(source, drop, start):
    dataset = time_series.pixel_batches(
        source, 50, drop_remainder=drop, start_iteration=start, **SHUFFLED
    )
    assert dataset.cardinality() == len(list(dataset))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_size": 22}, "needs 22 usable dates.*--min-valid 21"),
        ({"sample_size": 11, "disjoint": True}, "needs 22 usable dates"),
        ({"sample_size": 0}, "1 view of 1 date or more"),
        ({"start_iteration": -1}, "iteration of 0 or more"),
        ({"share": Share(2, 2)}, "0 <= index < count"),
        ({"share": Share(0, 2)}, "need full batches"),
        ({"share": Share(0, 3), "pad": True}, "does not divide"),
    ],
)
def test_wrong_arguments(source, options, message):
    with pytest.raises(ValueError, match=message):
        time_series.pixel_batches(source, 32, **options)


def test_no_labelled_pixel(source, tmp_path):
    tile = tiles.open_tile(tile_folders.write_npy(tmp_path / "a", labels=False))
    areas = block_plan.by_tiles([tile])["train"]
    plan = block_plan.plan_blocks("train", areas, CLASSES, "", min_valid=20)
    block_writer.write_blocks([tile], [plan], tmp_path / "out")
    bare = blocks.open_blocks(str(tmp_path / "out" / "train-*"))
    with pytest.raises(ValueError, match="no labelled pixel with more than 20"):
        time_series.pixel_batches(bare, 32, labelled=True)
