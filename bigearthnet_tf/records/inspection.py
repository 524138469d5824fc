"""What shards hold, told from their sizes, manifests and first records.

Nothing here reads a shard from end to end but the search for a name; `verification`
does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import tensorflow as tf

from bigearthnet_tf import console
from bigearthnet_tf.archive import composites
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.records import agreement, frames, manifest, reader, schema, storage

_MANIFEST = ".manifest.json"
_BESIDE = (".json", ".csv")  # what lies beside shards


@dataclass(frozen=True)
class Shard:
    """A file of records.

    Attributes:
        path: of the file.
        num_bytes: its size.
        num_records: by its manifest if that agrees in size, counted otherwise; None
            if that can't be told.
        form: how its first record is laid out; None if that can't be told.
        fault: what is wrong with it, in one line that names the file.
    """

    path: str
    num_bytes: int
    num_records: int | None
    form: schema.RecordForm | None
    fault: str | None


@dataclass(frozen=True)
class Split:
    """The shards of a split that were asked for.

    Attributes:
        name: of the split; of the file, where that has no name of a shard.
        folder: where they lie.
        shards: in the order of their names.
        manifest: of the split; None without a readable one.
        faults: what is wrong with the split beside its shards: one line each.
    """

    name: str
    folder: str
    shards: tuple[Shard, ...]
    manifest: manifest.Manifest | None
    faults: tuple[str, ...]

    @property
    def form(self) -> schema.RecordForm | None:
        """How the records are laid out; None if that can't be told."""
        return next((shard.form for shard in self.shards if shard.form), None)

    @property
    def num_records(self) -> int:
        """Number of records, as far as that can be told."""
        return sum(shard.num_records or 0 for shard in self.shards)

    @property
    def num_bytes(self) -> int:
        """Bytes of all shards."""
        return sum(shard.num_bytes for shard in self.shards)


def look(paths: Sequence[str]) -> list[Split]:
    """Tells what files of records hold, reading a few bytes of each.

    Args:
        paths: files, wildcards, or folders, which stand for all splits in them.

    Returns:
        The splits, by folder and name; what is wrong with them stands in their faults.

    Raises:
        FileNotFoundError: a path matches nothing, or there are no records.
    """
    by_split: dict[tuple[str, str], list[str]] = {}
    for path in dict.fromkeys(itertools.chain.from_iterable(map(_expand, paths))):
        name = storage.name_of(path)
        split = manifest.split_of(path) or name.removesuffix(".tfrecord")
        key = storage.folder_of(path), split.removesuffix(_MANIFEST)
        members = by_split.setdefault(key, [])
        if not path.endswith(_MANIFEST):
            members.append(path)
    if not by_split:
        raise FileNotFoundError(
            f"{', '.join(paths)}: no records there; prep_splits.py makes records"
        )
    return [_look_at_split(*key, files) for key, files in sorted(by_split.items())]


def promised(split: Split, shard: Shard) -> manifest.Shard | None:
    """Returns what the manifest says of a shard; None if it does not name it."""
    listed = split.manifest.shards if split.manifest else []
    name = storage.name_of(shard.path)
    return next((facts for facts in listed if facts.file == name), None)


def count_records(splits: Sequence[Split]) -> int:
    """Returns the number of all records.

    Raises:
        ValueError: a file can't be counted; says why.
    """
    return sum(map(_countable, _shards(splits)))


def read_record(splits: Sequence[Split], number: int) -> tuple[str, Patch]:
    """Returns a record by its number among all, counted from 0, and where it lies.

    Raises:
        ValueError: no such number, or the file or the record is damaged.
    """
    place = number
    for shard in _shards(splits):
        count = _countable(shard)
        if 0 <= place < count:
            return _read_at(shard.path, place)
        place -= count
    total = count_records(splits)
    raise ValueError(f"no record {number}: there are {total}, counted from 0")


def find_record(
    splits: Sequence[Split], name: str, on_record: Any = None
) -> tuple[str, Patch]:
    """Returns the record of a patch, by its Sentinel-2 or Sentinel-1 name.

    Reads the records in their order, one in memory at a time, until it is found.

    Args:
        splits: from `look`.
        name: of the patch.
        on_record: called after each record.

    Raises:
        ValueError: there is none, or a record on the way is damaged.
    """
    needle, count = name.encode(), 0
    for shard in _shards(splits):
        for number, serialized in enumerate(frames.read_all(shard.path)):
            # Parsing takes far longer than this search.
            if needle in serialized:
                where = f"{shard.path}: record {number}"
                form = schema.recognise(serialized, where)
                patch = schema.decode(serialized, form, where)
                if name in (patch.name_s2, patch.name_s1):
                    return where, patch
            count += 1
            if on_record is not None:
                on_record()
    raise ValueError(f"no patch {name} among {count} records; names match exactly")


def describe_record(patch: Patch) -> dict[str, Any]:
    """Returns what a record holds, as JSON takes it.

    Returns:
        Names, labels and their nomenclature, for each band its dtype, shape, minimum,
        mean and maximum in stored units, and the share of each CLC code in the
        reference map.
    """
    facts: dict[str, Any] = {
        "name_s2": patch.name_s2,
        "name_s1": patch.name_s1,
        "label_type": patch.label_type,
        "labels": list(patch.labels),
        "bands": {
            name: {
                "dtype": str(raster.dtype),
                "shape": list(raster.shape),
                "min": raster.min().item(),
                "mean": raster.mean(dtype=float).item(),
                "max": raster.max().item(),
            }
            for name, raster in patch.bands.items()
        },
    }
    if patch.reference_map is not None:
        codes = patch.reference_map
        known = composites.labels_by_code(patch.label_type)
        facts["reference_map"] = [
            {
                "code": code,
                "label": known[code].name if code in known else None,
                "share": float((codes == code).mean()),
            }
            for code in sorted(set(codes.ravel().tolist()))
        ]
    return facts


