"""Nothing of the user's is lost: outputs, paths, damaged and unfinished work."""

import json
import os
import shlex
import shutil

import numpy as np
from doors.case import Case
from doors.kit import PATCHES

IS_INPUT = "is read by the same call"
FOREIGN = "was not written by this command"
MINE = "my own notes, of years\n"
ODD_NAMES = ("runs [1]", "back\\slash", "~", "new\nline")


def _mine(path, text=MINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def _patches(kit, here):
    names = sorted(p.name for p in kit.bands_of_v2()[0].glob("*/*"))
    return _mine(here / "lakes.csv", "\n".join(names[:3]) + "\n")


# Each command with an output that is a file, which the cases fill in.


def _statistics(kit, here, out):
    return [kit.records / "train-*", "-o", out]


def _plot_of_statistics(kit, here, out):
    return [kit.records / "train-*", "--plot", out]


def _predict(kit, here, out):
    return [kit.run, kit.records / "test-*", "-o", out]


def _sheet(kit, here, out):
    return [kit.records, "--sheet", out]


def _geojson(kit, here, out):
    return [kit.features, "--number", 0, "--geojson", out]


def _map_of_hits(kit, here, out):
    return [kit.features, "--number", 0, "--map", out]


def _map(kit, here, out):
    return [kit.s2_run, kit.scene, "-o", out]


def _picture(kit, here, out):
    return [kit.s2_run, kit.scene, "-o", here / "map.tif", "--picture", out]


def _points(kit, here, out):
    points = _mine(here / "plots.csv", "x,y\n1,2\n")
    return [kit.land_cover, kit.tiles, "--points", points, "-o", out]


FILES = {
    ("statistics", "statistics"): (_statistics, "own.json"),
    ("statistics", "histograms"): (_plot_of_statistics, "own.png"),
    ("predict", "scores as CSV"): (_predict, "own.csv"),
    ("predict", "scores as Parquet"): (_predict, "own.parquet"),
    ("inspect", "sheet"): (_sheet, "own.png"),
    ("retrieve", "GeoJSON"): (_geojson, "own.json"),
    ("retrieve", "map"): (_map_of_hits, "own.png"),
    ("map", "map"): (_map, "own.tif"),
    ("map", "picture"): (_picture, "own.png"),
    ("points", "table"): (_points, "own.csv"),
}


def _foreign(command, name):
    return lambda kit, here: command(kit, here, _mine(here / name))


def _folder(command, name):
    def call(kit, here):
        (here / name).mkdir()
        return command(kit, here, here / name)

    return call


def _below_a_file(command, name):
    return lambda kit, here: command(kit, here, _mine(here / "file") / name)


def _pipe(command, name):
    def call(kit, here):
        os.mkfifo(here / name)
        return command(kit, here, here / name)

    return call


def _over_input(link=None):
    """`predict --patches X -o X`, by its name or another of the same file."""

    def call(kit, here):
        table, out = _patches(kit, here), here / "lakes.csv"
        if link is not None:
            out = here / "other.csv"
            link(table, out)
        root = kit.bands_of_v2()[0]
        return [kit.s2_run, root, "--patches", table, "-o", out]

    return call


def _damaged(change):
    """A run of two checkpoints, of which the newest has a damaged description."""

    def call(kit, here):
        config = kit.write_config(here)
        run = kit.copy("run", here)
        folder = run / "checkpoints"
        newest = max(folder.iterdir(), key=lambda p: int(p.name.split("-")[1]))
        older = folder / "iteration-1"
        if not older.exists():
            shutil.copytree(newest, older)
            _edit(older / "description.json", iteration=1, best=None)
        change(newest / "description.json")
        return [config]

    return call


def _edit(path, **keys):
    content = json.loads(path.read_text()) | keys
    path.write_text(json.dumps(content))


def _continued(here, outcome):
    assert "the checkpoint is damaged or incomplete" in outcome.out
    assert "continuing from" in outcome.out
    assert "iteration-1" in outcome.out


def _other_names(change):
    """Features whose names were changed, added to an index."""

    def call(kit, here):
        index, features = kit.copy("index", here), kit.copy("features", here)
        names = json.loads((features / "names.json").read_text())
        names["s2"] = [f"X{name}" for name in names["s2"]]
        (features / "names.json").write_text(json.dumps(change(names)))
        return ["add", index, features]

    return call


def _fewer(names):
    return names | {"s2": names["s2"][:-1]}


def _of_two_lines(names):
    return names | {"s2": [names["s2"][0] + "\n", *names["s2"][1:]]}


def _of_numbers(names):
    return names | {"s2": [1, *names["s2"][1:]]}


def _empty(names):
    return names | {"s2": ["", *names["s2"][1:]]}


def _twice(names):
    return names | {"s2": [names["s2"][1], *names["s2"][1:]]}


def _fewer_partners(names):
    return names | {"s1": names["s1"][:-1]}


def _other_labels(kit, here):
    index, features = kit.copy("index", here), kit.copy("features", here)
    names = json.loads((features / "names.json").read_text())
    names["s2"] = [f"X{name}" for name in names["s2"]]
    (features / "names.json").write_text(json.dumps(names))
    path = features / "embeddings.json"
    facts = json.loads(path.read_text())
    _edit(path, labels=facts["labels"][::-1])
    return ["add", index, features]


def _labels_of_twos(kit, here):
    features = kit.copy("features", here)
    labels = np.load(features / "labels.npy")
    np.save(features / "labels.npy", labels + 2)
    return ["build", here / "new", features]


def _trial(make):
    def call(kit, here):
        config = kit.write_config(here)
        make(here / "run-test-run")
        return [config, "--test-run"]

    return call


def _trial_beside(here, outcome):
    assert (here / "run-test-run" / "checkpoints").is_dir()
    assert not (here / "run").exists()


def _run_at(name):
    """The kit's run in a folder of that name."""

    def copy(kit, here):
        shutil.copytree(kit.run, here / name)
        return here / name

    return copy


def _said_once(here, outcome):
    """What comes next, after an `out_dir` that was given beside the config's."""
    trial = here / "a run-test-run"
    said = [shlex.split(line) for line in outcome.out.splitlines()[-2:]]
    assert said[0].count(f"out_dir={trial}") == 1
    assert sum(word.startswith("out_dir=") for word in said[0]) == 1
    assert said[1][-1] == str(trial / "logs")


def _split_beside(name, text):
    def call(kit, here):
        _mine(here / "out" / name, text)
        metadata = kit.v2 / "metadata.parquet"
        return ["--metadata", metadata, "-o", "out", "--overwrite"]

    return call


def _score_there(name):
    def call(kit, here):
        records = shutil.copytree(kit.records, here / f"r{name}")
        run = _run_at(name)(kit, here)
        return [run, records / "test-*", "-o", here / name / "scores.csv"]

    return call


def _scored(name):
    def check(here, outcome):
        lines = (here / name / "scores.csv").read_text().splitlines()
        assert 1 < len(lines) <= PATCHES + 1

    return check


def _again(command, name):
    """Twice to the same place: an earlier product may be replaced."""
    return lambda kit, here: command(kit, here, _mine(here / name, ""))


def _is_there(name):
    def check(here, outcome):
        assert (here / name).stat().st_size

    return check


def _over_own_archive(kit, here):
    s2 = kit.bands_of_v2()[0]
    copied = shutil.copytree(s2, here / "s2")
    return [
        *("-r", copied, "--metadata", kit.v2 / "metadata.parquet"),
        *("-o", f"{copied}/", "--workers", 1),
    ]


def _left_out_list(kit, here):
    table = _patches(kit, here).rename(here / "train.left_out.csv")
    return ["-r", kit.bands_of_v2()[0], "-n", table, "-o", here, "--workers", 1]


def _export_over(kit, here, form, name):
    return [kit.s2_run, "--format", form, "-o", _mine(here / name), "--overwrite"]


def _export_into_notes(kit, here):
    _mine(here / "out" / "notes.txt")
    return [kit.s2_run, "--format", "savedmodel", "-o", here / "out", "--overwrite"]


def _out_dir_of_others(kit, here):
    _mine(here / "run" / "config.json", '{"name": "of my own project"}')
    return [kit.write_config(here)]


CASES = [
    *(
        Case("a foreign file", what, door, _foreign(command, name), [FOREIGN, name])
        for (door, what), (command, name) in FILES.items()
    ),
    *(
        Case("a folder for a file", what, door, _folder(command, name), ["is a folder"])
        for (door, what), (command, name) in FILES.items()
    ),
    *(
        Case("a pipe for a file", what, door, _pipe(command, name), ["regular file"])
        for (door, what), (command, name) in FILES.items()
    ),
    *(
        Case(
            "a folder that is a file",
            what,
            door,
            _below_a_file(command, name),
            ["no folder|not a directory"],
        )
        for (door, what), (command, name) in FILES.items()
    ),
    *(
        Case(
            "an empty file is replaced",
            what,
            door,
            _again(command, name),
            check=_is_there(name),
        )
        for (door, what), (command, name) in FILES.items()
        if door in ("statistics", "inspect", "retrieve")
    ),
    *(
        Case("an output that is an input", name, "predict", _over_input(link), [match])
        for name, link, match in (
            ("by its name", None, IS_INPUT),
            ("by a link", lambda a, b: b.symlink_to(a), IS_INPUT),
            ("by a hard link", lambda a, b: os.link(a, b), IS_INPUT),
        )
    ),
    Case("an output that is an input", "the archive", "prep_splits", _over_own_archive,
         [IS_INPUT]),
    Case("an output that is an input", "a list of what was left out", "prep_splits",
         _left_out_list, [IS_INPUT]),
    Case("an output that is an input", "both outputs", "statistics",
         lambda kit, here: [kit.records / "train-*", "-o", here / "a.json",
                            "--plot", here / "a.json"], ["png"], status=2),
    Case("an output that is an input", "records", "convert", lambda kit, here: [
        kit.copy("records", here) / "train-*", "-o", here / "records", "--overwrite"],
        ["choose another"]),
    Case("an output that is an input", "tiles", "tiles", lambda kit, here: [
        kit.copy("tiles", here), "-o", here / "tiles"], [IS_INPUT]),
    Case("an output that is an input", "tiles", "map", lambda kit, here: [
        kit.land_cover, kit.copy("tiles", here), "-o", here / "tiles"], [IS_INPUT]),
    Case("an output that is an input", "the run", "plot", lambda kit, here: [
        kit.copy("run", here), "--out", here / "run"], [IS_INPUT]),
    Case("an output that is an input", "the run", "compare", lambda kit, here: [
        kit.copy("run", here), kit.run, "--out", here / "run"], [IS_INPUT]),
    Case("an output that is an input", "the features", "index", lambda kit, here: [
        "build", kit.copy("features", here), here / "features"], ["there already"]),
    *(
        Case("a foreign export", form, "export",
             lambda kit, here, f=form, n=name: _export_over(kit, here, f, n), [FOREIGN])
        for form, name in (("keras", "own.keras"), ("litert", "own.tflite"))
    ),
    Case("a foreign export", "notes in the folder", "export", _export_into_notes,
         ["notes.txt, which this command did not write"]),
    Case("a foreign file", "config.json in out_dir", "train", _out_dir_of_others,
         ["config.json there is of no run"]),
    *(
        Case("a damaged description", name, "train", _damaged(change),
             check=_continued)
        for name, change in {
            "cut short": lambda path: path.write_bytes(path.read_bytes()[:99]),
            "negative": lambda path: _edit(path, iteration=-1),
        }.items()
    ),
    *(
        Case("names of an index", name, "index", _other_names(change), [match])
        for name, change, match in (
            ("fewer than vectors", _fewer, "names"),
            ("fewer partners", _fewer_partners, "names"),
            ("of two lines", _of_two_lines, "names of one line"),
            ("of numbers", _of_numbers, "string|text"),
            ("empty", _empty, "names of one line"),
            ("twice", _twice, "there already"),
        )
    ),
    Case("labels of an index", "another order", "index", _other_labels,
         ["other labels"]),
    Case("labels of an index", "twos", "index", _labels_of_twos, ["labels of 0 and 1"]),
    *(
        Case("a folder that no trial has marked", name, "train", _trial(make),
             ["has marked it as its own"])
        for name, make in {
            "notes": lambda folder: _mine(folder / "notes.txt"),
            "a run": lambda folder: _mine(folder / "config.json", "{}"),
            "a folder": lambda folder: _mine(folder / "a" / "b"),
        }.items()
    ),
    Case("a trial", "out_dir with a slash", "train", lambda kit, here: [
        kit.write_config(here, out_dir=f"{here / 'run'}/"), "--test-run"],
        check=_trial_beside),
    Case("a trial", "out_dir given twice", "train", lambda kit, here: [
        kit.write_config(here), "--set", f"out_dir={here / 'a run'}", "--test-run"],
        check=_said_once),
    *(
        Case("a foreign split", name, "split", _split_beside(name, text), [name])
        for name, text in (
            ("report.json", "{}"), ("report.md", MINE), ("labels.png", MINE),
            ("train.csv", MINE),
        )
    ),
    *(
        Case("odd paths", repr(name), "predict", _score_there(name),
             check=_scored(name))
        for name in ODD_NAMES
    ),
]  # fmt: skip
