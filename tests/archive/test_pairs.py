import pandas as pd
import pytest

from bigearthnet_tf.archive import metadata, pairs, splits

S2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"
S2_V1 = "S2A_MSIL2A_20170613T101031_87_48"
S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"

# What is done to the name of Sentinel-1, and why it is no pair then; None: it is one.
CHANGES = {
    "as it is": (("", ""), None),
    "padded": (("_87_48", "_87_48"), None),
    "six days before": (("20170613", "20170607"), None),
    "six days after": (("20170613", "20170619"), None),
    "seven days before": (("20170613", "20170606"), "7 days apart"),
    "a year after": (("20170613", "20180613"), "365 days apart"),
    "another column": (("_87_48", "_86_48"), "column and row"),
    "another row": (("_87_48", "_87_4"), "column and row"),
    "swapped": (("_87_48", "_48_87"), "column and row"),
    "another tile": (("33UUP", "33UVP"), "different tiles"),
    "another zone": (("33UUP", "32UUP"), "different tiles"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_both_forms_of_the_rule(change):
    (old, new), reason = CHANGES[change]
    name_s1 = S1.replace(old, new) if old else S1
    found = pairs.mismatch(S2, name_s1)
    assert (found is None) == (reason is None)
    assert reason is None or reason in found
    both = pairs.disagree(pd.Series([S2, S2]), pd.Series([S1, name_s1]))
    assert both.tolist() == [False, reason is not None]
    of_v1 = pairs.mismatch(S2_V1, name_s1)
    assert (of_v1 is None) == (reason is None or "tiles" in reason)


@pytest.mark.parametrize("name", ["", None, "record 3", "scene_7"])
def test_nothing_is_said_of_other_names(name):
    pairs.check(S2, name)
    pairs.check(name, S1)


@pytest.mark.parametrize("change", [c for c in CHANGES if CHANGES[c][1]])
def test_lists_and_tables_are_refused(tmp_path, change):
    (old, new), reason = CHANGES[change]
    name_s1 = S1.replace(old, new)
    listed = tmp_path / "train.csv"
    listed.write_text(
        f"{S2},{S1}\n{S2.replace('87_48', '01_02')},"
        f"{name_s1.replace(name_s1[-5:], '01_02')}\n"
    )
    if "column" not in reason:
        with pytest.raises(ValueError, match=r"train.csv:2: .* are no pair"):
            splits.read_split_csv(listed)
    table = pd.DataFrame(
        {
            "patch_id": [S2],
            "labels": [["Pastures"]],
            "split": "train",
            "s1_name": name_s1,
        }
    )
    table.to_parquet(tmp_path / "metadata.parquet")
    with pytest.raises(ValueError, match="s1_name is no partner of patch_id"):
        metadata.read_metadata(tmp_path / "metadata.parquet")


def test_the_tile_of_the_product_is_compared():
    product = "S2A_MSIL1C_20170613T101031_N0205_R022_T{}_20170613T101608.SAFE"
    pairs.check_tile(S2_V1, product.format("33UUP"), S1)
    pairs.check_tile(S2_V1, None, S1)
    pairs.check_tile(S2_V1, product.format("33UUP"), None)
    with pytest.raises(ValueError, match=r"32UUP .* and 33UUP are different tiles"):
        pairs.check_tile(S2_V1, product.format("32UUP"), S1)


def test_all_real_pairs_pass(shared):
    for path in sorted((shared / "data").glob("v2*/**/*.parquet")):
        assert len(metadata.read_metadata(path))
    for path in sorted((shared / "data/v1").glob("t*.csv")):
        assert all(entry.name_s1 for entry in splits.read_split_csv(path))
