"""Statistics of the bands over all records of a split, in one pass, in parallel."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import threadpoolctl

import bigearthnet_tf
from bigearthnet_tf import resampling
from bigearthnet_tf.archive import accumulate
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive.accumulate import Accumulator, Summary
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.records import frames, manifest, pool, schema, storage
from bigearthnet_tf.records.reader import RecordSource
from bigearthnet_tf.resampling import Resampling

logger = logging.getLogger(__name__)

# What goes through NumPy at once: enough to make its calls cheap, 5 MB of pixels.
PATCHES_AT_ONCE = 16

# A band, and how it is resampled; None: as it is stored.
Key = tuple[str, Resampling | None]


@dataclass(frozen=True)
class Measured:
    """The pixels of a split.

    Attributes:
        accumulators: name of each resampling -> band -> what it had.
        facts: what was measured, in JSON's types, for `archive.statistics.write`.
    """

    accumulators: dict[str, dict[str, Accumulator]]
    facts: dict[str, Any]

    def summaries(self, percentages: Sequence[float]) -> dict[str, dict[str, Summary]]:
        """Returns name of each resampling -> band -> statistics.

        Args:
            percentages: of the percentiles, 0 to 100.

        Raises:
            ValueError: a band has not a single finite pixel.
        """
        found: dict[str, dict[str, Summary]] = {}
        for name, of in self.accumulators.items():
            found[name] = {}
            for band, accumulator in of.items():
                if not accumulator.moments.count:
                    raise ValueError(
                        f"{self.facts['source']}: no finite pixel in {band}; leave it "
                        "out with --bands, or prepare the records again"
                    )
                found[name][band] = accumulator.summary(percentages)
        return found


def measure(
    source: RecordSource,
    bands: Sequence[str] | None = None,
    resamplings: Sequence[Resampling | None] = (None,),
    *,
    workers: int = 1,
    on_records: Callable[[int], Any] = lambda count: None,
) -> Measured:
    """Reads all records once and accumulates the pixels of each band.

    Uint16 pixels are counted by value, so that everything about them is exact. Others
    are interpolated, or decibels: their percentiles are within half a bin of a
    histogram, 0.5 digital numbers or 1/512 dB. Pixels that are not finite are left out
    and counted; with interpolation, those too that they reach.

    The shards are merged in their order, so that the result does not depend on the
    number of processes, to the last bit.

    Memory: a process holds `PATCHES_AT_ONCE` patches and 0.5 MB a band and resampling
    (1 MB where it interpolates); this one the same for each shard that has been
    measured before its turn.

    Args:
        source: the records.
        bands: those to measure; None for all that the records have.
        resamplings: to measure the bands at; None for bands as they are stored.
        workers: processes; each takes a shard at a time.
        on_records: called with the number of records done since the last call.

    Raises:
        ValueError: the records lack a band, or one is damaged; says which.
    """
    if bands is None:
        bands = source.form.bands
    source.form.check_bands(tuple(bands), source.files[0])
    names = [band for band in band_facts.BANDS if band in bands]
    keys = {_measured_at(band, to): None for band in names for to in resamplings}
    pass_ = _Pass(replace(source.form, bands=tuple(names), has_map=False), tuple(keys))
    total = pass_.accumulators()
    with pool.Workers(pass_, min(workers, len(source.files))) as crew:
        jobs = dict(enumerate(source.files))
        for result in _in_order(crew.run(_measure_shard, jobs, on_records)):
            _merge(total, result)
    return Measured(
        {
            resampling.name(to): {band: _at(total, band, to) for band in names}
            for to in resamplings
        },
        _facts(source),
    )


@dataclass(frozen=True)
class _Pass:
    """What every process needs to know: the form of the records, what to measure."""

    form: schema.RecordForm
    keys: tuple[Key, ...]

    def accumulators(self) -> dict[Key, Accumulator]:
        """Returns empty ones."""
        return {(band, to): Accumulator(_bins(band, to)) for band, to in self.keys}


def _bins(band: str, to: Resampling | None) -> accumulate.Bins:
    interpolated = to is not None and to.kernel != "nearest"
    return accumulate.bins_for(band_facts.BANDS[band], interpolated)


def _measured_at(band: str, to: Resampling | None) -> Key:
    """Returns where the pixels of a resampled band are counted.

    Those that are repeated equally often have the statistics of the band as it is.
    """
    if to is not None and to.repeats(band_facts.BANDS[band].pixels):
        return band, None
    return band, to


def _at(total: dict[Key, Accumulator], band: str, to: Resampling | None) -> Accumulator:
    """Returns the pixels of a resampled band, repeated ones as often as they are."""
    measured = total[_measured_at(band, to)]
    if to is None or not to.repeats(band_facts.BANDS[band].pixels):
        return measured
    return measured.repeated((to.size // band_facts.BANDS[band].pixels) ** 2)


def _measure_shard(
    wanted: _Pass, path: str, on_record: Callable[[], None]
) -> dict[Key, Accumulator]:
    """Returns what one shard has."""
    found = wanted.accumulators()
    patches = _read(path, wanted.form, on_record)
    # One BLAS thread a process: the matrices are small, and sums keep their order.
    with threadpoolctl.threadpool_limits(1, "blas"):
        while batch := list(itertools.islice(patches, PATCHES_AT_ONCE)):
            for (band, to), accumulator in found.items():
                pixels = np.stack([patch.bands[band] for patch in batch])
                accumulator.add(pixels if to is None else to.apply(pixels))
    return found


def _read(
    path: str, form: schema.RecordForm, on_record: Callable[[], None]
) -> Iterator[Patch]:
    for number, serialized in enumerate(frames.read_all(path)):
        yield schema.decode(serialized, form, f"{path}: record {number}")
        on_record()


def _in_order(results: Iterable[tuple[int, Any]]) -> Iterator[Any]:
    """Yields results numbered from 0 in the order of their numbers."""
    waiting: dict[int, Any] = {}
    turn = 0
    for number, result in results:
        waiting[number] = result
        while turn in waiting:
            yield waiting.pop(turn)
            turn += 1


def _merge(total: dict[Key, Accumulator], part: dict[Key, Accumulator]) -> None:
    for key, accumulator in total.items():
        accumulator.merge(part[key])


def _facts(source: RecordSource) -> dict[str, Any]:
    splits = {manifest.split_of(path) or storage.name_of(path) for path in source.files}
    listed = ", ".join(sorted(splits))
    return {
        "source": f"{source.num_records} patches of BigEarthNet "
        f"{source.archive_version}, {listed}; bigearthnet-tf statistics "
        f"{bigearthnet_tf.__version__}",
        "archive_version": source.archive_version,
        "splits": sorted(splits),
        "num_patches": source.num_records,
        "std_is": "population: the sum of squares is divided by the number of pixels",
        "percentile_is": "linear between neighbours, as numpy.percentile; off by "
        "percentile_error at most",
        "zero_pixels_are": "included",
    }
