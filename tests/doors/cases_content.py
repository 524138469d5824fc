"""NumPy files, records and packed archives: damaged, or of another form."""

import io
import re
import shutil
import tarfile
import zipfile

import numpy as np
from doors.case import Case


# NumPy files.
def _npz(change):
    def call(kit, here):
        with np.load(kit.run / "eval_scores.npz") as stored:
            arrays = {name: stored[name] for name in stored.files}
        made = change(arrays)
        if isinstance(made, dict):
            np.savez(here / "scores.npz", **made)
        else:
            (here / "scores.npz").write_bytes(made)

    return call


def _zipped(arrays):
    out = io.BytesIO()
    np.savez(out, **arrays)
    return out.getvalue()


def _huge(arrays):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (10**9, 10**5)}
    )
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, array in arrays.items():
            one = io.BytesIO()
            np.save(one, array)
            archive.writestr(f"{name}.npy", one.getvalue())
        archive.writestr("other.npy", header.getvalue())
    return out.getvalue()


def _one_array(arrays):
    out = io.BytesIO()
    np.save(out, np.zeros(3))
    return out.getvalue()


NPZ = {
    "scores as whole numbers": (
        lambda a: a | {"scores": a["scores"].astype(int)}, "floats"),
    "scores as text": (lambda a: a | {"scores": a["scores"].astype(str)}, "floats"),
    "scores as objects": (
        lambda a: a | {"scores": a["scores"].astype(object)}, "pickle"),
    "names as objects": (lambda a: a | {"names": a["names"].astype(object)}, "pickle"),
    "names as bytes": (lambda a: a | {"names": a["names"].astype("S")}, "text"),
    "labels of three dimensions": (
        lambda a: a | {"labels": a["labels"][None]}, "dimension"),
    "one label": (lambda a: a | {"label_order": np.array("x")}, "dimension"),
    "complex scores": (lambda a: a | {"scores": a["scores"] * 1j}, "floats"),
    "an iteration of text": (lambda a: a | {"iteration": np.array("x")}, "whole"),
    "a list of iterations": (lambda a: a | {"iteration": np.zeros(3, int)}, "whole"),
    "a split of numbers": (lambda a: a | {"split": np.array(1)}, "text"),
    "no names": (lambda a: {k: v for k, v in a.items() if k != "names"}, "missing"),
    "NaN": (lambda a: a | {"scores": a["scores"] * np.float32("nan")}, "NaN"),
    "cut short": (lambda a: _zipped(a)[:500], "does not read"),
    "a flipped byte": (
        lambda a: _zipped(a)[:900] + b"\0\1" + _zipped(a)[902:], "does not read|got"),
    "a shape that no memory holds": (_huge, "does not read"),
    "an .npy": (_one_array, "does not read"),
    "a pickle": (lambda a: b"\x80\x04K\x07.", "does not read"),
    "empty": (lambda a: b"", "does not read"),
    "text": (lambda a: b"scores", "does not read"),
}  # fmt: skip


def _scores(change, door):
    def call(kit, here):
        _npz(change)(kit, here)
        if door == "compare":
            return ["scores.npz", kit.run / "eval_scores.npz", "--out", "out"]
        kit.write_config(here)
        return ["config.json", "--scores", "scores.npz"]

    return call


def _npz_cases():
    for number, (fault, (change, says)) in enumerate(NPZ.items()):
        for door in {"compare", "eval" if number % 2 else "compare"}:
            call = _scores(change, door)
            yield Case("scores", fault, door, call, says=[says])


def _npy(name, change):
    def call(kit, here):
        shutil.copytree(kit.tiles / "tile_01", here / "tile")
        path = here / "tile" / name
        made = change(np.load(path), path.read_bytes())
        if isinstance(made, bytes):
            path.write_bytes(made)
        else:
            np.save(path, made)
        return ["tile", "-o", "out", "--workers", 1]

    return call


