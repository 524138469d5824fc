r"""Finds the patches that are most alike a patch, by features that `embed` has written.

  bigearthnet-tf retrieve runs/x/embeddings/test-0123456789ab --name S2A_..._33_12 \
      --from s1 --to s2 -k 10 --geojson hits.geojson

The query is one of the embedded patches, by its Sentinel-2 or Sentinel-1 name or by its
number; it never finds itself in its own sensor. TensorFlow is not needed for that.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from bigearthnet_tf import files, registry


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument("embeddings", type=Path, help="folder of `embed`: the archive")
    query = parser.add_mutually_exclusive_group(required=True)
    query.add_argument("--name", help="of the patch to search with")
    query.add_argument("--number", type=int, help="its number in the records, from 0")
    sensors = ("s1", "s2", "fused")
    parser.add_argument(
        "--from", dest="asked", choices=sensors, default="s2", help="its sensor (s2)"
    )
    parser.add_argument(
        "--to", dest="searched", choices=sensors, help="sensor to search in (the same)"
    )
    parser.add_argument("--layer", choices=("p", "h"), default="p")
    parser.add_argument(
        "--fusion", choices=("concat", "avg", "max", "sum"), default="concat"
    )
    parser.add_argument(
        "--metric", choices=("cosine", "l2", "chi_square"), default="cosine"
    )
    parser.add_argument("-k", type=int, default=10, help="hits (10)")
    parser.add_argument("--label", help="only hits with this label")
    parser.add_argument(
        "--exclude-within",
        type=float,
        metavar="KM",
        help="no hits nearer than that to the query",
    )
    parser.add_argument("--geojson", type=Path, help="file to write query and hits to")


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from bigearthnet_tf.retrieval import places, queries, stored

    if arguments.k < 1:
        raise ValueError(f"-k: expected 1 or more, got {arguments.k}")
    archive = stored.load(arguments.embeddings)
    row = queries.find(archive, arguments.name, arguments.number)
    hits = queries.search_patch(
        archive,
        row,
        (arguments.asked, arguments.searched or arguments.asked),
        arguments.k,
        layer=arguments.layer,
        fusion=arguments.fusion,
        metric=arguments.metric,
        label=_label(archive, arguments.label),
        exclude_within=arguments.exclude_within,
    )
    for line in _table(hits):
        print(line)
    if len(hits) - 1 < arguments.k:
        print(f"there are no more than {len(hits) - 1} that fit")
    if arguments.geojson:
        rings = [hit.pop("ring") for hit in hits]
        files.write_json(arguments.geojson, places.geojson(hits, rings))
        print(f"{arguments.geojson}: query and {len(hits) - 1} hits")


def _label(archive: Any, label: str | None) -> int | None:
    if label is None:
        return None
    if label not in archive.facts.labels:
        near = registry.nearest_names(label, archive.facts.labels)
        raise ValueError(f"--label: unknown label {label!r}: {near}")
    return int(archive.facts.labels.index(label))


def _table(hits: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'':5}{'distance':>9}  {'lon':>8} {'lat':>7}  {'patch':<46} labels"]
    for hit in hits:
        shared = set(hit["shared_labels"])
        labels = ", ".join(
            f"*{name}" if name in shared and hit["rank"] else name
            for name in hit["labels"]
        )
        place = (
            f"{hit['lon']:8.3f} {hit['lat']:7.3f}"
            if "lon" in hit
            else f"{'–':>8} {'–':>7}"
        )
        rank = str(hit["rank"]) if hit["rank"] else "query"
        lines.append(
            f"{rank:5}{hit['distance']:9.4f}  {place}  {hit['name']:<46} {labels}"
        )
    return [*lines, "* shared with the query"]
