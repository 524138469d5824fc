"""LMDBs of v1, whose values are pickles: hostile ones, and what does not go together.

A value that is executed makes a folder, which a refusal must not leave.
"""

import os
import pickle

import numpy as np
import v1_lmdbs
from doors.case import Case

from bigearthnet_tf.archive import bands

NAMES = ("S2A_MSIL2A_20170613T101031_87_48", "S2B_MSIL2A_20170924T93020_69_24")
NAME_S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
PIXELS = {
    band.name: np.full(
        (band.pixels, band.pixels), -12 if band.sensor == "S1" else 800, band.dtype
    )
    for band in bands.BANDS.values()
}
PASTURES = np.eye(19)[4]
# What bigearthnet-19-models wrote begins like this.
OF_PYARROW = bytes(4) + b"\4" + bytes(11) + b"\xff" * 4 + bytes(40)


class Trap:
    """Makes a folder when it is unpickled."""

    def __init__(self, function=os.mkdir, *args):
        self._made = function, args or ("executed",)

    def __reduce__(self):
        return self._made


def _objects():
    return np.array([Trap(), None], object)


HOSTILE = {
    "calls os.mkdir": (lambda: pickle.dumps(Trap(), 4), "calls '.*mkdir'.*nothing"),
    "protocol 0": (lambda: pickle.dumps(Trap(), 0), "calls '.*mkdir'"),
    "calls eval": (
        lambda: pickle.dumps(Trap(eval, "__import__('os').mkdir('executed')"), 4),
        r"calls 'builtins\.eval'"),
    "in a patch": (lambda: v1_lmdbs.encoded(PIXELS, extra=Trap()), "calls '.*mkdir'"),
    "in an array": (
        lambda: v1_lmdbs.encoded(PIXELS | {"B02": _objects()}), "dtype 'O8'"),
    "INST": (lambda: b"(Vexecuted\nios\nmkdir\n.", "an opcode b'i'"),
    "an extension": (lambda: b"\x80\4\x82\1)R.", "an opcode b.*x82"),
    "a persistent id": (lambda: b"\x80\4K\1Q.", "calls 'persistent id'"),
    "nested deeply": (
        lambda: b"\x80\4" + b"]" * 90_000 + b"a" * 89_999 + b".", "holds a value of"),
    "a length of 2 to the 60": (
        lambda: b"\x80\4\x8e" + (2**60).to_bytes(8, "little") + b".", "remain"),
    "cut short": (lambda: v1_lmdbs.encoded(PIXELS)[:-100], "pickled, but"),
    "pyarrow.serialize": (lambda: OF_PYARROW, "can't be read any more"),
    "NaN": (
        lambda: v1_lmdbs.encoded(PIXELS | {"VV": PIXELS["VV"] * np.nan}), "NaN"),
    "other labels": (
        lambda: v1_lmdbs.encoded(PIXELS, new_labels=["Airports"]), "new_labels"),
}  # fmt: skip


def _make(here, value, first=None):
    """Writes an LMDB with a good patch and another, and a list of both."""
    good = v1_lmdbs.encoded(PIXELS) if first is None else first
    path = v1_lmdbs.write(
        here / "v1.lmdb", dict(zip(NAMES, (good, value), strict=True))
    )
    (here / "train.csv").write_text("".join(f"{name}\n" for name in NAMES))
    return path


def _hostile(value):
    return lambda kit, here: [
        "--lmdb", _make(here, value()), "-n", here / "train.csv", "-o", "out"
    ]  # fmt: skip


def _predict(value):
    return lambda kit, here: [kit.s2_run, _make(here, value()), "-o", "out.csv"]


def _first(kit, here):
    value = pickle.dumps(Trap(), 4)
    path = _make(here, value, first=value)
    return ["--lmdb", path, "-n", here / "train.csv", "-o", "out"]


def _with_metadata(kit, here):
    return [
        "--lmdb", _make(here, v1_lmdbs.encoded(PIXELS)), "-o", "out",
        "--metadata", kit.v2 / "metadata.parquet",
    ]  # fmt: skip


def _cbir(here, list_text):
    content = {NAMES[0]: v1_lmdbs.cbir_s2(PIXELS, PASTURES)}
    optical = v1_lmdbs.write(here / "s2.lmdb", content)
    content = {NAME_S1: v1_lmdbs.cbir_s1(PIXELS, PASTURES)}
    radar = v1_lmdbs.write(here / "s1.lmdb", content)
    (here / "train.csv").write_text(list_text)
    return ["--lmdb", optical, radar, "-n", here / "train.csv", "-o", "out"]


def _three(kit, here):
    return [*_cbir(here, ""), "--lmdb", "a", "b", "c"]


def _check(here, outcome):
    assert list(here.glob("out/train-*")), outcome.err


KIND = "an LMDB of v1"
CASES = [
    *(Case(KIND, name, "prep_splits", _hostile(value), says=["v1.lmdb", NAMES[1], says])
      if name != "NaN" else
      Case(KIND, name, "prep_splits", _hostile(value), says=[NAMES[1], says])
      for name, (value, says) in HOSTILE.items()),
    Case(KIND, "all are hostile", "prep_splits", _first,
         says=["v1.lmdb", NAMES[0], "calls '.*mkdir'"]),
    Case(KIND, "calls os.mkdir", "predict", _predict(HOSTILE["calls os.mkdir"][0]),
         says=["v1.lmdb", NAMES[1], "calls '.*mkdir'"]),
    Case(KIND, "metadata of v2", "prep_splits", _with_metadata,
         says=["v1.lmdb", "leave the metadata of v2 out"]),
    Case(KIND, "whole", "prep_splits", _hostile(lambda: v1_lmdbs.encoded(PIXELS)),
         check=_check),
    Case(KIND, "of the CBIR project", "prep_splits",
         lambda kit, here: _cbir(here, f"{NAMES[0]},{NAME_S1}\n"), check=_check),
    Case(KIND, "no Sentinel-1 names", "prep_splits",
         lambda kit, here: _cbir(here, f"{NAMES[0]}\n"),
         says=["s1.lmdb", "list of S2 and S1 names"]),
    Case(KIND, "three LMDBs", "prep_splits", _three, says=["one of each sensor"],
         status=2),
]  # fmt: skip
