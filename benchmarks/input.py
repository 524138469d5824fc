r"""Records to batches on the host: `bigearthnet_tf` against other loaders, in one run.

  PYTHONPATH=. python benchmarks/input.py --archive DIR

DIR is a BigEarthNet v2 archive as `bigearthnet-tf sample` makes it.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import conversion
import old_recipes
from conversion import Case, Rates

from bigearthnet_tf import config, console
from bigearthnet_tf.archive import bands
from bigearthnet_tf.archive.archives import Archive
from bigearthnet_tf.archive.lmdb_writer import LmdbWriter
from bigearthnet_tf.archive.patch import PatchEntry

if TYPE_CHECKING:
    import tensorflow as tf

BATCH = 64
SHUFFLE = config.Config.model_fields["shuffle_buffer_size"].default
SHARD_MB = 16
# Seconds of a measurement, and before it, while buffers and autotuning settle.
SECONDS, WARM_UP = 3.0, 2.0
# The data set is at least so many shuffle buffers long, as real ones are.
EPOCH_BUFFERS = 4

BARE, PARALLEL = "bare reading of the records", "bare reading, files in parallel"
IN_ORDER, SHUFFLED = "bigearthnet_tf, in order", "bigearthnet_tf, shuffled"
OLD = "old recipe, ends in float32"
REBEN = "reBEN's loader (LMDB, torch), 2 workers, ends in float32"
LMDB = "LMDB straight into shared memory, 2 processes"
FLOAT, LMDB_FLOAT = f"{SHUFFLED}, first layers", f"{LMDB}, NumPy"
FLOAT_XLA = f"{FLOAT} with XLA"
NATIVE = {"times old": OLD, "times reBEN": REBEN, "of bare": BARE}
# What is to be reached: the slower, the faster, how much at least.
TARGETS = (
    (OLD, SHUFFLED, 15),
    (REBEN, SHUFFLED, 5),
    (BARE, SHUFFLED, 0.6),
    (REBEN, FLOAT, 1),
    (REBEN, FLOAT_XLA, 1),
)


@dataclass(frozen=True)
class Stored:
    """The same patches in every form.

    Attributes:
        names: the bands that are read.
        entries: the patches.
        shards: our TFRecord files, some several times under different names.
        old_file: the file of the old recipe.
        lmdb: folder of the LMDB.
    """

    names: tuple[str, ...]
    entries: Sequence[PatchEntry]
    shards: list[str]
    old_file: Path
    lmdb: Path


def store(
    arguments: argparse.Namespace, band_set: str, folder: Path, lmdb: Path
) -> Stored:
    """Writes patches in every form.

    Args:
        arguments: of the command line.
        band_set: `s2` or `all`; the records hold no other sensors.
        folder: for the records.
        lmdb: of both sensors, there already.
    """
    archive, entries = conversion.open_sample(
        arguments.archive, arguments.patches, band_set
    )
    old_file = folder / "old.tfrecord"
    folder.mkdir()
    few = entries[: arguments.slow_patches]
    paths = [(entry, conversion.band_files(archive, entry)) for entry in few]
    old_recipes.write_records(paths, old_file)
    names = bands.resolve_bands(band_set)
    shards = write_shards(archive, entries, folder, EPOCH_BUFFERS * SHUFFLE)
    return Stored(names, entries, shards, old_file, lmdb)


def write_shards(
    archive: Archive, entries: Sequence[PatchEntry], folder: Path, records: int
) -> list[str]:
    """Converts patches and links the shards until there are enough records.

    Returns:
        Paths of at least `records` records, the same patches again and again.
    """
    from bigearthnet_tf.records import convert
    from bigearthnet_tf.records.plan import plan_split

    first = folder / "0"
    plan = plan_split(archive, entries, "train", shard_size_mb=SHARD_MB)
    convert.convert(archive, [plan], first)
    for index in range(1, -(-records // len(entries))):
        copy = folder / str(index)
        copy.mkdir()
        for path in first.iterdir():
            os.link(path, copy / path.name)
    return sorted(map(str, folder.glob("*/*.tfrecord")))


def measure(open_batches: Callable[[], Iterable[Any]]) -> float:
    """Draws batches for some seconds and returns patches a second."""
    batches = iter(open_batches())
    next(batches)
    _draw(batches, WARM_UP)
    count, seconds = _draw(batches, SECONDS)
    return count * BATCH / seconds


def _draw(batches: Iterator[Any], seconds: float) -> tuple[int, float]:
    """Returns the number of batches drawn and the seconds that it took."""
    start, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        next(batches)
        count += 1
    return count, elapsed


def bare(stored: Stored, readers: int | None) -> tf.data.Dataset:
    """Returns batches of serialised records, not parsed."""
    import tensorflow as tf

    dataset = tf.data.TFRecordDataset(stored.shards, num_parallel_reads=readers)
    return dataset.repeat().batch(BATCH).prefetch(2)


def ours(stored: Stored, shuffle: int) -> tf.data.Dataset:
    """Returns batches of band groups as training gets them."""
    from bigearthnet_tf.data import pipeline

    return pipeline.load_dataset(
        stored.shards, BATCH, stored.names, shuffle_buffer_size=shuffle, repeat=True
    )


def ours_to_float(stored: Stored, layers: Callable[[Any], Any]) -> Iterator[Any]:
    """Yields shuffled batches that have passed the first layers of a model."""
    for groups, vectors in ours(stored, SHUFFLE):
        yield layers(groups), vectors


def first_layers(names: Sequence[str], xla: bool) -> Callable[[Any], Any]:
    """Returns what every model begins with: band groups to (batch, 120, 120, bands).

    Nearest neighbour, statistics `v2_120_nearest`.

    Args:
        names: the bands.
        xla: compile the layers into one kernel.
    """
    import keras
    import tensorflow as tf

    from bigearthnet_tf.tasks import assembly

    model = assembly.build_model("resnet_test", bands=names)
    stack = model.get_layer("preprocessing_stack")
    return tf.function(keras.Model(model.inputs, stack.output), jit_compile=xla)


def compare(stored: Stored, repeats: int) -> Rates:
    """Measures all loaders on the same patches."""
    import tensorflow as tf

    plain, compiled = (first_layers(stored.names, xla) for xla in (False, True))
    with ExitStack() as stack:
        native, as_float = (
            stack.enter_context(
                old_recipes.LmdbLoader(
                    stored.lmdb, stored.entries, stored.names, BATCH, as_float=as_float
                )
            )
            for as_float in (False, True)
        )
        sources = {
            BARE: partial(bare, stored, None),
            PARALLEL: partial(bare, stored, tf.data.AUTOTUNE),
            IN_ORDER: partial(ours, stored, 0),
            SHUFFLED: partial(ours, stored, SHUFFLE),
            OLD: partial(
                old_recipes.int64_batches, stored.old_file, stored.names, BATCH
            ),
            REBEN: partial(
                old_recipes.reben_batches,
                stored.lmdb,
                stored.entries,
                stored.names,
                BATCH,
            ),
            LMDB: partial(iter, native),
            FLOAT: partial(ours_to_float, stored, plain),
            FLOAT_XLA: partial(ours_to_float, stored, compiled),
            LMDB_FLOAT: partial(iter, as_float),
        }
        cases = [
            Case(name, partial(measure, source)) for name, source in sources.items()
        ]
        return conversion.interleave(cases, repeats)


def describe(rates: Rates) -> str:
    """Returns both tables of a set of bands, and how the targets stand."""
    floats = {name: rates[name] for name in (REBEN, LMDB_FLOAT, FLOAT, FLOAT_XLA)}
    ours = (FLOAT, FLOAT_XLA, LMDB_FLOAT)
    natives = {name: values for name, values in rates.items() if name not in ours}
    reached = [
        f"- {better}: {conversion.ratio(rates[better], rates[other]):.2f} times "
        f"{other} (target: {target})"
        for other, better, target in TARGETS
    ]
    return "\n\n".join(
        [
            "Host input: until a batch leaves the host.",
            conversion.table(natives, NATIVE),
            "To standardised float32 (64, 120, 120, bands), all work counted:",
            conversion.table(floats, {"times reBEN": REBEN}),
            "\n".join(reached),
        ]
    )


def read_epoch(shards: list[str], band_set: str) -> None:
    """Reads every record once, shuffled, for the measurement of its memory."""
    console.load_tensorflow()
    from bigearthnet_tf.data import pipeline

    for _ in pipeline.load_dataset(
        shards, BATCH, band_set, shuffle_buffer_size=SHUFFLE
    ):
        pass


def main() -> None:
    """Runs the command line."""
    arguments = conversion.parse_arguments(__doc__)
    console.load_tensorflow()
    sections, numbers = {}, {}
    with tempfile.TemporaryDirectory() as temporary:
        lmdb = Path(temporary) / "lmdb"
        archive, entries = conversion.open_sample(arguments.archive, arguments.patches)
        with LmdbWriter(lmdb, "benchmark") as writer:
            for entry in entries:
                writer.write(archive.read(entry))
        for band_set in ("s2", "all"):
            stored = store(arguments, band_set, Path(temporary) / band_set, lmdb)
            half = stored.shards[: len(stored.shards) // 2]
            peaks = {
                f"{len(shards)} shards": conversion.peak_memory(
                    read_epoch, shards, band_set
                )
                for shards in (half, stored.shards)
            }
            rates = compare(stored, arguments.repeats)
            heading = f"{len(stored.names)} bands (`{band_set}`)"
            sections[heading] = describe(rates)
            sections[f"Peak memory, {heading}"] = conversion.memory_table(
                peaks, f"an epoch of shards of {SHARD_MB} MB, {SHUFFLE} to shuffle"
            )
            numbers[band_set] = {"patches_per_second": rates, "peak_bytes": peaks}
    conversion.report(arguments, sections, numbers)


if __name__ == "__main__":
    console.run(main)
