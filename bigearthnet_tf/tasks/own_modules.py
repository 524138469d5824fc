"""Python modules of the user, with models, losses, augmentations and tasks by name.

They are code and are executed, with all rights of the process: those that a config
names, or the config that a run was made with. A file that lies in a published folder is
never executed. A run remembers the SHA-256 of each module, not what is in it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import logging
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from bigearthnet_tf import registry
from bigearthnet_tf.config import Config
from bigearthnet_tf.losses import class_label, multi_label
from bigearthnet_tf.models import augmentation, pixel_networks, zoo
from bigearthnet_tf.tasks import base

logger = logging.getLogger(__name__)

# What a module can add to.
_REGISTRIES: tuple[registry.Registry[Any], ...] = (
    zoo.MODELS,
    pixel_networks.ENCODERS,
    multi_label.LOSSES,
    class_label.CLASS_LOSSES,
    augmentation.AUGMENTATIONS,
    base.TASKS,
)
_SERIES = ("barlow_twins", "land_cover")
# Where the TF project has its model modules, each with a class of this name.
_FOLDER, _OLD_CLASS = "models", "DNN_model"
# What a folder of published weights has.
_PUBLISHED = ("config.json", "model.safetensors")
_ADVICE = (
    "decorate a function with bigearthnet_tf.register_model, or a loss, augmentation, "
    "task or encoder with its own (docs/own_modules.md)"
)


@dataclass(frozen=True)
class _Module:
    """An executed module.

    Attributes:
        name: as a config has it.
        digest: SHA-256 of its file, or over the files of a package.
        added: what it registered.
    """

    name: str
    digest: str
    added: registry.Added


# By absolute path or import name.
_loaded: dict[str, _Module] = {}


def load(config: Config, where: Path | str = "") -> dict[str, str]:
    """Imports the modules that a config asks for, each once unless it has changed.

    Those of `modules`, and `models/<model_name>.py` of the working directory if there
    is such a file and no model of that name.

    Args:
        config: of the run.
        where: run or checkpoint whose config this is; empty for the user's own config.

    Returns:
        The SHA-256 of each, by the names that the config has for them.

    Raises:
        FileNotFoundError: there is no such module.
        ValueError: it can't be imported, registers nothing, uses a taken name, or lies
            in a published folder.
    """
    found = {name: _load(name, where) for name in config.modules}
    beside = _beside(config)
    if beside is not None:
        found[beside] = _load(beside, where)
        if config.model_name not in _models(config):
            raise ValueError(
                f"{beside}: registers {_say(_loaded[_key(beside)].added)}, but no "
                f"{config.model_name!r}, which the config asks for"
            )
    return found


def loaded(config: Config) -> dict[str, str]:
    """Returns what `load` returned last, without looking at any file again."""
    names = list(config.modules)
    names += [f"{_FOLDER}/{config.model_name}.py"]
    return {n: _loaded[_key(n)].digest for n in names if _key(n) in _loaded}


def _models(config: Config) -> registry.Registry[Any]:
    return pixel_networks.ENCODERS if config.task in _SERIES else zoo.MODELS


def _beside(config: Config) -> str | None:
    """Returns the file in the working directory that the model's name leads to."""
    path = Path(_FOLDER, f"{config.model_name}.py")
    if not re.fullmatch(r"\w[\w.-]*", config.model_name) or not path.is_file():
        return None
    is_needed = config.model_name not in _models(config)
    return str(path) if is_needed or _key(str(path)) in _loaded else None


def warn_of_changes(recorded: Mapping[str, str], where: Path) -> None:
    """Warns where a checkpoint was made with other modules than those loaded now.

    Args:
        recorded: SHA-256 of the modules by name, as `load` returned them then.
        where: the checkpoint.
    """
    for name, digest in recorded.items():
        # The same file may have moved since.
        same_name = {
            module.name: module.digest
            for module in _loaded.values()
            if Path(module.name).name == Path(name).name
        }
        found = same_name.get(name) or next(iter(same_name.values()), None)
        if found != digest:
            what = (
                "is not loaded now"
                if found is None
                else f"has changed (SHA-256 {digest:.12} then, {found:.12} now)"
            )
            logger.warning(
                "%s: the module %s that it was trained with %s; its weights may mean "
                "something else",
                *(where, name, what),
            )


def forget() -> None:
    """Forgets all modules with what they registered."""
    for key in list(_loaded):
        _forget(key)


def _forget(key: str) -> None:
    for of, name in _loaded.pop(key).added:
        if name in of:
            of.remove(name)


def _is_file(name: str) -> bool:
    return name.endswith(".py") or os.sep in name


def _key(name: str) -> str:
    return str(Path(name).resolve()) if _is_file(name) else name


