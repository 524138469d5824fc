"""What users of reBEN bring: metadata in three CSV files, its command lines."""

import json

import pandas as pd
from doors.case import Case

COLUMNS = ("split", "s1_name", "label")
FILES = [f"{column}.csv" for column in COLUMNS]


def _write(kit, here):
    """Writes the metadata of the kit as the CSV files of reBEN's earlier scripts."""
    table = pd.read_parquet(kit.v2 / "metadata.parquet")
    table = table.rename(columns={"labels": "label"})
    for column in COLUMNS:
        rows = table[["patch_id", column]].explode(column)
        rows.to_csv(here / f"{column}.csv", index=False)


def _doors(kit):
    s2, _ = kit.bands_of_v2()
    given = ("--metadata", *FILES)
    return {
        "prep_splits": ["-r", s2, *given, "-o", "out", "--workers", 1],
        "split": [*given, "-o", "out"],
        "predict": [kit.s2_run, s2, *given, "-o", "o.csv"],
        "convert": [kit.records / "test-*", "--to", "lmdb", "-o", "out", *given],
    }


def _metadata(door, change=lambda texts: None, without=()):
    """Returns what calls a door with the files, changed as lists of lines."""

    def call(kit, here):
        _write(kit, here)
        texts = {n: (here / n).read_text().splitlines() for n in FILES}
        change(texts)
        for name, lines in texts.items():
            (here / name).write_text("".join(f"{line}\n" for line in lines))
        return [word for word in _doors(kit)[door] if word not in without]

    return call


def _other_columns(texts):
    texts["label.csv"][0] = "name,class"


def _patch_lost(texts):
    texts["s1_name.csv"].pop(3)


def _patch_twice(texts):
    texts["split.csv"].append(texts["split.csv"][1])


def _unknown_label(texts):
    patch, _, _ = texts["label.csv"][1].partition(",")
    texts["label.csv"][1] = f"{patch},Arabel land"


def _unknown_split(texts):
    patch, _, _ = texts["split.csv"][1].partition(",")
    texts["split.csv"][1] = f"{patch},dev"


def _no_partner(texts):
    patch, _, _ = texts["s1_name.csv"][1].partition(",")
    texts["s1_name.csv"][1] = f"{patch},"


FAULTS = {
    "other columns": (_other_columns, (), "expected the column patch_id and one of"),
    "one missing": (lambda t: None, ("s1_name.csv",), "three files together"),
    "a patch in one alone": (_patch_lost, (), r"s1_name\.csv: lacks 1 of"),
    "a patch twice": (_patch_twice, (), "occurs twice"),
    "an unknown label": (_unknown_label, (), "did you mean 'Arable land'"),
    "an unknown split": (_unknown_split, (), "not train, validation or test"),
    "no partner": (_no_partner, (), "expected a value in s1_name"),
}


def _faults():
    doors = ("prep_splits", "predict", "convert")
    for number, (fault, (change, without, says)) in enumerate(FAULTS.items()):
        for door in ("split", doors[number % 3]):
            call = _metadata(door, change, without)
            yield Case("metadata in CSV", fault, door, call, says=[says])


def _all_patches(here, outcome):
    lists = [(here / f"out/{n}.csv").read_text() for n in ("train", "val", "test")]
    assert sum(len(text.splitlines()) for text in lists) == 24


def _three_splits(here, outcome):
    found = [json.loads(path.read_text()) for path in here.glob("out/*.manifest.json")]
    assert len(found) == 3


# Command lines of the training script.
LINES = {
    "unknown flags": (
        "--archtecture=resnet50 --batch 4",
        "'--archtecture' .*'--batch'",
    ),
    "a text without a blank": ("--batch=4", "no argument '--batch'"),
    "no value": ("--bs", "expected one argument"),
    "no number": ("--bs many --no-test-run", "expected a whole number, got 'many'"),
    "no warm-up": ("--warmup=0", "expected iterations above 0"),
    "unknown bands": ("--bandconfig=s3", "did you mean 's2'"),
    "an open quote": ("--run-name 'x", "as in a shell"),
    "DINOv3": ("--architecture=dinov3-base", "which DINOv3 is meant"),
    "an unknown model": ("--architecture=resnet5o --bs 4", "unknown model 'resnet5o'"),
    "a rate that is no number": ("--lr=nan", "learning_rate"),
}


def _line(text):
    def call(kit, here):
        records = [
            f"{key}_tf_record_files={json.dumps([str(kit.records / f'{split}-*')])}"
            for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
        ]
        settings = [word for line in records for word in ("--set", line)]
        return ["--from-reben", text, "--set", "devices=cpu", *settings]

    return call


CASES = [
    *_faults(),
    Case("metadata in CSV", "as reBEN has them", "split", _metadata("split"),
         check=_all_patches),
    Case("metadata in CSV", "as reBEN has them", "prep_splits",
         _metadata("prep_splits"), check=_three_splits),
    *(Case("command lines of reBEN", name, door, _line(text), says=[says])
      for name, (text, says) in LINES.items() for door in ("train", "eval")
      if door == "train" or name == "unknown flags"),
    Case("command lines of reBEN", "none", "train",
         lambda kit, here: ["--from-reben"], says=["expected one argument"], status=2),
    Case("command lines of reBEN", "empty", "train",
         lambda kit, here: ["--from-reben", ""], says=["got an empty one"], status=2),
    Case("command lines of reBEN", "and a config", "train",
         lambda kit, here: ["config.json", "--from-reben", "--bs=4"],
         says=["not allowed with"], status=2),
]  # fmt: skip
