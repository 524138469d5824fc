"""Which checkpoint of a run is the best, where it is not the last."""

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


RISING = ("macro_f1", [0.5, 0.75, 0.625, 0.7, 0.75])
FALLING = ("ranking_loss", [0.5, 0.25, 0.375, 0.3, 0.25])


def account(trainer, iteration):
    """What a checkpoint says of the best."""
    path = trainer.checkpoints.path(iteration) / "description.json"
    return json.loads(path.read_text())["best"]


@pytest.mark.parametrize(("metric", "values"), [RISING, FALLING])
def test_a_worse_or_equal_one_does_not_take_its_place(tmp_path, metric, values):
    task = Scripted(metric, values)
    trainer, _, _ = run(tmp_path, task, monitor=metric, nb_epoch=5, keep_checkpoints=1)
    best = checkpoints.Best(10, metric, values[1])
    assert trainer.checkpoints.best() == best
    assert account(trainer, 25) == {
        "iteration": 10, "metric": metric, "value": values[1]
    }  # fmt: skip
    # All others but the last are gone.
    assert trainer.checkpoints.iterations() == [10, 25]
    assert trainer.checkpoints.find("best").name == "iteration-10"
    assert trainer.checkpoints.find("last").name == "iteration-25"


@pytest.mark.parametrize(("metric", "values"), [RISING, FALLING])
def test_a_continued_run_knows_it(tmp_path, metric, values):
    keys = {"monitor": metric, "keep_checkpoints": 1}
    run(tmp_path, Scripted(metric, values[:3]), **keys, nb_epoch=3)
    trainer, _, _ = run(tmp_path, Scripted(metric, values[3:]), **keys, nb_epoch=5)
    assert trainer.checkpoints.find("best").name == "iteration-10"
    assert trainer.checkpoints.iterations() == [10, 25]


@pytest.mark.parametrize(
    ("metric", "values", "better"),
    [(*RISING[:1], [0.5, 0.25], 0.75), (*FALLING[:1], [0.25, 0.5], 0.125)],
)
def test_a_better_one_does(tmp_path, metric, values, better):
    task = Scripted(metric, [*values, better])
    trainer, _, _ = run(tmp_path, task, monitor=metric, keep_checkpoints=1)
    assert trainer.checkpoints.best() == checkpoints.Best(15, metric, better)
    assert trainer.checkpoints.iterations() == [15]


def test_by_another_monitor_the_best_is_found_anew(tmp_path):
    """Values of two metrics can't be compared."""
    run(tmp_path, Scripted("macro_f1", [0.5, 0.75]), monitor="macro_f1", nb_epoch=2)
    task = Scripted("micro_f1", [0.25])
    trainer, _, _ = run(tmp_path, task, monitor="micro_f1")
    assert trainer.checkpoints.best() == checkpoints.Best(15, "micro_f1", 0.25)
