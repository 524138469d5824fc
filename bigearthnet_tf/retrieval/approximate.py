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
from bigearthnet_tf.retrieval import folders, search
from bigearthnet_tf.retrieval.search import Hits, Ids, Vectors
from bigearthnet_tf.vectors import unit

# Candidates beyond k that are fetched, so that ties at its end are ordered by row.
_MORE = 16
# FAISS warns below 39 vectors a centroid; product codes have 256.
_LEAST_IN_CELL = 39
_LEAST_TO_TRAIN = _LEAST_IN_CELL * 256
# Vectors for each cell that cells are found with; by FAISS's own 256 it takes four
# times as long.
_MOST_IN_CELL = 64


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
        queries, k, exclude = search.check_search(
            queries, k, exclude, self, self.index.d
        )
        found, ids = self.index.search(queries, min(len(self), k + _MORE))
        if self.kind == "hnsw":
            # It has the vectors themselves, but computes several distances at once,
            # whose last bits depend on the others.
            found = search.compare(self._vectors_of, queries, ids, self.metric)
        elif self.metric == "cosine":
            # FAISS gives inner products here.
            found = 1 - found
        return search.first_k(ids, found, k, exclude)

    def _vectors_of(self, ids: Ids) -> Vectors:
        found = self.index.reconstruct_batch(ids.ravel())
        return found.reshape(*ids.shape, self.index.d)

    def save(self, path: Path | str) -> None:
        """Writes what FAISS has of it."""
        _faiss().write_index(self.index, str(path))


class Binary:
    """In which dimensions vectors are above the mean, as bits that are compared.

    The mean makes it fit features that are never negative, too. The nearest by bits are
    compared once more by the vectors themselves, where those are kept.

    Args:
        metric: `cosine` or `l2`.
        index: of FAISS, filled with the bits.
        mean: (dimensions,) of the vectors.
        vectors: (items, dimensions), in memory or on disk; of unit length for cosine.
        rerank: candidates for each hit that are compared again; 0: none are. Distances
            are then shares of differing bits.
    """

    kind = "binary"

    def __init__(
        self, metric: str, index: Any, mean: Vectors, vectors: Vectors, rerank: int = 10
    ) -> None:
        self.metric, self.index, self.rerank = metric, index, rerank
        self.mean = mean
        self.vectors = np.asarray(vectors) if rerank else None

    def __len__(self) -> int:
        """Returns the number of vectors."""
        return int(self.index.ntotal)

    @property
    def bytes_per_item(self) -> float:
        """Memory of a vector: its bits, and itself if it is compared again."""
        return self.index.d / 8 + (4 * len(self.mean) if self.rerank else 0)

    def search(self, queries: Vectors, k: int, exclude: Ids | None = None) -> Hits:
        """Returns nearby vectors of each query; see `search.Index`."""
        dimensions = len(self.mean)
        queries, k, exclude = search.check_search(queries, k, exclude, self, dimensions)
        count = min(len(self), max(1, self.rerank) * (k + _MORE))
        bits, ids = self.index.search(_bits(queries, self.mean), count)
        distances = bits.astype(np.float32) / dimensions
        if self.vectors is not None:
            kept = self.vectors
            distances = search.compare(lambda x: kept[x], queries, ids, self.metric)
        return search.first_k(ids, distances, k, exclude)

    def save(self, path: Path | str) -> None:
        """Writes the bits, and the mean beside them."""
        _faiss().write_index_binary(self.index, str(path))
        np.save(_mean_path(path), self.mean)


def _bits(vectors: Vectors, mean: Vectors) -> Any:
    return np.packbits(vectors > mean, axis=1)


def _mean_path(path: Path | str) -> Path:
    return Path(path).with_suffix(".mean.npy")


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
        vectors: (items, dimensions) on disk, as `build` had them (for cosine of unit
            length); touched by `binary` alone.
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
        shape = (vectors.shape[1],)
        mean = np.array(
            folders.open_array(
                _mean_path(path), shape, np.float32, "build the index again"
            )
        )
        return Binary(metric, index, mean, vectors, **options)
    return Approximate(kind, metric, index, bytes_per_item)


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
        return faiss, unit(vectors), faiss.METRIC_INNER_PRODUCT
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
    most = count // _LEAST_IN_CELL
    if lists is not None and lists > most:
        raise ValueError(f"lists {lists}: expected {most} at most for {count:,} items")
    lists = lists or min(int(4 * count**0.5), most)
    quantizer = faiss.IndexFlat(dimensions, kind)
    index = faiss.IndexIVFPQ(quantizer, dimensions, lists, codes, 8, kind)
    index.cp.max_points_per_centroid = _MOST_IN_CELL
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
    """Returns bits; see `Binary`."""
    faiss, vectors, _ = _prepare(vectors, metric, "binary")
    mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    codes = _bits(vectors, mean)
    index = faiss.IndexBinaryFlat(8 * codes.shape[1])
    index.add(codes)
    return Binary(metric, index, mean, vectors, rerank)
