"""Models that leave the house: the same scores in the runtimes of others."""

import json
import sys
import zipfile
from dataclasses import replace

import closeness
import keras
import numpy as np
import pytest
import tensorflow as tf
from programs import run_program
from published_files import O19, randomised

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.models import scores
from bigearthnet_tf.serving import description, export, hub
from bigearthnet_tf.serving.formats import FORMATS
from bigearthnet_tf.tasks.weight_files import Published

SUFFIX = {"keras": ".keras", "savedmodel": "", "onnx": ".onnx", "litert": ".tflite"}
ALL = band_facts.resolve_bands("all")


@pytest.fixture(scope="module")
def original(run):
    return hub.open_finished(run)


@pytest.fixture(scope="module")
def exported(run, tmp_path_factory):
    """Exports of the run, made when they are asked for."""
    made = {}

    def make(form):
        if form == "onnx":
            pytest.importorskip("tf2onnx")
            pytest.importorskip("onnxruntime")
        if form not in made:
            out = tmp_path_factory.mktemp(form) / f"model{SUFFIX[form]}"
            made[form] = export.export(run, out, form)
        return made[form]

    return make


def patches(count):
    rng = np.random.default_rng(5)
    return {
        "s1_10m": rng.normal(-15, 5, (count, 2, 120, 120)).astype("float32"),
        "s2_10m": rng.integers(0, 9000, (count, 4, 120, 120), dtype="uint16"),
        "s2_20m": rng.integers(0, 9000, (count, 6, 60, 60), dtype="uint16"),
    }


def expected(original, groups):
    return 1 / (1 + np.exp(-original.model(groups).numpy().astype(np.float64)))


@pytest.mark.parametrize("form", SUFFIX)
def test_scores_and_meaning_travel(exported, original, form, run):
    path = exported(form)
    score, said = FORMATS.get(form).open(path)
    for count in (1, 2, 5):
        groups = patches(count)
        closeness.assert_close(
            score(groups), expected(original, groups), closeness.NETWORK
        )
    assert said["labels"] == list(O19)
    assert said["band_order"] == list(ALL)
    by_name = {group["name"]: group for group in said["inputs"]}
    assert by_name["s2_20m"]["bands"] == ["B05", "B06", "B07", "B8A", "B11", "B12"]
    assert by_name["s2_20m"]["dtype"] == "uint16"
    # The mean of B02 of the table of v2 for bilinear at 60 pixels, the nearest size.
    assert said["statistics"]["mean"]["B02"] == pytest.approx(438.476044)
    tuned = json.loads((run / "thresholds.json").read_text())
    assert said["tuned"]
    assert list(said["thresholds"].values()) == tuned["thresholds"]
    assert not list(path.parent.glob(".*"))


def test_tensorflow_alone_serves_it(exported, original, tmp_path):
    """As TensorFlow Serving does: by the signature, in a process without our layers."""
    np.savez(tmp_path / "patches.npz", **patches(2))
    program = """
        import sys, numpy as np, tensorflow as tf
        loaded = tf.saved_model.load(sys.argv[1])
        serve = loaded.signatures["serving_default"]
        assert "bigearthnet_tf" not in sys.modules
        groups = {k: tf.constant(v) for k, v in np.load(sys.argv[2]).items()}
        np.save(sys.argv[3], serve(**groups)["scores"])
        print(loaded.signatures["describe"]()["labels"][0].numpy().decode())
    """
    found = run_program(
        program, exported("savedmodel"), tmp_path / "patches.npz", tmp_path / "out.npy"
    )
    assert found == O19[0]
    scores = expected(original, patches(2))
    closeness.assert_close(np.load(tmp_path / "out.npy"), scores, closeness.NETWORK)


def test_keras_loads_it_once_our_layers_are_imported(exported, original, tmp_path):
    np.savez(tmp_path / "patches.npz", **patches(2))
    program = """
        import sys, numpy as np, keras, bigearthnet_tf.models
        model = keras.models.load_model(sys.argv[1])
        groups = dict(np.load(sys.argv[2]))
        np.save(sys.argv[3], model(groups)["scores"])
        print(model.get_layer("scores").description["labels"][-1])
    """
    found = run_program(
        program, exported("keras"), tmp_path / "patches.npz", tmp_path / "out.npy"
    )
    assert found == O19[-1]
    scores = expected(original, patches(2))
    closeness.assert_close(np.load(tmp_path / "out.npy"), scores, closeness.NETWORK)


def test_labels_lie_where_tools_look_for_them(exported):
    with zipfile.ZipFile(exported("litert")) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(O19)
    extra = exported("savedmodel") / "assets.extra"
    assert (extra / "labels.txt").read_text().splitlines() == list(O19)
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(exported("onnx"))
    kept = {prop.key: json.loads(prop.value) for prop in graph.metadata_props}
    assert kept["labels"] == list(O19)
    assert graph.graph.output[0].name == "scores"
    for tensor in (*graph.graph.input, *graph.graph.output):
        assert tensor.type.tensor_type.shape.dim[0].dim_param == "batch"


def described(name, **options):
    """A model of drawn weights that gives scores; k_branch has bands of all sizes."""
    bands = "s2_full" if name == "k_branch_test" else "s2"
    model = randomised(name, bands, **options)
    weights = Published(
        path="weights",
        model_name=name,
        bands=band_facts.resolve_bands(bands),
        labels=O19,
        tensors={},
        form="own",
        statistics="v2_120_nearest",
    )
    finished = hub.Finished(model, weights, O19)
    return scores.with_scores(model, description.describe(finished))


