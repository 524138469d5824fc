"""Files of other forms, damaged ones, and values out of bounds, at every door."""

import io
import json
import os
import re
import shutil
import tarfile
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa
from doors.case import Case
from pyarrow import parquet

# JSON: what is done to a text, and what the refusal says of it.
_NUMBER = re.compile(rb"(?<=[:\[ ])-?\d+(\.\d+)?")


def _first_number(data, by):
    return _NUMBER.sub(by, data, count=1)


def _nested(data):
    return b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"


def _twice(data):
    text = json.dumps(json.loads(data))
    key = json.dumps(next(iter(json.loads(data))))
    return f"{text[:-1]}, {key}: 1}}".encode()


JSON_FAULTS = {
    "cut short": (lambda data: data[: len(data) // 2], "expected JSON"),
    "empty": (lambda data: b"", "expected JSON"),
    "nested 100,000 deep": (_nested, "nested too deeply"),
    "a number of 5000 digits": (
        lambda data: b'{"a": ' + b"9" * 5000 + b"}",
        "128 bits",
    ),
    "a number of 50 digits": (lambda data: b'{"a": -' + b"9" * 50 + b"}", "128 bits"),
    "the same key twice": (_twice, "twice"),
    "NaN": (lambda data: b'{"a": NaN}', "got NaN"),
    "-Infinity": (lambda data: b'{"a": [-Infinity]}', "got -Infinity"),
    "1e999": (lambda data: b'{"a": 1e999}', "finite"),
    "UTF-16": (lambda data: data.decode().encode("utf-16"), "UTF-16"),
    "Latin-1": (lambda data: b'{"a": "\xe4"}', "UTF-8"),
    "a list": (lambda data: b"[1]", "expected"),
    "a text": (lambda data: b'"text"', "expected"),
    "a number": (lambda data: b"7", "expected"),
    "null": (lambda data: b"null", "expected"),
}
# Some doors look for a file, and miss it.
NO_FILES = {
    "a pipe": (lambda path: os.mkfifo(path), "a pipe|no "),
    "a folder": (lambda path: path.mkdir(), "a folder|no "),
    "a device": (lambda path: path.symlink_to("/dev/zero"), "a device|no "),
}


def _config(kit, here):
    return kit.write_config(here), ["config.json"]


def _config_of_eval(kit, here):
    path = kit.write_config(here, out_dir=str(kit.run))
    return path, ["config.json"]


def _v1_labels(kit, here):
    s2, _ = kit.bands_of_v1()
    path = next(s2.iterdir())
    shutil.copytree(path, here / "v1" / path.name)
    (here / "train.csv").write_text(f"{path.name}\n")
    file = here / "v1" / path.name / f"{path.name}_labels_metadata.json"
    return file, ["-r", "v1", "-n", "train.csv", "-o", "out", "--workers", 1]


def _manifest(kit, here):
    folder = kit.copy("records", here)
    return folder / "test.manifest.json", ["records/test-*", "-o", "own.json"]


def _manifest_of_predict(kit, here):
    folder = kit.copy("records", here)
    return folder / "test.manifest.json", [kit.run, "records/test-*", "-o", "o.csv"]


def _tile(kit, here):
    shutil.copytree(kit.tiles / "tile_01", here / "tile")
    return here / "tile/tile.json", ["tile", "-o", "out", "--workers", 1]


def _thresholds(kit, here):
    (here / "t.json").write_text(json.dumps({"labels": [], "thresholds": []}))
    test = kit.records / "test-*"
    return here / "t.json", [kit.run, test, "-o", "o.csv", "--thresholds", "t.json"]


def _statistics(kit, here):
    kit.write_config(here, statistics=str(here / "own.json"))
    (here / "own.json").write_text(json.dumps({"no_interpolation": {"B02": 1}}))
    return here / "own.json", ["config.json"]


def _description(kit, here):
    folder = kit.copy("s2_run", here)
    path = next(folder.rglob("description.json"))
    return path, [path.parent, kit.scene, "-o", "map.tif"]


def _facts(kit, here):
    folder = kit.copy("features", here)
    return folder / "embeddings.json", [folder, "--number", 0]


def _index(kit, here):
    folder = kit.copy("index", here)
    return next(folder.glob("*.json")), ["show", folder]


def _run_config(kit, here):
    folder = kit.copy("run", here)
    return folder / "config.json", [folder, "--out", "curves"]


# Doors that read JSON: the door, and what makes a whole file with its arguments.
JSON_DOORS = {
    "a config": ("train", _config),
    "a config of a run": ("eval", _config_of_eval),
    "labels of v1": ("prep_splits", _v1_labels),
    "a manifest": ("statistics", _manifest),
    "facts of a tile": ("tiles", _tile),
    "thresholds": ("predict", _thresholds),
    "statistics": ("train", _statistics),
    "a description": ("map", _description),
    "facts of features": ("retrieve", _facts),
    "facts of an index": ("index", _index),
    "the config of a run": ("plot", _run_config),
}
# Doors that open a run first, which takes seconds: some faults are enough there.
SLOW, ENOUGH = ("predict",), ("cut short", "nested 100,000 deep", "the same key twice")


def _spoil(make, change):
    def call(kit, here):
        path, arguments = make(kit, here)
        path.write_bytes(change(path.read_bytes() if path.exists() else b'{"a": 1}'))
        return arguments

    return call


def _replace(make, change):
    def call(kit, here):
        path, arguments = make(kit, here)
        path.unlink(missing_ok=True)
        change(path)
        return arguments

    return call


def _json_cases():
    for what, (door, make) in JSON_DOORS.items():
        for fault, (change, says) in JSON_FAULTS.items():
            if door in SLOW and fault not in ENOUGH:
                continue
            yield Case(f"JSON, {what}", fault, door, _spoil(make, change), says=[says])
        for fault, (change, says) in NO_FILES.items():
            yield Case(
                f"JSON, {what}", fault, door, _replace(make, change), says=[says]
            )


def _with_mark(make):
    return _spoil(make, lambda data: b"\xef\xbb\xbf" + data)


def _wrote(name):
    def check(here, outcome):
        assert (here / name).exists(), outcome

    return check


LEGAL_JSON = [
    Case("a byte order mark", "labels of v1", "prep_splits", _with_mark(_v1_labels),
         check=_wrote("out/train.manifest.json")),
    Case("a byte order mark", "a manifest", "predict", _with_mark(_manifest_of_predict),
         check=_wrote("o.csv")),
    Case("a byte order mark", "facts of features", "retrieve", _with_mark(_facts)),
    Case("a byte order mark", "a config", "train",
         lambda kit, here: [*_with_mark(_config)(kit, here), "--test-run"]),
]  # fmt: skip

# YAML.
LAUGHS = "a: &a [1, 2]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join([f'*{chr(97 + i)}'] * 9)}]\n"
    for i in range(9)
)
YAML = {
    "aliases": ("a: &x 1\nb: *x\n", "alias"),
    "a billion laughs": (LAUGHS, "alias"),
    "merged keys": ("a: &x {b: 1}\nc:\n  <<: *x\n", "alias"),
    "the same key twice": ("seed: 1\nseed: 2\n", "twice"),
    "nested deeply": ("a: " + "[" * 20_000, "nested too deeply"),
    "a number of 5000 digits": (f"seed: {'9' * 5000}\n", "YAML|seed"),
    "no date": ("seed: 2020-02-31\n", "YAML"),
    "Python objects": ("seed: !!python/object:os.system {}\n", "YAML"),
    "a tab": ("seed:\n\t- 1\n", "YAML"),
    "a list": ("- 1\n", "expected keys and values"),
    "bytes": ("seed: !!binary x\n", "YAML"),
    "a long value": (f"type: {'x' * 100_000}\n", "missing|expected"),
    "UTF-16": ("seed: 1\n".encode("utf-16"), "UTF-16"),
    "bytes that are 0": ("seed: \0\n", "YAML"),
}


def _yaml(content):
    def call(kit, here):
        data = content if isinstance(content, bytes) else content.encode()
        (here / "config.yaml").write_bytes(data)
        return ["config.yaml"]

    return call


def _yaml_cases():
    for number, (fault, (content, says)) in enumerate(YAML.items()):
        door = ("train", "eval", "embed", "sweep")[number % 4]
        yield Case("YAML", fault, door, _yaml(content), says=[says])


# Parquet.
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


# CSV.
def _places(kit):
    import rasterio  # noqa: F401

    facts = json.loads((kit.tiles / "tile_01/tile.json").read_text())
    left, top = facts["transform"][2], facts["transform"][5]
    return [(left + 10 * i + 5, top - 10 * i - 5) for i in range(4, 12)]


def _points(text):
    """Returns what writes points.csv: `text` of a header and rows of x, y and label."""

    def call(kit, here):
        rows = [(f"{x:.1f}", f"{y:.1f}", "10") for x, y in _places(kit)]
        made = text(rows)
        data = made if isinstance(made, bytes) else made.encode()
        (here / "points.csv").write_bytes(data)
        return [kit.tiles / "tile_01", "-o", "out", "--points", "points.csv",
                "--workers", 1, "--min-valid", 16]  # fmt: skip

    return call


def _lines(rows, header="x,y,label", comma=",", end="\n", after=""):
    lines = [header + after, *(comma.join(row) + after for row in rows)]
    return end.join(lines) + end


CSV = {
    "semicolons": (lambda r: _lines(r, "x;y;label", ";"), "semicolons"),
    "tabs": (lambda r: _lines(r, "x\ty\tlabel", "\t"), "tabs"),
    "decimal commas": (
        lambda r: _lines([[c.replace(".", ",") for c in row] for row in r]),
        "point",
    ),
    "quoted decimal commas": (
        lambda r: _lines([[f'"{c.replace(".", ",")}"' for c in row] for row in r]),
        "point, not a comma",
    ),
    "a field too many": (lambda r: _lines([(*row, "x") for row in r]), "fields"),
    "a field too few": (lambda r: _lines([row[:2] for row in r]), "fields"),
    "a column twice": (lambda r: _lines([(*w, "1") for w in r], "x,y,label,x"), "twic"),
    "empty": (lambda r: b"", "empty"),
    "blank": (lambda r: b"\n\n", "empty"),
    "UTF-16": (lambda r: _lines(r).encode("utf-16"), "UTF-16"),
    "bytes that are 0": (lambda r: b"x,y,label\n\0\0\0", "0"),
    "a zip": (lambda r: b"PK\x03\x04" + bytes(40), "unpack"),
    "infinity": (lambda r: _lines([("inf", *row[1:]) for row in r]), "number"),
    "text": (lambda r: _lines([("west", *row[1:]) for row in r]), "number"),
    "True": (lambda r: _lines([("True", *row[1:]) for row in r]), "number"),
    "no rows": (lambda r: "x,y,label\n", "point|row|line|no "),
    "unknown classes": (lambda r: _lines([(*w[:2], "7") for w in r]), "class codes"),
    "an open quote": (lambda r: 'x,y,label\n"1,2,10\n', "CSV|field"),
}
LEGAL_CSV = {
    "a comma at the end of lines": lambda r: _lines(r, after=","),
    "a comma at the end of rows alone": lambda r: _lines([(*w, "") for w in r]),
    "CRLF": lambda r: _lines(r, end="\r\n"),
    "CR": lambda r: _lines(r, end="\r"),
    "a byte order mark": lambda r: b"\xef\xbb\xbf" + _lines(r).encode(),
    "quotes": lambda r: _lines(
        [[f'"{c}"' for c in row] for row in r], '"x","y","label"'
    ),
    "blanks after commas": lambda r: _lines(r, "x, y, label", ", "),
    "an index before": lambda r: _lines(
        [(str(i), *w) for i, w in enumerate(r)], ",x,y,label"
    ),
}  # fmt: skip


def _eight_points(here, outcome):
    manifest = json.loads((here / "out/train.manifest.json").read_text())
    assert manifest["num_pixels"] == manifest["num_labelled"] > 4, manifest


def _csv_cases():
    for fault, (text, says) in CSV.items():
        yield Case("points in CSV", fault, "tiles", _points(text), says=[says])
    for name, text in LEGAL_CSV.items():
        yield Case("points in CSV", name, "tiles", _points(text), check=_eight_points)


def _sites(change):
    def call(kit, here):
        rng = np.random.default_rng(0)
        table = pd.DataFrame(
            {"x": np.arange(8) * 2e4, "y": np.arange(8) * 2e4, "much": np.arange(8.0),
             "embedding_0": rng.normal(size=8), "embedding_1": rng.normal(size=8)}
        )  # fmt: skip
        change(table, here / "t.csv")
        return ["t.csv", "--target", "much", "--model", "ridge", "-o", "out"]

    return call


def _texts(table, path):
    text = table.to_csv(index=False)
    path.write_text("\n".join(f"{line}," for line in text.splitlines()))


def _eight_sites(here, outcome):
    found = json.loads((here / "out/regression.json").read_text())
    assert (found["points"], found["blocks"]) == (8, 8), found


SITES = [
    Case("sites in CSV", "decimal commas", "regress", _sites(
        lambda t, p: t.to_csv(p, index=False, decimal=",")), says=["point"]),
    Case("sites in CSV", "semicolons", "regress", _sites(
        lambda t, p: t.to_csv(p, index=False, sep=";")), says=["semicolons"]),
    Case("sites in CSV", "text as numbers", "regress", _sites(
        lambda t, p: t.assign(embedding_0="a").to_csv(p, index=False)),
        says=["expected a number in 'embedding_0'"]),
    Case("sites in CSV", "infinity", "regress", _sites(
        lambda t, p: t.assign(much=np.inf).to_csv(p, index=False)),
        says=["expected a number in 'much'"]),
    Case("sites in CSV", "no places", "regress", _sites(
        lambda t, p: t.assign(x=np.nan).to_csv(p, index=False)), says=["x"]),
    Case("sites in CSV", "a comma at the end of lines", "regress", _sites(_texts),
         check=_eight_sites),
    Case("sites in CSV", "Parquet by content", "regress", _sites(
        lambda t, p: t.to_parquet(p)), check=_eight_sites),
]  # fmt: skip


# Lists of patches, and label tables.
def _list(text):
    def call(kit, here):
        s2, _ = kit.bands_of_v2()
        names = parquet.read_table(kit.v2 / "metadata.parquet")["patch_id"].to_pylist()
        made = text(names[:4])
        data = made if isinstance(made, bytes) else made.encode()
        (here / "lakes.csv").write_bytes(data)
        return [kit.rgb_run, s2, "--patches", "lakes.csv", "-o", "out.csv"]

    return call


def _four(here, outcome):
    assert len((here / "out.csv").read_text().splitlines()) == 5


LISTS = [
    Case("a list of patches", fault, "predict", _list(text), says=[says])
    for fault, text, says in (
        ("UTF-16", lambda n: "\n".join(n).encode("utf-16"), "UTF-16"),
        ("empty", lambda n: "", "empty"),
        ("numbers", lambda n: "1\n2\n", "not a patch name"),
        ("a long line", lambda n: "x" * 200_000, "CSV|not a patch name"),
        ("a long name", lambda n: "x" * 2000, "not a patch name"),
        ("a patch twice", lambda n: "\n".join([n[0], n[0]]), "twice"),
        ("three columns", lambda n: f"{n[0]},{n[0]},x", "columns|name"),
        ("a zip", lambda n: b"PK\x03\x04\xff\xff", "UTF-8|unpack"),
    )
] + [
    Case("a list of patches", name, "predict", _list(text), check=_four)
    for name, text in (
        ("a byte order mark", lambda n: b"\xef\xbb\xbf" + "\n".join(n).encode()),
        ("CRLF and blank lines", lambda n: "\r\n\r\n".join(n)),
        ("a comma at the end of lines", lambda n: ",\n".join([*n, ""])),
        ("quotes", lambda n: "".join(f'"{x}"\n' for x in n)),
    )
]  # fmt: skip


def _labels(text):
    def call(kit, here):
        names = parquet.read_table(kit.v2 / "metadata.parquet")["patch_id"].to_pylist()
        (here / "labels.csv").write_text(text(names))
        return ["--table", "labels.csv", "--ratios", "50", "50", "-o", "out"]

    return call


def _label_rows(names, end=""):
    rows = [f"{n},{i % 2},{1 - i % 2}{end}" for i, n in enumerate(names)]
    return "\n".join([f"patch,UF,MW{end}", *rows])


def _two_lists(here, outcome):
    one, other = ((here / f"out/{n}.csv").read_text() for n in ("train", "test"))
    assert len(one.splitlines()) == len(other.splitlines()) == 12


TABLES = [
    Case("a label table", "a comma at the end of lines", "split",
         _labels(lambda n: _label_rows(n, ",")), check=_two_lists),
    Case("a label table", "semicolons", "split",
         _labels(lambda n: _label_rows(n).replace(",", ";")), says=["semicolons"]),
    Case("a label table", "0.5", "split",
         _labels(lambda n: _label_rows(n).replace(",1,", ",0.5,")), says=["0 or 1"]),
    Case("a label table", "a long value", "split",
         _labels(lambda n: _label_rows(n).replace(",1,", f",{'x' * 9999},")),
         says=["0 or 1"]),
    Case("a label table", "a field too many", "split",
         _labels(lambda n: _label_rows(n, ",1")), says=["label|fields|column"]),
]  # fmt: skip


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
    ))
    for name in (("a.zip", "a.tar") if number % 2 else ("a.tgz", "a.zip"))
]  # fmt: skip

