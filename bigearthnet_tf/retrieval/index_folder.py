"""An index in a folder: vectors, names, labels, and whose features they are.

The folder has `index.json` and, beside it, the folder with the content that it names:
`vectors.npy` (items, dimensions) float32, for cosine of unit length, `labels.npy`
(items, labels) uint8, `names.txt` and `names_s1.txt` with a name a line, and the file
of FAISS for an approximate kind. A change writes new content, then `index.json`, then
removes the old content: whatever stops it, the index is whole, as it was before or as
it is after. TensorFlow is not needed for any of it.
"""

from __future__ import annotations

import collections
import re
import shutil
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
from numpy.typing import NDArray

import bigearthnet_tf
from bigearthnet_tf import disk, files
from bigearthnet_tf.retrieval import approximate, exact, folders, search, stored
from bigearthnet_tf.retrieval.stored import SENSORS, Embeddings, Items
from bigearthnet_tf.vectors import FUSIONS, unit

VERSION = 2
_FAISS = "faiss.index"
_NAMES = ("names.txt", "names_s1.txt")


class IndexFacts(pydantic.BaseModel):
    """`index.json`.

    Attributes:
        version: of this form.
        tool_version: of the package that wrote it.
        content: name of the folder beside it that has the items.
        num_items: in it.
        dimensions: of the vectors.
        sensor: `s1`, `s2` or `fused`.
        layer: `h` or `p`.
        fusion: of both sensors, for `fused`.
        metric: of the distance.
        kind: of the index.
        options: of the kind.
        bytes_per_item: memory of each item while it is searched.
        labels: names in the order of `labels.npy`.
        normalisation: of the vectors, `unit length` or `none`.
        model_hash: of the model whose features they are.
        precision: dtype policy that they were computed with.
        preprocessing: see `stored.Facts`.
        run: its folder.
        iteration: of its checkpoint.
        config: of the run, all keys.
    """

    model_config = pydantic.ConfigDict(
        extra="forbid", frozen=True, protected_namespaces=()
    )

    version: int
    tool_version: str
    content: str
    num_items: int
    dimensions: int
    sensor: str
    layer: str
    fusion: str
    metric: str
    kind: str
    options: dict[str, int]
    bytes_per_item: float
    labels: Annotated[list[str], pydantic.AfterValidator(stored.all_different)]
    normalisation: str
    model_hash: str
    precision: str
    preprocessing: dict[str, Any]
    run: str
    iteration: int
    config: dict[str, Any]


@dataclass(frozen=True)
class StoredIndex:
    """An index from disk.

    Attributes:
        facts: what it is of.
        index: to search.
        vectors: (items, dimensions) float32, on disk.
        items: names and labels, in the order of the vectors.
    """

    facts: IndexFacts
    index: search.Index
    vectors: NDArray[np.float32]
    items: Items


def is_index(folder: Path | str) -> bool:
    """Tells whether a folder is an index."""
    return (Path(folder) / "index.json").is_file()


def build(
    folder: Path | str,
    sources: Sequence[Embeddings],
    sensor: str,
    layer: str = "p",
    *,
    fusion: str = "concat",
    metric: str = "cosine",
    kind: str = "exact",
    options: dict[str, int] | None = None,
) -> IndexFacts:
    """Builds an index of the features of one or more splits.

    Memory: the vectors, two to three times.

    Args:
        folder: to write; must not exist.
        sources: features of one model.
        sensor: `s1`, `s2` or `fused`.
        layer: `h` or `p`.
        fusion: of both sensors, for `fused`.
        metric: `cosine`, `l2` or `chi_square`.
        kind: of `search.KINDS`.
        options: of the kind.

    Raises:
        OSError: the folder is there already, or can't be written.
        ValueError: features of several models, names that come twice, or what
            `search.build` refuses.
    """
    folder = Path(folder)
    for source in sources[1:]:
        _check_alike(sources[0].facts.model_hash, sources[0].facts.labels, source)
    parts = [source.features(sensor, layer, fusion, metric) for source in sources]
    vectors = _stack(parts)
    first = sources[0].facts
    facts = IndexFacts(
        version=VERSION,
        tool_version=bigearthnet_tf.__version__,
        content="",
        num_items=len(vectors),
        dimensions=vectors.shape[1],
        sensor=sensor,
        layer=layer,
        fusion=fusion,
        metric=metric,
        kind=kind,
        options=options or {},
        bytes_per_item=0,
        labels=first.labels,
        normalisation="unit length" if metric == "cosine" else "none",
        model_hash=first.model_hash,
        precision=first.precision,
        preprocessing=first.preprocessing,
        run=first.run,
        iteration=first.iteration,
        config=first.config,
    )
    with folders.alone(folder):
        _check_new(folder)
        return _write(folder, facts, vectors, _join([s.items for s in sources]))


