"""The manifest beside shards of pixel time series.

What the manifest of patches is to patches, with what series need beside: the place and
the dates of each tile, the rule by which pixels count as valid, and how many do in
each record, so that lengths and places in the order are known before anything is read.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal

import numpy as np
import pydantic
from numpy.typing import NDArray
from rasterio import Affine

from bigearthnet_tf.records import manifest, storage

SCHEMA_VERSION = 1
Kind = Literal["blocks", "points"]
Statistics = Literal["measured", "files"]

# reflectance = digital number x scale + offset, once what baseline 04.00 added is
# subtracted, as `archive.tile_geotiff` does.
UNITS, SCALE, OFFSET = "digital numbers", 1e-4, 0.0


class Moments(pydantic.BaseModel):
    """Sums over the usable observations, whole numbers and so exact.

    Attributes:
        count: observations.
        sums: of the digital numbers of each band.
        squares: of their squares.
    """

    model_config = pydantic.ConfigDict(frozen=True, strict=True)

    count: int
    sums: list[int]
    squares: list[int]

    @classmethod
    def of(cls, observations: NDArray[np.uint16]) -> Moments:
        """Returns the sums of (observations, bands), fewer than 2^32 observations."""
        wide = observations.astype(np.uint64)
        return cls(
            count=len(wide),
            sums=wide.sum(axis=0).tolist(),
            squares=(wide * wide).sum(axis=0).tolist(),
        )

    @classmethod
    def total(cls, parts: Sequence[Moments]) -> Moments:
        """Returns the sums over several parts, at least one."""
        return cls(
            count=sum(part.count for part in parts),
            sums=[sum(of) for of in zip(*(p.sums for p in parts), strict=True)],
            squares=[sum(of) for of in zip(*(p.squares for p in parts), strict=True)],
        )

    @property
    def mean(self) -> list[float]:
        """Mean of each band, correctly rounded; NaN without observations."""
        return [each / self.count if self.count else math.nan for each in self.sums]

    @property
    def std(self) -> list[float]:
        """Standard deviation of each band over all observations (ddof 0)."""
        n = self.count
        if not n:
            return [math.nan] * len(self.sums)
        pairs = zip(self.sums, self.squares, strict=True)
        # The difference of the two is taken before anything is rounded.
        return [math.sqrt((n * q - s * s) / (n * n)) for s, q in pairs]


def pool(
    parts: Sequence[tuple[int, Sequence[float], Sequence[float]]],
) -> tuple[list[float], list[float]]:
    """Returns mean and standard deviation (ddof 0) of several groups taken together.

    Those of groups that are all alike are kept to the last digit.

    Args:
        parts: number of observations, means and deviations of each, (bands,).
    """
    weighted = [(count, mean, std) for count, mean, std in parts if count]
    _, first_mean, first_std = weighted[0]
    if all((*m, *s) == (*first_mean, *first_std) for _, m, s in weighted):
        return list(first_mean), list(first_std)
    weights = np.array([count for count, _, _ in weighted], np.float64)[:, None]
    means, stds = (np.array([part[i] for part in weighted]) for i in (1, 2))
    mean = (weights * means).sum(axis=0) / weights.sum()
    # Of the groups within, and of their means around the common one.
    squares = stds**2 + (means - mean) ** 2
    std = np.sqrt((weights * squares).sum(axis=0) / weights.sum())
    return mean.tolist(), std.tolist()


class TileFacts(pydantic.BaseModel):
    """Where a tile lies, and when it was seen.

    Attributes:
        crs: WKT; None where nobody has told it.
        transform: a to f of rasterio's `Affine`; likewise.
        height: rows of the whole tile.
        width: columns.
        doys: day of the year of each acquisition.
        years: likewise, 0 where unknown.
        generated: whether `bigearthnet-tf sample` drew it.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    crs: str | None
    transform: tuple[float, float, float, float, float, float] | None
    height: int
    width: int
    doys: list[int]
    years: list[int]
    generated: bool = False

    @property
    def affine(self) -> Affine | None:
        """The transform, from (column, row) to map coordinates."""
        return None if self.transform is None else Affine(*self.transform)


