"""Shards become tensors, whichever form their records have."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf import console
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive import pairs
from bigearthnet_tf.records import agreement, frames, manifest, schema, storage

logger = logging.getLogger(__name__)

# Records in memory at once while their labels are counted, 18 MB with both sensors.
COUNTED_AT_ONCE = 64

# Maps a string tensor (batch,) to band groups and labels.
Parse = Callable[[tf.Tensor], tuple[dict[str, tf.Tensor], tf.Tensor]]


@dataclass(frozen=True)
class RecordSource:
    """The shards of one split, found and checked.

    Attributes:
        files: paths of the shards, sorted.
        counts: number of records in each.
        form: how the records are laid out.
        archive_version: `v1` or `v2`; older records are of v1.
    """

    files: tuple[str, ...]
    counts: tuple[int, ...]
    form: schema.RecordForm
    archive_version: str

    @property
    def num_records(self) -> int:
        """Number of records in all shards."""
        return sum(self.counts)


def open_records(patterns: Sequence[str] | str) -> RecordSource:
    """Finds shards, counts their records and recognises their form.

    Reads a few bytes of each file only: a shard with a manifest is compared with it
    in size, one without is walked from frame to frame.

    Args:
        patterns: paths, wildcards allowed.

    Raises:
        FileNotFoundError: a pattern matches nothing, or a shard of a manifest is gone.
        ValueError: a wildcard matches some shards of a split only, a shard is
            truncated, empty or foreign, or the shards differ in form.
    """
    paths = _expand([patterns] if isinstance(patterns, str) else list(patterns))
    counts, versions, forms = [], set(), {}
    for path in paths:
        described = manifest.find_manifest(path)
        facts = None if described is None else manifest.load(described)
        counts.append(
            count_records(path) if facts is None else _checked_count(path, facts)
        )
        if counts[-1]:
            first = _first_record(path)
            forms[path] = schema.recognise(first, path)
            versions.add(agreement.check_first(first, forms[path], facts, path))
        if described is None and path in forms and forms[path].encoding == "bytes":
            raise ValueError(
                f"{path}: no manifest beside it that names it; the preparation was "
                "not finished, or the manifest was not copied along with its shards"
            )
    if not forms:
        raise ValueError(f"{paths[0]}: no records in these files; prepare them again")
    if len(set(forms.values())) > 1 or len(versions) > 1:
        raise ValueError(
            f"{paths[0]} and the files beside it hold records of different forms or "
            "archives; train on one kind, or prepare them again together"
        )
    return RecordSource(
        tuple(paths), tuple(counts), next(iter(forms.values())), versions.pop()
    )


def count_records(path: str) -> int:
    """Counts the records of a file by walking from frame to frame.

    Raises:
        ValueError: the file ends within a record, or is no TFRecord file.
    """
    return sum(1 for _ in frames.walk(path))


def read_names(source: RecordSource) -> list[str]:
    """Returns the patch names of all records, in the order of the files.

    Sentinel-2 names, or Sentinel-1 names where there are no others.
    """
    feature = source.form.name_s2 or source.form.name_s1
    if feature is None:
        return [f"record {i}" for i in range(source.num_records)]
    return _read_texts(source, [feature])[feature]


def read_partner_names(source: RecordSource) -> list[str]:
    """Returns the Sentinel-1 names of all records, empty where they have none.

    Raises:
        ValueError: the names of a record are no pair.
    """
    feature, name_s2 = source.form.name_s1, source.form.name_s2
    if feature is None:
        return [""] * source.num_records
    found = _read_texts(source, [feature, *filter(None, [name_s2])])
    if name_s2 is not None:
        check_pairs(source, found[name_s2], found[feature])
    return found[feature]


def check_pairs(
    source: RecordSource,
    names_s2: Sequence[str],
    names_s1: Sequence[str],
    first: int = 0,
) -> None:
    """Refuses records whose names are no pair.

    Args:
        source: the records.
        names_s2: of some that follow one another.
        names_s1: likewise.
        first: number of the first of them among all.

    Raises:
        ValueError: names shard and record.
    """
    for number, names in enumerate(zip(names_s2, names_s1, strict=True), first):
        if pairs.mismatch(*names) is not None:
            pairs.check(*names, locate(source, number))


def locate(source: RecordSource, number: int) -> str:
    """Returns shard and number of a record in it, by its number among all."""
    for path, count in zip(source.files, source.counts, strict=True):
        if number < count:
            return f"{path}: record {number}"
        number -= count
    raise ValueError(f"no record {number} in {', '.join(source.files)}")


def _read_texts(source: RecordSource, features: Sequence[str]) -> dict[str, list[str]]:
    spec = {name: tf.io.FixedLenFeature((), tf.string, "") for name in features}
    dataset = tf.data.TFRecordDataset(list(source.files)).batch(1024)
    found: dict[str, list[str]] = {name: [] for name in features}
    for batch in dataset.map(lambda rows: tf.io.parse_example(rows, spec)):
        for name, texts in batch.items():
            found[name] += [text.decode() for text in texts.numpy()]
    return found


def count_labels(source: RecordSource, label_type: str) -> NDArray[np.int64]:
    """Returns how many records have each label.

    Reads all records and decodes nothing of them but their labels.

    Args:
        source: the records.
        label_type: the nomenclature of the labels.

    Returns:
        (labels,) int64, in O43 or O19 order.

    Raises:
        ValueError: the records give no such labels.
        tf.errors.DataLossError: a record is damaged.
    """
    feature, order = source.form.label_source(label_type, source.files[0])
    convert_labels = _label_converter(order, label_type)
    spec = {feature: _label_spec(order)}

    def multi_hot(serialized: tf.Tensor) -> tf.Tensor:
        return convert_labels(tf.io.parse_example(serialized, spec)[feature])

    dataset = tf.data.TFRecordDataset(list(source.files)).batch(COUNTED_AT_ONCE)
    dataset = dataset.map(multi_hot).prefetch(1)
    kind = label_facts.canonical_label_type(label_type)
    counts = np.zeros(len(label_facts.LABELS[kind]), np.int64)
    with console.progress(
        total=source.num_records, desc="counting labels", unit="record", leave=False
    ) as bar:
        for labels in dataset.as_numpy_iterator():
            counts += labels.sum(axis=0).astype(np.int64)
            bar.update(len(labels))
    return counts


def parser(source: RecordSource, bands: Sequence[str], label_type: str) -> Parse:
    """Returns the function that turns serialised records into tensors.

    It maps a string tensor (batch,) to band groups, each (batch, bands, rows,
    columns) in the native dtype with its bands in channel order, and to the
    multi-hot labels (batch, labels), float32, in O43 or O19 order.

    Args:
        source: what the records are like.
        bands: the bands to decode; others are not touched.
        label_type: the nomenclature of the labels.

    Raises:
        ValueError: the records lack a band or give no such labels.
    """
    where = source.files[0]
    source.form.check_bands(tuple(bands), where)
    label_feature, order = source.form.label_source(label_type, where)
    groups = band_facts.group_bands(bands)
    convert_labels = _label_converter(order, label_type)
    label_spec = {label_feature: _label_spec(order)}

    def parse(serialized: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        images, labels = decode(source, serialized, groups, label_spec)
        return images, convert_labels(labels[label_feature])

    return parse


def decode(
    source: RecordSource,
    serialized: tf.Tensor,
    groups: dict[str, tuple[str, ...]],
    spec: dict[str, tf.io.FixedLenFeature],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    """Returns the band groups of records, and other features as they are parsed.

    Args:
        source: what the records are like.
        serialized: string (batch,).
        groups: bands by the name of their group.
        spec: of the other features.
    """
    decoder = _decode_bytes if source.form.encoding == "bytes" else _decode_int64
    return decoder(serialized, groups, spec)


def _decode_bytes(
    serialized: tf.Tensor,
    groups: dict[str, tuple[str, ...]],
    label_spec: dict[str, tf.io.FixedLenFeature],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    bands = [band for group in groups.values() for band in group]
    spec = dict.fromkeys(bands, tf.io.FixedLenFeature((), tf.string)) | label_spec
    parsed = tf.io.parse_example(serialized, spec)
    images = {}
    for group, names in groups.items():
        facts = band_facts.BANDS[names[0]]
        # One decode_raw for the group: a Python list of bands is 15 times slower.
        stacked = tf.stack([parsed[name] for name in names], axis=1)
        flat = tf.io.decode_raw(stacked, facts.dtype, little_endian=True)
        images[group] = tf.reshape(flat, (-1, len(names), facts.pixels, facts.pixels))
    return images, parsed


def _decode_int64(
    serialized: tf.Tensor,
    groups: dict[str, tuple[str, ...]],
    label_spec: dict[str, tf.io.FixedLenFeature],
) -> tuple[dict[str, tf.Tensor], dict[str, tf.Tensor]]:
    spec = dict(label_spec)
    for names in groups.values():
        for name in names:
            facts = band_facts.BANDS[name]
            stored = tf.float32 if facts.dtype == "float32" else tf.int64
            spec[name] = tf.io.FixedLenFeature((facts.pixels, facts.pixels), stored)
    parsed = tf.io.parse_example(serialized, spec)
    images = {}
    for group, names in groups.items():
        stacked = tf.stack([parsed[name] for name in names], axis=1)
        if stacked.dtype == tf.int64:
            # A cast would take the lowest 16 bits of others.
            beyond = tf.reduce_any(tf.bitwise.right_shift(stacked, 16) != 0)
            check = tf.debugging.Assert(~beyond, [schema.WRONG_VALUES])
            with tf.control_dependencies([check]):
                stacked = tf.cast(stacked, tf.uint16)
        images[group] = stacked
    return images, parsed


def _label_spec(order: str) -> tf.io.FixedLenFeature:
    return tf.io.FixedLenFeature((len(label_facts.ORDERS[order]),), tf.int64)


def _label_converter(order: str, label_type: str) -> Callable[[tf.Tensor], tf.Tensor]:
    """Returns what turns stored multi-hot vectors into those of `label_type`."""
    kind = label_facts.canonical_label_type(label_type)
    names = label_facts.ORDERS[order]
    target = label_facts.LABELS[kind]
    if len(names) == len(target):
        gather = np.array([names.index(name) for name in target])
        return lambda stored: tf.gather(_as_floats(stored), gather, axis=1)
    rows = [label_facts.LABELS["original"].index(name) for name in names]
    matrix = label_facts.conversion_matrix()[rows].astype(np.float32)
    return lambda stored: tf.minimum(_as_floats(stored) @ matrix, 1.0)


def _as_floats(stored: tf.Tensor) -> tf.Tensor:
    is_label = tf.reduce_all((stored == 0) | (stored == 1))
    check = tf.debugging.Assert(is_label, [schema.WRONG_LABELS])
    with tf.control_dependencies([check]):
        return tf.cast(stored, tf.float32)


def _expand(patterns: list[str]) -> list[str]:
    paths: list[str] = []
    for pattern in patterns:
        # `train*` is meant for the shards, not for the manifest beside them.
        found = storage.glob(pattern)
        matches = [path for path in found if not path.endswith((".json", ".csv"))]
        if not matches:
            raise FileNotFoundError(
                f"{pattern}: no such records; paths are relative to the working "
                "directory, and prep_splits.py makes records"
            )
        if len(matches) > 1 or matches[0] != pattern:
            _check_complete(matches)
        paths += matches
    return list(dict.fromkeys(paths))


def _check_complete(matches: list[str]) -> None:
    """Refuses a wildcard that misses shards which a manifest promises."""
    described = {path for match in matches if (path := manifest.find_manifest(match))}
    for path in described:
        for shard in manifest.load(path).shards:
            promised = storage.join(storage.folder_of(path), shard.file)
            if promised in matches:
                continue
            if storage.exists(promised):
                raise ValueError(
                    f"{promised}: {storage.name_of(path)} names this shard, but the "
                    "pattern leaves it out; name all shards of the split, or a single "
                    "one without a wildcard"
                )
            raise FileNotFoundError(
                f"{promised}: {storage.name_of(path)} names this shard, but it is "
                "not there; prepare the records again"
            )


def _checked_count(path: str, facts: manifest.Manifest) -> int:
    name = storage.name_of(path)
    shard = next((s for s in facts.shards if s.file == name), None)
    if shard is None:
        raise ValueError(
            f"{path}: the manifest of split {facts.split!r} does not name this shard; "
            "it is left over from another preparation, remove it"
        )
    size = storage.size(path)
    if size != shard.num_bytes:
        raise ValueError(
            f"{path}: expected {shard.num_bytes} bytes by its manifest, got {size}; "
            "the shard is truncated or foreign, prepare it again"
        )
    return shard.num_records


def _first_record(path: str) -> bytes:
    return next(frames.read_all(path))
