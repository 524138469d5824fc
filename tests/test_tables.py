"""Tables mean what they say, or are refused."""

import random

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from pyarrow import parquet

from bigearthnet_tf import arrays, tables


def read(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return tables.read_csv(path)


@pytest.mark.parametrize(
    "text",
    [
        "x,y\n1,2\n3,4\n",
        "x,y\r\n1,2\r\n3,4\r\n",
        "x,y,\n1,2,\n3,4,\n",
        "x,y\n1,2,\n3,4,\n",
        "x,y\n1,2\n3,4,",
        b"\xef\xbb\xbfx,y\n1,2\n3,4\n",
        '"x", "y"\n"1", "2"\n3, 4\n',
        "\n x ,y \n\n1,2\n\n3,4",
        "x,y\r1,2\r3,4",
    ],
)
def test_forms_of_csv(tmp_path, text):
    table = read(tmp_path, text)
    assert list(table.columns) == ["x", "y"]
    assert table.to_numpy().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x;y\n1;2\n", "semicolons"),
        ("x\ty\n1\t2\n", "tabs"),
        ("x,y\n1,5,2,5\n", "csv:2: expected 2 fields"),
        ("x,y\n1,2\n3\n", "csv:3: expected 2 fields"),
        ("x,x\n1,2\n", "'x' is there twice"),
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        ("x,y\n1,\0\n", "bytes that are 0"),
        ("x,y\n1,2\n".encode("utf-16"), "UTF-16"),
        (b"x\n\xff\n", "UTF-8"),
        (b"PK\x03\x04xxxx", "unpack it"),
        (b"\x1f\x8bxxxxxx", "unpack it"),
        (f'x\n"{"y" * 200_000}"\n', "no CSV"),
    ],
)
def test_faults_of_csv(tmp_path, text, says):
    with pytest.raises(ValueError, match=says):
        read(tmp_path, text)


def test_numbers(tmp_path):
    table = read(tmp_path, "a,b,c\n1.5,,2\n-3e2, ,NA\n")
    assert tables.numbers(table, "a", "t").tolist() == [1.5, -300]
    assert np.isnan(tables.numbers(table, "b", "t")).all()
    assert tables.numbers(table, "c", "t")[0] == 2
    for text, says in (
        ('a\n"1,5"\n', "with a point, not a comma"),
        ("a\n1\nwest\n", "t:3: expected a number in 'a', got 'west'"),
        ("a\ninf\n", "expected a number"),
        ("a\nTrue\nFalse\n", "got True and False"),
        (f"a\n{'x' * 9999}\n", "expected a number"),
    ):
        with pytest.raises(ValueError, match=says) as refusal:
            tables.numbers(read(tmp_path, text), "a", "t")
        assert len(str(refusal.value)) < 200


def test_texts_of_parquet(tmp_path):
    path = tmp_path / "t.parquet"
    table = pa.table(
        {
            "a": pa.array(["x", "y"]).dictionary_encode(),
            "b": pa.array([["x"], ["y", "x"]], pa.large_list(pa.large_string())),
            "c": pa.array([True, False]),
        }
    )
    parquet.write_table(table, path)
    forms = {"a": tables.TEXT, "b": tables.TEXTS, "c": tables.TRUTH, "d": tables.TEXT}
    found = tables.with_forms(tables.read_parquet(path), forms, path)
    assert found.to_pylist() == table.to_pylist()
    for name, form, called in (
        ("a", tables.TEXTS, "lists of text"),
        ("b", tables.TEXT, "text"),
        ("c", tables.TEXT, "text"),
        ("a", tables.TRUTH, "true or false"),
    ):
        with pytest.raises(ValueError, match=f"expected {called} in column '{name}'"):
            tables.with_forms(table, {name: form}, path)
    unknown = pa.table({"c": pa.array([True, None])})
    with pytest.raises(ValueError, match="got null in 1 of 2 rows"):
        tables.with_forms(unknown, {"c": tables.TRUTH}, path)


def mutants(data, seed, count=60):
    """Yields damaged copies: cut short, with flipped bytes, with a part moved."""
    rng = random.Random(seed)
    for _ in range(count):
        changed = bytearray(data)
        kind = rng.randrange(3)
        if kind == 0:
            del changed[rng.randrange(len(changed)) :]
        elif kind == 1:
            for _ in range(rng.randrange(1, 9)):
                changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
        else:
            first = rng.randrange(len(changed))
            del changed[first : first + rng.randrange(1, 40)]
        yield bytes(changed)


@pytest.mark.parametrize("compression", ["none", "zstd", "snappy"])
def test_damaged_parquet_is_refused_or_read(tmp_path, compression):
    path = tmp_path / "t.parquet"
    names = [f"patch {i}" for i in range(200)]
    table = pa.table({"a": names, "b": [[n, "x"] for n in names], "c": range(200)})
    parquet.write_table(table, path, compression=compression)
    for data in mutants(path.read_bytes(), 7):
        path.write_bytes(data)
        try:
            found = tables.read_parquet(path)
            found = tables.with_forms(found, {"a": tables.TEXT, "b": tables.TEXTS}, "t")
            tables.to_frame(found, path)
        except ValueError as error:
            assert len(str(error)) < 500


def test_damaged_npz_is_refused_or_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez_compressed(path, names=np.array(["a", "b"]), scores=np.eye(9))
    compressed = path.read_bytes()
    np.savez(path, names=np.array(["a", "b"]), scores=np.eye(9))
    for data in [*mutants(compressed, 1, 150), *mutants(path.read_bytes(), 2, 150)]:
        path.write_bytes(data)
        try:
            arrays.read_npz(path, "scores", "make them again")
        except ValueError as error:
            assert "make them again" in str(error)


def test_damaged_npy_is_refused_or_read(tmp_path):
    path = tmp_path / "a.npy"
    np.save(path, np.arange(20, dtype=np.uint16).reshape(4, 5))
    for data in mutants(path.read_bytes(), 3, 300):
        path.write_bytes(data)
        try:
            np.asarray(arrays.open_npy(path, "numbers", "copy it again"))
        except ValueError as error:
            assert "copy it again" in str(error)


def test_pickles_are_never_read(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, names=np.array([{}], object))
    with pytest.raises(ValueError, match="a pickle, which may run anything"):
        arrays.read_npz(path, "scores", "")
    np.save(tmp_path / "a.npy", np.array([None]), allow_pickle=True)
    with pytest.raises(ValueError, match="a pickle"):
        arrays.open_npy(tmp_path / "a.npy", "numbers", "")


def test_arrays_have_kinds():
    found = {"a": np.zeros(3, int)}
    assert arrays.take(found, "a", "iu", 1, "x") is found["a"]
    for name, kinds, dimensions, says in (
        ("b", "i", 1, "'b' is missing"),
        ("a", "f", 1, "expected a to be floats"),
        ("a", "i", 2, "in 2 dimension"),
    ):
        with pytest.raises(ValueError, match=says):
            arrays.take(found, name, kinds, dimensions, "x")


def test_content_goes_before_the_ending(tmp_path):
    table = pd.DataFrame({"x": [1.0]})
    table.to_parquet(tmp_path / "a.csv")
    table.to_csv(tmp_path / "b.txt", index=False)
    assert tables.read(tmp_path / "a.csv").equals(table)
    assert tables.read(tmp_path / "b.txt").equals(table)
