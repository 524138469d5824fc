"""A run on a handful of generated patches, trained and evaluated in this process."""

import os
from pathlib import Path

from bigearthnet_tf import config as configs

CONFIG = {
    "model_name": "resnet_test",
    "modality": "MM",
    "label_type": "BigEarthNet-19",
    "image_size": 32,
    "interpolation": "bilinear",
    "augmentation": ["flips"],
    "batch_size": 4,
    "nb_epoch": 1,
    "learning_rate": 0.01,
    "devices": "cpu",
    "thresholds": "tuned",
    "tr_tf_record_files": ["train-*.tfrecord"],
    "val_tf_record_files": ["val-*.tfrecord"],
    "test_tf_record_files": ["test-*.tfrecord"],
}


def train(folder: Path, **changes) -> Path:
    """Trains and evaluates a run on the records of a folder, and returns its own."""
    from bigearthnet_tf import evaluation
    from bigearthnet_tf.training import session

    before = Path.cwd()
    os.chdir(folder)
    try:
        config = configs.from_dict({"out_dir": "run", **CONFIG, **changes})
        out = folder / config.out_dir
        opened = session.open_session(config)
        session.train(opened, *session.build(opened), out)
        model, iteration = session.load_trained(opened, out, "best")
        evaluation.evaluate(opened, model, iteration, out)
    finally:
        os.chdir(before)
    return out
