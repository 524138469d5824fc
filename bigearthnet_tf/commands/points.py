r"""Writes embeddings, and classes, at points: what a map has there.

  bigearthnet-tf points runs/barlow tiles --points plots.csv -o plots.parquet
  bigearthnet-tf points runs/land_cover 'records/test-*' --points plots.csv -o out.csv

Points are a CSV or Parquet with columns lon and lat in degrees, or x and y in
--points-crs or that of each tile; all other columns stay. Points that were skipped go
to OUT.skipped.csv, with the reason.
"""

from __future__ import annotations

import argparse
from collections import Counter

from bigearthnet_tf import console, outputs
from bigearthnet_tf.commands import map as maps_of_tiles


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "run", type=console.path, help="folder of a run, or of one of its checkpoints"
    )
    parser.add_argument(
        "source",
        type=console.path,
        help="folder of a tile or of tiles, or block records",
    )
    parser.add_argument(
        "--points", type=console.path, required=True, help="CSV or Parquet"
    )
    parser.add_argument(
        "-o",
        "--out",
        type=console.path,
        required=True,
        help=".parquet or .csv to write",
    )
    parser.add_argument(
        "--points-crs", metavar="CRS", help="of columns x and y (that of each tile)"
    )
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    maps_of_tiles.add_series_arguments(parser.add_argument_group("time series"))


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.serving import pixel_model, pixel_run, points, tile_source

    points.check_name(arguments.out)
    left = arguments.out.with_name(f"{arguments.out.name}.skipped.csv")
    outputs.check_files(
        [
            (arguments.out, outputs.has_columns(*points.OWN[:4])),
            (left, outputs.has_columns(points.REASON)),
        ],
        [arguments.run, arguments.source, arguments.points],
    )
    found = points.read(arguments.points, arguments.points_crs)
    model = pixel_run.load(arguments.run, arguments.checkpoint)
    seed = 42 if arguments.seed is None else arguments.seed
    rule = model.rule(arguments.draws, seed)
    tiles = tile_source.open_tiles(
        arguments.source,
        names=arguments.tile or (),
        crs=arguments.crs,
        transform=arguments.transform,
        dn_offset=arguments.dn_offset,
    )
    min_valid = arguments.min_valid
    model = model.needing(tiles[0].min_valid if min_valid is None else min_valid)
    encoders = [
        (tile, pixel_model.open_encoder(model, rule, tile.doys, tile.bands, tile.name))
        for tile in tiles
    ]
    table, skipped = points.sample(model, encoders, found)
    points.write(table, arguments.out)
    points.write(skipped, left)
    print(f"{arguments.out}: {len(table)} points, {model.dimensions} dimensions")
    for reason, count in Counter(skipped["reason"]).most_common():
        print(f"  skipped {count}: {reason}")
    if len(skipped):
        print(f"  {left}")
