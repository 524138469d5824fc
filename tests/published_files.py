"""Weights as others publish them, made small for tests."""

import json

import numpy as np
import tensorflow as tf
from safetensors import numpy as safetensors

from bigearthnet_tf import models
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.models import published
from bigearthnet_tf.tasks import assembly

O19, S19 = label_facts.ORDERS["O19"], label_facts.ORDERS["S19"]
PREFIX = "model.vision_encoder."
WEIGHTS = "model.safetensors"


def randomised(
    name="resnet_test", bands="s2", labels=19, image_size=32, seed=7, **options
):
    """A model whose every weight, moving statistics too, is drawn anew."""
    model = assembly.build_model(name, labels, bands, image_size=image_size, **options)
    rng = np.random.default_rng(seed)
    for variable in model.weights:
        if "seed" not in variable.name:
            values = rng.normal(size=variable.shape) * 0.1
            positive = "variance" in variable.name
            variable.assign(np.abs(values) + 0.5 if positive else values)
    return model


def batch(model) -> dict:
    """Digital numbers for a model's inputs, the same for the same inputs."""
    rng = np.random.default_rng(1)
    return {
        name: rng.integers(1, 3000, (3, *tensor.shape[1:])).astype(tensor.dtype)
        for name, tensor in model.input.items()
    }


def as_hub_has_it(model, folder, bands, labels=S19, **config):
    """Writes a ResNet by hand as reBEN's tools do, for other orders."""
    naming = models.get_model("resnet_test").timm
    tensors = published.dump(model, naming, torch=True)
    order = model.get_layer("preprocessing_stack").order
    wanted = band_facts.resolve_bands(bands)
    index = [order.index(band) for band in wanted]
    tensors["conv1.weight"] = tensors["conv1.weight"][:, index]
    ours = next(o for o in label_facts.LABELS.values() if set(o) == set(labels))
    rows = [ours.index(label) for label in labels]
    for key in ("fc.weight", "fc.bias"):
        tensors[key] = tensors[key][rows]
    folder.mkdir(parents=True)
    tensors = {PREFIX + k: np.ascontiguousarray(v) for k, v in tensors.items()}
    safetensors.save_file(tensors, folder / WEIGHTS)
    content = {
        "timm_model_name": "resnet_test",
        "channels": len(wanted),
        "classes": len(labels),
        "image_size": 32,
    }
    (folder / "config.json").write_text(json.dumps({"config": content | config}))
    return folder


def reben_config(model_name, channels) -> dict:
    """What reBEN's class writes into config.json for a model of timm.

    The fields of ConfigILM's configuration; `class_names` are numbers where nobody
    named them, as in all published folders.
    """
    return {
        "_fusion_activation": "nn.Tanh()",
        "_fusion_method": "torch.mul",
        "channels": channels,
        "class_names": [str(number) for number in range(19)],
        "classes": 19,
        "custom_fusion_activation": None,
        "custom_fusion_method": None,
        "drop_path_rate": 0.15,
        "drop_rate": 0.15,
        "fusion_dropout_rate": 0.25,
        "fusion_hidden": 256,
        "fusion_in": 512,
        "fusion_out": 512,
        "hf_model_name": None,
        "image_size": 120,
        "load_pretrained_hf_if_available": True,
        "load_pretrained_timm_if_available": False,
        "max_sequence_length": 32,
        "network_type": 0,
        "t_dropout_rate": 0.25,
        "timm_model_name": model_name,
        "use_pooler_output": True,
        "v_dropout_rate": 0.25,
        "visual_features_out": 512,
    }


def save_tf1(path, tensors) -> str:
    """Writes a checkpoint of names, as TensorFlow 1 did."""
    tf.raw_ops.SaveV2(
        prefix=str(path),
        tensor_names=list(tensors),
        shape_and_slices=[""] * len(tensors),
        tensors=[tf.constant(value) for value in tensors.values()],
    )
    return str(path)
