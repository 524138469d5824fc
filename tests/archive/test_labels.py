"""The nomenclatures: orders, conversion, multi-hot vectors, colours."""

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearthnet_tf.archive import labels

# `label_conversion` of the TU Berlin project: indices among the 43, per 19-class label.
LABEL_CONVERSION = [
    [0, 1], [2], [11, 12, 13], [14, 15, 16, 18], [17], [19], [20], [21], [22], [23],
    [24], [25, 31], [26, 27], [28], [29], [33, 34], [35, 36], [38, 39], [40, 41, 42],
]  # fmt: skip
# Columns of the tables of `spec/classification.md` section 2.
S43_INDEX = [
    11, 12, 17, 32, 30, 1, 21, 13, 10, 16, 38, 25, 29, 31, 40, 15, 26, 27, 2, 8, 20, 0,
    5, 9, 22, 24, 23, 35, 39, 4, 3, 37, 6, 18, 28, 34, 33, 19, 42, 41, 7, 14, 36,
]  # fmt: skip
S19_INDEX = [18, 7, 1, 16, 15, 5, 10, 0, 3, 6, 12, 14, 13, 17, 2, 9, 4, 8, 11]
B19_INDEX = [8, 16, 0, 12, 7, 6, 5, 11, 4, 2, 1, 15, 14, 3, 18, 13, 17, 9, 10]

O43 = labels.LABELS["original"]
O19 = labels.LABELS["BigEarthNet-19"]


def test_numbers_of_labels():
    assert (len(O43), len(O19)) == (43, 19)
    assert len(set(O43)) == 43
    assert len(set(O19)) == 19


@pytest.mark.parametrize(
    ("order", "published"),
    [("S43", S43_INDEX), ("S19", S19_INDEX), ("B19", B19_INDEX)],
)
def test_orders_are_the_published_ones(order, published):
    names = labels.ORDERS[order]
    own = labels.ORDERS["O" + order[1:]]
    assert [names.index(name) for name in own] == published


@pytest.mark.parametrize("order", ["S43", "S19"])
def test_s_orders_are_alphabetical(order):
    assert list(labels.ORDERS[order]) == sorted(labels.ORDERS[order])


def test_b19_is_the_order_of_frequency_in_v2(shared):
    pandas = pytest.importorskip("pandas")
    table = pandas.read_parquet(shared / "data/v2/metadata.parquet", columns=["labels"])
    counts = table["labels"].explode().value_counts()
    assert list(counts.index) == list(labels.ORDERS["B19"])


def test_conversion_is_the_published_one():
    matrix = labels.conversion_matrix()
    assert matrix.shape == (43, 19)
    assert [np.flatnonzero(column).tolist() for column in matrix.T] == LABEL_CONVERSION
    assert (matrix.sum(axis=1) == 0).sum() == 11


def test_each_of_the_43_converts_to_its_19():
    target = {i: j for j, members in enumerate(LABEL_CONVERSION) for i in members}
    for index, name in enumerate(O43):
        expected = (O19[target[index]],) if index in target else ()
        assert labels.convert_43_to_19([name]) == expected


def test_conversion_names_each_target_once_and_in_clc_order():
    original = ["Sea and ocean", "Discontinuous urban fabric", "Airports",
                "Continuous urban fabric", "Rice fields"]  # fmt: skip
    assert labels.convert_43_to_19(original) == (
        "Urban fabric",
        "Arable land",
        "Marine waters",
    )


def test_clc_codes_of_reference_maps():
    codes = [code for code, index in labels.CLC_TO_19.items() if index is None]
    assert sorted(codes) == [
        122, 123, 124, 131, 132, 133, 141, 142, 332, 334, 335, 423, 999,
    ]  # fmt: skip
    assert len(labels.CLC_TO_19) == 45
    assert labels.CLC_TO_19[241] == O19.index("Permanent crops")
    assert labels.CLC_TO_19[333] == O19.index(
        "Natural grassland and sparsely vegetated areas"
    )


