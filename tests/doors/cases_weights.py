"""Published weights, exports, and pixels that are no numbers."""

import functools
import json
import shutil

import broken_pixels
import numpy as np
import pandas as pd
import rasterio
from doors.case import Case
from published_files import reben_config
from safetensors import numpy as safetensors

KEYS = "keys of a published config.json"
VALUES = "a published config.json that would change the numbers"
FILES = "damaged or foreign weights"
BROKEN = "pixels that are NaN or infinite"
EXPORTS = "names and formats of exports"


def reben(here, name="resnet_test-s2-v0.2.0", weights=True, **changes):
    """Writes a folder as reBEN's class does, with a stand-in for its weights."""
    folder = here / name
    folder.mkdir()
    content = reben_config("resnet_test", 10) | changes
    content = {key: value for key, value in content.items() if value is not ...}
    (folder / "config.json").write_text(json.dumps(content))
    if weights:
        tensors = {"model.vision_encoder.fc.bias": np.zeros(19, np.float32)}
        safetensors.save_file(tensors, folder / "model.safetensors")
    return folder


def opens(order="S19", bands="s2", **changes):
    """Opens such a folder; its labels and bands are as they should be."""

    def call(kit, here):
        folder = reben(here, **changes)

        def look():
            from bigearthnet_tf.archive import bands as band_facts
            from bigearthnet_tf.archive import labels
            from bigearthnet_tf.tasks import weight_files

            opened = weight_files.open_published(str(folder))
            if opened.labels != labels.ORDERS[order]:
                raise RuntimeError(f"labels {opened.labels}")
            if opened.bands != band_facts.resolve_bands(bands):
                raise RuntimeError(f"bands {opened.bands}")

        return look

    return call


def refuses(**changes):
    """Exports such a folder, which must not be taken for what it is not."""
    return lambda kit, here: [reben(here, **changes), "-o", "out"]


def legal(title, **changes):
    return Case(KEYS, title, "python", opens(**changes))


def wrong(name, says, **changes):
    return Case(
        VALUES, name, "export", refuses(**changes), says=[r"config\.json", says]
    )


def damaged(name, change, says):
    def call(kit, here):
        folder = reben(here)
        change(folder)
        return [folder, "-o", "out"]

    return Case(FILES, name, "export", call, says=says)


def spoiled_records(kit, here, values):
    folder = kit.copy("records", here)
    broken_pixels.spoil(folder, "test", values)
    return folder


def predicts(values, out="out.csv"):
    def call(kit, here):
        return [kit.run, spoiled_records(kit, here, values) / "test-*", "-o", out]

    return call


def has_no_scores(rows, here, outcome):
    """Some patches of the table have no scores and no labels, all others have both."""
    path = next(here.glob("out.*"))
    is_csv = path.suffix == ".csv"
    table = pd.read_csv(path) if is_csv else pd.read_parquet(path)
    scores = table.drop(columns=["name", "name_s1", "labels"]).to_numpy(float)
    broken = np.isnan(scores)
    assert (broken.all(axis=1) == broken.any(axis=1)).all()
    assert np.flatnonzero(broken.any(axis=1)).tolist() == list(rows)
    if not is_csv:
        assert table["labels"].isna().tolist() == broken.any(axis=1).tolist()
    for row in rows:
        assert table["name"][row] in outcome.out
    assert f"{len(rows)} of {len(table)} patches" in outcome.out


def spoiled_patch(kit, here, value):
    """Copies a pair of patches, whose VV gets a number in its last pixel."""
    roots = kit.bands_of_v2()
    table = pd.read_parquet(kit.v2 / "metadata.parquet")
    pair = []
    for root, name in zip(roots, table[["patch_id", "s1_name"]].iloc[0], strict=True):
        source = next(root.glob(f"*/{name}"))
        shutil.copytree(source, here / name)
        pair.append(here / name)
    path = next(pair[1].glob("*_VV.tif"))
    with rasterio.open(path, "r+") as dataset:
        pixels = dataset.read()
        pixels[0, -1, -1] = value
        dataset.write(pixels)
    return pair


def predicts_a_patch(kit, here):
    s2, s1 = spoiled_patch(kit, here, np.nan)
    return [kit.run, s2, "--s1", s1, "-o", "out.parquet"]


def uses_records(key, values):
    """The config of the kit's run with broken test or training records."""

    def call(kit, here):
        folder = kit.copy("records", here)
        split = {"tr": "train", "val": "val", "test": "test"}[key]
        names = broken_pixels.spoil(folder, split, values)
        (here / "names").write_text("\n".join(names))
        run = kit.copy("run", here)
        keys = {f"{key}_tf_record_files": [str(folder / f"{split}-*.tfrecord")]}
        return [kit.write_config(here, **keys, out_dir=str(run))]

    return call


def trains(kit, here):
    folder = kit.copy("records", here)
    broken_pixels.spoil(folder, "train", dict.fromkeys(range(30), np.nan))
    keys = {"tr_tf_record_files": [str(folder / "train-*.tfrecord")]}
    return [kit.write_config(here, **keys)]


def truncate(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:20])


def put(name, content):
    return lambda folder: (folder / name).write_bytes(content)


def is_there(pattern, here, outcome):
    assert list(here.glob(pattern)), outcome.out


