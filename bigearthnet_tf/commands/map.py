r"""Maps a scene, or a tile of a time series, with the model of a run.

A run of classification or segmentation maps a Sentinel-2 scene: a SAFE folder (L2A), a
GeoTIFF or a folder of GeoTIFFs whose bands are named.

  bigearthnet-tf map runs/resnet50 S2B_MSIL2A.SAFE -o best.tif --picture best.png
  bigearthnet-tf map runs/resnet50 scene.tif -o scores.tif --output scores --stride 300

A run on pixel time series (barlow_twins, land_cover) maps tiles, from their folders or
from block records, and OUT is a folder that gets GeoTIFFs, pictures and a report:

  bigearthnet-tf map runs/land_cover 'records/test-*' -o maps --kind class probability
  bigearthnet-tf map runs/barlow tiles/T32TQM -o maps --kind embedding --int8
  bigearthnet-tf map runs/barlow tiles -o maps --kind false-colour --pca other/pca.npz

  bigearthnet-tf map runs/land_cover tiles/T32TQM -o map.npy

The last has one map of one tile, of classes or embeddings, as an array too. A tile
without a coordinate system is mapped in pixel coordinates. An array is drawn by

  bigearthnet-tf map --read map.npy -o map.png

also one of btfm, of classes or of representations.

Maps are Cloud-Optimised GeoTIFFs. A call that was cut off goes on where it was.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from bigearthnet_tf import console, outputs, pictures

_OWN = ("run", "source", "out", "checkpoint", "debug", "command", "read", "refuse")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments; an option that nobody gave is None."""
    parser.add_argument(
        "run",
        nargs="?",
        type=console.path,
        help="folder of a run, or of one of its checkpoints",
    )
    parser.add_argument("source", nargs="?", type=console.path, help="what to map")
    parser.add_argument(
        "-o",
        "--out",
        type=console.path,
        required=True,
        help="GeoTIFF; of tiles a folder, or a .npy for one map of one tile",
    )
    parser.add_argument(
        "--read",
        type=console.path,
        metavar="NPY",
        help="map nothing, draw this map, of ours or of btfm, as the PNG OUT",
    )
    parser.set_defaults(refuse=parser.error)
    parser.add_argument("--checkpoint", choices=("best", "last"), default="best")
    parser.add_argument(
        "--batch-size", type=console.at_least_one, metavar="N", help="windows at once"
    )
    parser.add_argument(
        "--block-size",
        type=console.at_least_one,
        metavar="PIXELS",
        help="side of what is computed and kept in memory at once",
    )
    parser.add_argument(
        "--picture",
        type=console.path,
        metavar="PNG",
        help="draw the map, with its legend",
    )
    _add_scene_arguments(parser.add_argument_group("scenes"))
    _add_tile_arguments(parser.add_argument_group("tiles of time series"))


def _add_scene_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--s1",
        type=console.path,
        metavar="PATH",
        help="GeoTIFF, or folder of them, of VV and VH in decibels; put onto the grid "
        "of the scene if need be",
    )
    group.add_argument(
        "--output",
        choices=("best", "scores", "labels"),
        help="the best label, the score of each label, or which labels pass their "
        "threshold (best)",
    )
    group.add_argument(
        "--stride",
        type=console.at_least_one,
        metavar="METRES",
        help="from window to window, of which each is 1200 m (600: each place is in "
        "four windows, which are blended)",
    )
    group.add_argument(
        "--pixel",
        type=console.at_least_one,
        metavar="METRES",
        help="side of a pixel of the map (the stride; 10 for segmentation)",
    )
    group.add_argument(
        "--dtype",
        choices=("float32", "uint8"),
        help="of scores; uint8 has steps of 0.004 (float32)",
    )
    group.add_argument(
        "--thresholds",
        metavar="VALUE|tuned|FILE",
        help="for --output labels: one number, those of the run, or a thresholds.json "
        "(0.5)",
    )
    group.add_argument(
        "--nodata",
        type=console.number(),
        help="number that stands for no data (what the files say, else 0)",
    )
    group.add_argument(
        "--scale",
        type=console.number(above=0),
        help="reflectance x 10,000 is NUMBER x SCALE + OFFSET (what tags, metadata or "
        "names say)",
    )
    group.add_argument(
        "--offset",
        type=console.number(),
        help="see --scale; -1000 takes away what ESA adds since 2022, 0 nothing",
    )


def _add_tile_arguments(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--kind",
        nargs="+",
        choices=("embedding", "class", "probability", "false-colour"),
        help="one or more, in one pass (class; false-colour of a run without classes)",
    )
    group.add_argument(
        "--int8",
        action="store_true",
        default=None,
        help="embeddings in a byte, with scale and offset of each band",
    )
    group.add_argument(
        "--pca",
        type=console.path,
        metavar="NPZ",
        help="colours of an earlier map (fitted on these tiles, written as pca.npz)",
    )
    group.add_argument(
        "--sample-size",
        type=console.at_least_one,
        metavar="PIXELS",
        help="valid pixels that colours and scales are fitted on (100000)",
    )
    add_series_arguments(group)


def add_series_arguments(group: argparse._ArgumentGroup) -> None:
    """Declares what maps of tiles and `bigearthnet-tf points` have in common."""
    group.add_argument(
        "--draws",
        type=console.whole(0),
        metavar="N",
        help="how many times dates are drawn, and averaged; 0 for all valid dates (0 "
        "where the encoder knows dates by their day, 4 elsewhere)",
    )
    group.add_argument("--seed", type=console.seed, help="of the draws (42)")
    group.add_argument(
        "--min-valid",
        type=console.whole(0),
        metavar="N",
        help="a pixel needs more valid dates than this (as the records say; of a "
        "folder as many dates as the encoder was trained with)",
    )
    group.add_argument("--tile", nargs="+", metavar="NAME", help="these tiles alone")
    group.add_argument(
        "--dn-offset",
        type=console.whole(0, 65535),
        metavar="DN",
        help="subtracted from the digital numbers of folders: 1000 or 0 (as for "
        "bigearthnet-tf tiles)",
    )
    group.add_argument("--crs", help="of tiles that do not tell, such as EPSG:32633")
    group.add_argument(
        "--transform",
        type=console.number(),
        nargs=6,
        metavar=tuple("ABCDEF"),
        help="of a tile that does not tell: pixel width, 0, west edge, 0, minus pixel "
        "height, north edge",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    given = {
        name: value
        for name, value in vars(arguments).items()
        if value is not None and name not in _OWN
    }
    if arguments.read is not None:
        _draw(arguments, given)
        return
    if arguments.source is None:
        arguments.refuse("the following arguments are required: run, source")
    console.load_tensorflow()
    from bigearthnet_tf.serving import maps

    lines = maps.make_map(
        arguments.run,
        arguments.source,
        arguments.out,
        checkpoint=arguments.checkpoint,
        **given,
    )
    for line in lines:
        print(line)


def _draw(arguments: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """Draws a map that is a `.npy`."""
    if arguments.run is not None or given:
        other = f"--{next(iter(given)).replace('_', '-')}" if given else "a run"
        arguments.refuse(
            f"--read draws a map that is there, with -o alone, not {other}"
        )
    out = arguments.out
    if out.suffix.lower() != ".png":
        raise ValueError(f"{out}: expected a name that ends in .png for the picture")
    outputs.check_file(out, outputs.is_png, [arguments.read])
    from bigearthnet_tf.serving import array_picture

    figure, told = array_picture.draw(arguments.read)
    pictures.save_png(figure, out)
    print(f"{out}: {told}")
