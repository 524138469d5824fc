r"""Measures mean, standard deviation and percentiles of every band over records.

  bigearthnet-tf statistics records/train-*.tfrecord -o own.json
  bigearthnet-tf statistics records/train-*.tfrecord -o own.json \
      --bands all --resampling no_interpolation 120_bilinear --percentiles 1 50 99

A config names the file as its `statistics`, with the resampling behind it where the
file has several: "own.json", "own.json#120_bilinear". The resamplings are those of a
config's `image_size` and `interpolation`. Standard deviations are those of the
population; pixels that are 0 are included and counted, pixels that are not finite are
left out and counted.
"""

from __future__ import annotations

import argparse
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from bigearthnet_tf import console, outputs, pictures, resampling
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import histograms
from bigearthnet_tf.archive import statistics as band_statistics
from bigearthnet_tf.archive.accumulate import Summary

logger = logging.getLogger(__name__)

# 2 and 98 are the bounds of min-max scaling.
PERCENTAGES = (1.0, 2.0, 50.0, 98.0, 99.0)

# A worker takes as long to start as to measure that many patches.
PATCHES_PER_WORKER = 4000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "records",
        nargs="+",
        help="shards of a split, wildcards allowed",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=_file(".json"),
        metavar="JSON",
        help="file to write; without it the table is printed only",
    )
    parser.add_argument(
        "--bands",
        nargs="+",
        metavar="BAND",
        help="a band set such as all, or bands (all that the records have)",
    )
    parser.add_argument(
        "--resampling",
        nargs="+",
        metavar="NAME",
        default=[resampling.NATIVE],
        help="<size>_<kernel> such as 120_bilinear, or no_interpolation (default); "
        f"kernels: {', '.join(resampling.KERNELS.names())}",
    )
    parser.add_argument(
        "--percentiles",
        nargs="+",
        type=console.number(0, 100),
        metavar="P",
        default=PERCENTAGES,
        help=f"0 to 100 ({' '.join(f'{p:g}' for p in PERCENTAGES)})",
    )
    parser.add_argument(
        "--plot", type=_file(".png"), metavar="PNG", help="also draw the histograms"
    )
    console.add_workers(parser)


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    bands = _bands(arguments.bands)
    resamplings = [
        resampling.parse(name) for name in dict.fromkeys(arguments.resampling)
    ]
    percentages = sorted(set(arguments.percentiles))
    wanted = (
        (arguments.out, outputs.has_keys("resamplings")),
        (arguments.plot, outputs.is_png),
    )
    outputs.check_files([of for of in wanted if of[0]], arguments.records)

    console.load_tensorflow()
    from bigearthnet_tf.records import reader, statistics

    source = reader.open_records(arguments.records)
    useful = math.ceil(source.num_records / PATCHES_PER_WORKER)
    with console.progress(
        total=source.num_records, desc="measuring", unit="patch"
    ) as bar:
        measured = statistics.measure(
            source,
            bands,
            resamplings,
            workers=min(arguments.workers, useful),
            on_records=bar.update,
        )
    found = measured.summaries(percentages)
    # Files first: whoever reads the table may leave after its head.
    if arguments.out:
        band_statistics.write(arguments.out, found, measured.facts)
    if arguments.plot:
        figure = histograms.draw(measured.accumulators, percentages)
        pictures.save_png(figure, arguments.plot)
    print(measured.facts["source"])
    for name, of in found.items():
        print(f"\n{name}\n{_table(of)}")
        _warn(name, of)
    if arguments.out:
        print(f"\n{_how_to_use(arguments.out, found)}")
    if arguments.plot:
        print(f"{arguments.plot}: the histograms")


def _bands(words: list[str] | None) -> tuple[str, ...] | None:
    """Returns the bands that are meant by the name of a set, or by their own names."""
    if words is None:
        return None
    one_set = len(words) == 1 and words[0] not in band_facts.BANDS
    return band_facts.resolve_bands(words[0] if one_set else words)


def _table(of: Mapping[str, Summary]) -> str:
    """Returns statistics as a table, a row a band."""
    percentages = next(iter(of.values())).percentiles
    titles = ["mean", "std", "minimum", *(f"{p:g} %" for p in percentages), "maximum"]
    head = f"{'':4}{'pixels':>15}{'of them 0':>13}"
    lines = [head + "".join(f"{title:>12}" for title in titles)]
    for band, summary in of.items():
        digits = 4 if band_facts.BANDS[band].dtype == "float32" else 2
        numbers = [
            summary.mean,
            summary.std,
            summary.minimum,
            *summary.percentiles.values(),
            summary.maximum,
        ]
        row = "".join(f"{number:>12,.{digits}f}" for number in numbers)
        lines.append(f"{band:4}{summary.pixels:>15,}{summary.zeros:>13,}{row}")
    return "\n".join(lines)


def _warn(name: str, of: Mapping[str, Summary]) -> None:
    """Says what is odd about the pixels."""
    for band, summary in of.items():
        if summary.nonfinite:
            logger.warning(
                "%s: %s pixels of %s are NaN or infinite and are left out; a model "
                "would give NaN for their patches",
                name,
                f"{summary.nonfinite:,}",
                band,
            )
        if summary.outside:
            logger.warning(
                "%s: %s pixels of %s are no decibels that a radar measures; "
                "percentiles among them are not to be relied on",
                name,
                f"{summary.outside:,}",
                band,
            )
        if summary.std == 0:
            logger.warning(
                "%s: all pixels of %s are %g; no model can be standardised with that",
                name,
                band,
                summary.mean,
            )


def _how_to_use(path: Path, found: Mapping[str, object]) -> str:
    """Returns what to write into a config."""
    names = [f'"{path}"'] if len(found) == 1 else [f'"{path}#{name}"' for name in found]
    return f'{path}: for a config, "statistics": {" or ".join(names)}'


def _file(suffix: str) -> Callable[[str], Path]:
    """Returns what takes the name of a file with that ending."""

    def check(text: str) -> Path:
        if not text.endswith(suffix):
            raise argparse.ArgumentTypeError(
                f"expected a name that ends with {suffix}, got {text}"
            )
        return console.path(text)

    return check
