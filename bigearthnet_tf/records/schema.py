"""What one record holds, and the older forms that are recognised.

A record is a `tf.train.Example`. Each band is one feature under the band's name:

* form `bytes`, ours: one bytes value, the raster row by row in little-endian
  uint16 (Sentinel-2) or float32 (Sentinel-1);
* form `int64`, that of the TU Berlin projects and balanced-bigearthnet: one int64
  (Sentinel-2) or float (Sentinel-1) a pixel.

Labels are `<label_type>_labels` (strings) and `<label_type>_labels_multi_hot`
(int64), the patch names `patch_name_s2` and `patch_name_s1`; `reference_map` (CLC
codes, uint16, encoded like a band) is there where the archive has it. The older forms
differ in label features and names only; they are told apart by their features, never
by the length of a vector alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive.patch import Patch

NAME_S2, NAME_S1 = "patch_name_s2", "patch_name_s1"
# Schemas A, B and D knew Sentinel-2 alone.
OLD_NAME = "patch_name"
REFERENCE_MAP = "reference_map"
RECORD_FORMATS = ("bytes", "int64")
# What is said of records that have them.
WRONG_VALUES = "values beyond uint16"
WRONG_LABELS = "expected 0 or 1 for each label"


@dataclass(frozen=True)
class RecordForm:
    """How the records of a file are laid out.

    Attributes:
        encoding: `bytes` or `int64`, see above.
        bands: the bands present, in channel order.
        label_features: pairs of a multi-hot feature and the order of its vector,
            a key of `labels.ORDERS`.
        name_s2: the feature with the Sentinel-2 name, None if there is none.
        name_s1: likewise for Sentinel-1.
        has_map: whether the records hold the reference map.
    """

    encoding: str
    bands: tuple[str, ...]
    label_features: tuple[tuple[str, str], ...]
    name_s2: str | None
    name_s1: str | None
    has_map: bool = False

    def label_source(self, label_type: str, where: str) -> tuple[str, str]:
        """Returns the feature and order that labels of `label_type` come from.

        The 19 labels follow from the 43 where only those are stored.

        Raises:
            ValueError: the records hold nothing that gives these labels.
        """
        by_order = {order: feature for feature, order in self.label_features}
        wanted = label_facts.canonical_label_type(label_type)
        usable = (
            ("O43", "S43") if wanted == "original" else ("O19", "B19", "O43", "S43")
        )
        for order in usable:
            if order in by_order:
                return by_order[order], order
        if "B19" in by_order:
            raise ValueError(
                f"{where}: label_type {label_type!r} was asked for, but these records "
                "of balanced-bigearthnet hold 19 labels, under the name of the 43 "
                f"({by_order['B19']}); pass --set label_type=BigEarthNet-19"
            )
        raise ValueError(
            f"{where}: label_type {label_type!r} was asked for, but the records "
            f"hold {', '.join(by_order.values())} only; set label_type to match"
        )

    def check_bands(self, bands: tuple[str, ...], where: str) -> None:
        """Refuses bands that the records lack.

        Raises:
            ValueError: names the missing and the present bands.
        """
        missing = [band for band in bands if band not in self.bands]
        if missing:
            raise ValueError(
                f"{where}: no band {', '.join(missing)} in these records, which hold "
                f"{' '.join(self.bands)}; change bands or modality, or prepare the "
                "records again with that sensor"
            )


def encode(patch: Patch, record_format: str = "bytes") -> bytes:
    """Serialises a patch, byte for byte the same whenever its content is.

    Args:
        patch: bands in native dtype and size; whatever is there is written.
        record_format: `bytes`, or `int64` for the tools of the older projects.

    Returns:
        A serialised `tf.train.Example`. A patch with the 43 original labels
        carries its 19 labels too.
    """
    features = {
        name: _encode_raster(raster, record_format)
        for name, raster in patch.bands.items()
    }
    if patch.reference_map is not None:
        features[REFERENCE_MAP] = _encode_raster(patch.reference_map, record_format)
    features |= _label_features(patch)
    if patch.name_s2:
        features[NAME_S2] = _bytes([patch.name_s2.encode()])
    if patch.name_s1:
        features[NAME_S1] = _bytes([patch.name_s1.encode()])
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def decode(
    serialized: bytes, form: RecordForm, where: str, *, whole: bool = False
) -> Patch:
    """Returns the patch that a record was made of, whichever form it has.

    Args:
        serialized: the record.
        form: how it is laid out, see `recognise`.
        where: file and record, for error messages.
        whole: refuse a record that holds more bands or labels than the form says.

    Returns:
        The patch; of the nomenclatures in the record the one with more labels. Label
        names are in the order in which the record lists them, CLC order without.

    Raises:
        ValueError: a feature is missing, or of another size or range.
    """
    features = tf.train.Example.FromString(serialized).features.feature
    if whole:
        check_form(_form_of(features, where), form, where)
    label_type = "original" if _has_original(form) else "BigEarthNet-19"
    feature, order = form.label_source(label_type, where)
    patch = Patch(
        name_s2=_decode_name(features, form.name_s2),
        name_s1=_decode_name(features, form.name_s1),
        bands={name: _decode_band(features, name, where) for name in form.bands},
        labels=_decode_labels(features, feature, order, label_type, where),
        label_type=label_type,
    )
    if form.has_map:
        raster = _decode_raster(features, REFERENCE_MAP, "uint16", 120, where)
        patch = replace(patch, reference_map=raster)
    return patch


def names_of(serialized: bytes, form: RecordForm) -> tuple[str | None, str | None]:
    """Returns the Sentinel-2 and the Sentinel-1 name in a record, None without one."""
    features = tf.train.Example.FromString(serialized).features.feature
    name_s2, name_s1 = (
        _decode_name(features, name) for name in (form.name_s2, form.name_s1)
    )
    return name_s2, name_s1


def estimate_bytes(
    bands: tuple[str, ...], with_map: bool = False, record_format: str = "bytes"
) -> int:
    """Returns about how many bytes a record takes."""
    facts = [band_facts.BANDS[name] for name in bands]
    pixels = {"float32": 0, "uint16": 120 * 120 * with_map}
    for band in facts:
        pixels[band.dtype] += band.pixels**2
    # A digital number above 127 takes two bytes as a varint too; three above 16383.
    each = 2.0 if record_format == "bytes" else 2.05
    # Feature names, labels and framing.
    return int(pixels["float32"] * 4 + pixels["uint16"] * each) + 700


def recognise(serialized: bytes, where: str) -> RecordForm:
    """Tells how a record is laid out from its features.

    Args:
        serialized: one record of the file.
        where: the file, for error messages.

    Raises:
        ValueError: not an Example, or one of no form known here.
    """
    try:
        example = tf.train.Example.FromString(serialized)
    except Exception as error:  # protobuf's DecodeError is not public
        raise ValueError(
            f"{where}: expected tf.train.Example records of BigEarthNet patches, but "
            "the first record is something else; prepare the records with "
            "prep_splits.py"
        ) from error
    return _form_of(example.features.feature, where)


def same_layout(a: RecordForm, b: RecordForm) -> bool:
    """Tells whether records differ in nothing but which names they carry."""
    return replace(a, name_s1=None, name_s2=None) == replace(
        b, name_s1=None, name_s2=None
    )


def describe(form: RecordForm) -> str:
    """Returns a form in a few words."""
    labels = " and ".join(feature for feature, _ in form.label_features)
    reference_map = " and reference map" if form.has_map else ""
    return f"{form.encoding} records of {' '.join(form.bands)}{reference_map}, {labels}"


def check_form(found: RecordForm, form: RecordForm, where: str) -> None:
    """Refuses a record that is laid out unlike those before it.

    Raises:
        ValueError: says what both hold.
    """
    if not same_layout(found, form):
        raise ValueError(
            f"{where}: holds {describe(found)}, the records before it hold "
            f"{describe(form)}; prepare them again together"
        )


def _form_of(features: Any, where: str) -> RecordForm:
    present = tuple(name for name in band_facts.BANDS if name in features)
    label_features = _recognise_labels(features)
    if not present or not label_features:
        raise ValueError(
            f"{where}: expected records with bands and labels of BigEarthNet, got "
            f"features {sorted(features)[:8]}; prepare the records with prep_splits.py"
        )
    kind = features[present[0]].WhichOneof("kind")
    return RecordForm(
        encoding="bytes" if kind == "bytes_list" else "int64",
        bands=present,
        label_features=label_features,
        name_s2=next((f for f in (NAME_S2, OLD_NAME) if f in features), None),
        name_s1=NAME_S1 if NAME_S1 in features else None,
        has_map=REFERENCE_MAP in features,
    )


def _recognise_labels(
    features: dict[str, tf.train.Feature],
) -> tuple[tuple[str, str], ...]:
    found = []
    for name, order in (
        ("BigEarthNet-19_labels_multi_hot", "O19"),
        ("original_labels_multi_hot", "O43"),
        # A third-party writer, alphabetical.
        ("BigEarthNet-43_labels_multi_hot", "S43"),
    ):
        if name not in features:
            continue
        # balanced-bigearthnet stores 19 labels, by descending frequency, under the
        # name of the 43.
        if order == "O43" and len(features[name].int64_list.value) == 19:
            order = "B19"
        found.append((name, order))
    return tuple(found)


def _label_features(patch: Patch) -> dict[str, tf.train.Feature]:
    names = {patch.label_type: patch.labels}
    if patch.label_type == "original":
        names["BigEarthNet-19"] = label_facts.convert_43_to_19(patch.labels)
    features = {}
    for label_type, labels in names.items():
        features[f"{label_type}_labels"] = _bytes([name.encode() for name in labels])
        features[f"{label_type}_labels_multi_hot"] = _integers(
            label_facts.to_multi_hot(labels, label_type)
        )
    return features


def _encode_raster(raster: NDArray[Any], record_format: str) -> tf.train.Feature:
    if record_format == "bytes":
        little_endian = raster.astype(raster.dtype.newbyteorder("<"), copy=False)
        return _bytes([little_endian.tobytes()])
    if raster.dtype.kind == "f":
        return tf.train.Feature(float_list=tf.train.FloatList(value=raster.ravel()))
    return _integers(raster.ravel())


def _decode_band(features: Any, name: str, where: str) -> NDArray[Any]:
    facts = band_facts.BANDS[name]
    return _decode_raster(features, name, facts.dtype, facts.pixels, where)


def _decode_raster(
    features: Any, name: str, dtype: str, pixels: int, where: str
) -> NDArray[Any]:
    """Returns a raster (pixels, pixels) of either encoding."""
    feature = features[name]
    kind = feature.WhichOneof("kind")
    if kind == "bytes_list" and len(feature.bytes_list.value) == 1:
        stored = np.dtype(dtype).newbyteorder("<")
        content = feature.bytes_list.value[0]
        whole = len(content) % stored.itemsize == 0
        values = np.frombuffer(content if whole else b"", stored)
    elif kind == "int64_list" and dtype == "uint16":
        values = np.array(feature.int64_list.value, np.int64)
        if values.size and not 0 <= values.min() <= values.max() < 2**16:
            raise ValueError(f"{where}: {name} has {WRONG_VALUES}")
    elif kind == "float_list" and dtype == "float32":
        values = np.array(feature.float_list.value, np.float32)
    else:
        wanted = "int64" if dtype == "uint16" else "float"
        raise ValueError(
            f"{where}: expected {name} as one bytes value or a list of {wanted}, got "
            f"{kind or 'nothing'}; prepare the records again"
        )
    if values.size != pixels**2:
        raise ValueError(
            f"{where}: expected {pixels} x {pixels} values of {name}, got "
            f"{values.size}; prepare the records again"
        )
    return values.astype(dtype, copy=False).reshape(pixels, pixels)


def _decode_labels(
    features: Any, multi_hot: str, order: str, label_type: str, where: str
) -> tuple[str, ...]:
    names, vector = label_facts.ORDERS[order], features[multi_hot].int64_list.value
    if len(vector) != len(names):
        raise ValueError(
            f"{where}: expected {len(names)} labels, got {len(vector)}; prepare the "
            "records again"
        )
    if not {0, 1}.issuperset(vector):
        raise ValueError(
            f"{where}: {multi_hot}: {WRONG_LABELS}, got {sorted(set(vector))[:4]}; "
            "prepare the records again"
        )
    present = {name for name, value in zip(names, vector, strict=True) if value}
    listed = features[multi_hot.removesuffix("_multi_hot")].bytes_list.value
    as_listed = tuple(name.decode(errors="replace") for name in listed)
    if as_listed:
        _check_listed(as_listed, present, order, f"{where}: {multi_hot}")
    if len(as_listed) == len(present) and set(as_listed) == present:
        return as_listed
    return tuple(name for name in label_facts.LABELS[label_type] if name in present)


def _check_listed(
    listed: tuple[str, ...], present: set[str], order: str, where: str
) -> None:
    """Refuses a vector that has other labels than the names beside it."""
    own = set(listed)
    if len(label_facts.ORDERS[order]) == 19 and own <= set(label_facts.ORDERS["O43"]):
        # balanced-bigearthnet has names of the 43 beside vectors of the 19.
        own = set(label_facts.convert_43_to_19(listed)) if own - present else own
    if own != present:
        differing = sorted(own ^ present)
        raise ValueError(
            f"{where}: expected the labels that the record has by name, but "
            f"{', '.join(differing[:3])} {'is' if len(differing) == 1 else 'are'} in "
            "one of the two alone; prepare the records again"
        )


def _decode_name(features: Any, feature: str | None) -> str | None:
    if feature is None or not features[feature].bytes_list.value:
        return None
    return str(features[feature].bytes_list.value[0].decode())


def _has_original(form: RecordForm) -> bool:
    return any(order in ("O43", "S43") for _, order in form.label_features)


def _bytes(values: list[bytes]) -> tf.train.Feature:
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))


def _integers(values: Any) -> tf.train.Feature:
    return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
