"""Label tables as balanced-bigearthnet has them, and wrong ones."""

import numpy as np
import pytest

from bigearthnet_tf.archive import label_table

NAMES = [f"S2A_MSIL2A_20170613T101031_{column}_48" for column in (87, 88)]
LONG = (
    "Land principally occupied by agriculture, with significant areas of natural "
    "vegetation"
)


def read(tmp_path, text):
    path = tmp_path / "labels.csv"
    path.write_bytes(text.encode())
    return label_table.read_label_table(path)


@pytest.mark.parametrize(
    "text",
    [
        f',patch,Pastures,"{LONG}"\n0,{NAMES[0]},1,0\n1,{NAMES[1]},1,1\n',
        f'patch,Pastures,"{LONG}"\n{NAMES[0]},1,0\n{NAMES[1]},1,1\n',
        f"\ufeffPa,patch,LPOASANV\r\n1, {NAMES[0]} ,False\r\n1,{NAMES[1]},True\r\n",
        f"patch,Pa,LPOASANV\n{NAMES[0]},1.0,0.0\n{NAMES[1]},1.0,1.0\n",
    ],
)
def test_forms(tmp_path, text):
    patches, multi_hot, found, label_type = read(tmp_path, text)
    assert patches == NAMES
    np.testing.assert_array_equal(multi_hot, [[1, 0], [1, 1]])
    assert multi_hot.dtype == np.uint8
    assert (found, label_type) == (("Pastures", LONG), "original")


def test_the_nomenclature_follows_from_the_columns(tmp_path):
    _, _, found, label_type = read(tmp_path, f"patch,UF,Pastures\n{NAMES[0]},1,0\n")
    assert (found, label_type) == (("Urban fabric", "Pastures"), "BigEarthNet-19")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "it is empty"),
        ("patch,Pastures\n", "there is none"),
        ("name,Pastures\nx,1\n", "expected a column 'patch'.*got 'name', 'Pastures'"),
        (f"patch\n{NAMES[0]}\n", "a column for each label, got none"),
        (f"patch,Pasture\n{NAMES[0]},1\n", "'Pasture' is no label: did you mean 'Past"),
        (f"patch,UF,CUF\n{NAMES[0]},1,1\n", "both nomenclatures mixed"),
        (f"patch,Pa,Pastures\n{NAMES[0]},1,1\n", "two columns for the label 'Pastures"),
        (f"patch,Pa\n{NAMES[0]},1\nx,1\n", r"csv:3: not a Sentinel-2 patch name: 'x'"),
        (f"patch,Pa\n,1\n{NAMES[0]},1\n", r"csv:2: not a Sentinel-2 patch name: ''"),
        (f"patch,Pa\n{NAMES[0]},1\n{NAMES[0]},1\n", r"csv:3: this patch occurs twice"),
        (f"patch,Pa\n{NAMES[0]},2\n", r"csv:2: expected 0 or 1 for 'Pa', got '2'"),
        (f"patch,Pa\n{NAMES[0]},\n", r"csv:2: expected 0 or 1 for 'Pa', got 'nan'"),
        (f"patch,Pa\n{NAMES[0]},yes\n", r"csv:2: expected 0 or 1 for 'Pa', got 'yes'"),
        (f"patch,Pa\n{NAMES[0]},1\n{NAMES[1]},1,1\n", "csv:3: expected 2 fields"),
    ],
)
def test_wrong_tables(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(tmp_path, text)


def test_files_that_are_no_tables(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such label table"):
        label_table.read_label_table(tmp_path / "none.csv")
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ValueError, match="it is UTF-16"):
        label_table.read_label_table(binary)
