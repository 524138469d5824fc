"""`sets.json` of balanced-bigearthnet as the key `records`."""

import json

import pytest

from bigearthnet_tf import config

WHOLE = {
    "train": "train.tfrecord",
    "val": ["val-*.tfrecord"],
    "test": "test.tfrecord",
    "label_type": "BigEarthNet-19",
}


@pytest.fixture
def sets(tmp_path, monkeypatch):
    """Writes a sets.json into a folder below the working directory, with records."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").mkdir()
    for name in ("a/train.tfrecord", "a/val-1.tfrecord", "test.tfrecord"):
        (tmp_path / name).touch()

    def write(content=WHOLE):
        text = content if isinstance(content, str) else json.dumps(content)
        (tmp_path / "a" / "sets.json").write_text(text)
        return "a/sets.json"

    return write


def records_of(found):
    return (
        found.tr_tf_record_files,
        found.val_tf_record_files,
        found.test_tf_record_files,
        found.label_type,
    )


EXPECTED = (
    ["a/train.tfrecord"],
    ["a/val-*.tfrecord"],
    ["test.tfrecord"],
    "BigEarthNet-19",
)


def test_it_stands_for_records_and_label_type(sets):
    found = config.from_dict({"records": sets()})
    assert records_of(found) == EXPECTED
    # The config that a run writes down is read again, and means the same.
    assert found.records is None
    assert config.from_dict(found.model_dump()) == found


def test_records_in_the_working_directory_and_beside_the_file_are_a_question(
    sets, tmp_path
):
    path = sets()
    (tmp_path / "train.tfrecord").touch()
    with pytest.raises(ValueError, match=r"train: 'train.tfrecord' is in the working"):
        config.from_dict({"records": path})
    (tmp_path / "a" / "train.tfrecord").unlink()
    assert config.from_dict({"records": path}).tr_tf_record_files == ["train.tfrecord"]


def test_labels_that_replace_those_of_the_config_are_told(sets, tmp_path, caplog):
    caplog.set_level("INFO")
    path = sets()
    (tmp_path / "own.json").write_text(json.dumps({"label_type": "original"}))
    assert config.load("own.json", [f"records={path}"]).label_type == "BigEarthNet-19"
    told = f"{path}: label_type BigEarthNet-19, in place of original of the config"
    assert told in caplog.messages
    caplog.clear()
    found = config.load("own.json", [f"records={path}", "label_type=original"])
    assert found.label_type == "original"
    assert not [m for m in caplog.messages if "in place of" in m]


def test_folders_and_impossible_names_are_no_records(sets, tmp_path):
    (tmp_path / "a" / "folder").mkdir()
    for name in ("folder", "x" * 5000):
        with pytest.raises(FileNotFoundError, match=r"a/sets.json: train: no records"):
            config.from_dict({"records": sets(WHOLE | {"train": name})})


def test_shards_stand_for_the_one_file_that_they_were_there(sets, tmp_path):
    (tmp_path / "a" / "test-00000-of-00001.tfrecord").touch()
    keys = {"records": sets()}
    assert config.from_dict(keys).test_tf_record_files == ["test.tfrecord"]
    (tmp_path / "test.tfrecord").unlink()
    found = config.from_dict(keys).test_tf_record_files
    assert found == ["a/test-*-of-*.tfrecord"]


def test_the_nearer_source_overrides(sets, tmp_path):
    path = sets()
    base = {"tr_tf_record_files": ["base"], "label_type": "original"}
    (tmp_path / "base.json").write_text(json.dumps(base))
    (tmp_path / "own.json").write_text(json.dumps({"records": path}))
    assert records_of(config.load("own.json")) == EXPECTED
    assert records_of(config.load("base.json", [f"records={path}"])) == EXPECTED
    found = config.load("own.json", ['test_tf_record_files=["x"]'])
    assert records_of(found) == (*EXPECTED[:2], ["x"], EXPECTED[3])


def test_a_label_type_beside_it_counts(sets):
    found = config.from_dict({"records": sets(), "label_type": "original"})
    assert found.label_type == "original"


def without(*keys):
    return {key: value for key, value in WHOLE.items() if key not in keys}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "expected JSON"),
        ([1], "expected train, val, test with paths of records, and label_type"),
        (without("val"), "val is missing"),
        (without("test", "label_type"), "test, label_type are missing"),
        (WHOLE | {"tests": "x"}, "unknown key 'tests': did you mean 'test'"),
        (WHOLE | {"train": 5}, "train: expected a path of records, or a list"),
        (WHOLE | {"train": []}, "train: expected a path of records, or a list"),
        (WHOLE | {"train": ["train.tfrecord", ""]}, "train: expected a path"),
        (WHOLE | {"val": "vali-*"}, "val: no records 'vali-\\*', neither in"),
        (WHOLE | {"label_type": "19"}, "label_type: expected one of original"),
        (WHOLE | {"label_type": ["original"]}, "label_type: expected one of original"),
    ],
)
def test_bad_files_are_told_in_a_line_that_names_them(sets, content, message):
    with pytest.raises((ValueError, OSError), match=message) as caught:
        config.from_dict({"records": sets(content)})
    assert str(caught.value).startswith("a/sets.json: ")
    assert "\n" not in str(caught.value)


def test_no_file_and_records_beside_it_are_refused(sets):
    with pytest.raises(FileNotFoundError, match=r"absent.json: no such file of sets"):
        config.from_dict({"records": "absent.json"})
    with pytest.raises(ValueError, match="val_tf_record_files are given together"):
        config.from_dict({"records": sets(), "val_tf_record_files": []})
