r"""Predicts a quantity at points from their embeddings, tested on blocks apart.

  bigearthnet-tf points runs/barlow tiles --points plots.csv -o plots.parquet
  bigearthnet-tf regress plots.parquet --target richness -o richness

Every point is predicted by a model that has seen none of its block of land. OUT gets
regression.json, regression.png, and regression_points.csv, the worst points first; of a
forest also the importance of each band of the embedding.
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "table", type=console.path, help="written by `bigearthnet-tf points`"
    )
    parser.add_argument("--target", required=True, help="column of the quantity")
    parser.add_argument(
        "-o", "--out", type=console.path, required=True, help="folder to write"
    )
    parser.add_argument(
        "--model", choices=("forest", "ridge"), default="forest", help="(forest)"
    )
    parser.add_argument(
        "--block-km",
        type=console.number(above=0),
        default=10.0,
        metavar="KM",
        help="side of the blocks of land that stay together (10)",
    )
    parser.add_argument(
        "--crs",
        metavar="EPSG",
        help="coordinate system of columns x and y (that of the column crs)",
    )
    parser.add_argument(
        "--folds", type=console.whole(2), default=5, help="parts of the blocks (5)"
    )
    parser.add_argument(
        "--seed", type=console.seed, default=42, help="of the forest (42)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf.evaluation import regression

    regression.check_outputs(arguments.out, arguments.table)
    sites = regression.read(
        arguments.table, arguments.target, arguments.block_km, arguments.crs
    )
    found = regression.evaluate(
        sites,
        arguments.target,
        arguments.model,
        arguments.folds,
        arguments.seed,
        arguments.out,
    )
    print(
        f"{found['points']} points in {found['blocks']} blocks, {found['folds']} folds"
        + (f"; {sites.dropped} points lack a number" if sites.dropped else "")
    )
    print(f"{'':24}{'MAE':>9}{'median AE':>11}{'RMSE':>9}{'bias':>9}{'R2':>8}")
    for name, row in (
        (found["model"], found),
        ("mean of the others", found["baseline_mean"]),
    ):
        print(
            f"{name:24}{row['mae']:9.4g}{row['median_ae']:11.4g}{row['rmse']:9.4g}"
            f"{row['bias']:9.2g}{row['r2']:8.3f}"
        )
    print(f"{arguments.out / 'regression.json'}, .png, regression_points.csv")
