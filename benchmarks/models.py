r"""Every architecture of our own: what it costs, and patches a second on this machine.

  PYTHONPATH=. python benchmarks/models.py --write

Inference, float32, from digital numbers to logits, for 10 bands at 120 pixels and 19
labels where the model has no bands of its own.
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from conversion import RESULTS, machine

from bigearthnet_tf import console, files

ROUNDS = 3
BATCH_SIZE = 32


def rate(model: object, batch: dict[str, np.ndarray]) -> float:
    """Returns patches a second, the median of some batches."""
    import tensorflow as tf

    infer = tf.function(lambda images: model(images, training=False))
    infer(batch)
    seconds = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        infer(batch)
        seconds.append(time.perf_counter() - start)
    return BATCH_SIZE / statistics.median(seconds)


def row(name: str) -> str:
    """Measures a model and returns its row of the table."""
    import keras

    import bigearthnet_tf
    from bigearthnet_tf.models import complexity

    model = bigearthnet_tf.build_model(name)
    cost = complexity.cost_of(model)
    rng = np.random.default_rng(0)
    batch = {
        key: rng.integers(1, 3000, (BATCH_SIZE, *tensor.shape[1:])).astype(tensor.dtype)
        for key, tensor in model.input.items()
    }
    cells = [
        f"`{name}`",
        f"{sum(tensor.shape[1] for tensor in model.input.values())}",
        f"{cost.trainable:,}",
        f"{cost.multiply_adds / 1e9:.2f}",
        f"{rate(model, batch):.1f}",
    ]
    keras.utils.clear_session()
    line = f"| {' | '.join(cells)} |"
    print(line, flush=True)
    return line


def main() -> None:
    """Runs the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    console.load_tensorflow()
    from bigearthnet_tf import models

    names = [
        name
        for name in models.list_models()
        if "/" not in name and not name.endswith("_test")
    ]
    rows = [
        "| model | bands | trainable parameters | multiply-adds, G | patches/s |",
        "|--|--:|--:|--:|--:|",
        *map(row, names),
    ]
    facts = (
        f"{machine(('tensorflow', 'keras'))} Inference, batch {BATCH_SIZE}, float32."
    )
    text = "\n\n".join(["# Models", facts, "\n".join(rows)]) + "\n"
    if arguments.write:
        files.write_text(RESULTS / "models.md", text)


if __name__ == "__main__":
    main()
