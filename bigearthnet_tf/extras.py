"""Packages that only some users need, installed as extras."""

from __future__ import annotations

import importlib
from types import ModuleType


def load(module: str, extra: str) -> ModuleType:
    """Imports a package that an extra brings.

    Args:
        module: what to import.
        extra: the extra of `setup.cfg` that names its package.

    Raises:
        ValueError: it is not installed; says which extra to install.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name and module.split(".")[0] != error.name.split(".")[0]:
            raise
        raise ValueError(
            f"this needs the package {module.split('.')[0]}, which is not installed: "
            f"{how_to_install(extra)}"
        ) from None


def how_to_install(extra: str) -> str:
    """Returns the command that installs an extra.

    bigearthnet_tf is on no package index: the extra is that of a checkout.
    """
    return f"pip install '.[{extra}]' in the checkout of bigearthnet_tf"
