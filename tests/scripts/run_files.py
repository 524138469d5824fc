"""The scripts, and what tests read from the folder of a run."""

import importlib.util
from pathlib import Path

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).parents[2]


def load_script(name: str):
    """A script at the top as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def newest(run: Path) -> int:
    """The iteration of the newest checkpoint, 0 for none."""
    found = (run / "checkpoints").glob("iteration-*")
    return max((int(path.name.split("-")[1]) for path in found), default=0)


def tensors(run: Path, iteration: int | None = None) -> dict[str, np.ndarray]:
    """All tensors of a checkpoint, by itself the newest, by group and number.

    The rest of a name counts how many optimisers a process has made.
    """
    number = newest(run) if iteration is None else iteration
    path = run / "checkpoints" / f"iteration-{number}" / "state"
    saved = tf.train.load_checkpoint(str(path))
    return {
        "/".join(name.split("/")[:2]): saved.get_tensor(name)
        for name in sorted(saved.get_variable_to_shape_map())
    }
