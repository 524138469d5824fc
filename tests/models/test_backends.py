"""Our models on Keras's other backends: the same logits from the same weights."""

import importlib.util

import closeness
import long_tests
import numpy as np
import pytest
from programs import run_program

from bigearthnet_tf import models

NAMES = (
    "resnet_test",
    "short_cnn",
    "vit_test",
    "mobilevit_test",
    "convnext_test",
    "keras/mobilenet_v3_small",
)

PROGRAM = """
import sys
import numpy as np
from bigearthnet_tf import models
name, weights, images, out = sys.argv[1:]
names = tuple(f"b{number}" for number in range(3))
group = models.BandGroup("all", names, 32, "float32")
zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
model = models.assemble(name, 19, [group], names, zeros, ones, image_size=32)
stored = np.load(weights)
model.set_weights([stored[f"arr_{i}"] for i in range(len(stored.files))])
logits = model({"all": np.load(images)}, training=False)
if hasattr(logits, "detach"):
    logits = logits.detach().cpu().numpy()
np.save(out, np.asarray(logits))
"""


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
@pytest.mark.parametrize("name", long_tests.beyond(["resnet_test"], NAMES))
def test_the_same_logits_on_another_backend(tmp_path, name, backend):
    if importlib.util.find_spec(backend) is None:
        pytest.skip(f"{backend} is not installed")
    names = tuple(f"b{number}" for number in range(3))
    group = models.BandGroup("all", names, 32, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    model = models.assemble(name, 19, [group], names, zeros, ones, image_size=32)
    rng = np.random.default_rng(0)
    weights = [
        np.abs(w) + 0.5 if (w == 1).all() else w + 0.1 * rng.normal(size=w.shape)
        for w in model.get_weights()
    ]
    model.set_weights(weights)
    images = rng.normal(size=(2, 3, 32, 32)).astype("float32")
    np.savez(tmp_path / "weights.npz", *model.get_weights())
    np.save(tmp_path / "images.npy", images)
    files = [tmp_path / f for f in ("weights.npz", "images.npy", "logits.npy")]
    run_program(PROGRAM, name, *files, backend=backend)
    expected = model({"all": images}, training=False).numpy()
    logits = np.load(tmp_path / "logits.npy")
    closeness.assert_close(logits, expected, closeness.NETWORK)