NPY = [
    Case("arrays of a tile", fault, "tiles", _npy(name, change), says=[says])
    for fault, name, change, says in (
        ("floats", "bands.npy", lambda a, d: a / 1.0, "uint16"),
        ("big-endian", "bands.npy", lambda a, d: a.astype(">u2"), "uint16"),
        ("objects", "doys.npy", lambda a, d: a.astype(object), "pickle"),
        ("cut short", "bands.npy", lambda a, d: d[:9999], "does not read"),
        ("empty", "masks.npy", lambda a, d: b"", "does not read"),
        ("text", "doys.npy", lambda a, d: b"1\n2\n", "does not read"),
        ("a header of text", "doys.npy",
         lambda a, d: d[:10] + b"{'descr': __import__" + d[30:], "does not read"),
        ("a negative shape", "doys.npy",
         lambda a, d: re.sub(rb"\((\d)", rb"(-\1", d, count=1), "does not read|shape"),
        ("text as days", "doys.npy", lambda a, d: a.astype(str), "whole numbers"),
        ("no dimensions", "doys.npy", lambda a, d: np.array(7), "dimensions"),
        ("days beyond the year", "doys.npy", lambda a, d: a + 9999, "day"),
    )
]  # fmt: skip


# Records.
def _frame(data, number):
    """Returns where a record of a TFRecord file begins, and its length."""
    place = 0
    for _ in range(number):
        place += 16 + int.from_bytes(data[place : place + 8], "little")
    return place, int.from_bytes(data[place : place + 8], "little")


