"""`sets.json` of balanced-bigearthnet: the records of a run, in a file of their own.

{"train": "train.tfrecord", "val": "val.tfrecord", "test": "test.tfrecord",
 "label_type": "original"}
"""

from __future__ import annotations

import glob
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bigearthnet_tf import files, registry

logger = logging.getLogger(__name__)

KEYS = {
    "train": "tr_tf_record_files",
    "val": "val_tf_record_files",
    "test": "test_tf_record_files",
}
_LABEL_TYPE = "label_type"
_LABEL_TYPES = ("original", "BigEarthNet-43", "BigEarthNet-19")
_EXPECTED = f"expected {', '.join(KEYS)} with paths of records, and {_LABEL_TYPE}"


def expand(keys: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the keys of a config with what `records` stands for in its place.

    A `label_type` that stands beside `records` is kept: it may ask for the 19 labels
    of records that hold the 43.

    Args:
        keys: of one source: a file, or all `--set` of a command line.

    Raises:
        FileNotFoundError: no such file, or records in it that are not there.
        ValueError: the file is not as `read` expects it, or the same source names
            records as well.
    """
    rest = dict(keys)
    path = rest.pop("records", None)
    # What is no path the config refuses like any other wrong value.
    if not _is_path(path):
        return dict(keys)
    for key in KEYS.values():
        if key in rest:
            raise ValueError(
                f"records {files.echo(path)} and {key} are given together and both "
                "name records: give one of them"
            )
    return read(path) | rest


def lay_over(keys: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Returns keys with those of a nearer source over them, expanded.

    The log says where the labels of `records` replace those that were asked for.

    Args:
        keys: of the sources so far.
        over: of the nearer one, with `records` as it stands there.
    """
    expanded = expand(over)
    before, now = keys.get(_LABEL_TYPE), expanded.get(_LABEL_TYPE)
    if _LABEL_TYPE not in over and now is not None and before not in (None, now):
        logger.info(
            "%s: label_type %s, in place of %s of the config",
            *(over["records"], now, before),
        )
    return dict(keys) | expanded


def read(path: str) -> dict[str, Any]:
    """Returns the keys of a config that a `sets.json` stands for.

    A path in it is relative to the working directory, as there, or, where that has no
    such file, to the folder of the `sets.json`. `train.tfrecord` stands for the shards
    of that name where there is no such file.

    Args:
        path: of the file, whose values are paths or lists of them, with wildcards.

    Raises:
        FileNotFoundError: no such file, or a path in it matches nothing.
        ValueError: not JSON, a split is missing, an unknown key, or a wrong type.
    """
    place = Path(files.expand(path))
    if not place.exists():
        raise FileNotFoundError(
            f"{place}: no such file of sets; {_EXPECTED}, relative to the working "
            "directory"
        )
    content = files.read_json(place)
    if not isinstance(content, dict):
        raise ValueError(f"{place}: {_EXPECTED}, got {files.echo(content)}")
    known = (*KEYS, _LABEL_TYPE)
    for key in content:
        if key not in known:
            near = registry.nearest_names(key, known)
            raise ValueError(f"{place}: unknown key {files.echo(key)}: {near}")
    missing = [key for key in known if key not in content]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise ValueError(f"{place}: {', '.join(missing)} {verb} missing; {_EXPECTED}")
    if content[_LABEL_TYPE] not in _LABEL_TYPES:
        raise ValueError(
            f"{place}: {_LABEL_TYPE}: expected one of {', '.join(_LABEL_TYPES)}, got "
            f"{files.echo(content[_LABEL_TYPE])}"
        )
    found: dict[str, Any] = {_LABEL_TYPE: content[_LABEL_TYPE]}
    for split, key in KEYS.items():
        patterns = _patterns(content[split], f"{place}: {split}")
        found[key] = [_find(pattern, place, split) for pattern in patterns]
    return found


def _is_path(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip()) and "\0" not in value


def _patterns(value: Any, where: str) -> list[str]:
    patterns = value if isinstance(value, list) else [value]
    if not patterns or not all(map(_is_path, patterns)):
        raise ValueError(
            f"{where}: expected a path of records, or a list of paths, got "
            f"{files.echo(value)}"
        )
    return patterns


def _find(pattern: str, place: Path, split: str) -> str:
    """Returns a path, from the working directory, that matches something."""
    expanded = files.expand(pattern)
    # Remote storage is TensorFlow's to ask, when the records are opened.
    if "://" in expanded:
        return expanded
    # `train.tfrecord` there is several shards as prep_splits.py here writes them.
    shards = expanded.removesuffix(".tfrecord") + "-*-of-*.tfrecord"
    for name in (expanded, shards):
        found = {str(path.resolve()): path for path in _matches(name, place)}
        if len(found) > 1:
            raise ValueError(
                f"{place}: {split}: {files.echo(pattern)} is in the working directory "
                "and beside that file; give the whole path of the right one"
            )
        if found:
            return str(next(iter(found.values())))
    raise FileNotFoundError(
        f"{place}: {split}: no records {files.echo(pattern)}, neither in the working "
        "directory nor beside that file; mend the path, or prepare the records with "
        "prep_splits.py"
    )


def _matches(name: str, place: Path) -> list[Path]:
    """Returns the patterns, from the working directory and from a file, with files."""
    return [path for path in (Path(name), place.parent / name) if _has_files(path)]


def _has_files(path: Path) -> bool:
    try:
        # A folder that is there has no wildcards in its name.
        folder = glob.escape(str(path.parent)) if path.parent.is_dir() else path.parent
        found = glob.iglob(str(Path(folder, path.name)))  # noqa: PTH207 - in both
        return path.is_file() or any(Path(name).is_file() for name in found)
    except OSError:  # A name that no file system takes.
        return False
