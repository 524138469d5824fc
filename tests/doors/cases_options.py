"""Options and config keys with numbers, names and devices that can not be."""

from doors.case import Case

# Options and keys.
OPTIONS = [
    Case("options out of bounds", f"{door} {' '.join(map(str, words))}", door,
         lambda kit, here, words=words: [*words], says=["expected a"], status=2)
    for door, words in (
        ("prep_splits", ["-r", "x", "-n", "x", "-o", "out", "--seed", -1]),
        ("prep_splits", ["-r", "x", "-n", "x", "-o", "out", "--shard-size-mb", "nan"]),
        ("prep_splits", ["-r", "x", "-n", "x", "-o", ""]),
        ("split", ["--table", "x", "-o", "out", "--blocks", "inf"]),
        ("split", ["--table", "x", "-o", "out", "--ratios", 50, "nan"]),
        ("split", ["--table", "x", "-o", "", "--ratios", 50, 50]),
        ("split", ["--table", "x", "-o", "o", "--folds", 2, "--names", "", "b"]),
        ("tiles", ["x", "-o", "out", "--shard-size-mb", 0]),
        ("tiles", ["x", "-o", "out", "--transform", 10, 0, "nan", 0, -10, 0]),
        ("tiles", ["x", "-o", "out", "--val", ""]),
        ("statistics", ["x", "-o", "a.json", "--percentiles", "nan"]),
        ("retrieve", ["x", "--number", 0, "-k", 0]),
        ("retrieve", ["x", "--number", 0, "--exclude-within", "inf"]),
        ("retrieve", ["x", "--number", -1]),
        ("map", ["r", "s", "-o", "m.tif", "--scale", 0]),
        ("map", ["r", "s", "-o", "m.tif", "--offset", "nan"]),
        ("map", ["r", "s", "-o", "m.tif", "--stride", "1e3"]),
        ("map", ["r", "s", "-o", "m.tif", "--seed", 2**40]),
        ("points", ["r", "s", "--points", "p", "-o", "o.csv", "--draws", -1]),
        ("regress", ["t", "--target", "y", "-o", "out", "--block-km", "nan"]),
        ("regress", ["t", "--target", "y", "-o", "out", "--folds", 1]),
        ("predict", ["r", "s", "-o", "o.csv", "--batch-size", "9" * 4400]),
        ("compare", ["a", "b", "--seed", -7]),
        ("inspect", ["x", "--count", 0]),
        ("sample", ["--patches", 3, "--out", "o", "--seed", 2**31]),
        ("models", ["--summary", "resnet50", "--labels", 0]),
        ("export", ["", "-o", "out"]),
        ("publish", ["r", "-o", "out", "--data", " "]),
    )
]  # fmt: skip


def _keys(door="train", **keys):
    def call(kit, here):
        kit.write_config(here, **keys)
        return ["config.json"]

    return call


def _set(text):
    def call(kit, here):
        kit.write_config(here)
        return ["config.json", "--set", text]

    return call


KEYS = [
    Case("keys out of bounds", f"{key}={str(value)[:20]}", "train",
         _keys(**{key: value}), says=[key])
    for key, value in (
        ("devices", "cpu:0"), ("devices", "CPU"), ("devices", "cuda"),
        ("devices", "gpu"), ("devices", "gpu:"), ("devices", "cpu:1000000"),
        ("devices", "gpu:0,"), ("devices", ""), ("devices", "gpu:-1"),
        ("learning_rate", 0), ("learning_rate", "1e-3"), ("seed", -1),
        ("batch_size", 0), ("batch_size", 2**62), ("batch_size", 10**6),
        ("image_size", 0), ("image_size", 10**6), ("image_size", 2**62),
        ("head_dims", [0]), ("head_dims", [-5]), ("head_dims", [2**40]),
        ("nb_epoch", 2**62), ("drop_rate", 1.5), ("momentum", -0.1),
        ("bootstrap_rounds", -1), ("out_dir", ""), ("out_dir", " "),
        ("shuffle_buffer_size", -1), ("decay_step", 0), ("training_size", 0),
        ("gradient_accumulation", 2**40), ("bands", []), ("bands", ""),
        ("tr_tf_record_files", [""]), ("statistics", ""), ("model_name", ""),
    )
] + [
    Case("keys out of bounds", f"--set {text[:30]}", "train", _set(text), says=[says])
    for text, says in (
        ("learning_rate=NaN", "learning_rate"),
        ("learning_rate=Infinity", "learning_rate"),
        ("learning_rate=1e999", "learning_rate"),
        ("weight_decay=-Infinity", "weight_decay"),
        (f"seed={'9' * 5000}", "seed"),
        (f"seed={'[' * 50_000}", "seed"),
        ("seed", "key=value"),
        ('metadata={"a": 1, "a": 2}', "twice"),
    )
]  # fmt: skip

# Of the TF project: a form that is not written, and no snapshot where one is named.
OF_TF = [
    Case("settings of another project", "prep_splits -l pytorch", "prep_splits",
         lambda kit, here: ["-r", "x", "-n", "x.csv", "-o", "out", "-l", "pytorch"],
         says=["-l pytorch: the LMDB of pyarrow", "leave -l out"], status=2),
    Case("settings of another project", "eval of a model_file that is gone", "eval",
         _keys(model_file="gone"), says=["gone: no checkpoint at model_file"]),
    Case("settings of another project", "--set model_file, a hub id", "eval",
         _set("model_file=org/name"), says=["org/name: no checkpoint at model_file"]),
]  # fmt: skip

CASES = [*OPTIONS, *OF_TF, *KEYS]
