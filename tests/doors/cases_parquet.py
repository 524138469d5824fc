"""Metadata in Parquet of other forms, damaged, or not Parquet at all."""

import io
import json

import numpy as np
import pyarrow as pa
from doors.case import Case
from pyarrow import parquet


def _table(change):
    def call(kit, here):
        table = parquet.read_table(kit.v2 / "metadata.parquet")
        made = change(table)
        if isinstance(made, bytes):
            (here / "m.parquet").write_bytes(made)
        else:
            parquet.write_table(made, here / "m.parquet", compression="zstd")

    return call


def _with(name, make):
    """Returns what puts another column in the place of one."""

    def change(table):
        column = make(table[name].to_pylist())
        return table.set_column(table.column_names.index(name), name, column)

    return change


def _bytes_of(table, compression="zstd"):
    out = io.BytesIO()
    parquet.write_table(table, out, compression=compression, use_dictionary=False)
    return bytearray(out.getvalue())


def _flip(start, count=64):
    def change(table):
        data = _bytes_of(table)
        first = start if start >= 0 else len(data) + start
        for place in range(first, min(first + count, len(data) - 8)):
            data[place] ^= 0x5A
        return bytes(data)

    return change


def _codes(values):
    return pa.array([[1, 2]] * len(values))


def _numbered(values):
    return pa.array(range(len(values)))


PARQUET = {
    "labels as numbers": (_with("labels", _codes), "lists of text"),
    "labels as one text": (
        _with("labels", lambda v: pa.array([", ".join(x) for x in v])),
        "lists of text",
    ),
    "labels as bytes": (
        _with("labels", lambda v: pa.array([[y.encode() for y in x] for x in v])),
        "lists of text",
    ),
    "labels null": (
        _with("labels", lambda v: pa.nulls(len(v), pa.list_(pa.string()))),
        "labels of",
    ),
    "labels of no type": (_with("labels", lambda v: pa.nulls(len(v))), "labels of"),
    "labels with null in them": (
        _with("labels", lambda v: pa.array([[None]] * len(v), pa.list_(pa.string()))),
        "labels of",
    ),
    "labels empty": (
        _with("labels", lambda v: pa.array([[]] * len(v), pa.list_(pa.string()))),
        "labels of",
    ),
    "splits as numbers": (_with("split", _numbered), "expected text"),
    "splits as bytes": (
        _with("split", lambda v: pa.array([x.encode() for x in v])),
        "expected text",
    ),
    "splits null": (
        _with("split", lambda v: pa.nulls(len(v), pa.string())),
        "split is not",
    ),
    "splits empty": (_with("split", lambda v: pa.array([""] * len(v))), "split is not"),
    "names as numbers": (_with("patch_id", _numbered), "expected text"),
    "names null": (
        _with("patch_id", lambda v: pa.nulls(len(v), pa.string())),
        "patch_id is not",
    ),
    "partners as bytes": (
        _with("s1_name", lambda v: pa.array([x.encode() for x in v])),
        "expected text",
    ),
    "countries as numbers": (_with("country", _numbered), "expected text"),
    "snow as text": (
        _with("contains_seasonal_snow", lambda v: pa.array(["no"] * len(v))),
        "true or false",
    ),
    "splits in capitals": (
        _with("split", lambda v: pa.array([x.upper() for x in v])),
        "split",
    ),
    "splits as lists": (_with("split", lambda v: pa.array([[x] for x in v])), "text"),
    "a split in a category is null": (
        _with("split", lambda v: pa.array([None, *v[1:]]).dictionary_encode()),
        "split is not",
    ),
    "labels nested": (
        _with("labels", lambda v: pa.array([[x] for x in v])),
        "lists of text",
    ),
    "labels unknown": (
        _with("labels", lambda v: pa.array([["Sea"]] * len(v))),
        "Sea",
    ),
    "labels with a blank": (
        _with("labels", lambda v: pa.array([[f"{x[0]} "] for x in v])),
        "label",
    ),
    "names with a line break": (
        _with("patch_id", lambda v: pa.array([f"{x}\n" for x in v])),
        "patch",
    ),
    "names of folders above": (
        _with("patch_id", lambda v: pa.array([f"../{x}" for x in v])),
        "patch",
    ),
    "rows twice": (lambda t: pa.concat_tables([t, t]), "twice"),
    "columns in capitals": (
        lambda t: t.rename_columns([x.upper() for x in t.column_names]),
        "missing",
    ),
    "snow unknown": (
        _with("contains_seasonal_snow", lambda v: pa.nulls(len(v), pa.bool_())),
        "true or false",
    ),
    "a column twice": (lambda t: t.append_column("split", t["split"]), "twice"),
    "a column missing": (lambda t: t.drop_columns(["labels"]), "labels is missing"),
    "cut short": (lambda t: bytes(_bytes_of(t)[:2000]), "does not read"),
    "no end": (lambda t: bytes(_bytes_of(t)[:-4]), "does not read"),
    "damaged thrift": (_flip(-400), "does not read"),
    "damaged ZSTD": (_flip(40, 400), "does not read"),
    "damaged page": (_flip(4, 24), "does not read"),
    "no Parquet": (lambda t: b"PAR1" * 9, "does not read"),
    "CSV": (lambda t: b"patch_id,labels,split,s1_name\n", "does not read"),
    "empty": (lambda t: b"", "does not read"),
}


def _metadata_doors(kit):
    s2, _ = kit.bands_of_v2()
    given = ("--metadata", "m.parquet")
    return {
        "prep_splits": ["-r", s2, *given, "-o", "out", "--workers", 1],
        "split": [*given, "-o", "out"],
        "predict": [kit.s2_run, s2, *given, "-o", "o.csv"],
        "convert": [kit.records / "test-*", "--to", "lmdb", "-o", "out", *given],
    }


def _metadata(change, door):
    def call(kit, here):
        _table(change)(kit, here)
        return _metadata_doors(kit)[door]

    return call


def _parquet_cases():
    doors = ("prep_splits", "split", "predict", "convert")
    for number, (fault, (change, says)) in enumerate(PARQUET.items()):
        for door in {"split", doors[number % 4]}:
            call = _metadata(change, door)
            yield Case("metadata in Parquet", fault, door, call, says=[says])


def _categories(table):
    for name in ("split", "country", "s1_name", "patch_id"):
        table = _with(name, lambda v: pa.array(v).dictionary_encode())(table)
    return table


def _large(table):
    kind = pa.large_list(pa.large_string())
    return _with("labels", lambda v: pa.array(v, kind))(table)


def _label_categories(table):
    def make(values):
        flat = pa.array([x for v in values for x in v]).dictionary_encode()
        ends = np.cumsum([0, *(len(v) for v in values)])
        return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), flat)

    return _with("labels", make)(table)


def _same_split(here, outcome):
    lists = [line for n in ("train", "val", "test")
             for line in (here / f"out/{n}.csv").read_text().splitlines()]  # fmt: skip
    assert len(lists) == 24
    assert json.loads((here / "out/report.json").read_text())


LEGAL_PARQUET = [
    Case("metadata in Parquet", name, "split", _metadata(change, "split"),
         check=_same_split)
    for name, change in (("categories", _categories), ("large lists", _large),
                         ("lists of categories", _label_categories))
]  # fmt: skip


CASES = [*_parquet_cases(), *LEGAL_PARQUET]
