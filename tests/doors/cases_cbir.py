"""Configs of the CBIR project, and files that are taken for one."""

import json

from doors.case import Case

ARGS = {
    "batch_size": 4,
    "start_epoch": 0,
    "epochs": 1,
    "pretrain": False,
    "type": "separate",
    "train_csv": "splits/train.csv",
    "val_csv": "splits/val.csv",
    "test_csv": "splits/test.csv",
    "loss_func": "contrastive",
    "fusion": "concat",
    "bigEarthPthLMDB_S2": "S2.lmdb",
    "bigEarthPthLMDB_S1": "S1.lmdb",
    "num_cpu": 40,
    "name": "test",
    "n_features": 2048,
    "projection_dim": 128,
    "out_channels": 32,
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "weight_decay": 0.0,
    "scheduler": False,
    "temperature": 0.1,
    "logging_params": {"save_dir": "logs/", "name": "run"},
    "state_dict": "logs/test/run/checkpoints_model_best.pth.tar",
}
WRONG = {"type": "both", "fusion": "", "epochs": 0, "learning_rate": "fast"}
TRAINER = {"max_epochs": 10, "accelerator": "gpu"}
# YAML files of others: of a Lightning command line, and one that names the data of
# ConfigILM.
OTHERS = {
    "Lightning": {"seed_everything": 1, "trainer": TRAINER, "model": {}, "data": {}},
    "ConfigILM": {"data": {"benv2_data_dir": {"images_lmdb": "x"}}, "workers": 4},
}


def _file(content, *more, name="args.yaml"):
    def call(kit, here):
        # JSON is YAML.
        (here / name).write_text(json.dumps(content))
        return ["--filepath", name, *more]

    return call


def _theirs(kind, door, *more, says, name="args.yaml", **changes):
    call = _file(ARGS | changes, *more, name=name)
    return Case("config of the CBIR project", kind, door, call, says=says)


CASES = [
    *(
        Case("YAML of another project", name, door, _file(content),
             says=["config.yaml|args.yaml", "type, loss_func and fusion", "another"])
        for name, content in OTHERS.items()
        for door in ("train", "eval")
    ),
    _theirs("four faults", "train", **WRONG,
            says=["type: .*separate or joint", "fusion is missing", "epochs", "fast"]),
    _theirs("an unknown key and a fault", "sweep", epoch=3, n_features=512,
            says=["unknown key 'epoch'.*epochs", "n_features"]),
    _theirs("a temperature of 0", "eval", temperature=0,
            says=["temperature", "--set temperature=0.1"]),
    _theirs("keys of 12 bands", "train", suffix="", reload=False,
            says=["reload, suffix", "encoders=single"]),
    _theirs("faults in JSON", "embed", name="args.json", **WRONG,
            says=["args.json", "type: ", "fusion", "epochs"]),
    _theirs("an impossible override", "train", "--set", "type=both",
            says=["type: expected separate or joint, got 'both'"]),
    _theirs("an unknown override", "train", "--set", "epoch=3",
            says=["unknown key 'epoch'"]),
    _theirs("contrast with one network", "train", "--set", "encoders=single",
            says=["two encoders"]),
    _theirs("no records", "train", says=["records/train-"]),
    _theirs("a checkpoint of torch and no run", "eval",
            says=["logs/test/run|records/"]),
]  # fmt: skip
