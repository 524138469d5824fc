"""Folders as reBEN's class writes them: genuine ones, and small ones made here."""

import json
import logging

import numpy as np
import pytest
from published_files import (
    O19,
    PREFIX,
    S19,
    WEIGHTS,
    as_hub_has_it,
    batch,
    randomised,
    reben_config,
)
from pyarrow import parquet
from safetensors import numpy as safetensors

from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import archives, metadata
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.data import pipeline
from bigearthnet_tf.records import convert, reader
from bigearthnet_tf.records.plan import plan_split
from bigearthnet_tf.serving import hub
from bigearthnet_tf.tasks import base, weight_files
from bigearthnet_tf.training import initial_weights, session

FOLDER = "mobilevit_xxs-{}-v0.2.0"
# Logits of up to 4 in size, from other kernels in another order.
CLOSE = {"rtol": 0, "atol": 1e-4}


@pytest.fixture(scope="module")
def records(shared, tmp_path_factory):
    """The six real pairs of v2 as records of ours, as the test split."""
    data, folder = shared / "data/v2", tmp_path_factory.mktemp("pairs")
    present = {path.name for path in (data / "BigEarthNet-S1").glob("*/*")}
    tables = []
    # One of the patches has clouds.
    for name in ("", "_for_patches_with_snow_cloud_or_shadow"):
        tables.append(folder / f"metadata{name}.parquet")
        rows = parquet.read_table(
            data / tables[-1].name, filters=[("s1_name", "in", present)]
        )
        parquet.write_table(rows, tables[-1])
    table = metadata.read_tables(tables)
    archive = archives.open_archive(
        data / "BigEarthNet-S2", data / "BigEarthNet-S1", metadata=table
    )
    entries = metadata.entries_from_metadata(table)
    convert.convert(archive, [plan_split(archive, entries, "test")], folder)
    return folder


@pytest.fixture(params=["s2", "s1", "all"])
def genuine(request, shared, records):
    """A genuine folder, its band set, records, and the logits of its own code."""
    folder = shared / "reference/reben_hub"
    with np.load(folder / f"logits_{request.param}.npz") as stored:
        names, labels, logits = (stored[k] for k in ("names", "labels", "logits"))
    # By name, in our orders of patches and labels.
    source = reader.open_records(str(records / "*.tfrecord"))
    rows = [names.tolist().index(name) for name in reader.read_names(source)]
    columns = [labels.tolist().index(label) for label in O19]
    assert len(rows) == 6
    folder = folder / FOLDER.format(request.param)
    return folder, request.param, source, logits[rows][:, columns]


def pixels_of(source, bands):
    data = pipeline.load_dataset(list(source.files), 6, bands)
    return next(iter(data))[0]


def test_genuine_folders_give_their_own_logits(genuine, tmp_path):
    folder, bands, source, expected = genuine
    pixels = pixels_of(source, bands)
    loaded = hub.from_pretrained(folder)
    assert loaded.name == "mobilevit_xxs"
    np.testing.assert_allclose(loaded(pixels), expected, **CLOSE)
    # And back: the tensors of the publishers, bit for bit.
    out = hub.export_timm(folder, tmp_path / "back")
    stored, written = (safetensors.load_file(f / WEIGHTS) for f in (folder, out))
    assert written.keys() == stored.keys()
    for name, value in stored.items():
        np.testing.assert_array_equal(written[name], value)
    np.testing.assert_allclose(hub.from_pretrained(out)(pixels), expected, **CLOSE)


