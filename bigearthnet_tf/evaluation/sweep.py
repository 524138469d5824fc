"""Encoders and fusions compared: trained one after the other, in one table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from bigearthnet_tf import config as configs
from bigearthnet_tf import evaluation, files, outputs, runs, vectors
from bigearthnet_tf.config import Config
from bigearthnet_tf.evaluation import directions, generated, report, retrieval
from bigearthnet_tf.metrics import retrieval as metrics
from bigearthnet_tf.retrieval import embeddings, stored
from bigearthnet_tf.tasks import origin
from bigearthnet_tf.training import session

logger = logging.getLogger(__name__)

ENCODERS = ("separate", "joint")
_OF_LABELS = ("macro_average_precision", "micro_average_precision")
_KINDS = ("json", "csv", "md")
_OF_HITS = ("map", "ndcg")

Row = dict[str, Any]
# Config, devices and task; the model; the iteration of its weights.
Trained = tuple[session.Session, keras.Model, int]


def sweep(
    config: Config,
    encoders: Sequence[str] = ENCODERS,
    fusions: Sequence[str] = vectors.FUSIONS,
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
    for given, known in ((encoders, ENCODERS), (fusions, vectors.FUSIONS)):
        for name in given:
            if name not in known:
                raise ValueError(f"expected some of {', '.join(known)}, got {name!r}")
    root = runs.out_dir(config)
    _check_outputs(root)
    run = _contrastive if config.task == "contrastive" else _classification
    rows: list[Row] = []
    for kind in encoders:
        rows += run(config, kind, fusions, root, say)
    banner = generated.as_markdown(origin.marked(config).generated)
    lines = [*([banner, ""] if banner else []), *table(rows)]
    texts = {
        "md": "\n".join(lines) + "\n",
        "csv": report.per_class_csv(rows),
        # The first to get its name: it says that the others are ours.
        "json": files.to_json(rows),
    }
    files.write_together(
        {root / f"sweep.{kind}": text.encode() for kind, text in texts.items()}
    )
    return rows


def _check_outputs(root: Path) -> None:
    """Raises OSError where the table would replace something else than an earlier."""
    first = root / "sweep.json"
    known = outputs.beside(first, outputs.contains('"encoders": '))
    outputs.check_folder(root)
    outputs.check_files([(root / f"sweep.{kind}", known) for kind in _KINDS])


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
    trained = _train_and_evaluate(own, say)
    result = files.read_json(root / encoders / "eval_result.json")
    return [
        {
            "encoders": encoders,
            "fusion": fusion,
            **_across(result, own),
            **_search_fused(trained, own.model_copy(update={"fusion": fusion})),
        }
        for fusion in fusions
    ]


def _across(result: Mapping[str, float], config: Config) -> dict[str, float]:
    """Returns what one sensor finds in the other."""
    k = retrieval.headline_k(config.retrieval_k)
    return {
        f"{directions.arrow(query, archive)} {metric}@{k}": float(
            result[f"{query}_{archive}_{metric}@{k}"]
        )
        for query, archive in (("s1", "s2"), ("s2", "s1"))
        for metric in _OF_HITS
    }


def _search_fused(trained: Trained, config: Config) -> dict[str, float]:
    """Measures searches with both sensors as one, by the features of this model.

    The evaluation has written them; they are found by the hash of the weights.
    """
    k, out_dir = retrieval.headline_k(config.retrieval_k), runs.out_dir(config)
    splits = (config.query_split, config.archive_split)
    query, archive = (
        retrieval.take_split(
            stored.load(embeddings.embed(*trained, split, out_dir)[0]), config
        )
        for split in splits
    )
    found = directions.look_for(
        query,
        archive,
        ("fused", "fused"),
        [k],
        config.retrieval_metric,
        splits[0] == splits[1],
        config.retrieval_definitions,
    )
    means = metrics.means(found.values, found.labels, config.retrieval_definitions)
    return {f"both {metric}@{k}": means[f"{metric}@{k}"] for metric in _OF_HITS}


def _classification(
    config: Config, encoders: str, fusions: Sequence[str], root: Path, say: Any
) -> list[Row]:
    """Trains for each fusion, which the classifier is fitted to."""
    rows = []
    for fusion in fusions:
        own = _change(config, encoders, fusion, root / f"{encoders}_{fusion}")
        trained = _train_and_evaluate(own, say)
        folder = runs.out_dir(own)
        labels = files.read_json(folder / "eval_result.json")
        hits = files.read_json(folder / "retrieval" / "eval_result.json")
        rows.append(
            {
                "encoders": encoders,
                "fusion": fusion,
                **{name: float(labels[name]) for name in _OF_LABELS},
                **_across(hits, own),
                **_search_fused(trained, own),
            }
        )
    return rows


def _change(config: Config, encoders: str, fusion: str, out_dir: Path) -> Config:
    changed = {"encoders": encoders, "fusion": fusion, "out_dir": str(out_dir)}
    return configs.from_dict(config.model_dump() | changed)


def _train_and_evaluate(config: Config, say: Any) -> Trained:
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
    return opened, model, iteration
