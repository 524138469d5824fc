"""Whether a run is of generated data: by its records, or by its weights."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from bigearthnet_tf import files
from bigearthnet_tf.config import Config
from bigearthnet_tf.records import manifest

# Of a run or an export; of a publication.
_CONFIGS = ("config.json", "training.json")
_DESCRIPTION = "description.json"  # of a checkpoint


def marked(config: Config, weights: Iterable[Path | str] = ()) -> Config:
    """Returns a config that says whether anything of its run is generated.

    The records of one split suffice, or weights that it begins with.

    Args:
        config: of the run.
        weights: of the model: folders of runs, checkpoints or publications; what is
            none of these counts as real.
    """
    records = [
        *config.tr_tf_record_files,
        *config.val_tf_record_files,
        *config.test_tf_record_files,
    ]
    begun = [config.weights, config.model_file if config.fine_tune else None]
    is_generated = (
        config.generated
        or manifest.any_generated(records)
        or any(_is_marked(Path(name)) for name in [*begun, *weights] if name)
    )
    return config.model_copy(update={"generated": is_generated})


def _is_marked(folder: Path) -> bool:
    said = [_read(folder / name) for name in _CONFIGS]
    progress = _read(folder / _DESCRIPTION).get("progress")
    if isinstance(progress, dict):
        said.append(progress.get("config") or {})
    return any(content.get("generated") is True for content in said)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = files.read_json(path)
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
