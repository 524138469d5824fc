"""The formats of an export: how each is written, opened, and what it says of itself."""

from __future__ import annotations

import json
import logging
import re
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from bigearthnet_tf import extras, files
from bigearthnet_tf.models import scores
from bigearthnet_tf.registry import Registry

Groups = Mapping[str, NDArray[Any]]
"""Band groups as stored, (batch, bands, rows, columns) each, by name."""
Run = Callable[[Groups], NDArray[np.float32]]
"""From band groups to scores, (batch, labels)."""

# What is called so in every format.
DESCRIPTION, LABELS = "description.json", "labels.txt"
# A folder of a SavedModel for what TensorFlow leaves alone.
ASSETS = "assets.extra"
# Of 2021: runtimes that know none of this year read it too.
_OPSET = 17


@dataclass(frozen=True)
class Format:
    """One format of an export.

    Attributes:
        suffix: that the file must have; empty for a folder.
        write: takes a model of `scores.with_scores` and a path.
        open: takes a path; returns what runs it, and its description.
        check: raises ValueError where a package for it is missing.
    """

    suffix: str
    write: Callable[[keras.Model, Path], None]
    open: Callable[[Path], tuple[Run, dict[str, Any]]]
    check: Callable[[], None] = lambda: None


FORMATS: Registry[Format] = Registry("format")


def _describe(model: keras.Model) -> dict[str, Any]:
    found: dict[str, Any] = model.get_layer(scores.OUTPUT).description
    return found


def _signature(model: keras.Model) -> dict[str, tf.TensorSpec]:
    return {
        name: tf.TensorSpec(tensor.shape, tensor.dtype, name)
        for name, tensor in model.input.items()
    }


# Keras's own.


def _write_keras(model: keras.Model, path: Path) -> None:
    model.save(path)


def _open_keras(path: Path) -> tuple[Run, dict[str, Any]]:
    model = keras.models.load_model(path)

    def run(groups: Groups) -> NDArray[np.float32]:
        return np.asarray(model(groups, training=False)[scores.OUTPUT])

    return run, _describe(model)


# SavedModel, for TensorFlow Serving.


def _write_saved_model(model: keras.Model, path: Path) -> None:
    """Writes signatures `serving_default` and `describe`, and the JSON beside."""
    facts = _describe(model)

    @tf.function(input_signature=[])
    def describe() -> dict[str, tf.Tensor]:
        return {
            "description": tf.constant(json.dumps(facts)),
            "labels": tf.constant(facts["labels"]),
            "thresholds": tf.constant(
                [facts["thresholds"][x] for x in facts["labels"]]
            ),
        }

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serve",
        lambda groups: model(groups, training=False),
        input_signature=[_signature(model)],
    )
    archive.add_endpoint("describe", describe)
    archive.write_out(str(path), verbose=False)
    files.write_json(path / ASSETS / DESCRIPTION, facts)
    files.write_text(path / ASSETS / LABELS, "".join(f"{x}\n" for x in facts["labels"]))


def _open_saved_model(path: Path) -> tuple[Run, dict[str, Any]]:
    with files.plain_path(path) as plain:
        loaded = tf.saved_model.load(plain)
    serve = loaded.signatures["serving_default"]

    def run(groups: Groups) -> NDArray[np.float32]:
        tensors = {name: tf.constant(group) for name, group in groups.items()}
        return serve(**tensors)[scores.OUTPUT].numpy()

    said = loaded.signatures["describe"]()["description"].numpy()
    return run, json.loads(said)


# Formats without variables.