# Options and keys.
OPTIONS = [
    Case("options out of bounds", f"{door} {' '.join(map(str, words))}", door,
         lambda kit, here, words=words: [*words], says=["expected a"], status=2)
    for door, words in (
        ("prep_splits", ["-r", "x", "-n", "x", "-o", "out", "--seed", -1]),
        ("prep_splits", ["-r", "x", "-n", "x", "-o", "out", "--shard-size-mb", "nan"]),
        ("prep_splits", ["-r", "x", "-n", "x", "-o", ""]),
        ("split", ["--table", "x", "-o", "out", "--blocks", "inf"]),
        ("split", ["--table", "x", "-o", "out", "--ratios", 50, "nan"]),
        ("split", ["--table", "x", "-o", "", "--ratios", 50, 50]),
        ("split", ["--table", "x", "-o", "o", "--folds", 2, "--names", "", "b"]),
        ("tiles", ["x", "-o", "out", "--shard-size-mb", 0]),
        ("tiles", ["x", "-o", "out", "--transform", 10, 0, "nan", 0, -10, 0]),
        ("tiles", ["x", "-o", "out", "--val", ""]),
        ("statistics", ["x", "-o", "a.json", "--percentiles", "nan"]),
        ("retrieve", ["x", "--number", 0, "-k", 0]),
        ("retrieve", ["x", "--number", 0, "--exclude-within", "inf"]),
        ("retrieve", ["x", "--number", -1]),
        ("map", ["r", "s", "-o", "m.tif", "--scale", 0]),
        ("map", ["r", "s", "-o", "m.tif", "--offset", "nan"]),
        ("map", ["r", "s", "-o", "m.tif", "--stride", "1e3"]),
        ("map", ["r", "s", "-o", "m.tif", "--seed", 2**40]),
        ("points", ["r", "s", "--points", "p", "-o", "o.csv", "--draws", -1]),
        ("regress", ["t", "--target", "y", "-o", "out", "--block-km", "nan"]),
        ("regress", ["t", "--target", "y", "-o", "out", "--folds", 1]),
        ("predict", ["r", "s", "-o", "o.csv", "--batch-size", "9" * 4400]),
        ("compare", ["a", "b", "--seed", -7]),
        ("inspect", ["x", "--count", 0]),
        ("sample", ["--patches", 3, "--out", "o", "--seed", 2**31]),
        ("models", ["--summary", "resnet50", "--labels", 0]),
        ("export", ["", "-o", "out"]),
        ("publish", ["r", "-o", "out", "--data", " "]),
    )
]  # fmt: skip


