r"""A training step on a CPU: our models against timm's on torch, in one run.

  PYTHONPATH=. python benchmarks/training_step.py --write

Forward, backward and AdamW on the same batch of noise, float32. Each contender has a
process of its own, which idles while another one works; rounds go A B C A B C ...
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from conversion import RESULTS, Rates, machine, table

from bigearthnet_tf import console, files

BANDS = 10
LABELS = 19
PIXELS = 120
WARM_UP = 2
STEPS = {"resnet50": 3}  # in a round; 1 of the others, which take longer
TORCH = "timm on torch, channels last"
KERAS = {
    "bigearthnet_tf": {},
    "... without the fused BatchNorm": {"fused": False},
    "... without oneDNN": {"one_dnn": False},
    "... forwards and backwards compiled by XLA": {"jit": True},
}


def batch(size: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns noise (size, height, width, bands) and labels."""
    rng = np.random.default_rng(0)
    images = rng.normal(size=(size, PIXELS, PIXELS, BANDS)).astype("float32")
    return images, (rng.random((size, LABELS)) < 0.2).astype("float32")


def keras_step(
    name: str, size: int, fused: bool = True, one_dnn: bool = True, jit: bool = False
) -> Callable[[], None]:
    """Returns a training step of one of our models."""
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = str(int(one_dnn))
    console.load_tensorflow()
    import keras
    import tensorflow as tf

    from bigearthnet_tf import models, optimization
    from bigearthnet_tf.models import layers

    if not fused:
        layers.BatchNormalization.call = keras.layers.BatchNormalization.call
    names = tuple(f"b{number}" for number in range(BANDS))
    group = models.BandGroup("all", names, PIXELS, "float32")
    zeros, ones = dict.fromkeys(names, 0.0), dict.fromkeys(names, 1.0)
    model = models.assemble(name, LABELS, [group], names, zeros, ones)
    optimizer = optimization.build_optimizer("adamw", 1e-3)
    optimizer.build(model.trainable_variables)
    images, labels = batch(size)
    images = tf.constant(images.transpose(0, 3, 1, 2))
    labels = tf.constant(labels)

    @tf.function(jit_compile=jit)
    def gradients() -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            logits = model({"all": images}, training=True)
            loss = tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
            loss = tf.reduce_mean(loss)
        return tape.gradient(loss, [v.value for v in model.trainable_variables])

    @tf.function
    def step() -> None:
        optimizer.apply(gradients(), model.trainable_variables)

    return step


def torch_step(name: str, size: int) -> Callable[[], None]:
    """Returns a training step of timm's model of the same name."""
    import torch
    import torchvision_stand_ins

    torchvision_stand_ins.install()
    import timm

    sized = {"img_size": PIXELS} if name.startswith("vit") else {}
    model = timm.create_model(name, in_chans=BANDS, num_classes=LABELS, **sized)
    model = model.to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(model.parameters(), 1e-3)
    images, labels = map(torch.from_numpy, batch(size))
    images = images.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last)
    loss_of = torch.nn.BCEWithLogitsLoss()

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        loss_of(model(images), labels).backward()
        optimizer.step()

    return step


def serve(pipe: Connection, contender: str, name: str, size: int) -> None:
    """Measures images a second whenever it is told to."""
    if contender == TORCH:
        step = torch_step(name, size)
    else:
        step = keras_step(name, size, **KERAS[contender])
    for _ in range(WARM_UP):
        step()
    pipe.send(None)
    steps = STEPS.get(name, 1)
    while pipe.recv():
        start = time.perf_counter()
        for _ in range(steps):
            step()
        pipe.send(steps * size / (time.perf_counter() - start))


def measure(name: str, size: int, rounds: int, contenders: list[str]) -> Rates:
    """Returns images a second of each contender, one number a round."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for contender in contenders:
        pipes[contender], other = context.Pipe()
        process = context.Process(target=serve, args=(other, contender, name, size))
        process.start()
        processes.append(process)
        pipes[contender].recv()  # Not beside the next one's start.
    rates: Rates = {contender: [] for contender in contenders}
    for turn in range(rounds):
        for contender, pipe in pipes.items():
            pipe.send(True)
            rates[contender].append(pipe.recv())
            print(f"{name} {turn + 1}/{rounds} {contender}: {rates[contender][-1]:.2f}")
    for pipe in pipes.values():
        pipe.send(False)
    for process in processes:
        process.join()
    return rates


def channels_first(size: int, rounds: int) -> str:
    """Returns what the other layout of images gives, in a sentence.

    The models are written for channels last alone, so it is tried on what they do most
    of the time: 3x3 convolutions of 128 channels on 30x30 pixels, both passes.
    """
    console.load_tensorflow()
    import tensorflow as tf

    kernels = [tf.Variable(tf.random.normal((3, 3, 128, 128)) * 0.02) for _ in range(3)]
    shapes = {"NHWC": (size, 30, 30, 128), "NCHW": (size, 128, 30, 30)}

    @tf.function
    def gradients(images: tf.Tensor, layout: str) -> list[tf.Tensor]:
        with tf.GradientTape() as tape:
            for kernel in kernels:
                images = tf.nn.conv2d(images, kernel, 1, "SAME", data_format=layout)
            loss = tf.reduce_sum(images)
        return tape.gradient(loss, kernels)

    ratios = []
    for turn in range(rounds + 1):
        seconds = {}
        for layout, shape in shapes.items():
            images, begun = tf.zeros(shape), time.perf_counter()
            gradients(images, layout)[0].numpy()
            seconds[layout] = time.perf_counter() - begun
        if turn:  # The first one compiles.
            ratios.append(seconds["NHWC"] / seconds["NCHW"])
    return (
        "Channels first, on three 3x3 convolutions of 128 channels, 30 x 30: "
        f"{np.median(ratios):.2f} times the speed of channels last."
    )


def main() -> None:
    """Runs the command line."""
    parser = console.parser(
        __doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=["resnet50", "vit_base_patch8_224"]
    )
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    facts = (
        f"{machine(('tensorflow', 'keras', 'torch', 'timm'))} Batch "
        f"{arguments.batch_size}, {PIXELS} x {PIXELS} x {BANDS}, float32, "
        f"{arguments.rounds} rounds. Images a second are medians over the rounds, "
        "ratios medians of the rounds' ratios."
    )
    parts = ["# Training step", facts]
    for name in arguments.models:
        keras_ones = list(KERAS) if name.startswith("resnet") else [*KERAS][:1]
        rates = measure(
            name, arguments.batch_size, arguments.rounds, [TORCH, *keras_ones]
        )
        parts += [f"## {name}", table(rates, {"times timm": TORCH}, "images/s", 2)]
    parts += ["## Layout", channels_first(arguments.batch_size, arguments.rounds)]
    text = "\n\n".join(parts) + "\n"
    print(f"\n{text}")
    if arguments.write:
        files.write_text(Path(RESULTS) / "training_step.md", text)


if __name__ == "__main__":
    main()
