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
        metavar="best|last|PATH",
        help="which weights: best on validation, last, or a checkpoint (model_file of "
        "the config, unless that is what training began with; else best)",
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
    from bigearthnet_tf.training import session, snapshots

    if arguments.scores:
        run = session.open_session(config, alone=True)
        lines = evaluation.evaluate_scores(run, arguments.scores, out_dir)
    else:
        chosen = snapshots.choose(config, out_dir, arguments.checkpoint)
        run = session.open_session(config, alone=True, weights=[out_dir, chosen.path])
        model, iteration = session.load_trained(run, out_dir, chosen.path)
        lines = evaluation.evaluate(run, model, iteration, out_dir, chosen)
    for line in lines:
        logger.info(line)


if __name__ == "__main__":
    console.run(main)
