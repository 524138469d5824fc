"""CSV of points and sites, lists of patches, tables of labels."""

import json

import numpy as np
import pandas as pd
from doors.case import Case
from pyarrow import parquet


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

CASES = [
    *_csv_cases(),
    *SITES,
    *LISTS,
    *TABLES,
]
