"""Evaluates a trained run on its test split and writes tables, pictures, a report."""

import json
import logging

from bigearthnet_tf import console

logger = logging.getLogger("eval")


def main() -> None:
    """Runs the command line."""
    # Imported here, so that signals are answered from the first moment.
    from bigearthnet_tf import config as configs
    from bigearthnet_tf import runs

    parser = console.parser(__doc__)
    configs.add_arguments(parser)
    parser.add_argument(
        "--checkpoint",
        default="best",
        metavar="best|last|PATH",
        help="which weights: best on validation (default), last, or a checkpoint",
    )
    parser.add_argument(
        "--thresholds",
        metavar="tuned|global|FILE",
        help="results at other thresholds too: tuned on validation for each label or "
        "one for all, or of a thresholds.json (the key of that name)",
    )
    parser.add_argument(
        "--scores",
        metavar="FILE",
        help="evaluate these scores of the test records (eval_scores.npz) instead of "
        "a checkpoint",
    )
    arguments = parser.parse_args()
    settings = list(arguments.set)
    if arguments.thresholds:
        settings.append(f"thresholds={json.dumps(arguments.thresholds)}")
    config = configs.load(arguments.config, settings)
    out_dir = runs.out_dir(config)
    runs.check_results(out_dir)

    # From here on TensorFlow is needed, which takes seconds to import.
    console.load_tensorflow()
    from bigearthnet_tf import evaluation
    from bigearthnet_tf.training import session

    weights = [] if arguments.scores else [out_dir, arguments.checkpoint]
    run = session.open_session(config, alone=True, weights=weights)
    if arguments.scores:
        lines = evaluation.evaluate_scores(run, arguments.scores, out_dir)
    else:
        model, iteration = session.load_trained(run, out_dir, arguments.checkpoint)
        lines = evaluation.evaluate(run, model, iteration, out_dir)
    for line in lines:
        logger.info(line)


if __name__ == "__main__":
    console.run(main)
