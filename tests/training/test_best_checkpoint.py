"""Which checkpoint of a run is the best, where it is not the last."""

import dataclasses
import json

import pytest
from test_loop import Line, run

from bigearthnet_tf.training import checkpoints


class Scripted(Line):
    """Its validations have the values of a list, one after the other.

    Args:
        metric: its name, which says whether less is better.
        values: of the validations.
    """

    def __init__(self, metric, values):
        self.metric, self.values = metric, iter(values)

    def metric_names(self):
        return ["mse_loss", self.metric]

    def metrics(self, outputs):
        return {"mse_loss": 1.0, self.metric: next(self.values)}


# The third is the best, and has an equal at the end.
RISING = ("macro_f1", [0.5, 0.25, 0.75, 0.625, 0.75])
FALLING = ("ranking_loss", [0.5, 0.75, 0.25, 0.375, 0.25])


def account(trainer, iteration):
    """What a checkpoint says of the best."""
    path = trainer.checkpoints.path(iteration) / "description.json"
    return json.loads(path.read_text())["best"]


@pytest.mark.parametrize(("metric", "values"), [RISING, FALLING])
def test_the_first_of_the_best_values_is_the_best(tmp_path, metric, values):
    task = Scripted(metric, values)
    trainer, _, _ = run(tmp_path, task, monitor=metric, nb_epoch=5, keep_checkpoints=1)
    best = checkpoints.Best(15, metric, values[2])
    assert trainer.checkpoints.best() == best
    assert account(trainer, 25) == dataclasses.asdict(best)
    # All others but the last are gone.
    assert trainer.checkpoints.iterations() == [15, 25]
    assert trainer.checkpoints.find("best").name == "iteration-15"
    assert trainer.checkpoints.find("last").name == "iteration-25"


def test_a_continued_run_knows_it(tmp_path):
    metric, values = RISING
    keys = {"monitor": metric, "keep_checkpoints": 1}
    run(tmp_path, Scripted(metric, values[:3]), **keys)
    trainer, _, _ = run(tmp_path, Scripted(metric, values[3:]), **keys, nb_epoch=5)
    assert trainer.checkpoints.find("best").name == "iteration-15"
    assert trainer.checkpoints.iterations() == [15, 25]
    # Values of two metrics can't be compared.
    keys["monitor"] = "micro_f1"
    trainer, _, _ = run(tmp_path, Scripted("micro_f1", [0.25]), **keys, nb_epoch=6)
    assert trainer.checkpoints.best() == checkpoints.Best(30, "micro_f1", 0.25)