class SeriesShard(manifest.Shard):
    """One file of series.

    Attributes:
        valid: pixels of each record that have enough usable dates.
        labelled: how many of those have a label.
    """

    valid: list[int]
    labelled: list[int]


class SeriesManifest(pydantic.BaseModel):
    """`<split>.manifest.json` of pixel time series.

    Attributes:
        kind: `blocks` of pixels, or single `points`.
        bands: names, in the order of the records.
        mean: that standardises the bands, in digital numbers.
        std: likewise.
        statistics: where these come from: measured on the usable observations of all
            records, or pooled from the files of the tiles.
        min_valid: a pixel is valid with more usable dates than that.
        classes: codes of labels with their names.
        block_side: side of a block in pixels; 1 for points.
        plan: fingerprint of what was asked for.
        source: `provenance.digest` of the files of the tiles; empty where it was not
            kept.
        generated: whether one of the tiles is.
    """

    model_config = pydantic.ConfigDict(frozen=True)

    kind: Kind
    schema_version: int
    tool_version: str
    split: str
    bands: list[str]
    units: str
    scale: float
    offset: float
    mean: list[pydantic.FiniteFloat]
    std: list[pydantic.FiniteFloat]
    moments: Moments
    min_valid: int
    classes: dict[int, str]
    block_side: int
    tiles: dict[str, TileFacts]
    num_records: int
    num_pixels: int
    num_labelled: int
    seed: int | None
    plan: str
    shards: list[SeriesShard]
    source: str = ""
    generated: bool = False
    statistics: Statistics = "measured"

    @pydantic.model_validator(mode="after")
    def _fits(self) -> SeriesManifest:
        lengths = {len(self.bands), len(self.mean), len(self.std)}
        if len(lengths) != 1:
            raise ValueError("bands, mean and std differ in length")
        if not min(self.std, default=0) > 0:
            raise ValueError("std must be above 0 in every band")
        for shard in self.shards:
            if {len(shard.valid), len(shard.labelled)} != {shard.num_records}:
                raise ValueError(f"{shard.file}: not one count for each record")
            if min((*shard.valid, *shard.labelled), default=0) < 0:
                raise ValueError(f"{shard.file}: counts of pixels below 0")
        return self

    @pydantic.model_validator(mode="after")
    def _adds_up(self) -> SeriesManifest:
        counts = self.num_records, self.num_pixels, self.num_labelled
        listed = sum(s.num_records for s in self.shards), *pixels_of(self.shards)
        if counts != listed:
            raise ValueError(
                "expected the sums of the shards, {} records, {} pixels, {} labelled, "
                "got {}, {}, {}".format(*listed, *counts)
            )
        if not self.num_records:
            raise ValueError("expected at least one record, got none")
        return self


def describes_series(path: storage.StrPath) -> bool:
    """Tells whether a manifest speaks of time series; False if it can't be read."""
    try:
        content = storage.read_object(path)
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and content.get("kind") in ("blocks", "points")


def load(path: storage.StrPath) -> SeriesManifest:
    """Reads a manifest.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a manifest of this schema, or with statistics that are not
            finite; says what is wrong.
    """
    again = "write the records again with bigearthnet-tf tiles"
    try:
        result = SeriesManifest.model_validate(storage.read_object(path))
    except pydantic.ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(str(part) for part in fault["loc"])
        raise ValueError(
            f"{path}: not a manifest of time series that this version reads "
            f"({key}{': ' if key else ''}{fault['msg']}); {again}"
        ) from None
    if result.schema_version != SCHEMA_VERSION:
        raise ValueError(
            f"{path}: schema version {result.schema_version}, not {SCHEMA_VERSION}; "
            f"{again}"
        )
    return result


def pixels_of(shards: Iterable[SeriesShard]) -> tuple[int, int]:
    """Returns the numbers of valid pixels and of those with a label."""
    shards = list(shards)
    return (
        sum(sum(shard.valid) for shard in shards),
        sum(sum(shard.labelled) for shard in shards),
    )
