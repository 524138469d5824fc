"""Reading, checking and describing configs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pydantic

from bigearthnet_tf import files, registry
from bigearthnet_tf.config import record_sets
from bigearthnet_tf.config.keys import Config
from bigearthnet_tf.config.projects import cbir, tf_project, translated


def load(
    path: Path | str | translated.CommandLine, overrides: Iterable[str] = ()
) -> Config:
    """Reads a config over the `base.json` beside it, then applies overrides.

    A YAML file, or a JSON file of the CBIR project, has no base.

    Args:
        path: the file, or the arguments of another project's training script.
        overrides: `key=value` strings; a value is JSON where it parses as such
            (`64`, `true`, `["a"]`), a plain string otherwise.

    Raises:
        FileNotFoundError: no such file.
        ValueError: not JSON, not an object, an unknown key (the nearest known one
            is named), a wrong type, an impossible value, or a bad override.
    """
    given = dict(_parse_override(text) for text in overrides)
    own = record_sets.expand(given)
    if isinstance(path, translated.CommandLine):
        found = translated.translate(path, own)
        found.tell(str(path))
        content = record_sets.lay_over(record_sets.expand(found.keys), given)
        return from_dict(content, where=str(path))
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(
            f"{path}: no such config; expected a file such as configs/resnet50.json"
        )
    is_yaml = path.suffix in (".yaml", ".yml")
    content = _read_object(path, is_yaml)
    if cbir.is_config(content):
        found = cbir.translate(content, own, where=str(path))
        found.tell(str(path))
        return from_dict(found.keys, where=str(path))
    base = path.with_name("base.json")
    below: dict[str, Any] = {}
    if is_yaml:
        cbir.check_is_known(content, where=str(path))
    elif base != path and base.exists():
        below = record_sets.expand(_read_object(base))
    content = record_sets.lay_over(below, content)
    found = tf_project.translate(content, own)
    found.tell(str(path))
    if tf_project.is_config(content):
        given |= tf_project.find_paths(given)
    keys = {key: value for key, value in found.keys.items() if key != "$schema"}
    keys = record_sets.lay_over(keys, given)
    _find_modules(keys, path)
    return from_dict(keys, where=str(path))


def from_dict(content: dict[str, Any], where: str = "config") -> Config:
    """Checks a dictionary of keys and returns the config.

    Args:
        content: keys and values as they stand in JSON.
        where: what error messages call the source.

    Raises:
        ValueError: as for `load`.
    """
    try:
        return Config.model_validate(record_sets.expand(content))
    except pydantic.ValidationError as error:
        raise ValueError(f"{where}: {_explain(error)}") from None


def save(config: Config, path: Path | str) -> None:
    """Writes a config with all its keys, so that the run can be repeated."""
    files.write_json(path, config.model_dump())


def json_schema() -> dict[str, Any]:
    """Returns the JSON schema that editors complete configs with."""
    schema = Config.model_json_schema()
    # Editors ask for the schema by this key inside a config file.
    schema["properties"]["$schema"] = {"type": "string"}
    schema["title"] = "bigearthnet_tf config"
    return schema


def markdown_table() -> str:
    """Returns the keys with their defaults and meanings as a Markdown table."""
    rows = ["| key | default | meaning |", "|---|---|---|"]
    for name, field in Config.model_fields.items():
        default = json.dumps(field.default)
        rows.append(f"| `{name}` | `{default}` | {field.description} |")
    return "\n".join(rows)


def _find_modules(content: dict[str, Any], path: Path) -> None:
    """Turns names of modules that lie beside the config into paths.

    Raises:
        ValueError: other files of the same name lie beside the config and in the
            working directory.
    """
    modules = content.get("modules")
    if isinstance(modules, list) and all(isinstance(n, str) and n for n in modules):
        content["modules"] = [_find_module(name, path) for name in modules]


def _find_module(name: str, path: Path) -> str:
    here, beside = Path(name), path.parent / name
    if here.is_absolute() or not beside.is_file():
        return name
    if not here.is_file():
        return str(beside)
    if here.read_bytes() != beside.read_bytes():
        raise ValueError(
            f"{path}: modules: {here} and {beside} are different files; give the path "
            "of the right one"
        )
    return name


def _read_object(path: Path, is_yaml: bool = False) -> dict[str, Any]:
    content = files.read_yaml(path) if is_yaml else files.read_json(path)
    if not isinstance(content, dict):
        what = "keys and values" if is_yaml else "a JSON object of keys and values"
        raise ValueError(f"{path}: expected {what}, got {type(content).__name__}")
    # A key of YAML may be a number.
    return {
        key if isinstance(key, str) else files.echo(key): value
        for key, value in content.items()
    }


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise ValueError(f"--set: expected key=value, got {files.echo(text)}")
    try:
        json.loads(value)
    except (ValueError, RecursionError):
        return key, value
    return key, files.parse_json(value, f"--set {key}")


def _explain(error: pydantic.ValidationError) -> str:
    """Turns pydantic's list of faults into one line."""
    faults = []
    for fault in error.errors():
        key = str(fault["loc"][0]) if fault["loc"] else ""
        if fault["type"] == "extra_forbidden":
            near = registry.nearest_names(key, Config.model_fields)
            faults.append(f"unknown key {files.echo(key)}: {near}")
        elif key:
            reason = fault["msg"].removeprefix("Input ").removeprefix("Value error, ")
            faults.append(f"{key}: {reason}, got {files.echo(fault['input'])}")
        else:
            faults.append(fault["msg"].removeprefix("Value error, "))
    return "; ".join(dict.fromkeys(faults))