def _load(name: str, where: Path | str) -> str:
    asks = f"{where}: " if where else ""
    key = _key(name)
    if _is_file(name):
        source = _read(name, asks)
        digest = hashlib.sha256(source).hexdigest()
        if key in _loaded and _loaded[key].digest == digest:
            return digest
        if key in _loaded:
            _forget(key)
        with registry.noted(_REGISTRIES) as added, _explained(name, asks):
            module = _execute(name, source, digest)
    else:
        if key in _loaded:
            return _loaded[key].digest
        with registry.noted(_REGISTRIES) as added:
            module = _import(name, asks)
            digest = _digest(module, name, asks)
    if not added and not _registered_by(module):
        raise ValueError(f"{asks}{name}: registers nothing; {_ADVICE}")
    _loaded[key] = _Module(name, digest, added)
    logger.info("modules  %s: %s", name, _say(added) or "imported before")
    return digest


def _say(added: registry.Added) -> str:
    return ", ".join(f"{of.kind} {name!r}" for of, name in added)


def _read(name: str, asks: str) -> bytes:
    path = Path(name)
    try:
        source = path.read_bytes()
    except OSError as error:
        rest = "go to the folder in which the run was trained" if asks else "mend it"
        raise FileNotFoundError(
            f"{asks}{name}: no such module ({error.strerror}); modules are Python "
            "files, relative to the working directory or beside the config, or import "
            f"names: {rest}"
        ) from None
    _check_place(path, name, asks)
    _check_form(source, name, asks)
    return source


def _check_place(path: Path, name: str, asks: str) -> None:
    """Refuses code that came with published weights."""
    for folder in path.resolve().parents:
        if all((folder / each).is_file() for each in _PUBLISHED):
            raise ValueError(
                f"{asks}{name}: lies in {folder}, a folder of published weights, of "
                "which no code is executed; copy it elsewhere if you trust it"
            )


def _check_form(source: bytes, name: str, asks: str) -> None:
    """Refuses the form of the TF project with a line that says what to write."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return  # Executing it says where.
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    if _OLD_CLASS in classes:
        raise ValueError(
            f"{asks}{name}: class {_OLD_CLASS} is the form of the TF project, whose "
            "create_network builds a graph of TensorFlow 1; write its layers as a "
            "function from images to features instead, decorated with "
            f"@bigearthnet_tf.register_model({Path(name).stem!r}): docs/own_modules.md "
            "shows both side by side"
        )


def _execute(name: str, source: bytes, digest: str) -> ModuleType:
    """Runs the text of a file as a module, with what lies beside it importable."""
    path = Path(name).resolve()
    _make_importable(path.parent)
    module = ModuleType(f"own_{re.sub(r'[^0-9A-Za-z_]', '_', path.stem)}_{digest[:8]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, str(path), "exec"), module.__dict__)
    except BaseException:
        sys.modules.pop(module.__name__, None)
        raise
    return module


def _import(name: str, asks: str) -> ModuleType:
    _make_importable(Path.cwd())
    with _explained(name, asks):
        try:
            return importlib.import_module(name)
        except (ModuleNotFoundError, TypeError) as error:
            missing = getattr(error, "name", None)
            if missing is not None and not f"{name}.".startswith(f"{missing}."):
                raise
            # Of a relative name Python does not know to what.
            raise FileNotFoundError(
                f"{asks}{name}: no module of this name can be imported; modules are "
                "import names, or Python files that end with .py"
            ) from None


def _digest(module: ModuleType, name: str, asks: str) -> str:
    """Returns the SHA-256 of a module's file, or over all files of a package."""
    if module.__file__ is None:
        raise ValueError(
            f"{asks}{name}: is a folder without __init__.py; name a module in it"
        )
    origin = Path(module.__file__)
    _check_place(origin, name, asks)
    digest = hashlib.sha256()
    is_package = hasattr(module, "__path__")
    for path in sorted(origin.parent.rglob("*.py")) if is_package else [origin]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_importable(folder: Path) -> None:
    """Lets modules be imported from a folder, behind all that can be already."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


@contextmanager
def _explained(name: str, asks: str) -> Iterator[None]:
    """Turns whatever an import raises into a ValueError with the module's line."""
    try:
        yield
    except FileNotFoundError as error:
        if str(error).startswith(f"{asks}{name}: "):
            raise
        raise _failed(name, asks, error) from error
    except (Exception, SystemExit) as error:
        raise _failed(name, asks, error) from error


def _failed(name: str, asks: str, error: BaseException) -> ValueError:
    ends = {Path(name).name, f"{name.rpartition('.')[2]}.py", "__init__.py"}
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if Path(frame.filename).name in ends
    ]
    reason = str(error)
    if isinstance(error, SyntaxError):
        lines, reason = [error.lineno], error.msg
    at = f" (line {lines[-1]})" if lines and lines[-1] else ""
    reason = " ".join(reason.split())[:200]
    return ValueError(
        f"{asks}{name}: can't be imported: {type(error).__name__}: {reason}{at}"
    )


def _registered_by(module: ModuleType) -> bool:
    """Tells whether anything registered was defined in a module or package."""
    known = module.__name__
    for of in _REGISTRIES:
        for name in of.names():
            entry = of.get(name)
            origin = getattr(getattr(entry, "build", entry), "__module__", "")
            if origin == known or origin.startswith(f"{known}."):
                return True
    return False