def test_the_43_follow_their_clc_codes():
    codes = [label.clc_codes for label in labels.ORIGINAL_TABLE]
    assert codes == sorted(codes)
    assert all(len(members) == 1 for members in codes)


def test_acronyms_and_colours():
    for table in labels.TABLES.values():
        assert len({label.acronym for label in table}) == len(table)
        assert len({label.colour for label in table}) == len(table)
        assert all(re.fullmatch("#[0-9a-f]{6}", label.colour) for label in table)
    nineteen = labels.BIGEARTHNET_19_TABLE
    assert len({label.acronym.casefold() for label in nineteen}) == 19
    by_code = {label.clc_codes[0]: label.colour for label in labels.ORIGINAL_TABLE}
    for label in nineteen:
        assert label.colour in [by_code[code] for code in label.clc_codes]


@given(st.sets(st.sampled_from(O43)))
def test_multi_hot_round_trip_43(chosen):
    vector = labels.to_multi_hot(chosen, "original")
    assert vector.dtype == np.uint8
    assert vector.shape == (43,)
    assert vector.tolist() == [int(name in chosen) for name in O43]
    assert set(labels.from_multi_hot(vector, "BigEarthNet-43")) == chosen


@given(st.sets(st.sampled_from(O43)))
def test_vectors_convert_as_names_do(chosen):
    vector = labels.to_multi_hot(chosen, "original") @ labels.conversion_matrix() > 0
    names = labels.convert_43_to_19(chosen)
    assert labels.from_multi_hot(vector, "BigEarthNet-19") == names


@given(
    st.lists(st.sets(st.sampled_from(O19)), min_size=1, max_size=4),
    st.sampled_from(["O19", "S19", "B19"]),
    st.sampled_from(["O19", "S19", "B19"]),
)
def test_reorder_keeps_the_labels_and_is_undone_by_its_reverse(sets, source, target):
    names = labels.ORDERS[source]
    vectors = np.array([[name in chosen for name in names] for chosen in sets], float)
    moved = labels.reorder(vectors, source, target)
    for chosen, row in zip(sets, moved, strict=True):
        assert {labels.ORDERS[target][i] for i in np.flatnonzero(row)} == chosen
    np.testing.assert_array_equal(labels.reorder(moved, target, source), vectors)


def test_reorder_takes_a_single_vector_of_43():
    scores = np.arange(43, dtype=np.float32)
    moved = labels.reorder(scores, "O43", "S43")
    assert moved.dtype == np.float32
    assert moved[S43_INDEX].tolist() == scores.tolist()


@pytest.mark.parametrize("other_name", ["original", "BigEarthNet-43"])
def test_label_type_of_43(other_name):
    assert labels.canonical_label_type(other_name) == "original"
    assert labels.label_names(other_name) == O43


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: labels.label_names("BigEarthNet-20"),
            "did you mean .*'BigEarthNet-19'",
        ),
        (
            lambda: labels.to_multi_hot(
                ["Transitional woodland/shrub"], "BigEarthNet-19"
            ),
            "did you mean 'Transitional woodland, shrub'",
        ),
        (lambda: labels.convert_43_to_19(["pastures"]), "did you mean 'Pastures'"),
        (lambda: labels.from_multi_hot(np.zeros(43), "BigEarthNet-19"), r"\(19,\)"),
        (lambda: labels.from_multi_hot(np.full(19, 0.4), "BigEarthNet-19"), "thresh"),
        (lambda: labels.reorder(np.zeros(19), "O19", "S43"), "conversion_matrix"),
        (lambda: labels.reorder(np.zeros(18), "O19", "S19"), r"shape \(18,\)"),
        (lambda: labels.reorder(np.float32(1), "O19", "S19"), r"shape \(\)"),
        (lambda: labels.reorder(np.zeros(19), "O19", "T19"), "unknown label order"),
    ],
)
def test_mistakes_are_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