@pytest.mark.slow
def test_genuine_folders_begin_a_run_and_are_evaluated(
    genuine, records, tmp_path, monkeypatch
):
    folder, bands, source, expected = genuine
    monkeypatch.chdir(tmp_path)
    config = configs.from_dict(
        {
            "model_name": "mobilevit_xxs",
            "modality": {"s2": "S2", "s1": "S1", "all": "MM"}[bands],
            "label_type": "BigEarthNet-19",
            "weights": str(folder),
            "devices": "cpu",
            "batch_size": 3,
            "tr_tf_record_files": [str(records / "test-*.tfrecord")],
            "val_tf_record_files": [],
            "test_tf_record_files": [str(records / "test-*.tfrecord")],
        }
    )
    opened = session.open_session(config)
    pixels = pixels_of(source, bands)
    model = opened.task.build_model()
    assert initial_weights.load(config, opened.task, model)
    np.testing.assert_allclose(model(pixels), expected, **CLOSE)
    other = opened.task.build_model()
    assert initial_weights.is_published(str(folder))
    initial_weights.load_published(opened.task, other, str(folder))
    np.testing.assert_allclose(other(pixels), expected, **CLOSE)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder whose config.json the tests write; its weights are `randomised()`."""
    out = tmp_path_factory.mktemp("hub") / "resnet_test-s2-v0.2.0"
    return as_hub_has_it(randomised(), out, "s2")


def write(folder, wrapped=False, **changes):
    content = reben_config("resnet_test", 10) | {"image_size": 32} | changes
    content = {k: v for k, v in content.items() if v is not ...}
    content = {"config": content, "lr": 0.001} if wrapped else content
    (folder / "config.json").write_text(json.dumps(content, indent=2))


def assert_same(folder):
    model = randomised()
    loaded = hub.from_pretrained(folder)
    np.testing.assert_allclose(
        loaded(batch(model)), model(batch(model)), rtol=1e-4, atol=1e-5
    )


def test_numbers_for_names_leave_the_alphabetical_order(folder, caplog):
    write(folder)
    with caplog.at_level(logging.WARNING):
        assert_same(folder)
    assert not caplog.records
    assert weight_files.open_published(str(folder)).labels == S19


@pytest.mark.parametrize(
    "changes",
    [
        {"class_names": None},
        {"class_names": ...},
        {"class_names": list(S19)},
        {"network_type": ...},
        {"network_type": None},
        {"network_type": "IMAGE_CLASSIFICATION"},
        {"network_type": "ILMType.IMAGE_CLASSIFICATION"},
        {"network_type": "IMAGE_CLASSIFICATION (value: 0)"},
        {"drop_rate": None, "drop_path_rate": None, "fusion_out": None},
        {"lr": 0.001, "warmup": None},
        {"fusion_method": "torch.add", "hf_model_name": "prajjwal1/bert-tiny"},
        {"load_pretrained_timm_if_available": True},
        {"head_type": "linear", "mlp_hidden_dims": None, "dinov3_model_name": None},
        {"bands": None},
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_keys_that_change_no_number(folder, changes, wrapped, caplog):
    write(folder, wrapped, **changes)
    opened = weight_files.open_published(str(folder))
    assert (opened.model_name, opened.labels) == ("resnet_test", S19)
    assert opened.bands == band_facts.resolve_bands("s2")
    assert not caplog.records


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"network_type": 1}, "network_type is 1, expected 0, an image classifier"),
        ({"network_type": "VQA_CLASSIFICATION"}, "network_type is 'VQA_CLASS"),
        ({"network_type": True}, "network_type is True"),
        ({"head_type": "mlp"}, "head_type is 'mlp', .*; expected 'linear'"),
        ({"mlp_hidden_dims": [8]}, r"mlp_hidden_dims is \[8\]"),
        ({"dinov3_model_name": "facebook/dinov3"}, "dinov3_model_name is 'facebook"),
        ({"mean": [0.5] * 10}, r"mean is \[0.5"),
        ({"statistic": "v1"}, r"unknown key 'statistic' \(did you mean 'statistics'"),
        ({"interpolate": "bilinear"}, "did you mean 'interpolation'"),
        ({"class_names": [str(i) for i in range(1, 20)]}, "class_names: unknown label"),
        ({"class_names": [str(i) for i in range(10)]}, "classes is 19, but 10 are"),
        ({"class_names": ["1", "0", *map(str, range(2, 19))]}, "unknown label '1'"),
        ({"classes": 43, "class_names": [*map(str, range(43))]}, "no labels of Big"),
        ({"timm_model_name": "rdnet_base"}, "rdnet_base"),
        ({"network_type": "x" * 9999}, r"network_type is 'x[x.]{50,60}', expected"),
        ({"head_dims": [-1]}, r"head_dims\.0: should be greater than 0"),
        ({"head_dims": [2**40]}, r"head_dims\.0: should be less than"),
        ({"image_size": 10**9}, "image_size: should be less than"),
        ({"iteration": -5}, "iteration: should be greater than"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_what_would_change_the_numbers_is_refused(folder, changes, wrapped, message):
    write(folder, wrapped, **changes)
    with pytest.raises(ValueError, match=message) as caught:
        hub.from_pretrained(folder)
    assert "unknown model" in str(caught.value) or str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_keys_are_passed_over_by_name(folder, caplog):
    write(folder, seed=42, run_name="first")
    weight_files.open_published(str(folder))
    assert "passed over: run_name, seed" in caplog.text
    write(folder, **{f"key\n{i}": i for i in range(999)})
    weight_files.open_published(str(folder))
    assert len(caplog.messages[-1]) < 400
    assert "\n" not in caplog.messages[-1]


def test_a_run_that_began_with_such_a_folder(folder, tmp_path):
    """What it leaves is exported with the tensors that it began with."""
    write(folder)
    keys = {
        "model_name": "resnet_test",
        "label_type": "BigEarthNet-19",
        "modality": "S2",
        "image_size": 32,
        "statistics": "v2_120_nearest",
        "weights": str(folder),
        "devices": "cpu",
    }
    config = configs.from_dict(keys)
    task = base.open_task(config)
    model = task.build_model()
    assert initial_weights.load(config, task, model)
    from bigearthnet_tf.training import checkpoints
    from bigearthnet_tf.training.state import State

    saved = checkpoints.CheckpointFolder(tmp_path / "run/checkpoints", task.describe())
    saved.save(State(model), 1, None, {"config": config.model_dump()})
    saved.wait()
    out = hub.export_timm(tmp_path / "run", tmp_path / "out")
    stored, written = (safetensors.load_file(f / WEIGHTS) for f in (folder, out))
    assert {n for n in stored if "num_batches" not in n} <= written.keys()
    assert all(name.startswith(PREFIX) for name in written)
    for name in stored:
        np.testing.assert_array_equal(written[name], stored[name])
    content = json.loads((out / "config.json").read_text())
    assert content["class_names"] == list(S19)
    assert content["timm_model_name"] == "resnet_test"