def _keys(door="train", **keys):
    def call(kit, here):
        kit.write_config(here, **keys)
        return ["config.json"]

    return call


def _set(text):
    def call(kit, here):
        kit.write_config(here)
        return ["config.json", "--set", text]

    return call


KEYS = [
    Case("keys out of bounds", f"{key}={str(value)[:20]}", "train",
         _keys(**{key: value}), says=[key])
    for key, value in (
        ("devices", "cpu:0"), ("devices", "CPU"), ("devices", "cuda"),
        ("devices", "gpu"), ("devices", "gpu:"), ("devices", "cpu:1000000"),
        ("devices", "gpu:0,"), ("devices", ""), ("devices", "gpu:-1"),
        ("learning_rate", 0), ("learning_rate", "1e-3"), ("seed", -1),
        ("batch_size", 0), ("batch_size", 2**62), ("batch_size", 10**6),
        ("image_size", 0), ("image_size", 10**6), ("image_size", 2**62),
        ("head_dims", [0]), ("head_dims", [-5]), ("head_dims", [2**40]),
        ("nb_epoch", 2**62), ("drop_rate", 1.5), ("momentum", -0.1),
        ("bootstrap_rounds", -1), ("out_dir", ""), ("out_dir", " "),
        ("shuffle_buffer_size", -1), ("decay_step", 0), ("training_size", 0),
        ("gradient_accumulation", 2**40), ("bands", []), ("bands", ""),
        ("tr_tf_record_files", [""]), ("statistics", ""), ("model_name", ""),
    )
] + [
    Case("keys out of bounds", f"--set {text[:30]}", "train", _set(text), says=[says])
    for text, says in (
        ("learning_rate=NaN", "learning_rate"),
        ("learning_rate=Infinity", "learning_rate"),
        ("learning_rate=1e999", "learning_rate"),
        ("weight_decay=-Infinity", "weight_decay"),
        (f"seed={'9' * 5000}", "seed"),
        (f"seed={'[' * 50_000}", "seed"),
        ("seed", "key=value"),
        ('metadata={"a": 1, "a": 2}', "twice"),
    )
]  # fmt: skip

CASES = [
    *_json_cases(),
    *LEGAL_JSON,
    *_yaml_cases(),
    *_parquet_cases(),
    *LEGAL_PARQUET,
    *_csv_cases(),
    *SITES,
    *LISTS,
    *TABLES,
    *_npz_cases(),
    *NPY,
    *RECORDS,
    *PACKED,
    *OPTIONS,
    *KEYS,
]