def _damage(kit, here, split, number=1):
    """Flips a byte within a record of the first shard of a split."""
    folder = kit.copy("records", here)
    shard = sorted(folder.glob(f"{split}-*.tfrecord"))[0]
    data = bytearray(shard.read_bytes())
    place, length = _frame(data, number)
    data[place + 12 + length // 2] ^= 1
    shard.write_bytes(data)
    return folder


def _records_config(kit, here, **keys):
    files = {
        f"{key}_tf_record_files": [str(here / f"records/{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }
    return kit.write_config(here, **files, **keys)


_NAMED = [r"-00000-of-\d+\.tfrecord: record 1 is damaged"]


def _damaged_train(kit, here):
    _damage(kit, here, "train")
    _records_config(kit, here)
    return ["config.json"]


def _damaged_test(kit, here):
    _damage(kit, here, "test")
    _records_config(kit, here, out_dir=str(kit.copy("run", here)))
    return ["config.json"]


def _damaged_source(kit, here):
    _damage(kit, here, "test")
    return [kit.run, "records/test-*", "-o", "o.csv"]


RECORDS = [
    Case("a record with a wrong CRC", "pixels", "predict", _damaged_source,
         says=_NAMED),
    Case("a record with a wrong CRC", "pixels", "train", _damaged_train, says=_NAMED,
         leaves=["run", "run/*"]),
    Case("a record with a wrong CRC", "pixels", "eval", _damaged_test, says=_NAMED,
         leaves=["run/*"]),
    Case("a record with a wrong CRC", "pixels", "embed", lambda kit, here: [
        *_damaged_test(kit, here), "--split", "test", "-o", "features"],
        says=_NAMED),
    Case("a record with a wrong CRC", "pixels", "statistics", lambda kit, here: [
        str(_damage(kit, here, "test") / "test-*"), "-o", "own.json", "--workers", 1],
        says=_NAMED),
    Case("a record with a wrong CRC", "pixels", "convert", lambda kit, here: [
        str(_damage(kit, here, "test") / "test-*"), "-o", "out", "--workers", 1],
        says=_NAMED),
    Case("a record with a wrong CRC", "pixels", "inspect", lambda kit, here: [
        _damage(kit, here, "test"), "--record", 37], says=["record|no"]),
]  # fmt: skip


# Archives that nobody has unpacked.
def _pack(path):
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("BigEarthNet-S2/x", "x")
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".tgz" else "w") as archive:
            archive.addfile(tarfile.TarInfo("BigEarthNet-S2/x"), io.BytesIO())
    return path


def _packed(name, arguments):
    def call(kit, here):
        return arguments(kit, _pack(here / name))

    return call


PACKED = [
    Case("a packed source", f"{what} in {name}", door, _packed(name, arguments),
         says=["unpack"])
    for number, (what, door, arguments) in enumerate((
        ("Sentinel-2", "prep_splits", lambda kit, path: [
            "-r", path, "-n", path, "--metadata", kit.v2 / "metadata.parquet", "-o",
            "out"]),
        ("Sentinel-1", "prep_splits", lambda kit, path: [
            "-s", path, "--metadata", kit.v2 / "metadata.parquet", "-o", "out"]),
        ("an LMDB", "prep_splits", lambda kit, path: [
            "--lmdb", path, "--metadata", kit.v2 / "metadata.parquet", "-o", "out"]),
        ("Sentinel-2", "split", lambda kit, path: ["-r", path, "-o", "out"]),
        ("a label table", "split", lambda kit, path: ["--table", path, "-o", "out"]),
        ("patches", "predict", lambda kit, path: [kit.s2_run, path, "-o", "o.csv"]),
        ("records", "inspect", lambda kit, path: [path]),
        ("records", "statistics", lambda kit, path: [path, "-o", "own.json"]),
        ("records", "convert", lambda kit, path: [path, "-o", "out"]),
        ("points", "regress", lambda kit, path: [path, "--target", "x", "-o", "out"]),
        ("a run", "plot", lambda kit, path: [path, "--out", "out"]),
        ("a run", "compare", lambda kit, path: [path, kit.run, "--out", "out"]),
        ("a run", "map", lambda kit, path: [path, kit.scene, "-o", "map.tif"]),
        ("a run", "predict", lambda kit, path: [
            path, kit.records / "test-*", "-o", "o.csv"]),
        ("a run", "export", lambda kit, path: [path, "-o", "out"]),
        ("a run", "publish", lambda kit, path: [path, "-o", "out", "--data", "x"]),
        ("features", "retrieve", lambda kit, path: [path, "--number", 0]),
        ("features", "index", lambda kit, path: ["build", "new", path]),
        ("an index", "index", lambda kit, path: ["show", path]),
        ("names", "index", lambda kit, path: [
            "remove", kit.copy("index", path.parent), "--names-from", path]),
        ("a config", "train", lambda kit, path: [path]),
        ("records", "train", lambda kit, path: [
            kit.write_config(path.parent, tr_tf_record_files=[str(path)])]),
        ("weights", "train", lambda kit, path: [
            kit.write_config(path.parent, weights=str(path))]),
        ("tiles", "tiles", lambda kit, path: [path, "-o", "out"]),
        ("a scene", "map", lambda kit, path: [kit.s2_run, path, "-o", "m.tif"]),
        ("points", "points", lambda kit, path: [
            kit.land_cover, kit.tiles, "--points", path, "-o", "o.csv"]),
        ("thresholds", "predict", lambda kit, path: [
            kit.run, kit.records / "test-*", "-o", "o.csv", "--thresholds", path]),
        ("metadata", "split", lambda kit, path: ["--metadata", path, "-o", "out"]),
        ("a list of patches", "split", lambda kit, path: [
            "--metadata", kit.v2 / "metadata.parquet", "--only", path, "-o", "out"]),
        ("Sentinel-1", "predict", lambda kit, path: [
            kit.run, kit.bands_of_v2()[0], "--s1", path, "-o", "o.csv"]),
    ))
    for name in (("a.zip", "a.tar") if number % 2 else ("a.tgz", "a.zip"))
]  # fmt: skip

CASES = [*_npz_cases(), *NPY, *RECORDS, *PACKED]
