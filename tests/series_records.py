"""Records of generated time series, small, for tests that learn from them."""

from pathlib import Path

from bigearthnet_tf.archive import tile_sample, tiles
from bigearthnet_tf.records import block_plan, block_writer


def write(folder: Path, size: int = 32, dates: int = 72) -> Path:
    """Three generated tiles as the splits of records; returns their folder."""
    root = tile_sample.write_tiles(folder / "tiles", 3, size, dates, 2, seed=3)
    folders = tiles.find_tiles(root)
    opened = [tiles.open_tile(path) for path in folders]
    names = [tile.name for tile in opened]
    areas = block_plan.by_tiles(opened, names[1:2], names[2:])
    classes = tiles.classes_of(folders)
    plans = [
        block_plan.plan_blocks(
            split, of, classes, "here", side=16, min_valid=20, shard_size_mb=4
        )
        for split, of in areas.items()
    ]
    out = folder / "records"
    block_writer.write_blocks(opened, plans, out)
    return out


def files(records: Path) -> dict[str, list[str]]:
    """The keys of a config that name the records."""
    return {
        f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }
