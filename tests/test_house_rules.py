"""The rooms of the house and the direction of the imports between them."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bigearthnet_tf"
SCRIPTS = [ROOT / name for name in ("prep_splits.py", "train.py", "eval.py")]
MODULES = sorted(PACKAGE.rglob("*.py"))

# What each room may import. Rooms that may not meet do not stand in one another's row.
BASE = {
    "",
    "config",
    "registry",
    "disk",
    "files",
    "outputs",
    "console",
    "runs",
    "extras",
    "resampling",
    "pictures",
    "vectors",
    "tables",
    "arrays",
    "signals",
    "escapes",
}
TENSOR_ROOMS = {"losses", "metrics", "optimization", "models"}
ALLOWED = {
    "": set(),
    "registry": set(),
    "disk": set(),
    "files": {"disk"},
    "outputs": {"files"},
    "console": {"disk", "files", "signals"},
    "signals": set(),
    "resampling": {"registry"},
    "extras": set(),
    "vectors": set(),
    "pictures": {"files", "outputs"},
    "tables": {"files"},
    "arrays": {"files"},
    "escapes": set(),
    "config": {"registry", "disk", "files"},
    "runs": {"", "config", "files", "outputs"},
    "archive": BASE,
    "records": BASE | {"archive"},
    "data": BASE | {"archive", "records"},
    "losses": {"registry", "vectors"},
    "metrics": {"registry", "vectors"},
    "optimization": {"registry"},
    "models": {"registry", "resampling", "extras", "vectors"},
    "tasks": BASE | TENSOR_ROOMS | {"archive", "records", "data"},
    "training": BASE | {"data", "tasks", "losses", "optimization", "models"},
    "evaluation": BASE
    | TENSOR_ROOMS
    | {"archive", "records", "data"}
    | {
        "tasks",
        "training",
        "retrieval",
    },
}
ALLOWED["retrieval"] = ALLOWED["evaluation"] - {"retrieval"}
ALLOWED["serving"] = ALLOWED["evaluation"] | {"evaluation"}
ALLOWED["commands"] = set(ALLOWED) | {""}
ALLOWED["cli"] = ALLOWED["scripts"] = set(ALLOWED)
OUTERMOST = {"scripts", "cli", "commands"}
WITHOUT_TENSORFLOW = BASE | {"archive"}
# `__init__` names the public functions of all rooms for type checkers alone.
TYPES_ONLY = {PACKAGE / "__init__.py"}


def room_of(path: Path) -> str:
    if path in SCRIPTS:
        return "scripts"
    first = path.relative_to(PACKAGE).parts[0]
    return "" if first == "__init__.py" else first.removesuffix(".py")


def imports_of(path: Path) -> set[str]:
    """Full names of everything a file imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path: Path) -> set[str]:
    rooms = set()
    for name in imports_of(path):
        parts = name.split(".")
        if parts[0] == "bigearthnet_tf":
            known = len(parts) > 1 and parts[1] in ALLOWED
            rooms.add(parts[1] if known else "")
    return rooms


@pytest.mark.parametrize(
    "path", MODULES + SCRIPTS, ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_run_one_way(path):
    if path in TYPES_ONLY:
        return
    room = room_of(path)
    assert room in ALLOWED, f"{path}: a room that the house does not know"
    stray = rooms_imported(path) - ALLOWED[room] - {room}
    assert not stray, f"{room} may not import {stray}"


def test_allowed_imports_have_no_cycle():
    rooms, free = {r: a - {r} for r, a in ALLOWED.items()}, set()
    for _ in range(len(rooms)):
        free |= {
            room
            for room, needs in rooms.items()
            if needs <= free | {"scripts", "cli", "commands"}
        }
    assert free == set(rooms)


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_fit_in_a_head(path):
    assert len(path.read_text().splitlines()) <= 400


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_rooms_of_facts_know_no_tensorflow(path):
    if room_of(path) in WITHOUT_TENSORFLOW:
        heavy = {name.split(".")[0] for name in imports_of(path)}
        assert not heavy & {"tensorflow", "keras"}


@pytest.mark.parametrize("path", MODULES, ids=lambda p: str(p.relative_to(ROOT)))
def test_records_and_data_know_no_keras(path):
    if room_of(path) in {"records", "data"}:
        assert "keras" not in {name.split(".")[0] for name in imports_of(path)}


def test_importing_the_package_loads_no_tensorflow():
    code = (
        "import sys, bigearthnet_tf, bigearthnet_tf.config, bigearthnet_tf.cli\n"
        "assert bigearthnet_tf.__version__\n"
        "print('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.strip() == "False", done.stderr


def test_public_names_are_there():
    import bigearthnet_tf

    for name in bigearthnet_tf.__all__:
        assert getattr(bigearthnet_tf, name) is not None
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = bigearthnet_tf.no_such_name
