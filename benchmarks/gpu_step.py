r"""A training step on a GPU in bfloat16: our models against timm's, compiled.

  PYTHONPATH=. python benchmarks/gpu_step.py --json FILE    (where the GPU is)
  PYTHONPATH=. python benchmarks/gpu_step.py --table FILE ... --write

Forward, backward and AdamW, weights in float32. Our models run on Keras's JAX backend,
which compiles the same layers with the same compiler, XLA, as TensorFlow does; so the
first command needs jax, keras, torch and timm, and no TensorFlow. The libraries have a
process each, which idles while the other one works, and share the GPU's memory; rounds
go A B C A B C ...
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

LABELS = 19
PIXELS = 120
# Bands by resolution, as records store them: side in pixels, and number of bands.
GROUPS = {"s2_10m": (120, 4), "s2_20m": (60, 6)}
BATCHES = 4  # that take turns
WARM_UP = 5
STEPS = 20  # in a round
OURS = "bigearthnet_tf"
FED = "... batches copied from the host"
PLAIN = "... attention in plain operations"
# How timm's model is compiled; None: not at all.
TORCH = {
    "timm, compiled": "default",
    "timm, compiled to CUDA graphs": "reduce-overhead",
    "timm, not compiled": None,
}

Step = Callable[[], Any]


def make_batches(size: int) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Returns batches of digital numbers (size, bands, side, side) and labels."""
    rng = np.random.default_rng(0)
    return [
        (
            {
                name: rng.integers(1, 3000, (size, bands, side, side), np.uint16)
                for name, (side, bands) in GROUPS.items()
            },
            (rng.random((size, LABELS)) < 0.2).astype("float32"),
        )
        for _ in range(BATCHES)
    ]


