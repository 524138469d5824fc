"""The two nomenclatures of BigEarthNet, their orders, and the way between them.

The 43 labels are the level-3 classes of CORINE Land Cover (CLC) 2018 that occur in
the archive; the 19 are the grouping of Sumbul et al. 2021 (arXiv:2105.07921, table 2).
THE label order is CLC order (O43, O19): every multi-hot vector of this package has it.
The other orders are those of other people's vectors and weights, for `reorder`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bigearthnet_tf.registry import nearest_names

ORIGINAL = "original"
BIGEARTHNET_19 = "BigEarthNet-19"
# By the nomenclature of a patch, all that its labels give: the 43 give the 19.
GIVEN_BY = {ORIGINAL: (ORIGINAL, BIGEARTHNET_19), BIGEARTHNET_19: (BIGEARTHNET_19,)}


@dataclass(frozen=True)
class Label:
    """One label of a nomenclature.

    Attributes:
        name: the string of the archives, matched exactly.
        clc_codes: the CLC level-3 codes that it covers.
        acronym: short name for plots. In the 43 labels `PA` (Port areas) and `Pa`
            (Pastures) differ by case only: not for file names.
        colour: `#rrggbb` of the official CLC 2018 legend; the 19 labels have that
            of one of their codes.
    """

    name: str
    clc_codes: tuple[int, ...]
    acronym: str
    colour: str


# Shared by both nomenclatures, and longer than a line.
_AGRICULTURE = (
    "Land principally occupied by agriculture, with significant areas of "
    "natural vegetation"
)

ORIGINAL_TABLE: tuple[Label, ...] = (
    Label("Continuous urban fabric", (111,), "CUF", "#e6004d"),
    Label("Discontinuous urban fabric", (112,), "DUF", "#ff0000"),
    Label("Industrial or commercial units", (121,), "ICU", "#cc4df2"),
    Label("Road and rail networks and associated land", (122,), "RRNAL", "#cc0000"),
    Label("Port areas", (123,), "PA", "#e6cccc"),
    Label("Airports", (124,), "A", "#e6cce6"),
    Label("Mineral extraction sites", (131,), "MES", "#a600cc"),
    Label("Dump sites", (132,), "DS", "#a64d00"),
    Label("Construction sites", (133,), "CS", "#ff4dff"),
    Label("Green urban areas", (141,), "GUA", "#ffa6ff"),
    Label("Sport and leisure facilities", (142,), "SLF", "#ffe6ff"),
    Label("Non-irrigated arable land", (211,), "NIAL", "#ffffa8"),
    Label("Permanently irrigated land", (212,), "PIL", "#ffff00"),
    Label("Rice fields", (213,), "RF", "#e6e600"),
    Label("Vineyards", (221,), "V", "#e68000"),
    Label("Fruit trees and berry plantations", (222,), "FTBP", "#f2a64d"),
    Label("Olive groves", (223,), "OG", "#e6a600"),
    Label("Pastures", (231,), "Pa", "#e6e64d"),
    Label("Annual crops associated with permanent crops", (241,), "ACAPC", "#ffe6a6"),
    Label("Complex cultivation patterns", (242,), "CCP", "#ffe64d"),
    Label(_AGRICULTURE, (243,), "LPOASANV", "#e6cc4d"),
    Label("Agro-forestry areas", (244,), "AFA", "#f2cca6"),
    Label("Broad-leaved forest", (311,), "BLF", "#80ff00"),
    Label("Coniferous forest", (312,), "CF", "#00a600"),
    Label("Mixed forest", (313,), "MF", "#4dff00"),
    Label("Natural grassland", (321,), "NG", "#ccf24d"),
    Label("Moors and heathland", (322,), "MH", "#a6ff80"),
    Label("Sclerophyllous vegetation", (323,), "SV", "#a6e64d"),
    Label("Transitional woodland/shrub", (324,), "TWS", "#a6f200"),
    Label("Beaches, dunes, sands", (331,), "BDS", "#e6e6e6"),
    Label("Bare rock", (332,), "BR", "#cccccc"),
    Label("Sparsely vegetated areas", (333,), "SVA", "#ccffcc"),
    Label("Burnt areas", (334,), "BA", "#000000"),
    Label("Inland marshes", (411,), "IM", "#a6a6ff"),
    Label("Peatbogs", (412,), "Pe", "#4d4dff"),
    Label("Salt marshes", (421,), "SM", "#ccccff"),
    Label("Salines", (422,), "S", "#e6e6ff"),
    Label("Intertidal flats", (423,), "IF", "#a6a6e6"),
    Label("Water courses", (511,), "WC", "#00ccf2"),
    Label("Water bodies", (512,), "WB", "#80f2e6"),
    Label("Coastal lagoons", (521,), "CL", "#00ffa6"),
    Label("Estuaries", (522,), "E", "#a6ffe6"),
    Label("Sea and ocean", (523,), "SO", "#e6f2ff"),
)

BIGEARTHNET_19_TABLE: tuple[Label, ...] = (
    Label("Urban fabric", (111, 112), "UF", "#e6004d"),
    Label("Industrial or commercial units", (121,), "ICU", "#cc4df2"),
    Label("Arable land", (211, 212, 213), "AL", "#ffffa8"),
    Label("Permanent crops", (221, 222, 223, 241), "PC", "#e68000"),
    Label("Pastures", (231,), "PAS", "#e6e64d"),
    Label("Complex cultivation patterns", (242,), "CCP", "#ffe64d"),
    Label(_AGRICULTURE, (243,), "LPOASANV", "#e6cc4d"),
    Label("Agro-forestry areas", (244,), "AFA", "#f2cca6"),
    Label("Broad-leaved forest", (311,), "BLF", "#80ff00"),
    Label("Coniferous forest", (312,), "CF", "#00a600"),
    Label("Mixed forest", (313,), "MF", "#4dff00"),
    Label(
        "Natural grassland and sparsely vegetated areas", (321, 333), "NGSVA", "#ccf24d"
    ),
    Label(
        "Moors, heathland and sclerophyllous vegetation", (322, 323), "MHSV", "#a6ff80"
    ),
    Label("Transitional woodland, shrub", (324,), "TWS", "#a6f200"),
    Label("Beaches, dunes, sands", (331,), "BDS", "#e6e6e6"),
    Label("Inland wetlands", (411, 412), "IWL", "#a6a6ff"),
    Label("Coastal wetlands", (421, 422), "CWL", "#ccccff"),
    Label("Inland waters", (511, 512), "IW", "#80f2e6"),
    Label("Marine waters", (521, 522, 523), "MW", "#e6f2ff"),
)

TABLES: dict[str, tuple[Label, ...]] = {
    ORIGINAL: ORIGINAL_TABLE,
    BIGEARTHNET_19: BIGEARTHNET_19_TABLE,
}

LABELS: dict[str, tuple[str, ...]] = {
    label_type: tuple(label.name for label in table)
    for label_type, table in TABLES.items()
}

_ALIASES = {"BigEarthNet-43": ORIGINAL}
_INDEX = {
    label_type: {name: index for index, name in enumerate(names)}
    for label_type, names in LABELS.items()
}

# balanced-bigearthnet's `label_indices.json`, as O19 indices: descending number of
# patches in v2.
_B19 = (2, 10, 9, 13, 8, 6, 5, 4, 0, 17, 18, 7, 3, 15, 12, 11, 1, 16, 14)

ORDERS: dict[str, tuple[str, ...]] = {
    # CLC order: TU Berlin's TensorFlow models, TorchGeo, this package.
    "O43": LABELS[ORIGINAL],
    "O19": LABELS[BIGEARTHNET_19],
    # Alphabetical: bigearthnet_common's default; ConfigILM and all reBEN weights.
    "S43": tuple(sorted(LABELS[ORIGINAL])),
    "S19": tuple(sorted(LABELS[BIGEARTHNET_19])),
    "B19": tuple(LABELS[BIGEARTHNET_19][index] for index in _B19),
}

# Stands for no label in maps of label indices, in their order.
UNLABELLED = 255

# CLC code of a reference map's pixel -> index in the 19 labels, None for what they
# leave out: 999 marks pixels without a CLC polygon, and 335 (glaciers) occurs in no
# label of the archive.
CLC_TO_19: dict[int, int | None] = {
    **{code: None for label in ORIGINAL_TABLE for code in label.clc_codes},
    335: None,
    999: None,
    **{
        code: index
        for index, label in enumerate(BIGEARTHNET_19_TABLE)
        for code in label.clc_codes
    },
}
# What pixels of reference maps may be: those, 990 and 995 (unclassified land and water
# in the legend of CLC), and 0, the no-data of the files.
_KNOWN_CODES = np.zeros(2**16, bool)
_KNOWN_CODES[[0, 990, 995, *CLC_TO_19]] = True


def canonical_label_type(label_type: str) -> str:
    """Returns `"original"` or `"BigEarthNet-19"` for either or another name of it.

    Raises:
        ValueError: no such nomenclature.
    """
    canonical = _ALIASES.get(label_type, label_type)
    if canonical not in LABELS:
        known = [*LABELS, *_ALIASES]
        raise ValueError(
            f"unknown label_type {label_type!r}: {nearest_names(label_type, known)}"
        )
    return canonical


def label_names(label_type: str) -> tuple[str, ...]:
    """Returns the labels of a nomenclature in CLC order.

    Raises:
        ValueError: no such nomenclature.
    """
    return LABELS[canonical_label_type(label_type)]


def label_index(name: str, label_type: str) -> int:
    """Returns the place of a label in CLC order.

    Raises:
        ValueError: no such nomenclature, or no such label in it.
    """
    label_type = canonical_label_type(label_type)
    try:
        return _INDEX[label_type][name]
    except KeyError:
        raise ValueError(
            f"unknown label {name!r:.100} among the {len(LABELS[label_type])} labels "
            f"of {label_type!r}: {nearest_names(name, LABELS[label_type])}"
        ) from None


def find_label(text: str, label_type: str) -> str:
    """Returns the name of a label that is given by name or acronym.

    Raises:
        ValueError: no such nomenclature, or no such label in it.
    """
    table = TABLES[canonical_label_type(label_type)]
    by_acronym = {label.acronym: label.name for label in table}
    name = by_acronym.get(text, text)
    label_index(name, label_type)
    return name


def acronyms(names: Iterable[str], label_type: str) -> tuple[str, ...]:
    """Returns the acronyms of labels, in their order.

    Raises:
        ValueError: no such nomenclature, or no such label in it.
    """
    table = TABLES[canonical_label_type(label_type)]
    return tuple(table[label_index(name, label_type)].acronym for name in names)


def to_multi_hot(labels: Iterable[str], label_type: str) -> NDArray[np.uint8]:
    """Returns labels as a vector of zeros and ones.

    Args:
        labels: label names, in any order.
        label_type: the nomenclature they belong to.

    Returns:
        uint8 of shape (labels,), in CLC order.

    Raises:
        ValueError: no such nomenclature, or no such label in it.
    """
    vector = np.zeros(len(label_names(label_type)), np.uint8)
    for name in labels:
        vector[label_index(name, label_type)] = 1
    return vector


def from_multi_hot(vector: ArrayLike, label_type: str) -> tuple[str, ...]:
    """Returns the labels that a vector sets, in CLC order.

    Args:
        vector: shape (labels,), zeros and ones of any type, in CLC order.
        label_type: its nomenclature.

    Raises:
        ValueError: no such nomenclature, or a vector of another shape or other values.
    """
    names = label_names(label_type)
    array = np.asarray(vector)
    if array.shape != (len(names),):
        raise ValueError(
            f"expected a vector of shape ({len(names)},) for {label_type!r}, "
            f"got shape {array.shape}"
        )
    if not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"expected zeros and ones, got {array.tolist()}: apply a threshold to "
            "scores first"
        )
    return tuple(names[index] for index in np.flatnonzero(array))


def class_table(label_type: str) -> NDArray[np.uint8]:
    """Returns which label a pixel of a reference map has, by its CLC code.

    Args:
        label_type: the nomenclature.

    Returns:
        uint8 (65536,): indices in CLC order; `UNLABELLED` for codes without a label in
        it, 0 and 999 among them.

    Raises:
        ValueError: no such nomenclature.
    """
    table = np.full(2**16, UNLABELLED, np.uint8)
    for index, label in enumerate(TABLES[canonical_label_type(label_type)]):
        table[list(label.clc_codes)] = index
    return table


def known_codes() -> NDArray[np.bool_]:
    """Returns which codes pixels of reference maps may have, (65536,)."""
    return _KNOWN_CODES


def check_codes(codes: NDArray[np.integer], where: str) -> None:
    """Refuses codes that no reference map has, such as CLC's grid codes 1 to 44.

    Args:
        codes: CLC codes, any shape.
        where: names file or record in the message.

    Raises:
        ValueError: names the first of them.
    """
    known = _KNOWN_CODES[codes]
    if not known.all():
        strange = np.unique(codes[~known]).tolist()
        shown = ", ".join(map(str, strange[:5])) + (", ..." if strange[5:] else "")
        hint = " (its grid codes, 1 to 44, count differently)"
        raise ValueError(
            f"{where}: expected codes of CLC's level 3, 111 to 523, or 999 or 0 for "
            f"none, got {shown}{hint if max(strange) <= 48 else ''}; take the map from "
            "the original archive"
        )


def convert_43_to_19(labels: Iterable[str]) -> tuple[str, ...]:
    """Returns the 19-class labels of a patch with the given original labels.

    A label is set if any of its members is. Eleven of the 43 have no place among
    the 19, so the result may be empty (57 patches of v1).

    Args:
        labels: names among the 43, in any order.

    Returns:
        Names in CLC order.

    Raises:
        ValueError: a name is not among the 43.
    """
    vector = to_multi_hot(labels, ORIGINAL) @ conversion_matrix()
    return from_multi_hot(vector > 0, BIGEARTHNET_19)


def conversion_matrix() -> NDArray[np.uint8]:
    """Returns which of the 43 labels belongs to which of the 19.

    Returns:
        uint8 of shape (43, 19), at most a single one in a row;
        `(vectors @ matrix) > 0` converts multi-hot vectors.
    """
    matrix = np.zeros((len(LABELS[ORIGINAL]), len(LABELS[BIGEARTHNET_19])), np.uint8)
    for row, label in enumerate(ORIGINAL_TABLE):
        column = CLC_TO_19[label.clc_codes[0]]
        if column is not None:
            matrix[row, column] = 1
    return matrix


def reorder(vectors: ArrayLike, source: str, target: str) -> NDArray[np.generic]:
    """Returns multi-hot vectors or scores with their labels in another order.

    Args:
        vectors: shape (..., labels).
        source: the order they have, a key of `ORDERS`.
        target: the order to give them.

    Returns:
        A new array of the same shape and dtype.

    Raises:
        ValueError: unknown order, orders of two nomenclatures, or another length.
    """
    for order in (source, target):
        if order not in ORDERS:
            raise ValueError(
                f"unknown label order {order!r}: {nearest_names(order, ORDERS)}"
            )
    names, wanted = ORDERS[source], ORDERS[target]
    if len(names) != len(wanted):
        raise ValueError(
            f"{source} has {len(names)} labels and {target} {len(wanted)}: use "
            "convert_43_to_19 or conversion_matrix first"
        )
    array = np.asarray(vectors)
    if array.ndim == 0 or array.shape[-1] != len(names):
        raise ValueError(
            f"expected vectors of {len(names)} labels for {source}, got shape "
            f"{array.shape}"
        )
    return array[..., [names.index(name) for name in wanted]]