# `benchmarks/exports.py` has all families; these have what the others don't: an exact
# GELU, a graph with three inputs of different size.
@pytest.mark.parametrize("name", ["vit_test", "k_branch_test"])
@pytest.mark.parametrize("form", ["onnx", "litert"])
def test_other_architectures(tmp_path, name, form):
    if form == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    model, path = described(name), tmp_path / f"model{SUFFIX[form]}"
    FORMATS.get(form).write(model, path)
    assert 0 <= export.verify(model, path, form) <= 1e-5


@keras.saving.register_keras_serializable(package="tests")
class Digamma(keras.layers.Layer):
    """Does what neither ONNX nor LiteRT has an operation for."""

    def call(self, inputs):
        return tf.math.digamma(inputs)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ("onnx", "^resnet_test: can't be written as onnx: .*Digamma"),
        ("litert", "^resnet_test: can't be written as litert: LiteRT has no operation"),
    ],
)
def test_an_operation_that_a_format_has_not(tmp_path, monkeypatch, form, message):
    if form == "onnx":
        pytest.importorskip("tf2onnx")
        pytest.importorskip("onnxruntime")
    model = described("resnet_test")
    facts = model.get_layer("scores").description
    logits = keras.Model(model.input, Digamma()(model.get_layer("head").output))
    monkeypatch.setattr(hub, "open_finished", lambda _: hub.Finished(logits, None, O19))
    monkeypatch.setattr(description, "describe", lambda _: facts)
    out = tmp_path / f"model{SUFFIX[form]}"
    with pytest.raises(ValueError, match=message) as caught:
        export.export("weights", out, form)
    assert "savedmodel and keras take every model" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("form", ["keras", "savedmodel"])
def test_an_export_that_gives_other_scores_is_not_left(
    tmp_path, monkeypatch, run, form
):
    write = FORMATS.get(form).write

    def write_another(model, path):
        head = model.get_layer("head")
        kept = head.bias.numpy()
        head.bias.assign(kept + 1e-3)
        write(model, path)
        head.bias.assign(kept)

    other = type(FORMATS.get(form))(SUFFIX[form], write_another, FORMATS.get(form).open)
    monkeypatch.setitem(FORMATS._entries, form, other)
    with pytest.raises(ValueError, match=r"differ by .* where rounding"):
        export.export(run, tmp_path / f"model{SUFFIX[form]}", form)
    assert not list(tmp_path.iterdir())


def test_names_that_are_taken(tmp_path, run, exported):
    out = tmp_path / "model.keras"
    with pytest.raises(ValueError, match=r"expected a name that ends in .onnx"):
        export.export(run, out, "onnx")
    with pytest.raises(
        ValueError, match="unknown format 'kears': did you mean 'keras'"
    ):
        export.export(run, out, "kears")
    out.write_bytes(b"mine")
    for overwrite in (False, True):
        with pytest.raises(OSError, match="was not written by this command"):
            export.export(run, out, "keras", overwrite=overwrite)
    with pytest.raises(OSError, match="choose another"):
        export.export(run, tmp_path, "savedmodel", overwrite=True)
    assert out.read_bytes() == b"mine"
    out.unlink()
    export.export(run, out, "keras")
    with pytest.raises(ValueError, match=r"is there already; .* --overwrite"):
        export.export(run, out, "keras")
    export.export(run, out, "keras", overwrite=True)
    assert zipfile.is_zipfile(out)


@pytest.mark.parametrize("form", ["savedmodel", "litert"])
def test_an_earlier_export_is_replaced_in_a_folder_of_any_name(tmp_path, run, form):
    out = tmp_path / "models [1]" / f"model{SUFFIX[form]}"
    export.export(run, out, form)
    export.export(run, out, form, overwrite=True)
    assert FORMATS.get(form).open(out)[1]["labels"]


def test_what_is_missing_is_named(tmp_path, run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(ValueError, match=r"'\.\[onnx\]'"):
        export.export(run, tmp_path / "model.onnx", "onnx")
    with pytest.raises(FileNotFoundError, match="no such weights"):
        export.export(tmp_path / "nothing", tmp_path / "model.keras", "keras")
    assert not list(tmp_path.iterdir())


def test_thresholds_of_other_weights_stay_away(original, caplog, run, tmp_path):
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    stored = json.loads((run / "thresholds.json").read_text())
    path = str(folder / "checkpoints" / "iteration-2")
    moved = replace(original, weights=replace(original.weights, path=path))
    (folder / "thresholds.json").write_text(json.dumps(stored | {"iteration": 77}))
    assert description.tuned_thresholds(moved) is None
    assert "tuned for iteration 77" in caplog.text
    other = json.dumps(stored | {"fingerprint": "0" * 64})
    (folder / "thresholds.json").write_text(other)
    assert description.tuned_thresholds(moved) is None
    assert "tuned for other weights" in caplog.text
    stored["labels"] = stored["labels"][::-1]
    (folder / "thresholds.json").write_text(json.dumps(stored))
    with pytest.raises(ValueError, match="thresholds of other labels"):
        description.tuned_thresholds(moved)