def _expand(path: str) -> list[str]:
    """Returns the shards and manifests that a path stands for."""
    matches = storage.glob(path)
    if not matches:
        raise FileNotFoundError(
            f"{path}: no such records; paths are relative to the working directory, "
            "and prep_splits.py makes records"
        )
    found: list[str] = []
    for match in matches:
        if storage.name_of(match).startswith(".") and match != path:
            continue  # as a shell does
        if tf.io.gfile.isdir(match):
            found += _list_folder(match)
        elif match.endswith(_MANIFEST) or not match.endswith(_BESIDE):
            found.append(match)
    return found


def _list_folder(folder: str) -> list[str]:
    names = [name for name in storage.list_folder(folder) if not name.startswith(".")]
    kept = [name for name in names if ".tfrecord" in name or name.endswith(_MANIFEST)]
    return [storage.join(folder, name) for name in kept]


def _look_at_split(folder: str, name: str, files: list[str]) -> Split:
    path = manifest.manifest_path(folder, name)
    described, faults = None, []
    try:
        described = manifest.load(path) if storage.exists(path) else None
    except (ValueError, OSError) as error:
        faults.append(console.describe(error))
    bare = Split(name, folder, (), described, ())
    shards = [_look_at_shard(file, bare, not faults) for file in sorted(files)]
    if described is not None:
        faults += _check_against_folder(described, path, files)
    found = replace(bare, shards=tuple(shards), faults=tuple(faults))
    return replace(found, shards=tuple(_check_alike(s, found.form) for s in shards))


def _check_against_folder(
    described: manifest.Manifest, path: str, files: list[str]
) -> Iterator[str]:
    """Yields what a manifest and its folder disagree in, beside the given files."""
    folder, named = storage.folder_of(path), {s.file for s in described.shards}
    present = manifest.shards_of(folder, described.split)
    for name in sorted(named - {storage.name_of(shard) for shard in present}):
        yield (
            f"{storage.join(folder, name)}: {storage.name_of(path)} names this shard, "
            "but it is not there; copy it, or prepare the records again"
        )
    given = {storage.name_of(file) for file in files}
    for shard in present:
        if storage.name_of(shard) not in named | given:
            yield _excess(shard, path)


def _excess(shard: str, described: str) -> str:
    return (
        f"{shard}: {storage.name_of(described)} does not name this shard; it is left "
        "over from another preparation, remove it"
    )


def _look_at_shard(path: str, split: Split, expect_manifest: bool) -> Shard:
    found = Shard(path, 0, None, None, None)
    try:
        found = replace(found, num_bytes=storage.size(path))
        promise = promised(split, found)
        if promise and promise.num_bytes != found.num_bytes:
            raise ValueError(
                f"{path}: expected {promise.num_bytes} bytes by its manifest, got "
                f"{found.num_bytes}; the shard is truncated or foreign, copy it or "
                "prepare it again"
            )
        count = promise.num_records if promise else reader.count_records(path)
        found = replace(found, num_records=count)
        if count:
            first = next(frames.read_all(path))
            form = schema.recognise(first, path)
            found = replace(found, form=form)
            facts = split.manifest if promise else None
            agreement.check_first(first, form, facts, path)
        return replace(found, fault=_fault(found, split, promise, expect_manifest))
    except (ValueError, OSError) as error:
        return replace(found, fault=console.describe(error))


def _fault(
    shard: Shard,
    split: Split,
    promise: manifest.Shard | None,
    expect_manifest: bool,
) -> str | None:
    """Returns what the form of a shard and its manifest disagree in."""
    path, described = shard.path, manifest.manifest_path(split.folder, split.name)
    if split.manifest is not None and promise is None:
        return _excess(path, described)
    if shard.form is None:
        empty = f"{path}: no records in this file; copy it or prepare it again"
        return None if promise else empty
    if split.manifest is None:
        if shard.form.encoding == "bytes" and expect_manifest:
            return (
                f"{path}: no {storage.name_of(described)} beside it; the preparation "
                "was not finished, or the manifest was not copied along"
            )
        return None
    return None


def _check_alike(shard: Shard, form: schema.RecordForm | None) -> Shard:
    """Returns a shard, faulty if it is laid out unlike the first of its split."""
    if shard.fault or not (shard.form and form) or schema.same_layout(shard.form, form):
        return shard
    fault = (
        f"{shard.path}: holds {schema.describe(shard.form)}, the shards before it hold "
        f"{schema.describe(form)}; prepare them again together"
    )
    return replace(shard, fault=fault)


def _shards(splits: Sequence[Split]) -> list[Shard]:
    return [shard for split in splits for shard in split.shards]


def _countable(shard: Shard) -> int:
    if shard.num_records is None:
        raise ValueError(shard.fault)
    return shard.num_records


def _read_at(path: str, place: int) -> tuple[str, Patch]:
    where = f"{path}: record {place}"
    with storage.python_errors(path), storage.open_to_read(path) as file:
        frame = next(itertools.islice(frames.walk(path), place, None))
        serialized = frames.read_at(file, frame, where)
    return where, schema.decode(serialized, schema.recognise(serialized, where), where)