def add(folder: Path | str, source: Embeddings) -> IndexFacts:
    """Adds the patches of a split; an approximate index is built anew.

    Raises:
        ValueError: features of another model, or patches that are there already.
    """
    folder = Path(folder)
    with folders.alone(folder):
        old = load(folder)
        facts = old.facts
        _check_alike(facts.model_hash, facts.labels, source)
        more = source.features(facts.sensor, facts.layer, facts.fusion, facts.metric)
        vectors = _stack([old.vectors, more])
        return _write(folder, facts, vectors, _join([old.items, source.items]))


def remove(folder: Path | str, names: Sequence[str]) -> IndexFacts:
    """Takes patches out, by the name of either sensor; builds the index anew.

    Raises:
        ValueError: a name that is not there, or nothing would be left.
    """
    folder = Path(folder)
    with folders.alone(folder):
        old = load(folder)
        rows = old.items.rows()
        for name in names:
            if name not in rows:
                old.items.find(name)
        stays = np.ones(len(old.vectors), bool)
        stays[[rows[name] for name in names]] = False
        if not stays.any():
            raise ValueError(f"{folder}: nothing would be left; remove the folder")
        return _write(folder, old.facts, old.vectors[stays], _pick(old.items, stays))


def load(folder: Path | str) -> StoredIndex:
    """Opens an index.

    Raises:
        FileNotFoundError: no such folder.
        ValueError: it is damaged, or of another form; says what is wrong with it.
    """
    folder = Path(folder)
    files.check_unpacked(folder, "the folder of an index")
    if not is_index(folder):
        raise FileNotFoundError(
            f"{folder}: no index.json; expected a folder that `bigearthnet-tf index "
            "build` has written"
        )
    facts = files.read_checked(folder / "index.json", IndexFacts)
    if facts.version != VERSION:
        raise ValueError(
            f"{folder}: expected form {VERSION}, got {facts.version}; build it again"
        )
    _check_known(folder / "index.json", facts)
    content, count = folder / facts.content, facts.num_items
    advice = f"remove {folder} and build it again"
    vectors = folders.open_array(
        content / "vectors.npy", (count, facts.dimensions), np.float32, advice
    )
    labels = folders.open_array(
        content / "labels.npy", (count, len(facts.labels)), np.uint8, advice
    )
    names, names_s1 = (
        folders.read_names(content / name, count, advice) for name in _NAMES
    )
    items = Items(names, names_s1, labels, facts.labels)
    index: search.Index
    if facts.kind == "exact":
        index = exact.restore(vectors, facts.metric)
    else:
        index = approximate.restore(
            content / _FAISS,
            facts.kind,
            facts.metric,
            vectors,
            facts.bytes_per_item,
            **facts.options,
        )
    return StoredIndex(facts, index, vectors, items)


def _check_alike(model_hash: str, labels: list[str], source: Embeddings) -> None:
    """Raises ValueError for features of another model or with other labels."""
    if source.facts.model_hash != model_hash:
        raise ValueError(
            f"features of another model: expected those of {model_hash[:12]}, got "
            f"{source.facts.model_hash[:12]} of {source.facts.run}, iteration "
            f"{source.facts.iteration}; embed with the model of the index"
        )
    if source.facts.labels != labels:
        raise ValueError(
            f"features of {source.facts.run} have other labels than the index, or in "
            f"another order: {', '.join(source.facts.labels)[:80]}; embed again with "
            "records of the same labels"
        )


