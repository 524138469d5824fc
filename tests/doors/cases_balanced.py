"""What users of balanced-bigearthnet bring: sets.json, command lines, event files."""

import json

from doors.case import Case

_GIVEN = ("--storage_path", "storage")


def _sets(kit, **changes):
    """The content of a sets.json of the kit's records; None takes a key out."""
    whole = {
        **{s: str(kit.records / f"{s}-*.tfrecord") for s in ("train", "val", "test")},
        "label_type": "BigEarthNet-19",
    }
    return {k: v for k, v in (whole | changes).items() if v is not None}


def _with(content):
    """Writes a sets.json, and a config; returns the arguments that name both."""

    def call(kit, here):
        found = content(kit) if callable(content) else content
        text = found if isinstance(found, str) else json.dumps(found)
        (here / "sets.json").write_text(text)
        config = {"model_name": "resnet_test", "out_dir": "run", "devices": "cpu"}
        (here / "own.json").write_text(json.dumps(config))
        return ["own.json", "--set", "records=sets.json"]

    return call


SETS = {
    "val and test are missing": (
        lambda kit: _sets(kit, val=None, test=None),
        ["sets.json: val, test are missing"],
    ),
    "label_type is missing": (
        lambda kit: _sets(kit, label_type=None),
        ["sets.json: label_type is missing"],
    ),
    "an unknown key": (
        lambda kit: _sets(kit, validation="x"),
        ["sets.json: unknown key 'validation'"],
    ),
    "a number for a path": (
        lambda kit: _sets(kit, train=7),
        ["sets.json: train: expected a path of records", "got 7"],
    ),
    "paths that match nothing": (
        lambda kit: _sets(kit, test="absent-*.tfrecord"),
        ["sets.json: test: no records 'absent-", "beside that file"],
    ),
    "another nomenclature": (
        lambda kit: _sets(kit, label_type="corine"),
        ["sets.json: label_type: expected one of original"],
    ),
    "a list": ([1], ["sets.json: expected train, val, test", r"got \[1\]"]),
    "cut short": ('{"train": "a', ["sets.json", "expected JSON"]),
}


def _both(kit, here):
    call = _with(_sets)(kit, here)
    return [*call, "--set", 'val_tf_record_files=["x"]']


def _sets_is_a_folder(kit, here):
    call = _with(_sets)(kit, here)
    (here / "sets.json").unlink()
    (here / "sets.json").mkdir()
    return call


def _line(text):
    return lambda kit, here: ["--from-balanced", text]


LINES = {
    "no sets": ("--storage_path storage", ["required: --sets"]),
    "an unknown argument": (
        "--sets a.json --storage_path s --epoch_count 5",
        ["no argument '--epoch_count'", "did you mean"],
    ),
    "a loss that is not there": (
        "--sets a.json --storage_path s --loss Focal",
        ["--loss", "invalid choice: 'Focal'"],
    ),
    "no number of epochs": (
        "--sets a.json --storage_path s --epochs 0",
        ["a.json: no such file of sets|nb_epoch: should be greater than 0"],
    ),
    "a quote that is not closed": ("--sets 'a.json", ["expected arguments as in a"]),
    "ImageNet weights that are not given": (
        "--sets a.json --storage_path s --model InceptionV3",
        ["begins with ImageNet weights", "--set weights=FILE"],
    ),
    "a sets.json that is not there": (
        "--sets absent.json --storage_path s",
        ["absent.json: no such file of sets"],
    ),
}


def _events(change):
    def call(kit, here):
        from event_folders import balanced_scalars, write_events

        path = write_events(here / "storage/ShortCNN_RGB", balanced_scalars())
        path.write_bytes(change(path.read_bytes()))
        return [*_GIVEN, "--out", "out"]

    return call


def _is_drawn(after):
    def check(here, outcome):
        assert f"after {after} events; drawn up to there" in outcome.out + outcome.err
        assert "ShortCNN_RGB,validation,3,loss" in (here / "out/curves.csv").read_text()

    return check


CASES = [
    *(
        Case("a sets.json", name, door, _with(content), says)
        for name, (content, says) in SETS.items()
        for door in ("train", "eval")
    ),
    Case("a sets.json", "a folder of that name", "train", _sets_is_a_folder,
         ["sets.json", "a folder"]),
    Case("a sets.json", "records beside it", "train", _both,
         ["records 'sets.json' and val_tf_record_files are given together"]),
    *(
        Case("a command line of balanced-bigearthnet", name, door, _line(text), says)
        for name, (text, says) in LINES.items()
        for door in ("train", "eval")
    ),
    Case("event files", "cut off at the end", "plot", _events(lambda data: data[:-9]),
         check=_is_drawn(20)),
    Case("event files", "a byte changed near the end", "plot",
         _events(lambda data: data[:-9] + b"\0\1" + data[-7:]), check=_is_drawn(20)),
    Case("event files", "cut off in the first event", "plot",
         _events(lambda data: data[:9]), ["expected a TensorBoard event file"]),
    Case("event files", "something else", "plot", _events(lambda _: b"x" * 99),
         ["expected a TensorBoard event file", "ShortCNN_RGB/events.out"]),
    Case("event files", "nothing in them", "plot", _events(lambda _: b""),
         ["ShortCNN_RGB: no scalar of training or validation in it"]),
    Case("event files", "none in the folder", "plot",
         lambda kit, here: ["--storage_path", here, "--out", "out"],
         ["nor event files of TensorBoard"]),
    Case("a wrong call", "a run and a storage path", "plot",
         lambda kit, here: [kit.run, *_GIVEN], ["not allowed with argument"], status=2),
    Case("records in one step", "no archive", "split",
         lambda kit, here: ["--lists", kit.v1 / "train.csv", "-o", "out", "-tf"],
         ["--records needs the pixels of an archive", "-r"]),
]  # fmt: skip
