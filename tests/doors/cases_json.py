"""JSON and YAML that other people have written, damaged, or of another form."""

import json
import os
import re
import shutil

from doors.case import Case

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


CASES = [*_json_cases(), *LEGAL_JSON, *_yaml_cases()]