def keras_steps(name: str, size: int) -> dict[str, Step]:
    """Returns training steps of one of our models, by contender."""
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    import jax
    import keras

    from bigearthnet_tf import models, optimization

    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    groups = [
        models.BandGroup(g, tuple(f"{g}_{i}" for i in range(bands)), side, "uint16")
        for g, (side, bands) in GROUPS.items()
    ]
    names = [band for group in groups for band in group.bands]
    model = models.assemble(
        name,
        LABELS,
        groups,
        names,
        dict.fromkeys(names, 1500.0),
        dict.fromkeys(names, 900.0),
    )
    optimizer = optimization.build_optimizer("adamw", 1e-3)
    optimizer.build(model.trainable_variables)

    def loss_of(trainable: Any, others: Any, images: Any, labels: Any) -> Any:
        logits, others = model.stateless_call(trainable, others, images, training=True)
        loss = keras.ops.binary_crossentropy(labels, logits, from_logits=True)
        return keras.ops.mean(loss), others

    def make_update() -> Any:
        def update(state: Any, images: Any, labels: Any) -> Any:
            trainable, others, moments = state
            (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(
                trainable, others, images, labels
            )
            trainable, moments = optimizer.stateless_apply(
                moments, gradients, trainable
            )
            return (trainable, others, moments), loss

        return jax.jit(update, donate_argnums=0)

    states = [
        [v.value for v in model.trainable_variables],
        [v.value for v in model.non_trainable_variables],
        [v.value for v in optimizer.variables],
    ]
    on_host = make_batches(size)
    on_device = itertools.cycle(jax.device_put(on_host))
    ahead = map(jax.device_put, itertools.cycle(on_host))
    waiting = [next(ahead), next(ahead)]  # copied while the step before is running

    def fed() -> tuple[Any, Any]:
        waiting.append(next(ahead))
        return waiting.pop(0)

    def make(update: Any, take: Callable[[], tuple[Any, Any]]) -> Step:
        def step() -> Any:
            nonlocal states
            states, loss = update(states, *take())
            return loss

        return step

    update = make_update()
    steps = {OURS: make(update, on_device.__next__), FED: make(update, fed)}
    lowered = update.lower(states, *next(on_device)).as_text()
    if "fmha" in lowered:  # cuDNN's fused attention, which TensorFlow does not have
        print(f"{name}: fused attention", flush=True)
        steps[PLAIN] = make(plain(make_update()), on_device.__next__)
    return steps


def plain(update: Callable[..., Any]) -> Callable[..., Any]:
    """Returns an update that is traced without fused attention."""
    import keras

    def traced(*arguments: Any) -> Any:
        keras.config.disable_flash_attention()
        try:
            return update(*arguments)
        finally:
            keras.config.enable_flash_attention()

    return traced


def torch_steps(name: str, size: int) -> dict[str, Step]:
    """Returns training steps of timm's model of the same name.

    Its batches lie on the GPU, standardised and in one size.
    """
    import timm
    import torch

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    bands = sum(bands for _, bands in GROUPS.values())
    sized = {"img_size": PIXELS} if name.startswith("vit") else {}
    rng = np.random.default_rng(0)
    batches = itertools.cycle(
        [
            (
                torch.from_numpy(rng.normal(size=(size, bands, PIXELS, PIXELS)))
                .to(device, torch.bfloat16)
                .contiguous(memory_format=torch.channels_last),
                torch.from_numpy(labels).to(device),
            )
            for _, labels in make_batches(size)
        ]
    )
    loss_of = torch.nn.BCEWithLogitsLoss()

    def make(mode: str | None) -> Step:
        model = timm.create_model(name, in_chans=bands, num_classes=LABELS, **sized)
        model = model.to(device, memory_format=torch.channels_last).train()
        optimizer = torch.optim.AdamW(model.parameters(), 1e-3, fused=True)

        def forward(images: Any, labels: Any) -> Any:
            with torch.autocast(device, torch.bfloat16):
                return loss_of(model(images).float(), labels)

        forward = torch.compile(forward, mode=mode) if mode else forward

        def step() -> Any:
            optimizer.zero_grad(set_to_none=True)
            torch.compiler.cudagraph_mark_step_begin()
            loss = forward(*next(batches))
            loss.backward()
            optimizer.step()
            return loss.detach()

        return step

    return {contender: make(mode) for contender, mode in TORCH.items()}


def serve(pipe: Connection, library: str, name: str, size: int, steps: int) -> None:
    """Measures images a second of the contender whose name comes in."""
    make = keras_steps if library == "keras" else torch_steps
    contenders = make(name, size)
    for contender, step in contenders.items():
        losses = [float(step()) for _ in range(WARM_UP)]
        print(f"{name}, {contender}: losses {losses}", flush=True)
        if not np.isfinite(losses).all():
            raise ValueError(f"{contender}: expected finite losses")
    pipe.send(list(contenders))
    while contender := pipe.recv():
        step = contenders[contender]
        start = time.perf_counter()
        for _ in range(steps):
            loss = step()
        float(loss)  # waits until all is done
        pipe.send(steps * size / (time.perf_counter() - start))


def measure(name: str, size: int, rounds: int, steps: int) -> dict[str, list[float]]:
    """Returns images a second of each contender, one number a round."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for library in ("keras", "torch"):
        pipe, other = context.Pipe()
        arguments = (other, library, name, size, steps)
        process = context.Process(target=serve, args=arguments)
        process.start()
        other.close()  # so that a process that dies is met by the end of its pipe
        processes.append(process)
        # One after the other: compilers choose among kernels by timing them.
        pipes |= dict.fromkeys(pipe.recv(), pipe)
    rates: dict[str, list[float]] = {contender: [] for contender in pipes}
    for turn in range(rounds):
        for contender, pipe in pipes.items():
            pipe.send(contender)
            rates[contender].append(pipe.recv())
            print(
                f"{name} {turn + 1}/{rounds} {contender}: {rates[contender][-1]:.0f}",
                flush=True,
            )
    for pipe in set(pipes.values()):
        pipe.send(None)
    for process in processes:
        process.join()
    return rates


def device_name() -> str:
    """Returns what computes."""
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def run(arguments: argparse.Namespace) -> None:
    """Measures, and saves every number."""
    result: dict[str, Any] = {
        "device": device_name(),
        "python": sys.version.split()[0],
        "versions": {p: version(p) for p in ("jax", "keras", "torch", "timm")},
        "batch_size": arguments.batch_size,
        "rounds": arguments.rounds,
        "steps": arguments.steps,
        "images_a_second": {},
    }
    for name in arguments.models:
        result["images_a_second"][name] = measure(
            name, arguments.batch_size, arguments.rounds, arguments.steps
        )
        arguments.json.write_text(json.dumps(result, indent=1))


def written(paths: Sequence[Path]) -> str:
    """Returns the tables of what `run` saved, in Markdown."""
    from conversion import table

    parts = ["# Training step on a GPU"]
    for path in paths:
        result = json.loads(path.read_text())
        versions = ", ".join(f"{k} {v}" for k, v in result["versions"].items())
        facts = (
            f"One {result['device']}, Python {result['python']}, {versions}. "
            f"{PIXELS} x {PIXELS} pixels, 10 bands, bfloat16 with float32 weights, "
            f"AdamW; {result['rounds']} rounds of {result['steps']} steps. Images a "
            "second are medians over the rounds, ratios medians of the rounds' ratios."
        )
        for name, rates in result["images_a_second"].items():
            baselines = {f"times {timm}": timm for timm in TORCH if timm in rates}
            parts += [f"## {name}, batch {result['batch_size']}", facts]
            parts += [table(rates, baselines, "images/s")]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    """Runs the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--models", nargs="+", default=["resnet50", "vit_base_patch8_224"]
    )
    parser.add_argument("--batch-size", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STEPS, help="in a round")
    task = parser.add_mutually_exclusive_group(required=True)
    task.add_argument("--json", type=Path, help="measure, and save every number")
    task.add_argument(
        "--table", type=Path, nargs="+", help="print the tables of saved numbers"
    )
    parser.add_argument("--write", action="store_true", help="keep the table")
    arguments = parser.parse_args()
    if arguments.json:
        run(arguments)
        return
    text = written(arguments.table)
    print(text)
    if arguments.write:
        from conversion import RESULTS

        from bigearthnet_tf import files

        files.write_text(RESULTS / "gpu_step.md", text)


if __name__ == "__main__":
    main()
