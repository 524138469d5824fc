r"""Keeps an index of features on disk: build, add, remove, show.

  bigearthnet-tf index build hits/s2 runs/x/embeddings/test-0123456789ab --sensor s2
  bigearthnet-tf index add hits/s2 runs/x/embeddings/val-ba9876543210
  bigearthnet-tf index remove hits/s2 S2A_MSIL2A_..._33_12
  bigearthnet-tf index show hits/s2 --recall

`bigearthnet-tf retrieve hits/s2 ...` searches in it. Whatever stops a change, the index
is as it was before. Approximate kinds need the extra `faiss`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from bigearthnet_tf import console, files

if TYPE_CHECKING:
    from bigearthnet_tf.retrieval.index_folder import IndexFacts

# Queries that the recall of an approximate index is measured with.
_QUERIES = 500


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    build = actions.add_parser("build", help="of the features of one or more splits")
    build.add_argument("folder", type=console.path, help="to write")
    build.add_argument(
        "embeddings", type=console.path, nargs="+", help="folders of `embed`"
    )
    build.add_argument("--sensor", choices=("s1", "s2", "fused"), default="s2")
    build.add_argument("--layer", choices=("p", "h"), default="p")
    build.add_argument(
        "--fusion", choices=("concat", "avg", "max", "sum"), default="concat"
    )
    build.add_argument(
        "--metric", choices=("cosine", "l2", "chi_square"), default="cosine"
    )
    build.add_argument(
        "--kind", default="exact", help="exact, ivf_pq, hnsw, int8 or binary (exact)"
    )
    build.add_argument(
        "--option",
        metavar="NAME=NUMBER",
        action="append",
        default=[],
        help="of the kind: codes, lists, probes; neighbours, breadth; rerank",
    )
    add = actions.add_parser("add", help="the patches of a split")
    add.add_argument("folder", type=console.path)
    add.add_argument("embeddings", type=console.path, help="folder of `embed`")
    remove = actions.add_parser("remove", help="patches, by name")
    remove.add_argument("folder", type=console.path)
    remove.add_argument("names", nargs="*", help="of either sensor")
    remove.add_argument(
        "--names-from", type=console.path, help="file with a name a line"
    )
    show = actions.add_parser("show", help="what an index is of")
    show.add_argument("folder", type=console.path)
    show.add_argument(
        "--recall",
        action="store_true",
        help="compare the nearest 10 of some of its patches with an exact search",
    )


def run(arguments: argparse.Namespace) -> None:
    """Runs the command."""
    from bigearthnet_tf.retrieval import index_folder, stored

    folder: Path = arguments.folder
    if arguments.action == "build":
        facts = index_folder.build(
            folder,
            [stored.load(path) for path in arguments.embeddings],
            arguments.sensor,
            arguments.layer,
            fusion=arguments.fusion,
            metric=arguments.metric,
            kind=arguments.kind,
            options=dict(map(_option, arguments.option)),
        )
    elif arguments.action == "add":
        facts = index_folder.add(folder, stored.load(arguments.embeddings))
    elif arguments.action == "remove":
        facts = index_folder.remove(folder, _names(arguments))
    else:
        facts = index_folder.load(folder).facts
    for line in _describe(folder, facts):
        print(line)
    if arguments.action == "show" and arguments.recall:
        print(_recall(folder))


def _option(text: str) -> tuple[str, int]:
    name, _, number = text.partition("=")
    try:
        return name, console.at_least_one(number)
    except argparse.ArgumentTypeError:
        raise ValueError(
            f"--option: expected NAME=NUMBER, the number 1 or more, got "
            f"{files.echo(text)}"
        ) from None


def _names(arguments: argparse.Namespace) -> list[str]:
    names = list(arguments.names)
    if arguments.names_from:
        names += files.read_text(arguments.names_from, "a name a line").split()
    if not all(names) or not names:
        raise ValueError("name the patches to remove, or a file in --names-from")
    return names


def _describe(folder: Path, facts: IndexFacts) -> list[str]:
    what = facts.sensor if facts.sensor != "fused" else f"both sensors, {facts.fusion}"
    options = "".join(f", {name} {value}" for name, value in facts.options.items())
    size = f"{facts.dimensions} dimensions, {facts.bytes_per_item:g} bytes an item"
    return [
        f"{folder}: {facts.num_items} patches, {facts.kind}{options}, {facts.metric}",
        f"  features {facts.layer} of {what}, {size}",
        f"  model {facts.model_hash[:12]}: {facts.run}, iteration {facts.iteration}",
    ]


def _recall(folder: Path) -> str:
    import numpy as np

    from bigearthnet_tf.retrieval import exact, index_folder, search

    opened = index_folder.load(folder)
    count = len(opened.vectors)
    rows = np.linspace(0, count - 1, min(count, _QUERIES)).astype(int)
    whole = exact.restore(opened.vectors, opened.facts.metric)
    # Without themselves, which every index finds.
    found = search.measure(opened.index, whole, opened.vectors[rows], exclude=rows)
    return f"  recall of the nearest 10: {found['recall']:.4f}, by {len(rows)} patches"
