"""What is known of patches besides their pixels: v1 JSON, v2 tables, name lists."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
import pyarrow as pa
from pyarrow import parquet

from bigearthnet_tf import files, tables
from bigearthnet_tf.archive import labels, metadata_csv, names, pairs, splits
from bigearthnet_tf.archive.patch import Patch, PatchEntry
from bigearthnet_tf.registry import nearest_names

T = TypeVar("T")

REQUIRED_COLUMNS = ("patch_id", "labels", "split", "s1_name")
SPLITS = ("train", "val", "test")
# Columns and row groups of the published file.
PUBLISHED = pa.schema(
    [
        ("patch_id", pa.string()),
        ("labels", pa.list_(pa.string())),
        ("split", pa.string()),
        ("country", pa.string()),
        ("s1_name", pa.string()),
        ("s2v1_name", pa.string()),
        ("contains_seasonal_snow", pa.bool_()),
        ("contains_cloud_or_shadow", pa.bool_()),
    ]
)
_ROW_GROUP = 122_880
# In the schema of what this package writes.
_MARK = {b"writer": b"bigearthnet_tf"}
_TEXTS = ("patch_id", "split", "country", "s1_name", "s2v1_name")
_FORMS = {
    **dict.fromkeys(_TEXTS, tables.TEXT),
    "labels": tables.TEXTS,
    **dict.fromkeys(
        ("contains_seasonal_snow", "contains_cloud_or_shadow"), tables.TRUTH
    ),
}


@dataclass(frozen=True)
class PatchMetadata:
    """What the archive says of one patch.

    Attributes:
        labels: label names of the archive's own nomenclature.
        bounds: left, bottom, right, top, in metres.
        crs: the coordinate system; WKT in v1, `"EPSG:n"` in v2.
        acquired: UTC, without a time zone.
        corresponding_s2: name of the Sentinel-2 partner, in the JSON of Sentinel-1.
        source: the product that the patch was cut from; None in v2.
    """

    labels: tuple[str, ...]
    bounds: tuple[float, float, float, float]
    crs: str
    acquired: datetime
    corresponding_s2: str | None = None
    source: str | None = None


def read_v1_json(path: Path | str) -> PatchMetadata:
    """Returns the content of a `*_labels_metadata.json` of v1.

    The files of Sentinel-1 call the lower edge `lly` and the time
    `acquisition_time`, those of Sentinel-2 `lry` and `acquisition_date`. Keys that
    users have added are ignored.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, a key is missing or of the wrong type, or a label is not
            among the 43; the message names the file.
    """
    try:
        content = files.read_json(path)
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file: extract the patch from the archive again, or "
            "leave it out of the list"
        ) from None

    try:
        return _parse_v1(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _parse_v1(content: Any) -> PatchMetadata:
    edges = _take(content, dict, "coordinates")
    left, right = _take(edges, float, "ulx"), _take(edges, float, "lrx")
    top, bottom = _take(edges, float, "uly"), _take(edges, float, "lry", "lly")
    if not (left < right and bottom < top):
        raise ValueError(f"'coordinates' enclose no area: {edges}")
    return PatchMetadata(
        labels=_take(content, _check_original, "labels"),
        bounds=(left, bottom, right, top),
        crs=_take(content, str, "projection"),
        acquired=_take(
            content, datetime.fromisoformat, "acquisition_date", "acquisition_time"
        ),
        corresponding_s2=content.get("corresponding_s2_patch"),
        source=_take(content, str, "tile_source", "scene_source"),
    )


def _take(content: Any, convert: Callable[[Any], T], *keys: str) -> T:
    """Returns the value of the first of the keys that is there, converted."""
    for key in keys:
        if isinstance(content, dict) and key in content:
            try:
                return convert(content[key])
            except (TypeError, ValueError) as error:
                raise ValueError(f"{key!r}: {error}") from error
    raise ValueError(f"expected the key {' or '.join(map(repr, keys))}, it is missing")


def _check_original(stored: Any) -> tuple[str, ...]:
    if not isinstance(stored, list) or not stored:
        raise ValueError(f"expected a list of labels, got {files.echo(stored)}")
    for name in stored:
        labels.label_index(str(name), labels.ORIGINAL)
    return tuple(stored)


def read_metadata(path: Path | str) -> pd.DataFrame:
    """Returns the metadata table of v2, checked.

    Args:
        path: `metadata.parquet` or
            `metadata_for_patches_with_snow_cloud_or_shadow.parquet`, or a part of
            one.

    Returns:
        One row a patch. `labels` has tuples in CLC order, `split` one of `SPLITS`:
        the `validation` of the file becomes `val` here and nowhere else. The columns
        beyond `REQUIRED_COLUMNS` may be absent.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not a parquet file, a column is missing, or a row is wrong; the
            message names the file and the first patch concerned.
    """
    path = Path(path)
    try:
        table = tables.read_parquet(path, "the parquet file of BigEarthNet v2")
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{path}: no such file: metadata.parquet comes with BigEarthNet v2"
        ) from None
    missing = [name for name in REQUIRED_COLUMNS if name not in table.column_names]
    if missing:
        raise ValueError(
            f"{path}: expected the columns {', '.join(REQUIRED_COLUMNS)}, but "
            f"{', '.join(missing)} is missing: is it the metadata of BigEarthNet v2?"
        )
    if not table.num_rows:
        raise ValueError(f"{path}: expected a row for each patch, got none")
    frame = tables.to_frame(tables.with_forms(table, _FORMS, path), path)
    extra = [name for name in frame if str(name).startswith("__index_level_")]
    return _checked(frame.drop(columns=extra), path)


def _checked(frame: pd.DataFrame, where: Path | str) -> pd.DataFrame:
    """Returns a table as `read_metadata` gives it.

    Raises:
        ValueError: a row is wrong.
    """
    frame["split"] = frame["split"].replace({"validation": "val"})
    _check_rows(frame, where)
    frame["labels"] = _order_labels(frame, where)
    if "country" in frame:
        frame["country"] = frame["country"].fillna("")
    return frame


def read_tables(paths: Sequence[Path | str]) -> pd.DataFrame:
    """Returns several metadata tables as one, such as clean and cloudy patches.

    Args:
        paths: as for `read_metadata`; those that end in `.csv` are one table together,
            see `metadata_csv.read`.

    Raises:
        FileNotFoundError: as for `read_metadata`.
        ValueError: likewise, or a patch is in two tables.
    """
    in_csv = list(filter(metadata_csv.is_csv, paths))
    found = [read_metadata(path) for path in paths if path not in in_csv]
    if in_csv:
        found.append(
            _checked(metadata_csv.read(in_csv), " and ".join(map(str, in_csv)))
        )
    frame = pd.concat(found, ignore_index=True)
    twice = frame["patch_id"].duplicated()
    if twice.any():
        listed = " and ".join(map(str, paths))
        raise ValueError(
            f"{frame['patch_id'][twice].iloc[0]} is in two tables of {listed}: give "
            "each patch once"
        )
    return frame


def _check_rows(frame: pd.DataFrame, path: Path | str) -> None:
    are_ids = _are_names(frame["patch_id"], names.S2_V2_PATTERN)
    are_partners = _are_names(frame["s1_name"], names.S1_PATTERN)
    for wrong, what in (
        (~are_ids, "patch_id is not a v2 patch name"),
        (~are_partners, "s1_name is not a Sentinel-1 patch name"),
        (frame["patch_id"].duplicated(), "patch_id occurs twice"),
        (~frame["split"].isin(SPLITS), "split is not train, validation or test"),
        (
            pairs.disagree(frame["patch_id"], frame["s1_name"]),
            "s1_name is no partner of patch_id (tile, column, row, six days at most)",
        ),
    ):
        if wrong.any():
            row = frame[wrong].iloc[0].to_dict()
            raise ValueError(
                f"{path}: {what} in {int(wrong.sum())} of {len(frame)} rows, first in "
                f"{files.echo(row['patch_id'])} (s1_name {files.echo(row['s1_name'])}, "
                f"split {files.echo(row['split'])})"
            )


def _are_names(column: pd.Series[Any], pattern: str) -> pd.Series[Any]:
    return column.fillna("").astype(str).str.fullmatch(pattern).astype(bool)


def _order_labels(frame: pd.DataFrame, path: Path | str) -> list[tuple[str, ...]]:
    """Returns the labels of each row in CLC order.

    The 480,038 patches have a few thousand sets of labels: each is checked and
    sorted once, and one tuple serves all patches that have it.
    """
    ordered: dict[tuple[str, ...], tuple[str, ...]] = {}
    result = []
    for patch_id, stored in zip(frame["patch_id"], frame["labels"], strict=True):
        try:
            key = () if stored is None else tuple(stored)
            if None in key:
                raise ValueError("expected names of labels, got null")
            if not key:
                raise ValueError("expected at least one label, got none")
            if key not in ordered:
                vector = labels.to_multi_hot(key, labels.BIGEARTHNET_19)
                ordered[key] = labels.from_multi_hot(vector, labels.BIGEARTHNET_19)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path}: labels of {patch_id}: {error}") from error
        result.append(ordered[key])
    return result


def entries_from_metadata(
    frame: pd.DataFrame, split: str | None = None
) -> list[PatchEntry]:
    """Returns the patches of a split, in the order of the table.

    Args:
        frame: from `read_metadata`.
        split: one of `SPLITS`; None for all patches.

    Raises:
        ValueError: no such split, or no patch in it.
    """
    if split is not None:
        if split not in SPLITS:
            raise ValueError(f"unknown split {split!r}: {nearest_names(split, SPLITS)}")
        frame = frame[frame["split"] == split]
    if frame.empty:
        raise ValueError(f"the metadata has no patch of split {split or 'any'!r}")
    if "country" not in frame:
        frame = frame.assign(country="")
    columns = ("patch_id", "s1_name", "labels", "split", "country")
    return [
        PatchEntry(
            name, name_s1, own, labels.BIGEARTHNET_19, own_split, country or None
        )
        for name, name_s1, own, own_split, country in zip(
            *(frame[column] for column in columns), strict=True
        )
    ]


def entry_of(patch: Patch, split: str | None = None) -> PatchEntry:
    """Returns what a patch says of itself, without its pixels.

    Args:
        patch: with its Sentinel-2 name.
        split: the split that it was found in.
    """
    return PatchEntry(
        str(patch.name_s2), patch.name_s1, patch.labels, patch.label_type, split
    )


def write_metadata(
    path: Path | str,
    entries: Iterable[PatchEntry],
    known: pd.DataFrame | None = None,
) -> None:
    """Writes a `metadata.parquet` that the reBEN tools read, for an LMDB of theirs.

    Its columns and their order are those of the published file, the rows are sorted by
    name. Memory: below 1 kB a patch.

    Args:
        path: the file to write.
        entries: the patches, with labels, partner and split.
        known: table of `read_metadata` with what entries do not say: v1 name, snow,
            clouds, and country. Without it these are null, False and null.

    Raises:
        OSError: the file can't be written.
        ValueError: a patch is listed twice or is not of v2, or lacks labels, partner
            or an official split; the message names the first.
    """
    path = Path(path)
    rows = sorted(entries, key=lambda entry: entry.name)
    frame = pd.DataFrame(
        {
            "patch_id": [entry.name for entry in rows],
            "labels": [entry.labels or () for entry in rows],
            "split": [entry.split for entry in rows],
            "country": [entry.country for entry in rows],
            "s1_name": [entry.name_s1 for entry in rows],
        },
        dtype=object,
    )
    if frame.empty:
        raise ValueError(f"{path}: expected patches to write, got none")
    _check_rows(frame, path)
    frame["labels"] = [sorted(own) for own in _order_labels(frame, path)]
    frame["split"] = frame["split"].replace({"val": "validation"})
    _add_known(frame, known)
    table = pa.Table.from_pandas(frame, PUBLISHED, preserve_index=False)
    with files.write_atomically(path) as temporary:
        parquet.write_table(
            table.replace_schema_metadata(_MARK),
            temporary,
            row_group_size=_ROW_GROUP,
            compression="zstd",
        )


def is_written(path: Path) -> bool:
    """Tells whether `write_metadata` has written a file; the published one is not."""
    try:
        found = parquet.read_schema(path).metadata or {}
    except (OSError, ValueError):  # ArrowInvalid is the latter
        return False
    return _MARK.items() <= found.items()


def _add_known(frame: pd.DataFrame, known: pd.DataFrame | None) -> None:
    """Adds the published columns that entries do not have."""
    found = pd.DataFrame(index=frame["patch_id"])
    if known is not None:
        found = known.set_index("patch_id").reindex(frame["patch_id"])
    nothing = pd.Series([None] * len(frame), dtype=object)
    for column in ("country", "s2v1_name"):
        own = frame.get(column, nothing)
        frame[column] = [
            mine or other
            for mine, other in zip(own, found.get(column, nothing), strict=True)
        ]
    for column in ("contains_seasonal_snow", "contains_cloud_or_shadow"):
        frame[column] = found.get(column, nothing).eq(True).tolist()


def read_name_list(path: Path | str) -> list[str]:
    """Returns the patch names of a list, such as `patches_with_seasonal_snow.csv`.

    Args:
        path: one name a line, no header; blank lines and CRLF are accepted.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a line is not a patch name; the message gives file and line.
    """
    result = []
    for where, fields in splits.read_rows(path):
        try:
            result.append(names.parse_name(",".join(fields)).name)
        except ValueError as error:
            raise ValueError(f"{where}: {error}") from error
    return result
