"""What the files that records are made of were like: their names, sizes and times.

Records that were made of other files than lie in the archive now are no result of it,
though their plan is the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bigearthnet_tf import console
from bigearthnet_tf.archive.patch import PatchSource

# To ask for the size of a file takes 3 us from a disk, a thousand times that from
# some network file systems, which answer many at once.
_THREADS = 8


def digest(stamps: Iterable[str]) -> str:
    """Returns what tells the files of patches from others, 16 hex digits.

    Args:
        stamps: of the patches, in their order, from `PatchSource.stamp`.
    """
    found = hashlib.sha256()
    for stamp in stamps:
        found.update(f"{stamp}\n".encode())
    return found.hexdigest()[:16]


def changed(
    source: PatchSource, shards: Sequence[Sequence[Any]], sources: Sequence[str]
) -> Iterator[bool]:
    """Yields for each shard whether its files are others than when it was written.

    Args:
        source: where the patches are read from.
        shards: for each shard its entries.
        sources: for each shard the `digest` kept of its files; empty where none was
            kept, which counts as unchanged.
    """

    def differs(entries: Sequence[Any], kept: str) -> bool:
        return bool(kept) and digest(map(source.stamp, entries)) != kept

    pool = ThreadPoolExecutor(_THREADS)
    try:
        found = pool.map(differs, shards, sources)
        yield from console.progress(
            found, total=len(shards), desc="comparing files", unit="shard", leave=False
        )
    finally:
        pool.shutdown(cancel_futures=True)
