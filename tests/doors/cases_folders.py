"""Folders of features and indexes that are damaged or edited by hand."""

import json
import os

import numpy as np
from doors.case import Case


def _edit(folder, **keys):
    path = folder / "embeddings.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def _array(name, change):
    def spoil(folder):
        np.save(folder / name, change(np.load(folder / name)))

    return spoil


def _no_rows(folder):
    for path in folder.glob("*.npy"):
        np.save(path, np.load(path)[:0])
    _edit(folder, num_records=0)
    (folder / "names.json").write_text('{"s1": [], "s2": []}')


def _cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _pipe(path):
    path.unlink()
    os.mkfifo(path)


def _folder(path):
    path.unlink()
    path.mkdir()


SPOILT = {
    "missing": lambda path: path.unlink(),
    "cut": _cut,
    "empty": lambda path: path.write_bytes(b""),
    "a pipe": _pipe,
    "a folder": _folder,
}

VECTORS = "p_s2.npy"
FEATURES = {
    "float64": _array(VECTORS, lambda a: a.astype(float)),
    "one dimension": _array(VECTORS, lambda a: a[0]),
    "fewer rows": _array(VECTORS, lambda a: a[:-1]),
    "fewer columns": _array(VECTORS, lambda a: a[:, :-1]),
    "NaN": _array(VECTORS, lambda a: a * np.nan),
    "other byte order": _array(VECTORS, lambda a: a.astype(">f4")),
    "objects": _array(VECTORS, lambda a: a.astype(object)),
    "labels of float": _array("labels.npy", lambda a: a / 1.0),
    "fewer labels": _array("labels.npy", lambda a: a[:, :-1]),
    "no names": lambda folder: (folder / "names.json").unlink(),
    "names as a list": lambda folder: (folder / "names.json").write_text("[]"),
    "more records": lambda folder: _edit(folder, num_records=10**9),
    "records below zero": lambda folder: _edit(folder, num_records=-1),
    "more dimensions": lambda folder: _edit(folder, layers={"p_s2": 10**6}),
    "no layers": lambda folder: _edit(folder, layers={}),
    "another version": lambda folder: _edit(folder, version=99),
    "a label twice": lambda folder: _edit(folder, labels=["x", "x", "y"]),
    "a layer elsewhere": lambda folder: _edit(folder, layers={"../../x": 3}),
    "no rows": _no_rows,
    **{
        f"vectors {name}": lambda folder, spoil=spoil: spoil(folder / VECTORS)
        for name, spoil in SPOILT.items()
    },
}


def _features(spoil, door):
    def call(kit, here):
        folder = kit.copy("features", here)
        spoil(folder)
        if door == "retrieve":
            return [folder, "--number", 0]
        return ["build", "new", folder]

    return call


def _index(number, spoil, door):
    def call(kit, here):
        folder = kit.copy("index", here)
        parts = sorted(path for path in folder.rglob("*") if path.is_file())
        spoil(parts[number])
        if door == "retrieve":
            return [folder, "--number", 0]
        return ["show", folder, "--recall"]

    return call


# labels.npy, names.txt, names_s1.txt, vectors.npy, index.json
PARTS = range(5)

CASES = [
    *(
        Case("damaged features", name, door, _features(spoil, door), says=["."])
        for name, spoil in FEATURES.items()
        for door in ("retrieve", "index")
    ),
    *(
        Case("a damaged index", f"part {number} {name}", door,
             _index(number, spoil, door), says=[r"index.*(build|damaged|expected)"])
        for number in PARTS
        for name, spoil in SPOILT.items()
        for door in ("retrieve", "index")
    ),
]  # fmt: skip
