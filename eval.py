"""Evaluates a trained run on its test split and writes tables, pictures, a report."""

import logging

from bigearthnet_tf import config as configs
from bigearthnet_tf import console, runs

logger = logging.getLogger("eval")


def main() -> None:
    """Runs the command line."""
    parser = console.config_parser(__doc__)
    parser.add_argument(
        "--checkpoint",
        default="best",
        metavar="best|last|PATH",
        help="which weights: best on validation (default), last, or a checkpoint",
    )
    arguments = parser.parse_args()

    config = configs.load(arguments.config, arguments.set)
    out_dir = runs.out_dir(config)

    # From here on TensorFlow is needed, which takes seconds to import.
    console.load_tensorflow()
    from bigearthnet_tf import evaluation
    from bigearthnet_tf.training import session

    run = session.open_session(config, alone=True)
    model, iteration = session.load_trained(run, out_dir, arguments.checkpoint)
    for line in evaluation.evaluate(run, model, iteration, out_dir):
        logger.info(line)


if __name__ == "__main__":
    console.run(main)
