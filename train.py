"""Trains the model that a config describes; called again it continues the run."""

import logging
import shlex

from bigearthnet_tf import console

logger = logging.getLogger("train")


def main() -> None:
    """Runs the command line."""
    # Imported here, so that signals are answered from the first moment.
    from bigearthnet_tf import config as configs
    from bigearthnet_tf import runs

    parser = console.parser(__doc__)
    configs.add_arguments(parser)
    parser.add_argument(
        "--test-run",
        action="store_true",
        help="a handful of small steps, in a folder apart",
    )
    parser.add_argument(
        "--profile",
        type=console.at_least_one,
        default=0,
        metavar="N",
        help="profile N iterations for TensorBoard, once the run is warm",
    )
    arguments = parser.parse_args()
    config = configs.load(arguments.config, arguments.set)
    out_dir = runs.out_dir(config, arguments.test_run)

    # From here on TensorFlow is needed, which takes seconds to import.
    console.load_tensorflow()
    from bigearthnet_tf.training import cluster, session

    run = session.open_session(config, test_run=arguments.test_run)
    session.describe(run, logger.info)
    with cluster.working_together(run.processes):
        model, optimizer = session.build(run)
        iteration = session.train(
            run, model, optimizer, out_dir, arguments.test_run, arguments.profile
        )

    logger.info("%s: trained to iteration %d", out_dir, iteration)
    if arguments.test_run:
        # The last of equal keys counts, so the user's go.
        trial = {"out_dir": out_dir, "batch_size": run.config.batch_size}
        kept = [text for text in arguments.set if text.partition("=")[0] not in trial]
        arguments.set = kept + [f"{key}={value}" for key, value in trial.items()]
    # Without fine_tune, model_file is what eval.py takes of itself.
    own = " --checkpoint best" if config.model_file and not config.fine_tune else ""
    logger.info("next: python eval.py %s%s", configs.repeat_arguments(arguments), own)
    logger.info("      tensorboard --logdir %s", shlex.quote(str(out_dir / "logs")))


if __name__ == "__main__":
    console.run(main)