def _stack(parts: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
    dimensions = sorted({part.shape[1] for part in parts})
    if len(dimensions) > 1:
        raise ValueError(
            f"features of {dimensions[0]} and of {dimensions[-1]} dimensions don't "
            "belong into one index; embed them with the same layers and fusion"
        )
    return np.concatenate(parts)


def _join(parts: Sequence[Items]) -> Items:
    names = [name for part in parts for name in part.names]
    if len(set(names)) < len(names):
        ((twice, _),) = collections.Counter(names).most_common(1)
        raise ValueError(f"{twice} is there already; `index remove` it first")
    return Items(
        names,
        [name for part in parts for name in part.names_s1],
        np.concatenate([part.labels for part in parts]),
        parts[0].label_names,
    )


def _pick(items: Items, stays: NDArray[np.bool_]) -> Items:
    rows = np.flatnonzero(stays)
    return Items(
        [items.names[row] for row in rows],
        [items.names_s1[row] for row in rows],
        items.labels[stays],
        items.label_names,
    )


def _check_known(path: Path, facts: IndexFacts) -> None:
    """Raises ValueError for what no index of ours says of itself."""
    known = {
        "sensor": SENSORS,
        "layer": ("h", "p"),
        "fusion": FUSIONS,
        "metric": search.METRICS,
    }
    for name, values in known.items():
        if (value := getattr(facts, name)) not in values:
            raise ValueError(
                f"{path}: {name}: expected {', '.join(values)}, got "
                f"{files.echo(value)}; build it again"
            )
    # Its parts lie there, and are what a message advises to remove.
    if not re.fullmatch(r"content-\w+", facts.content):
        raise ValueError(
            f"{path}: content: expected content-..., got {files.echo(facts.content)}; "
            "build it again"
        )


def _check_new(folder: Path) -> None:
    """Raises FileExistsError unless a folder is new, or the rest of a killed build."""
    there = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    rest = all(name.startswith(("content-", ".index.json.")) for name in there)
    if is_index(folder) or not rest or folder.is_file():
        raise FileExistsError(
            f"{folder}: is there already; add to it with `index add`, or remove it"
        )


def _check_content(
    folder: Path, facts: IndexFacts, vectors: NDArray[np.float32], items: Items
) -> None:
    """Raises ValueError for what could not be read again as it is."""
    expected = (len(items.names), facts.dimensions)
    if vectors.shape != expected or vectors.dtype != np.float32:
        raise ValueError(
            f"{folder}: expected float32 vectors of shape {expected}, got "
            f"{vectors.dtype} of {vectors.shape}; nothing was changed"
        )
    if not np.isfinite(vectors).all():
        raise ValueError(
            f"{folder}: a vector is not finite; embed again, nothing was changed"
        )
    items.check(str(folder))


def _content_of(folder: Path) -> str | None:
    """Returns the name of the content of an index, None where there is none."""
    if not is_index(folder):
        return None
    return str(files.read_json(folder / "index.json")["content"])


def _write(
    folder: Path, facts: IndexFacts, vectors: NDArray[np.float32], items: Items
) -> IndexFacts:
    _check_content(folder, facts, vectors, items)
    if facts.metric == "cosine":
        vectors = unit(vectors)
    # Built first: what can't be indexed must leave nothing behind.
    index = search.build(vectors, facts.metric, facts.kind, **facts.options)
    facts = facts.model_copy(
        update={
            "content": f"content-{uuid.uuid4().hex[:12]}",
            "num_items": len(vectors),
            "bytes_per_item": index.bytes_per_item,
        }
    )
    content = folder / facts.content
    is_new = not folder.exists()
    try:
        with disk.room_for(folder):
            content.mkdir(parents=True)
            np.save(content / "vectors.npy", vectors)
            np.save(content / "labels.npy", np.asarray(items.labels))
            for name, own in zip(_NAMES, (items.names, items.names_s1), strict=True):
                folders.write_names(content / name, own)
            if isinstance(index, approximate.Approximate | approximate.Binary):
                index.save(content / _FAISS)
            files.write_json(folder / "index.json", facts.model_dump())
    except BaseException:
        # A signal may come when the index has its new content already.
        if _content_of(folder) != facts.content:
            shutil.rmtree(content, ignore_errors=True)
            if is_new:
                shutil.rmtree(folder, ignore_errors=True)
        raise
    # Of before, or of a process that was killed.
    for other in folder.glob("content-*"):
        if other != content:
            shutil.rmtree(other, ignore_errors=True)
    return facts
