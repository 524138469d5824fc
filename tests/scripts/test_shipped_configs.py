"""The configs that come with the package, each in miniature."""

import json
from pathlib import Path

import long_tests
import map_records
import pytest
import series_records

from bigearthnet_tf.archive import archives, splits
from bigearthnet_tf.records import convert
from bigearthnet_tf.records.plan import plan_split

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    path
    for path in (ROOT / "configs").rglob("*.json")
    if path.stem not in ("base", "schema")
)
# The small size of a family in place of one that takes minutes.
SMALL = {
    "ResNet101": "resnet_test",
    "ResNet152": "resnet_test",
    "VGG16": "vgg_test",
    "VGG19": "vgg_test",
    "InceptionV3": "inception_v3_test",
    "resnet101": "resnet_test",
    "convmixer_768_32": "convmixer_test",
    "convnextv2_base": "convnext_test",
    "mixer_b16_224": "mixer_test",
    "mobilevit_s": "mobilevit_test",
    "vit_base_patch8_224": "vit_test",
    "resnet_small": "resnet_test",
}
# One size of a family that is run as it is, for its first config; the others differ in
# bands and labels.
REAL = {"configs-resnet50", "tf_project-resnet50_43", "reben-resnet50"}
# One of each folder, task and kind of input.
REPRESENTATIVES = {
    "balanced-short_cnn_rgb",
    "configs-quickstart",
    "contrastive-resnet50_joint",
    "reben-vit_base_patch8_224",
    "segmentation-resnet_small_generated",
    "tf_project-k_branch_cnn_43",
    "tf_project-resnet50_19_mm",
}


def model_of(path: Path) -> str:
    base = path.with_name("base.json")
    content = json.loads(base.read_text()) if base.is_file() else {}
    name = (content | json.loads(path.read_text()))["model_name"]
    if name.lower() == "resnet50" and label_of(path) not in REAL:
        return "resnet_test"
    return SMALL.get(name, name)


def label_of(path: Path) -> str:
    return f"{path.parent.name}-{path.stem}"


@pytest.fixture(scope="module")
def records_v1(archive_v1, tmp_path_factory):
    """Records of the v1 archive, which carry both nomenclatures."""
    out = tmp_path_factory.mktemp("records_v1")
    archive = archives.open_archive(
        archive_v1 / "BigEarthNet-v1.0", archive_v1 / "BigEarthNet-S1-v1.0"
    )
    for split in ("train", "val", "test"):
        entries = splits.read_split_csv(archive_v1 / f"{split}.csv")
        convert.convert(archive, [plan_split(archive, entries, split)], out)
    return out


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return series_records.write(tmp_path_factory.mktemp("series"))


@pytest.fixture(scope="module")
def with_maps(tmp_path_factory):
    return map_records.write_all(tmp_path_factory.mktemp("maps"))


def smaller(path: Path) -> list[str]:
    """Settings of a small batch, model and evaluation."""
    if path.parent.name == "segmentation":
        # In place of ResNets at 120 pixels.
        return ["batch_size=2", "model_name=resnet_test", "decoder_width=2"]
    if path.parent.name != "time_series":
        return ["batch_size=2", f"model_name={model_of(path)}"]
    settings = ["batch_size=64", "pixels_per_block=64", "disjoint_views=false"]
    settings += ["probe_pixels=200", "probe_labels=[5]", "probe_repeats=1"]
    if "weights" in json.loads(path.read_text()):
        # The run that it starts from is not there, so nothing can stay frozen.
        settings += ["weights=null", "fine_tune_level=1"]
    return settings


def test_the_representatives_are_there():
    assert {label_of(path) for path in SHIPPED} >= REPRESENTATIVES | REAL


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    long_tests.beyond([p for p in SHIPPED if label_of(p) in REPRESENTATIVES], SHIPPED),
    ids=label_of,
)
def test_every_shipped_config_runs_in_miniature(
    call, tmp_path, path, records_v1, series, with_maps
):
    others = {"time_series": series, "segmentation": with_maps}
    records = others.get(path.parent.name, records_v1)
    arguments = [
        path,
        *("--set", f'tr_tf_record_files=["{records}/train-*.tfrecord"]'),
        *("--set", f'val_tf_record_files=["{records}/val-*.tfrecord"]'),
        *("--set", f'test_tf_record_files=["{records}/test-*.tfrecord"]'),
        *("--set", f"out_dir={tmp_path / 'run'}"),
        *("--set", "sample_images=0", "--set", "devices=cpu"),
    ]
    for setting in smaller(path):
        arguments += ["--set", setting]
    outcome = call("train", *arguments, "--test-run")
    assert outcome.status == 0, outcome.err
    arguments += ["--set", f"out_dir={tmp_path / 'run-test-run'}"]
    outcome = call("eval", *arguments)
    assert outcome.status == 0, outcome.err
    assert (tmp_path / "run-test-run" / "eval_result.json").is_file()