def _constant_function(model: keras.Model) -> tf.types.experimental.PolymorphicFunction:
    """Returns a model as a function with its weights as constants.

    Converters that freeze a Keras model by themselves leave its variables without
    values (LiteRT of TensorFlow 2.21).
    """
    fixed = [
        [np.asarray(variable) for variable in variables]
        for variables in (model.trainable_variables, model.non_trainable_variables)
    ]

    @tf.function(input_signature=[_signature(model)])
    def serve(groups: dict[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        trainable, others = [[tf.constant(v) for v in values] for values in fixed]
        outputs, _ = model.stateless_call(trainable, others, groups, training=False)
        return {scores.OUTPUT: outputs[scores.OUTPUT]}

    return serve


def _refusal(model: keras.Model, form: str, reason: str) -> ValueError:
    return ValueError(
        f"{_describe(model)['model_name']}: can't be written as {form}: {reason}; "
        "savedmodel and keras take every model"
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Keeps back the warnings of converters about themselves."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


# ONNX.


class _Complaints(logging.Handler):
    """Keeps what tf2onnx says of operations that it does not know."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def _check_onnx() -> None:
    for package in ("tf2onnx", "onnx", "onnxruntime"):
        extras.load(package, extra="onnx")


def _write_erfc(context: Any, node: Any, name: str, _: Any) -> Any:
    """Writes Erfc(x), of Keras's exact GELU, which ONNX lacks, as 1 - Erf(x)."""
    import tf2onnx

    one = context.make_const(tf2onnx.utils.make_name(name), np.array(1, np.float32))
    node.type = "Erf"
    erf = node.output[0]
    return context.insert_new_node_on_output(
        "Sub", erf, name=tf2onnx.utils.make_name(name), inputs=[one.output[0], erf]
    )


def _write_onnx(model: keras.Model, path: Path) -> None:
    import onnx
    import tf2onnx

    logger = logging.getLogger("tf2onnx")
    complaints, level, passes_on = _Complaints(), logger.level, logger.propagate
    logger.addHandler(complaints)
    logger.setLevel(logging.ERROR)
    logger.propagate = False
    try:
        with _quiet():
            graph, _ = tf2onnx.convert.from_function(
                _constant_function(model),
                input_signature=[_signature(model)],
                opset=_OPSET,
                custom_op_handlers={"Erfc": (_write_erfc, [])},
            )
        onnx.checker.check_model(graph)
    except Exception as error:  # It raises whatever comes.
        reason = (complaints.lines or [" ".join(str(error).split())])[-1][:200]
        raise _refusal(model, "onnx", reason) from error
    finally:
        logger.removeHandler(complaints)
        logger.setLevel(level)
        logger.propagate = passes_on
    for tensor in (*graph.graph.input, *graph.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_param = "batch"
    facts = _describe(model)
    onnx.helper.set_model_props(
        graph,
        {"description": json.dumps(facts), "labels": json.dumps(facts["labels"])},
    )
    graph.producer_name = facts["made_by"]
    onnx.save(graph, path)


def _open_onnx(path: Path) -> tuple[Run, dict[str, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])

    def run(groups: Groups) -> NDArray[np.float32]:
        return session.run([scores.OUTPUT], dict(groups))[0]

    said = session.get_modelmeta().custom_metadata_map["description"]
    return run, json.loads(said)


# LiteRT.

# What TensorFlow's converter names that LiteRT itself has not, in either wording.
_UNKNOWN = re.compile(r"(?:Flex|'tf\.)(\w+)")


def _write_litert(model: keras.Model, path: Path) -> None:
    """Writes the graph, and the description as files of a zip behind it.

    So TFLite's tools keep associated files: `unzip` lists them, the runtime looks
    at the graph alone.
    """
    serve = _constant_function(model)
    module = tf.Module()
    module.serve = serve
    between = path.with_name("between")
    try:
        with _quiet():
            tf.saved_model.save(
                module,
                str(between),
                signatures={"serving_default": serve.get_concrete_function()},
            )
            with files.plain_path(between) as plain:
                converter = tf.lite.TFLiteConverter.from_saved_model(plain)
                path.write_bytes(converter.convert())
    except OSError:
        raise
    except Exception as error:  # It raises whatever comes.
        unknown = sorted(set(_UNKNOWN.findall(str(error))))
        lacking = f"LiteRT has no operation {', '.join(unknown)}"
        reason = lacking if unknown else " ".join(str(error).split())[:200]
        raise _refusal(model, "litert", reason) from error
    facts = _describe(model)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(DESCRIPTION, json.dumps(facts, indent=2))
        archive.writestr(LABELS, "".join(f"{label}\n" for label in facts["labels"]))


def _open_litert(path: Path) -> tuple[Run, dict[str, Any]]:
    with _quiet():
        runner = tf.lite.Interpreter(str(path)).get_signature_runner()

    def run(groups: Groups) -> NDArray[np.float32]:
        return runner(**groups)[scores.OUTPUT]

    with zipfile.ZipFile(path) as archive:
        said = archive.read(DESCRIPTION)
    return run, json.loads(said)


FORMATS.add("keras", Format(".keras", _write_keras, _open_keras))
FORMATS.add("savedmodel", Format("", _write_saved_model, _open_saved_model))
FORMATS.add("onnx", Format(".onnx", _write_onnx, _open_onnx, _check_onnx))
FORMATS.add("litert", Format(".tflite", _write_litert, _open_litert))
