r"""Lists the architectures, or what one of them costs.

bigearthnet-tf models
bigearthnet-tf models 'convnext*'
bigearthnet-tf models --summary vit_base_patch8_224 --bands all --labels 19
"""

from __future__ import annotations

import argparse

from bigearthnet_tf import console


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("pattern", nargs="?", default="*", help="such as 'resnet*'")
    parser.add_argument("--summary", metavar="MODEL", help="count its parameters")
    parser.add_argument("--bands", help="band set of the summary (the model's, or s2)")
    parser.add_argument(
        "--labels", type=console.at_least_one, default=19, help="of the summary (19)"
    )
    parser.add_argument(
        "--image-size",
        type=console.at_least_one,
        default=120,
        help="of the summary (120)",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    console.load_tensorflow()
    from bigearthnet_tf import models, registry
    from bigearthnet_tf.models import complexity
    from bigearthnet_tf.tasks import assembly

    if arguments.summary is None:
        names = models.list_models(arguments.pattern)
        if not names:
            every = [*models.list_models(), *models.zoo.MODELS.aliases()]
            near = registry.nearest_names(arguments.pattern.strip("*?"), every)
            raise ValueError(f"no model is called {arguments.pattern!r}: {near}")
        print("\n".join(names))
        return
    name = models.get_model(arguments.summary).name
    model = assembly.build_model(
        name, arguments.labels, arguments.bands, image_size=arguments.image_size
    )
    cost = complexity.cost_of(model)
    bands = assembly.model_bands(name, arguments.bands)
    without = f", without {' '.join(cost.uncounted)}, which can't be counted"
    rows = {
        "model": name,
        "bands": f"{len(bands)}: {' '.join(bands)}",
        "features": f"{cost.features:,}",
        "parameters": f"{cost.parameters:,}, {cost.trainable:,} of them trainable",
        "multiply-adds": f"{cost.multiply_adds / 1e9:.3f} G a patch"
        + (without if cost.uncounted else ""),
    }
    print("\n".join(f"{key:<14} {value}" for key, value in rows.items()))
