r"""Writes tiles of satellite time series as records for training and maps.

  bigearthnet-tf tiles ROOT -o records --val TILE --test TILE
  bigearthnet-tf tiles ROOT -o records --squares 256 --ratios 0.7 0.15 0.15
  bigearthnet-tf tiles ROOT -o records --points labelled.csv
  bigearthnet-tf tiles TILE -o records --crs EPSG:32613 --year 2021 \
      --transform 10 0 300000 0 -10 4500000

ROOT holds one folder a tile, or is one: bands.npy, masks.npy, doys.npy and perhaps
labels.npy; or GeoTIFFs with dates in their names, a scene classification (SCL) for
each date, and perhaps labels.tif. What the files don't tell is given here, or in
tile.json in the folder of the tile: {"crs": "EPSG:32613", "transform": [10, 0, ...],
"years": 2021, "bands": ["B04", ...]}. Options hold for all tiles, and before tile.json.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

from bigearthnet_tf import console, outputs
from bigearthnet_tf.archive import tile_points, tiles
from bigearthnet_tf.archive.tile_facts import BAND_ORDERS, TileFacts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "root", nargs="+", type=console.path, help="folders of tiles, or tiles"
    )
    parser.add_argument(
        "-o", "--out", type=console.place, required=True, help="folder to write"
    )
    _add_division(parser.add_argument_group("splits (all tiles are of train)"))
    parser.add_argument(
        "--points",
        type=console.path,
        metavar="CSV",
        help="write single pixels in place of blocks: a table with columns lon, lat, "
        "or x, y in the tiles' system, label (a class code), and perhaps id",
    )
    _add_facts(parser.add_argument_group("what the files don't tell"))
    parser.add_argument(
        "--statistics",
        choices=("measured", "files"),
        default="measured",
        help="what standardises the bands: mean and deviation measured on the usable "
        "observations, or band_mean.npy and band_std.npy of the tiles, pooled where "
        "those of several differ (measured)",
    )
    parser.add_argument(
        "--min-valid",
        type=console.whole(0),
        default=32,
        metavar="N",
        help="a pixel is valid with more than N usable dates (32)",
    )
    parser.add_argument(
        "--block-size",
        type=console.at_least_one,
        default=32,
        metavar="PIXELS",
        help="side of the squares that are a record each (32)",
    )
    parser.add_argument(
        "--shard-size-mb",
        type=console.number(above=0),
        default=128,
        help="of a file, about (128)",
    )
    parser.add_argument(
        "--seed", type=console.seed, default=42, help="of order and squares"
    )
    console.add_workers(parser)
    parser.add_argument(
        "--overwrite", action="store_true", help="replace what is in the folder"
    )
    parser.set_defaults(refuse=parser.error)


def _add_division(group: argparse._ArgumentGroup) -> None:
    for split in ("val", "test"):
        group.add_argument(
            f"--{split}",
            nargs="+",
            default=[],
            metavar="TILE",
            help=f"tiles of {split}, by the names of their folders",
        )
    group.add_argument(
        "--squares",
        type=console.at_least_one,
        metavar="PIXELS",
        help="divide squares of that side in place of tiles; a multiple of the blocks",
    )
    group.add_argument(
        "--ratios",
        nargs="+",
        type=console.number(above=0),
        metavar="R",
        help="of train and test, or train, val and test, with --squares; sum to 1",
    )


def _add_facts(group: argparse._ArgumentGroup) -> None:
    group.add_argument("--crs", help="coordinate system, such as EPSG:32613")
    group.add_argument(
        "--transform",
        nargs=6,
        type=console.number(),
        metavar=("A", "B", "C", "D", "E", "F"),
        help="pixel width, 0, west, 0, minus pixel height, north; of a single tile",
    )
    group.add_argument("--year", type=console.whole(1900, 9999), help="of all dates")
    group.add_argument(
        "--bands",
        nargs="+",
        metavar="BAND",
        help="names in the order of the files, or of an order: "
        + ", ".join(BAND_ORDERS)
        + "; of GeoTIFFs, which to take",
    )
    group.add_argument(
        "--dn-offset",
        type=console.whole(0, 65535),
        metavar="DN",
        help="subtracted from digital numbers: 1000 for baseline 04.00 and later, 0 "
        "where it is gone (what tags, metadata or names say; asked for since 2022)",
    )
    group.add_argument(
        "--dn-scale",
        type=console.number(above=0),
        metavar="SCALE",
        help="what numbers are multiplied by: 10000 for reflectance (what tags say)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    _refuse_wrong_calls(arguments)
    facts = _facts(arguments)
    folders = [path for root in arguments.root for path in tiles.find_tiles(root)]
    if "://" not in arguments.out:
        read = [*arguments.root, *folders, *filter(None, [arguments.points])]
        outputs.check_folder(arguments.out, read)
    if arguments.transform is not None and len(folders) > 1:
        arguments.refuse(
            f"--transform places a single tile, but there are {len(folders)}: write "
            "it into tile.json of each"
        )
    opened = [tiles.open_tile(folder, facts) for folder in folders]
    tiles.say_assumed_bands(opened, "give --bands, or bands in tile.json,")
    statistics = {}
    if arguments.statistics == "files":
        statistics = {tile.name: tile.file_statistics() for tile in opened}
    classes = tiles.classes_of(folders, facts)
    console.load_tensorflow()
    from bigearthnet_tf.records import block_areas, block_plan, block_writer, provenance

    block_plan.check_tiles(opened, arguments.min_valid)
    if arguments.squares is None:
        areas = block_plan.by_tiles(opened, arguments.val, arguments.test)
    else:
        areas = block_plan.by_squares(
            opened, arguments.squares, arguments.ratios, arguments.seed
        )
    for tile in console.progress(opened, desc="looking", unit="tile", leave=False):
        block_plan.check_not_all_cloud(tile, arguments.min_valid)
    origin = " ".join(str(root.resolve()) for root in arguments.root)
    options = {
        "min_valid": arguments.min_valid,
        "seed": arguments.seed,
        "shard_size_mb": arguments.shard_size_mb,
        "source": provenance.digest(map(_stamp, folders, opened)),
    }
    if arguments.points is not None:
        points = tile_points.read_points(arguments.points, list(classes))
        tile_points.check_one_system(points, opened)
        of_split = block_areas.points_apart(areas, points)
        plans = [
            block_plan.plan_points(
                split,
                [tile for tile, _ in of],
                of_split[split],
                classes,
                origin,
                **options,
            )
            for split, of in areas.items()
        ]
    else:
        side = arguments.block_size
        areas = block_areas.apart(areas, side)
        plans = [
            block_plan.plan_blocks(split, of, classes, origin, side=side, **options)
            for split, of in areas.items()
        ]
    if statistics:
        plans = [
            replace(plan, statistics={name: statistics[name] for name in plan.tiles})
            for plan in plans
        ]
    block_writer.write_blocks(
        opened,
        plans,
        arguments.out,
        workers=arguments.workers,
        overwrite=arguments.overwrite,
    )


def _stamp(folder: Path, tile: tiles.Tile) -> str:
    """Returns what changes with the files, or with what their numbers mean."""
    stamp = tiles.stamp(folder)
    return stamp if tile.meaning is None else f"{stamp} {tile.meaning}"


def _facts(arguments: argparse.Namespace) -> TileFacts:
    given: dict[str, Any] = {
        "crs": arguments.crs,
        "transform": arguments.transform,
        "years": arguments.year,
        "bands": arguments.bands,
        "dn_offset": arguments.dn_offset,
        "dn_scale": arguments.dn_scale,
    }
    if arguments.bands and len(arguments.bands) == 1:
        given["bands"] = arguments.bands[0]
    return TileFacts(
        **{name: value for name, value in given.items() if value is not None}
    )


def _refuse_wrong_calls(arguments: argparse.Namespace) -> None:
    """Ends a call whose options do not fit together, as argparse ends one."""
    if arguments.squares is None:
        if arguments.ratios is not None:
            arguments.refuse("--ratios is for --squares alone")
        return
    if arguments.points is not None:
        arguments.refuse("--points are divided by tiles, not by --squares")
    if arguments.val or arguments.test:
        arguments.refuse("--squares divides parts of tiles, --val and --test tiles")
    if arguments.squares % arguments.block_size:
        arguments.refuse(
            f"--squares: expected a multiple of {arguments.block_size} (--block-size), "
            f"got {arguments.squares}"
        )
    ratios = arguments.ratios or []
    if (
        len(ratios) not in (2, 3)
        or min(ratios) <= 0
        or not math.isclose(sum(ratios), 1)
    ):
        arguments.refuse(
            "--squares needs --ratios: two or three numbers above 0 that sum to 1"
        )
