"""Python modules of the user, with models, losses, augmentations and tasks by name.

They are code and are executed, with all rights of the process: those that a config
names, or the config that a run of one's own was made with. Published folders bring
none. A run remembers the SHA-256 of each file, not what is in it.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
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
_ADVICE = (
    "decorate a function with bigearthnet_tf.register_model, or a loss, augmentation, "
    "task or encoder with its own (docs/own_modules.md)"
)


@dataclass(frozen=True)
class _Module:
    """An executed module: as a config names it, its digest and what it registered."""

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
        where: what asks for them, for messages; nothing for the config itself.

    Returns:
        The SHA-256 of each, by the names that the config has for them.

    Raises:
        FileNotFoundError: there is no such module.
        ValueError: it can't be imported, registers nothing, or a name that is taken.
    """
    asks = f"{where}: " if where else ""
    found = {name: _load(name, asks) for name in config.modules}
    beside = _beside(config)
    if beside is not None:
        found[beside] = _load(beside, asks)
    return found


def _beside(config: Config) -> str | None:
    """Returns the file in the working directory that the model's name leads to."""
    path = Path(_FOLDER, f"{config.model_name}.py")
    if not re.fullmatch(r"[\w-]+", config.model_name) or not path.is_file():
        return None
    models = pixel_networks.ENCODERS if config.task in _SERIES else zoo.MODELS
    is_loaded = str(path.resolve()) in _loaded
    return str(path) if is_loaded or config.model_name not in models else None


def warn_of_changes(recorded: Mapping[str, str], where: Path) -> None:
    """Warns where a checkpoint was made with other modules than those loaded now.

    Args:
        recorded: SHA-256 of the modules by name, as `load` returned them then.
        where: the checkpoint.
    """
    now = {Path(module.name).name: module.digest for module in _loaded.values()}
    for name, digest in recorded.items():
        found = now.get(Path(name).name)
        if found != digest:
            logger.warning(
                "%s: was made with the module %s of SHA-256 %.12s..., %s; its weights "
                "may mean something else",
                where,
                name,
                digest,
                "which is not loaded now"
                if found is None
                else f"which has changed since ({found:.12}...)",
            )


def forget() -> None:
    """Forgets all modules with what they registered."""
    for key in list(_loaded):
        _forget(key)


def _forget(key: str) -> None:
    for of, name in _loaded.pop(key).added:
        of.remove(name)


def _load(name: str, asks: str) -> str:
    is_file = name.endswith(".py") or os.sep in name
    key = str(Path(name).resolve()) if is_file else name
    digest = _digest_file(name, asks) if is_file else _digest_import(name, asks)
    if key in _loaded:
        if _loaded[key].digest == digest:
            return digest
        if not is_file:
            # Python imports a name once.
            raise ValueError(f"{asks}{name}: has changed since it was imported")
        _forget(key)
    with registry.noted(_REGISTRIES) as added:
        module = _execute(name, digest, asks) if is_file else _import(name, asks)
    if not added and not _registered_by(module):
        raise ValueError(f"{asks}{name}: registers nothing; {_ADVICE}")
    _loaded[key] = _Module(name, digest, added)
    logger.info("modules  %s: %s", name, _say(added) or "imported before")
    return digest


def _say(added: registry.Added) -> str:
    return ", ".join(f"{of.kind} {name!r}" for of, name in added)


def _digest_file(name: str, asks: str) -> str:
    try:
        return hashlib.sha256(Path(name).read_bytes()).hexdigest()
    except OSError as error:
        raise FileNotFoundError(
            f"{asks}{name}: no such module ({error.strerror}); modules are Python "
            "files, relative to the working directory or beside the config, or import "
            "names"
        ) from None


def _digest_import(name: str, asks: str) -> str:
    """Returns the SHA-256 of a module's file, or over all files of a package."""
    _make_importable(Path.cwd())
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise FileNotFoundError(
            f"{asks}{name}: no module of this name can be imported; modules are import "
            "names, or Python files that end with .py"
        )
    origin = Path(spec.origin)
    is_package = spec.submodule_search_locations is not None
    digest = hashlib.sha256()
    for path in sorted(origin.parent.rglob("*.py")) if is_package else [origin]:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _make_importable(folder: Path) -> None:
    """Lets modules be imported from a folder, behind all that can be already."""
    if str(folder) not in sys.path:
        sys.path.append(str(folder))


def _import(name: str, asks: str) -> ModuleType:
    with _explained(name, asks):
        return importlib.import_module(name)


def _execute(name: str, digest: str, asks: str) -> ModuleType:
    """Runs a file as a module, with what lies beside it importable."""
    path = Path(name).resolve()
    _check_form(path, name, asks)
    _make_importable(path.parent)
    known_as = f"own_{path.stem.replace('-', '_')}_{digest[:8]}"
    spec = importlib.util.spec_from_file_location(known_as, path)
    if spec is None or spec.loader is None:
        raise ValueError(f"{asks}{name}: expected a Python file that ends with .py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[known_as] = module
    try:
        with _explained(name, asks):
            spec.loader.exec_module(module)
    except BaseException:
        sys.modules.pop(known_as, None)
        raise
    return module


@contextmanager
def _explained(name: str, asks: str) -> Iterator[None]:
    """Turns whatever an import raises into a ValueError with the module's line."""
    try:
        yield
    except (Exception, SystemExit) as error:
        file = Path(name).name
        lines = [
            frame.lineno
            for frame in traceback.extract_tb(error.__traceback__)
            if Path(frame.filename).name == file
        ]
        if isinstance(error, SyntaxError) and error.lineno is not None:
            lines.append(error.lineno)
        at = f" (line {lines[-1]})" if lines else ""
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"{asks}{name}: can't be imported: {type(error).__name__}: {reason}{at}"
        ) from error


def _check_form(path: Path, name: str, asks: str) -> None:
    """Answers a module of the TF project, which TensorFlow 2 can't run, as such."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return  # Importing it says where.
    classes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
    if _OLD_CLASS in classes:
        raise ValueError(
            f"{asks}{name}: class {_OLD_CLASS} is the form of the TF project, whose "
            "create_network builds a graph of TensorFlow 1; write its layers as a "
            f"function from images to features instead, decorated with "
            f"@bigearthnet_tf.register_model({path.stem!r}): docs/own_modules.md shows "
            "both side by side"
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
