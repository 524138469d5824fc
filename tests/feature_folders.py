"""Folders of features as `embed` writes them, made of random numbers."""

import json

import numpy as np

import bigearthnet_tf
from bigearthnet_tf.retrieval import stored

LABELS = ["Pastures", "Urban fabric", "Marine waters"]


def names(count, first=0, tile="T29UPU"):
    return [
        f"S2A_MSIL2A_20170613T101031_N9999_R022_{tile}_{i // 90:02d}_{i % 90:02d}"
        for i in range(first, first + count)
    ]


def write(folder, count=20, first=0, model_hash="a" * 64, seed=0, dims=8, split="test"):
    """Writes features of p_s1, p_s2 and opens them."""
    rng = np.random.default_rng(seed + first)
    folder.mkdir(parents=True)
    layers = {name: dims for name in ("p_s1", "p_s2")}
    for name in layers:
        np.save(folder / f"{name}.npy", rng.normal(size=(count, dims)).astype("f4"))
    labels = rng.integers(0, 2, (count, len(LABELS))).astype(np.uint8)
    np.save(folder / "labels.npy", labels)
    own = names(count, first)
    both = {"s2": own, "s1": [f"S1A_IW_GRDH_{name[11:]}" for name in own]}
    (folder / "names.json").write_text(json.dumps(both))
    facts = stored.Facts(
        version=stored.VERSION,
        tool_version=bigearthnet_tf.__version__,
        key="k",
        model_hash=model_hash,
        precision="float32",
        preprocessing={"statistics": "v1"},
        run="runs/x",
        iteration=7,
        config={},
        split=split,
        files=[],
        num_records=count,
        labels=LABELS,
        layers=layers,
    )
    (folder / "embeddings.json").write_text(facts.model_dump_json())
    return stored.load(folder)
