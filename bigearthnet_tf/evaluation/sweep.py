"""Encoders and fusions compared: trained one after the other, in one table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from bigearthnet_tf import config as configs
from bigearthnet_tf import evaluation, files, runs
from bigearthnet_tf.config import Config
from bigearthnet_tf.evaluation import directions, report, retrieval
from bigearthnet_tf.retrieval import stored
from bigearthnet_tf.training import session

logger = logging.getLogger(__name__)

ENCODERS = ("separate", "joint")
FUSIONS = ("concat", "avg", "max", "sum")
_METRICS = {
    "classification": ("macro_average_precision", "micro_average_precision"),
    "contrastive": ("map", "ndcg"),
}

Row = dict[str, Any]


def sweep(
    config: Config,
    encoders: Sequence[str] = ENCODERS,
    fusions: Sequence[str] = FUSIONS,
    say: Callable[[str], None] = logger.info,
) -> list[Row]:
    """Trains and evaluates every pair of encoders and fusion.

    A contrastive training knows nothing of the fusion, so that one for each kind of
    encoders serves all; a classification has it inside and is trained for each pair.
    What is trained already is not trained again: called once more a sweep that was
    stopped goes on. Leaves the runs in folders of `out_dir`, and `sweep.csv`,
    `sweep.json` and `sweep.md` beside them.

    Args:
        config: of all runs but `encoders`, `fusion` and `out_dir`.
        encoders: `separate` or `joint`.
        fusions: `concat`, `avg`, `max` or `sum`.
        say: takes a line about what begins.

    Returns:
        A row for each pair: `encoders`, `fusion`, and the metrics of the test split.

    Raises:
        ValueError: unknown encoders or fusion, or a config that can't be trained.
    """
    for given, known in ((encoders, ENCODERS), (fusions, FUSIONS)):
        for name in given:
            if name not in known:
                raise ValueError(f"expected some of {', '.join(known)}, got {name!r}")
    root = runs.out_dir(config)
    run = _contrastive if config.task == "contrastive" else _classification
    rows: list[Row] = []
    for kind in encoders:
        rows += run(config, kind, fusions, root, say)
    report.write_per_class_csv(root / "sweep.csv", rows)
    files.write_json(root / "sweep.json", rows)
    files.write_text(root / "sweep.md", "\n".join(table(rows)) + "\n")
    return rows


def table(rows: Sequence[Row]) -> list[str]:
    """Returns rows as a table in Markdown, the best number of each column bold."""
    names = list(rows[0])
    best = {
        name: max(row[name] for row in rows)
        for name in names
        if isinstance(rows[0][name], float)
    }
    lines = [_line(names), _line("---" if n not in best else "---:" for n in names)]
    for row in rows:
        cells = []
        for name in names:
            text = f"{row[name]:.4f}" if name in best else str(row[name])
            cells.append(f"**{text}**" if row[name] == best.get(name) else text)
        lines.append(_line(cells))
    return lines


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _contrastive(
    config: Config, encoders: str, fusions: Sequence[str], root: Path, say: Any
) -> list[Row]:
    """Trains once, and searches with both sensors as one in every way."""
    own = _change(config, encoders, fusions[0], root / encoders)
    _train_and_evaluate(own, say)
    result = files.read_json(root / encoders / "eval_result.json")
    k = retrieval.headline_k(own.retrieval_k)
    across = {
        f"{directions.arrow(query, archive)} {metric}@{k}": float(
            result[f"{query}_{archive}_{metric}@{k}"]
        )
        for query, archive in (("s1", "s2"), ("s2", "s1"))
        for metric in _METRICS["contrastive"]
    }
    rows = []
    for fusion in fusions:
        found = _search_fused(own.model_copy(update={"fusion": fusion}), k)
        rows.append({"encoders": encoders, "fusion": fusion, **across, **found})
    return rows


def _search_fused(config: Config, k: int) -> dict[str, float]:
    """Measures searches with both sensors as one, by the features of a run."""
    out_dir = runs.out_dir(config)
    folders = {
        split: _features(out_dir, split)
        for split in (config.query_split, config.archive_split)
    }
    query, archive = (
        retrieval.take_split(folders[split], config)
        for split in (config.query_split, config.archive_split)
    )
    same = config.query_split == config.archive_split
    found = directions.look_for(
        query, archive, ("fused", "fused"), [k], config.retrieval_metric, same
    )
    return {
        f"both {metric}@{k}": float(np.mean(found.values[f"{metric}@{k}"]))
        for metric in _METRICS["contrastive"]
    }


def _features(out_dir: Path, split: str) -> stored.Embeddings:
    """Returns the newest features of a split, those of the evaluation before."""
    found = (out_dir / "embeddings").glob(f"{split}-*")
    return stored.load(max(found, key=lambda folder: folder.stat().st_mtime))


def _classification(
    config: Config, encoders: str, fusions: Sequence[str], root: Path, say: Any
) -> list[Row]:
    """Trains for each fusion, which the classifier is fitted to."""
    rows = []
    for fusion in fusions:
        own = _change(config, encoders, fusion, root / f"{encoders}_{fusion}")
        _train_and_evaluate(own, say)
        result = files.read_json(runs.out_dir(own) / "eval_result.json")
        measured = {name: float(result[name]) for name in _METRICS["classification"]}
        rows.append({"encoders": encoders, "fusion": fusion, **measured})
    return rows


def _change(config: Config, encoders: str, fusion: str, out_dir: Path) -> Config:
    changed = {"encoders": encoders, "fusion": fusion, "out_dir": str(out_dir)}
    return configs.from_dict(config.model_dump() | changed)


def _train_and_evaluate(config: Config, say: Any) -> None:
    """Trains what is left of a run, and evaluates its best weights."""
    out_dir = runs.out_dir(config)
    say(f"{out_dir}: {config.encoders} encoders, fusion {config.fusion}")
    keras.utils.clear_session(free_memory=True)
    opened = session.open_session(config, alone=True)
    model, optimizer = session.build(opened)
    session.train(opened, model, optimizer, out_dir)
    model, iteration = session.load_trained(opened, out_dir, "best")
    for line in evaluation.evaluate(opened, model, iteration, out_dir):
        say(line)
