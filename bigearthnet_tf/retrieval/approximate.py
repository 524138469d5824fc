"""Indexes that take less memory or time and miss some of the nearest vectors.

All need FAISS (extra `faiss`). Vectors of `cosine` have unit length, on which the inner
product, the cosine and the Euclidean distance give the same order.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from bigearthnet_tf import extras
from bigearthnet_tf.retrieval import search
from bigearthnet_tf.retrieval.search import Hits, Ids, Vectors

# FAISS warns below 39 vectors a centroid; product codes have 256.
_LEAST_TO_TRAIN = 39 * 256


class Approximate:
    """An index of FAISS with the interface of ours.

    Args:
        kind: its name.
        metric: `cosine` or `l2`.
        index: of FAISS, filled.
        bytes_per_item: memory of a vector in it.
    """

    def __init__(
        self, kind: str, metric: str, index: Any, bytes_per_item: float
    ) -> None:
        self.kind, self.metric, self.index = kind, metric, index
        self.bytes_per_item = bytes_per_item

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return int(self.index.ntotal)

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns nearby vectors of each query; see `search.Index`."""
        queries = search.check_vectors(queries, self.index.d)
        if self.metric == "cosine":
            queries = search.unit(queries)
        k = min(k, len(self))
        found, ids = self.index.search(queries, min(len(self), k + 1))
        if self.metric == "cosine":
            # FAISS gives inner products here.
            found = 1 - found
        return first_k(ids, found, k, exclude)

    def save(self, path: Path | str) -> None:
        """Writes what FAISS has of it."""
        _faiss().write_index(self.index, str(path))


