r"""Finds the patches that are most alike a patch.

  bigearthnet-tf retrieve runs/x/embeddings/test-0123456789ab --name S2A_..._33_12 \
      --from s1 --to s2 -k 10 --geojson hits.geojson --map hits.png
  bigearthnet-tf retrieve hits/s2 --name S2A_..._33_12
  bigearthnet-tf retrieve hits/s2 --file-s1 BigEarthNet-S1/S1A_.../S1A_..._33_12

The archive is a folder of `embed` or an index of `bigearthnet-tf index`. The query is
one of its patches, by its Sentinel-2 or Sentinel-1 name or by its number, or one of
--queries, or the GeoTIFFs of any patch; it never finds itself in its own sensor.
TensorFlow is needed for GeoTIFFs alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bigearthnet_tf import console, files, outputs, registry

if TYPE_CHECKING:
    from bigearthnet_tf.retrieval.queries import Query
    from bigearthnet_tf.retrieval.search import Index
    from bigearthnet_tf.retrieval.stored import Items


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    parser.add_argument(
        "archive", type=console.path, help="folder of `embed`, or an index"
    )
    query = parser.add_argument_group("the query")
    query.add_argument("--name", help="of the patch to search with")
    query.add_argument(
        "--number", type=console.whole(0), help="its number in the archive, from 0"
    )
    query.add_argument(
        "--file-s1", type=console.path, metavar="FOLDER", help="its GeoTIFFs"
    )
    query.add_argument(
        "--file-s2", type=console.path, metavar="FOLDER", help="its GeoTIFFs"
    )
    query.add_argument(
        "--queries",
        type=console.path,
        help="folder of `embed` that it is in, not the archive",
    )
    sensors = ("s1", "s2", "fused")
    query.add_argument(
        "--from",
        dest="asked",
        choices=sensors,
        help="its sensor (that of its GeoTIFFs or of the index; s2)",
    )
    parser.add_argument(
        "--to",
        dest="searched",
        choices=sensors,
        help="sensor to search in (that of the query; an index has its own)",
    )
    parser.add_argument("--layer", choices=("p", "h"), help="(p; an index has its own)")
    parser.add_argument("--fusion", choices=("concat", "avg", "max", "sum"))
    parser.add_argument("--metric", choices=("cosine", "l2", "chi_square"))
    parser.add_argument("-k", type=console.at_least_one, default=10, help="hits (10)")
    parser.add_argument("--label", help="only hits with this label")
    parser.add_argument(
        "--exclude-within",
        type=console.number(0),
        metavar="KM",
        help="no hits nearer than that to the query",
    )
    parser.add_argument(
        "--geojson", type=console.path, help="file to write query and hits to"
    )
    parser.add_argument(
        "--map", type=console.path, help="PNG to draw query and hits to"
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from bigearthnet_tf.retrieval import index_folder, places, queries

    if arguments.k < 1:
        raise ValueError(f"-k: expected 1 or more, got {arguments.k}")
    ways = (arguments.name, arguments.number, _folders(arguments) or None)
    if sum(way is not None for way in ways) != 1:
        raise ValueError(
            "expected one query: --name, --number, or --file-s1 and --file-s2"
        )
    wanted = ((arguments.geojson, places.is_geojson), (arguments.map, outputs.is_png))
    outputs.check_files([of for of in wanted if of[0]])
    is_index = index_folder.is_index(arguments.archive)
    index, items, query = (_in_index if is_index else _in_features)(arguments)
    if arguments.label and arguments.label not in items.label_names:
        near = registry.nearest_names(arguments.label, items.label_names)
        raise ValueError(f"--label: unknown label {arguments.label!r}: {near}")
    hits = queries.search_patch(
        query,
        index,
        items,
        arguments.k,
        label=arguments.label,
        exclude_within=arguments.exclude_within,
    )
    for line in _table(hits):
        print(line)
    if len(hits) - 1 < arguments.k:
        print(f"there are no more than {len(hits) - 1} that fit")
    _write(arguments, hits)


def _folders(arguments: argparse.Namespace) -> dict[str, Path]:
    given = {"s1": arguments.file_s1, "s2": arguments.file_s2}
    return {sensor: folder for sensor, folder in given.items() if folder}


def _asked(arguments: argparse.Namespace, otherwise: str) -> str:
    """Returns the sensor of the query."""
    given = list(_folders(arguments))
    if arguments.asked or not given:
        return str(arguments.asked or otherwise)
    return "fused" if len(given) == 2 else given[0]


def _in_index(arguments: argparse.Namespace) -> tuple[Index, Items, Query]:
    """Opens an index, and the query in it or elsewhere."""
    from bigearthnet_tf.retrieval import index_folder
    from bigearthnet_tf.retrieval.queries import Query

    opened = index_folder.load(arguments.archive)
    facts, items = opened.facts, opened.items
    given = {
        "to": arguments.searched,
        "layer": arguments.layer,
        "fusion": arguments.fusion,
        "metric": arguments.metric,
    }
    theirs = {**facts.model_dump(), "to": facts.sensor}
    for name, value in given.items():
        if value not in (None, theirs[name]):
            raise ValueError(
                f"--{name} {value}: this index is of {theirs[name]}; build another one"
            )
    asked = _asked(arguments, facts.sensor)
    if arguments.name is not None or arguments.number is not None:
        if not arguments.queries and asked == facts.sensor:
            row = items.find(arguments.name, arguments.number)
            query = Query(
                opened.vectors[row],
                items.names[row],
                items.names_s1[row],
                items.labels_of(row),
                row,
            )
            return opened.index, items, query
        if not arguments.queries:
            raise ValueError(
                f"--from {asked}: the index has {facts.sensor} alone; name the "
                "features of the query in --queries"
            )
    how = (facts.layer, facts.fusion, facts.metric)
    query = _find(arguments, asked, how, facts.model_dump())
    return opened.index, items, _without_itself(query, items, asked == facts.sensor)


def _in_features(arguments: argparse.Namespace) -> tuple[Index, Items, Query]:
    """Builds an exact index of features in memory, and opens the query."""
    from bigearthnet_tf.retrieval import search, stored

    archive = stored.load(arguments.archive)
    asked = _asked(arguments, "s2")
    searched = arguments.searched or asked
    metric = arguments.metric or "cosine"
    how = (arguments.layer or "p", arguments.fusion or "concat", metric)
    query = _find(arguments, asked, how, archive.facts.model_dump())
    index = search.build(archive.features(searched, *how), metric)
    items = archive.items
    return index, items, _without_itself(query, items, asked == searched)


def _find(
    arguments: argparse.Namespace,
    asked: str,
    how: tuple[str, str, str],
    facts: Mapping[str, Any],
) -> Query:
    """Returns the query from embedded patches or from GeoTIFFs.

    Args:
        arguments: of the command.
        asked: sensor of the query.
        how: layer, fusion, and metric of the search.
        facts: of the archive.
    """
    from bigearthnet_tf.retrieval import queries, stored

    folders = _folders(arguments)
    if folders:
        console.load_tensorflow()
        from bigearthnet_tf.retrieval import patch_query

        run, model_hash = Path(facts["run"]), facts["model_hash"]
        layers = patch_query.embed_folders(folders, run, facts["config"], model_hash)
        vector = stored.take(layers, asked, *how, "this patch")
        name_s1 = folders["s1"].name if "s1" in folders else ""
        name = folders["s2"].name if "s2" in folders else name_s1
        return queries.Query(vector, name, name_s1)
    source = stored.load(arguments.queries or arguments.archive)
    if source.facts.model_hash != facts["model_hash"]:
        raise ValueError(
            f"--queries: features of another model than the archive's: expected "
            f"{facts['model_hash'][:12]}, got {source.facts.model_hash[:12]}"
        )
    row = source.items.find(arguments.name, arguments.number)
    return queries.from_embeddings(source, row, asked, *how)


def _without_itself(query: Query, items: Items, same_sensor: bool) -> Query:
    """Returns the query, which won't find itself; with labels if the archive has it."""
    import dataclasses

    row = items.rows().get(query.name, -1)
    if row < 0:
        return query
    labels = query.labels or items.labels_of(row)
    return dataclasses.replace(query, labels=labels, own=row if same_sensor else -1)


def _write(arguments: argparse.Namespace, hits: list[dict[str, Any]]) -> None:
    from bigearthnet_tf.retrieval import places

    found = f"query and {len(hits) - 1} hits"
    if arguments.map:
        # Matplotlib takes longer to import than a search.
        from bigearthnet_tf import pictures
        from bigearthnet_tf.retrieval import hit_map

        picture = hit_map.draw(hits, f"{hits[0]['name']} and its hits")
        pictures.save_png(picture, arguments.map)
        print(f"{arguments.map}: {found}")
    if arguments.geojson:
        rings = [hit.pop("ring") for hit in hits]
        files.write_json(arguments.geojson, places.geojson(hits, rings))
        print(f"{arguments.geojson}: {found}")


def _table(hits: list[dict[str, Any]]) -> list[str]:
    lines = [f"{'':5}{'distance':>9}  {'lon':>8} {'lat':>7}  {'patch':<46} labels"]
    for hit in hits:
        shared = set(hit["shared_labels"] or ())
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
    unknown = hits[0]["shared_labels"] is None
    last = "labels of the query unknown" if unknown else "* shared with the query"
    return [*lines, last]
