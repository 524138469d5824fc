"""Evaluation of features by what is found with them, in five directions.

Queries of one sensor search the archive split in the same one, in the other one, and
both sensors as one. A patch never finds itself in its own sensor; in the other sensor
its partner, the view of the same ground, is there to be found.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf import files
from bigearthnet_tf.config import Config
from bigearthnet_tf.evaluation import (
    gallery,
    projector,
    report,
    retrieval_baselines,
    retrieval_plots,
)
from bigearthnet_tf.evaluation.directions import (
    DIRECTIONS,
    TITLES,
    Found,
    Split,
    arrow,
    look_everywhere,
    means,
)
from bigearthnet_tf.metrics import retrieval as metrics
from bigearthnet_tf.retrieval import embeddings, stored
from bigearthnet_tf.training import logs
from bigearthnet_tf.training.session import Session

logger = logging.getLogger(__name__)


def evaluate(
    session: Session,
    model: keras.Model,
    iteration: int,
    out_dir: Path,
    results: Path | None = None,
) -> list[str]:
    """Searches the archive split with the query split and writes all results.

    Leaves in the folder of the run the features in `embeddings/`, and for TensorBoard
    scalars and pictures in `logs/test` and the queries' features for its projector; in
    that of the results `eval_result.json` (flat: `s1_s2_map@10`, ...), with `baselines`
    also `eval_baselines.json`, `eval_retrieval.csv` (all metrics with 95 % intervals),
    `eval_per_class.csv`, `eval_hits.npz` (names, rows and distances of all hits) and
    `report.html`. The `queries_without_labels` count in no mean.

    Args:
        session: config, devices and task.
        model: with the weights to evaluate.
        iteration: at which they were saved.
        out_dir: folder of the run.
        results: folder for results; None: that of the run.

    Returns:
        Lines for the user.
    """
    config, results = session.config, results or out_dir
    folders = {
        split: stored.load(
            embeddings.embed(session, model, iteration, split, out_dir)[0]
        )
        for split in dict.fromkeys((config.query_split, config.archive_split))
    }
    queries, archive = (
        folders[split] for split in (config.query_split, config.archive_split)
    )
    same = config.query_split == config.archive_split
    ks = known_ks(config, len(archive.labels))
    query, searched = take_split(queries, config), take_split(archive, config)
    definitions = config.retrieval_definitions
    metric = config.retrieval_metric
    found = look_everywhere(query, searched, ks, metric, same, definitions)
    others = _baselines(session, query, searched, ks, same) if config.baselines else {}
    result = means(found, definitions)
    theirs = {name: means(hits, definitions) for name, hits in others.items()}
    rows = _rows(found, definitions)

    files.write_json(results / "eval_result.json", result)
    if theirs:
        files.write_json(results / "eval_baselines.json", theirs)
    report.write_per_class_csv(results / "eval_retrieval.csv", rows)
    per_class = _per_class(found, query.labels, queries.facts.labels, ks)
    report.write_per_class_csv(results / "eval_per_class.csv", per_class)
    _save_hits(results / "eval_hits.npz", found, queries, archive)
    shown = f"iteration {iteration}"
    searched_for = f"Hits of {config.query_split} among {config.archive_split} patches"
    figures = [
        (
            f"{searched_for}, with 95 % intervals over the queries",
            retrieval_plots.curves(_series(rows, ks)),
        ),
        (f"{searched_for}, by labels", retrieval_plots.per_class(per_class)),
    ]
    drawn = report.rendered(figures)
    logs.write_test(out_dir, iteration, result, drawn)
    projector.write(out_dir / "logs" / "test", queries, config.retrieval_layer)
    columns = {shown: result, **theirs}
    shown_hits = _gallery(found, queries, archive, ks, same)
    _write_page(results, session, iteration, columns, drawn, ks, shown_hits)
    return _lines(columns, ks, results, definitions)


def known_ks(config: Config, archive: int) -> list[int]:
    """Returns the numbers of hits to measure at, and says which are too large."""
    beyond = [k for k in config.retrieval_k if k > archive]
    if beyond:
        logger.warning(
            "retrieval_k %s: the archive has %d patches; measured at what there is",
            ", ".join(map(str, beyond)),
            archive,
        )
    return sorted(set(config.retrieval_k))


def take_split(whole: stored.Embeddings, config: Config) -> Split:
    """Returns what a config searches with: its layer, and its fusion of both."""
    metric = config.retrieval_metric
    features = retrieval_baselines.by_sensor(whole.layers, config, metric)
    return Split(np.asarray(whole.labels), features)


def _rows(
    found: Mapping[tuple[str, str], Found], definitions: str
) -> list[dict[str, Any]]:
    """Returns a row for each direction, metric and k, with its interval."""
    rows = []
    for (query, archive), hits in found.items():
        counted = metrics.counting(hits.values, hits.labels, definitions)
        intervals = metrics.confidence(counted)
        means = metrics.means(hits.values, hits.labels, definitions)
        for name, (low, high) in intervals.items():
            metric, _, k = name.partition("@")
            rows.append(
                {
                    "query": query,
                    "archive": archive,
                    "metric": metric,
                    "k": k,
                    "mean": means[name],
                    "low": low,
                    "high": high,
                }
            )
    return rows


def _series(
    rows: Sequence[Mapping[str, Any]], ks: Sequence[int]
) -> dict[str, dict[str, NDArray[np.float64]]]:
    """Returns metric to direction to (ks, 3): mean and its interval."""
    series: dict[str, dict[str, list[tuple[float, float, float]]]] = {}
    for row in rows:
        if row["metric"] in TITLES and int(row["k"] or 0) in ks:
            direction = arrow(row["query"], row["archive"])
            points = series.setdefault(row["metric"], {}).setdefault(direction, [])
            points.append((row["mean"], row["low"], row["high"]))
    return {
        metric: {"k": np.array(ks, float)}
        | {name: np.array(points) for name, points in directions.items()}
        for metric, directions in series.items()
    }


def _per_class(
    found: Mapping[tuple[str, str], Found],
    labels: NDArray[np.uint8],
    names: Sequence[str],
    ks: Sequence[int],
) -> list[dict[str, Any]]:
    """Returns a row for each label: its queries, and what those find."""
    k = headline_k(ks)
    columns = {
        "_".join(direction): metrics.per_class(hits.values[f"map@{k}"], labels)
        for direction, hits in found.items()
    }
    return [
        {
            "label": name,
            "queries": int(labels[:, j].sum()),
            **{
                f"{direction}_map@{k}": "" if values[j] is None else values[j]
                for direction, values in columns.items()
            },
        }
        for j, name in enumerate(names)
    ]


def headline_k(ks: Sequence[int]) -> int:
    """Returns the number of hits that headlines are of: 10, or what is nearest."""
    return min(ks, key=lambda k: (abs(k - 10), k))


def _baselines(
    session: Session, query: Split, archive: Split, ks: Sequence[int], same: bool
) -> dict[str, dict[tuple[str, str], Found]]:
    """Searches with what a trained model has to beat."""
    features = {
        "untrained": retrieval_baselines.untrained(session),
        "band statistics": retrieval_baselines.band_statistics(session),
        "random": tuple(
            retrieval_baselines.noise(len(split.labels), seed)
            for seed, split in ((1, query), (2, archive))
        ),
    }
    return {
        name: look_everywhere(
            Split(query.labels, asked),
            Split(archive.labels, searched),
            ks,
            retrieval_baselines.METRIC,
            same,
            session.config.retrieval_definitions,
        )
        for name, (asked, searched) in features.items()
    }


def _save_hits(
    path: Path,
    found: Mapping[tuple[str, str], Found],
    queries: stored.Embeddings,
    archive: stored.Embeddings,
) -> None:
    """Keeps names, rows and distances of all hits."""
    arrays: dict[str, Any] = {
        "queries": np.array(queries.names),
        "archive": np.array(archive.names),
    }
    for direction, hits in found.items():
        arrays[f"{'_'.join(direction)}_ids"] = hits.ids
        arrays[f"{'_'.join(direction)}_distances"] = hits.distances
    with files.write_atomically(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **arrays)


def _gallery(
    found: Mapping[tuple[str, str], Found],
    queries: stored.Embeddings,
    archive: stored.Embeddings,
    ks: Sequence[int],
    same: bool,
) -> list[str]:
    """Returns sections with queries and hits, across sensors and of both as one."""
    k = headline_k(ks)
    return [
        gallery.section(
            queries,
            archive,
            hits.ids,
            hits.distances,
            np.where(metrics.has_labels(hits.labels), hits.values[f"ndcg@{k}"], np.nan),
            title=f"Hits {arrow(*direction)}, queries by NDCG@{k}",
            same=same and direction[0] != direction[1],
        )
        for direction, hits in found.items()
        if direction in (("s1", "s2"), ("s2", "s1"), ("fused", "fused"))
    ]


def _write_page(
    out_dir: Path,
    session: Session,
    iteration: int,
    columns: Mapping[str, Mapping[str, float]],
    figures: Sequence[report.Picture],
    ks: Sequence[int],
    shown_hits: Sequence[str],
) -> None:
    config = session.config
    first, k = next(iter(columns)), headline_k(ks)
    report.write_report(
        out_dir / "report.html",
        title=f"Retrieval with {config.model_name}, {config.encoders} encoders",
        run={
            "model": config.model_name,
            "iteration": str(iteration),
            "queries": config.query_split,
            "archive": config.archive_split,
            "features": f"{config.retrieval_layer}, {config.retrieval_metric}",
            "fusion": config.fusion,
            "command": " ".join(sys.argv),
        },
        metrics=columns[first],
        baselines={name: v for name, v in columns.items() if name != first},
        figures=figures,
        config=config.model_dump(),
        more=shown_hits,
        style=gallery.STYLE,
        headlines={
            f"{query}_{archive}_{metric}@{k}": f"{arrow(query, archive)} {title}@{k}"
            for query, archive in DIRECTIONS
            for metric, (title, _) in TITLES.items()
        },
    )


def _lines(
    columns: Mapping[str, Mapping[str, float]],
    ks: Sequence[int],
    out_dir: Path,
    definitions: str,
) -> list[str]:
    k = headline_k(ks)
    lines = []
    for name, result in columns.items():
        heads = " ".join(f"{f'{metric}@{k}':>18}" for metric in TITLES)
        lines.append(f"{name:16}{heads}")
        for query, archive in DIRECTIONS:
            values = [result.get(f"{query}_{archive}_{m}@{k}") for m in TITLES]
            if all(value is None for value in values):
                continue
            cells = " ".join(
                f"{'–' if value is None else format(value, '.4f'):>18}"
                for value in values
            )
            lines.append(f"  {arrow(query, archive):14}{cells}")
    first = next(iter(columns.values()))
    if definitions != "corrected":
        # As the CBIR project printed it: of both sensors as one, in percent.
        shares = ", ".join(
            f"{100 * first[f'fused_fused_map@{k}']:.2f} @{k}" for k in ks
        )
        lines.append(f"mAP of both as one, in %: {shares}")
    without = first["queries_without_labels"]
    if without:
        lines.append(
            f"{without:.0f} queries have no labels and count in no mean of them"
        )
    lines.append(f"report: {out_dir / 'report.html'}")
    lines.append(f"tables: {out_dir / 'eval_result.json'}, eval_retrieval.csv")
    return lines