class Binary:
    """Signs of all dimensions as bits, compared by how many differ.

    The nearest by bits are compared once more by the vectors themselves, where those
    are kept.

    Args:
        metric: `cosine` or `l2`.
        index: of FAISS, filled with the bits.
        vectors: (items, dimensions), in memory or on disk.
        rerank: candidates for each hit that are compared again; 0: none are. Distances
            are then shares of differing bits.
    """

    kind = "binary"

    def __init__(
        self, metric: str, index: Any, vectors: Vectors, rerank: int = 10
    ) -> None:
        self.metric, self.index, self.rerank = metric, index, rerank
        self.dimensions = vectors.shape[1]
        self.vectors = vectors if rerank else None

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return int(self.index.ntotal)

    @property
    def bytes_per_item(self) -> float:
        """Memory of a vector: its bits, and itself if it is compared again."""
        return self.index.d / 8 + (4 * self.dimensions if self.rerank else 0)

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns nearby vectors of each query; see `search.Index`."""
        queries = search.check_vectors(queries, self.dimensions)
        k = min(k, len(self))
        count = min(len(self), max(1, self.rerank) * (k + 1))
        bits, ids = self.index.search(np.packbits(queries > 0, axis=1), count)
        distances = bits.astype(np.float32) / self.dimensions
        if self.vectors is not None:
            if self.metric == "cosine":
                queries = search.unit(queries)
            distances = _compare(self.vectors, queries, ids, self.metric)
        return first_k(ids, distances, k, exclude)

    def save(self, path: Path | str) -> None:
        """Writes the bits."""
        _faiss().write_index_binary(self.index, str(path))


def restore(
    path: Path | str,
    kind: str,
    metric: str,
    vectors: Vectors,
    bytes_per_item: float,
    **options: Any,
) -> search.Index:
    """Returns an index from the file that its `save` has written.

    Args:
        path: of the file.
        kind: of the index.
        metric: it was built with.
        vectors: (items, dimensions) on disk; touched by `binary` alone.
        bytes_per_item: as it said.
        **options: it was built with.

    Raises:
        ValueError: FAISS is not installed, can't read the file, or finds another number
            of vectors in it.
    """
    faiss = _faiss()
    read = faiss.read_index_binary if kind == "binary" else faiss.read_index
    try:
        index = read(str(path))
    except RuntimeError as error:
        raise ValueError(f"{path}: damaged or missing; build it again") from error
    if index.ntotal != len(vectors):
        raise ValueError(
            f"{path}: expected {len(vectors)} vectors, got {index.ntotal}; build the "
            "index again"
        )
    if kind == "binary":
        return Binary(metric, index, vectors, **options)
    return Approximate(kind, metric, index, bytes_per_item)


def first_k(ids: Ids, distances: Vectors, k: int, exclude: Ids | None) -> Hits:
    """Returns the nearest k of candidates, ties by row, without the excluded."""
    present = ids >= 0
    if exclude is not None:
        present &= ids != exclude[:, None]
    distances = np.where(present, distances, np.float32(np.inf)).astype(np.float32)
    order = np.lexsort((ids, distances), axis=1)[:, :k]
    distances = np.take_along_axis(distances, order, 1)
    ids = np.where(np.isfinite(distances), np.take_along_axis(ids, order, 1), -1)
    return Hits(ids.astype(np.int64), distances)


def _compare(vectors: Vectors, queries: Vectors, ids: Ids, metric: str) -> Vectors:
    found = np.empty(ids.shape, np.float32)
    for row, (query, near) in enumerate(zip(queries, ids, strict=True)):
        candidates = vectors[near]
        if metric == "cosine":
            found[row] = 1 - search.unit(candidates) @ query
        else:
            found[row] = ((candidates - query) ** 2).sum(axis=1)
    return found


def _faiss() -> ModuleType:
    return extras.load("faiss", "faiss")


def _prepare(
    vectors: Vectors, metric: str, kind: str
) -> tuple[ModuleType, Vectors, int]:
    faiss = _faiss()
    if metric == "chi_square":
        raise ValueError(
            f"kind {kind} knows cosine and l2; chi_square can be searched exactly only"
        )
    if metric == "cosine":
        return faiss, search.unit(vectors), faiss.METRIC_INNER_PRODUCT
    return faiss, vectors, faiss.METRIC_L2


@search.KINDS.register("ivf_pq")
def build_ivf_pq(
    vectors: Vectors,
    metric: str,
    codes: int = 16,
    lists: int | None = None,
    probes: int = 16,
) -> Approximate:
    """Returns an index of product codes in lists (Jegou et al., TPAMI 2011).

    Args:
        vectors: (items, dimensions).
        metric: `cosine` or `l2`.
        codes: bytes a vector; must divide the dimensions.
        lists: cells that the space is divided into; None: 4 sqrt(items) at most, as
            many as there are vectors to train with.
        probes: cells that a query looks into.

    Raises:
        ValueError: too few vectors to train with, or codes that don't divide.
    """
    faiss, vectors, kind = _prepare(vectors, metric, "ivf_pq")
    count, dimensions = vectors.shape
    if count < _LEAST_TO_TRAIN:
        raise ValueError(
            f"kind ivf_pq needs {_LEAST_TO_TRAIN:,} vectors to train with, got "
            f"{count:,}; choose exact, hnsw or int8"
        )
    if dimensions % codes:
        raise ValueError(f"codes {codes} must divide the {dimensions} dimensions")
    lists = lists or min(int(4 * count**0.5), count // 39)
    quantizer = faiss.IndexFlat(dimensions, kind)
    index = faiss.IndexIVFPQ(quantizer, dimensions, lists, codes, 8, kind)
    index.train(vectors)
    index.add(vectors)
    index.nprobe = probes
    # FAISS keeps the row of each vector beside its code.
    return Approximate("ivf_pq", metric, index, codes + 8)


@search.KINDS.register("hnsw")
def build_hnsw(
    vectors: Vectors, metric: str, neighbours: int = 32, breadth: int = 64
) -> Approximate:
    """Returns a graph of neighbours (Malkov and Yashunin, arXiv 1603.09320).

    Args:
        vectors: (items, dimensions).
        metric: `cosine` or `l2`.
        neighbours: of each vector in the upper layers, twice as many in the lowest.
        breadth: candidates that a search keeps.
    """
    faiss, vectors, kind = _prepare(vectors, metric, "hnsw")
    index = faiss.IndexHNSWFlat(vectors.shape[1], neighbours, kind)
    index.hnsw.efConstruction = 2 * breadth
    index.hnsw.efSearch = breadth
    index.add(vectors)
    return Approximate(
        "hnsw", metric, index, 4.0 * vectors.shape[1] + 4 * 2 * neighbours
    )


@search.KINDS.register("int8")
def build_int8(vectors: Vectors, metric: str) -> Approximate:
    """Returns vectors with a byte for each dimension, between its extremes.

    Args:
        vectors: (items, dimensions).
        metric: `cosine` or `l2`.
    """
    faiss, vectors, kind = _prepare(vectors, metric, "int8")
    index = faiss.IndexScalarQuantizer(
        vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, kind
    )
    index.train(vectors)
    index.add(vectors)
    return Approximate("int8", metric, index, float(vectors.shape[1]))


@search.KINDS.register("binary")
def build_binary(vectors: Vectors, metric: str, rerank: int = 10) -> Binary:
    """Returns sign bits; see `Binary`."""
    faiss, *_ = _prepare(vectors, metric, "binary")
    codes = np.packbits(vectors > 0, axis=1)
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return Binary(metric, index, vectors, rerank)