NUMBERS = [str(number) for number in range(19)]
CASES = [
    legal("numbers for names"),
    legal("names of null", class_names=None),
    legal("no names", class_names=...),
    legal("no network type", network_type=...),
    legal("a network type of null", network_type=None),
    legal("a network type by name", network_type="IMAGE_CLASSIFICATION"),
    legal("rates of null", drop_rate=None, drop_path_rate=None, fusion_out=None),
    legal("keys of the training", lr=1e-3, warmup=1000),
    legal("a text encoder that is not used", hf_model_name="bert-base-uncased"),
    legal("other fusions", fusion_method="torch.add", fusion_activation="nn.ReLU()"),
    legal("a linear head by name", head_type="linear", mlp_hidden_dims=None),
    legal("weights of ImageNet before", load_pretrained_timm_if_available=True),
    legal("an older version", name="x-s2-v0.1.1", bands="ilm_v1_s2"),
    legal("Sentinel-1", name="x-s1-v0.2.0", channels=2, bands="s1"),
    legal("both sensors", name="x-all-v0.2.0", channels=12, bands="all"),
    wrong("text and image", "network_type is 1", network_type=1),
    wrong("text and image by name", "network_type", network_type="VQA_CLASSIFICATION"),
    wrong("a head of several layers", "head_type is 'mlp'", head_type="mlp"),
    wrong("hidden units", "mlp_hidden_dims", mlp_hidden_dims=[1024, 512]),
    wrong("an encoder of another library", "dinov3", dinov3_model_name="facebook/x"),
    wrong("means of its own", "mean is", mean=[0.5] * 10),
    wrong("a misspelt key", "did you mean 'statistics'", statistic="v1"),
    wrong("numbers from 1", "unknown label", class_names=[*NUMBERS[1:], "19"]),
    wrong("numbers in another order", "unknown label", class_names=NUMBERS[::-1]),
    wrong("too few numbers", "classes is 19, but 10", class_names=NUMBERS[:10]),
    wrong("names twice", "each once", class_names=["Pastures"] * 19),
    wrong("channels as text", "channels", channels="10"),
    wrong("an image size of null", "image_size", image_size=None),
    wrong("a list", "expected", config=[1]),
    Case(VALUES, "no version in the name", "export", refuses(name="resnet"),
         says=["name of the folder does not say"]),
    Case(VALUES, "seven bands", "export", refuses(channels=7),
         says=["channels, got 7"]),
    Case(VALUES, "43 labels without names", "export", refuses(
        classes=43, class_names=[*map(str, range(43))]), says=["no labels of"]),
    Case(VALUES, "an architecture that is not here", "export", refuses(
        timm_model_name="rdnet_base"), says=["rdnet_base"]),
    damaged("cut short", truncate, [r"model\.safetensors", "damaged, cut short"]),
    damaged("a pickle", put("model.safetensors", b"\x80\x04" + b"a" * 20), ["pickle"]),
    damaged("a zip", put("model.safetensors", b"PK\x03\x04" + b"a" * 20), ["zip"]),
    damaged("no JSON", put("config.json", b"{"), [r"config\.json", "expected JSON"]),
    damaged("no weights", lambda f: (f / "model.safetensors").unlink(), ["missing"]),
    damaged("one tensor", lambda f: None, ["tensors missing"]),
    Case(BROKEN, "NaN, as CSV", "predict", predicts({1: np.nan}),
         check=functools.partial(has_no_scores, [1])),
    Case(BROKEN, "infinite, as Parquet", "predict",
         predicts({0: np.inf, 2: -np.inf}, "out.parquet"),
         check=functools.partial(has_no_scores, [0, 2])),
    Case(BROKEN, "NaN in a GeoTIFF", "predict", predicts_a_patch,
         check=functools.partial(has_no_scores, [0])),
    Case(BROKEN, "NaN", "eval", uses_records("test", {1: np.nan}),
         says=[r"_\d+ \(record 1 of test\)", "NaN or infinite"], leaves=["run/*"]),
    Case(BROKEN, "infinite in two", "eval",
         uses_records("test", {0: np.inf, 2: np.inf}),
         says=[r"record 0 of test", "1 more"], leaves=["run/*"]),
    Case(BROKEN, "NaN where thresholds are tuned", "eval",
         lambda kit, here: [*uses_records("val", {0: np.nan})(kit, here),
                            "--thresholds", "global"],
         says=["record 0 of val"], leaves=["run/*"]),
    Case(BROKEN, "NaN", "embed", lambda kit, here: [
        *uses_records("test", {2: np.nan})(kit, here), "-o", "features"],
         says=["record 2 of test", "NaN or infinite"], leaves=["run/*"]),
    Case(BROKEN, "NaN", "train", trains,
         says=["loss is no longer finite", "inspect"], leaves=["run", "run/*"]),
    Case(EXPORTS, "by the ending", "export", lambda kit, here: [
        kit.run, "-o", "model.keras"],
         check=functools.partial(is_there, "model.keras")),
    Case(EXPORTS, "a folder of a model of timm", "export", lambda kit, here: [
        kit.run, "-o", "out"], check=functools.partial(is_there, "out/config.json")),
    Case(EXPORTS, "an ending of another format", "export", lambda kit, here: [
        kit.run, "-o", "model.onnx", "--format", "keras"], says=[r"\.keras for keras"]),
    Case(EXPORTS, "an ending that no format has", "export", lambda kit, here: [
        kit.run, "-o", "model.h5"], says=[r"got \.h5"]),
    Case(EXPORTS, "a prefix for another format", "export", lambda kit, here: [
        kit.run, "-o", "model.onnx", "--prefix", ""], says=["--prefix is for"]),
    Case(EXPORTS, "a run of land cover", "export", lambda kit, here: [
        kit.land_cover, "-o", "out"], says=["land_cover"]),
    Case(EXPORTS, "a tensor that is left over", "export", lambda kit, here: [
        kit.records, "-o", "out"], says=["expected config.json|config.json.*missing"]),
]  # fmt: skip
