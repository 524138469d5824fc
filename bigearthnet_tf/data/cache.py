"""Copies of shards in memory or on a fast disk, for archives that lie far away.

Shards are copied whole and as they are, so a cache takes as many bytes as they do:
0.16 MB a patch with Sentinel-2, 0.28 MB with both sensors, thus 78 or 132 GB for the
480,038 patches of v2. A local disk does not need one: the system keeps what it has
read for as long as there is memory.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import filelock

from bigearthnet_tf import console
from bigearthnet_tf.records import reader, storage

MEMORY = "memory"
_IN_MEMORY = "ram://bigearthnet_tf"


def keep(source: reader.RecordSource, where: str) -> reader.RecordSource:
    """Returns a source whose shards are copies close by; makes those that are missing.

    A copy is found again by path, size and time of its original. Processes that share
    a folder wait for one another, and none copies what is there; what was copied when
    one was killed stays. Copies in memory end with the process.

    Args:
        source: the shards.
        where: `memory`, or a folder; empty for the shards themselves.

    Raises:
        OSError: the folder can't be written to, or there is too little room; names
            the bytes.
    """
    if not where:
        return source
    folder = _IN_MEMORY if where == MEMORY else where
    copies = {file: _copy_of(file, folder) for file in source.files}
    if where == MEMORY:
        _fill(copies, where, _memory_bytes())
    else:
        storage.make_folder(folder)
        with filelock.FileLock(storage.join(folder, ".lock")):
            storage.remove_temporary(folder)
            _fill(copies, where, storage.free_bytes(folder))
    return replace(source, files=tuple(copies.values()))


def _copy_of(file: str, folder: str) -> str:
    """Returns where the copy of a shard lies; a shard written anew has another."""
    path = file if storage.is_remote(file) else os.path.realpath(file)
    facts = f"{path} {storage.size(file)} {storage.modified(file)}"
    digest = hashlib.sha256(facts.encode()).hexdigest()
    return storage.join(folder, f"{digest[:16]}-{storage.name_of(file)}")


def _fill(copies: dict[str, str], where: str, room: int | None) -> None:
    missing = {file: copy for file, copy in copies.items() if not storage.exists(copy)}
    needed = sum(map(storage.size, missing))
    if room is not None and needed > room:
        raise OSError(
            f"cache {where!r}: the shards need {needed / 1e6:.0f} MB, but there are "
            f"{room / 1e6:.0f} MB; cache on a larger disk, or set cache to an empty "
            "string"
        )
    with console.progress(
        total=needed, desc=f"cache in {where}", unit="B", unit_scale=True
    ) as bar:
        for file, copy in missing.items():
            storage.copy(file, copy)
            bar.update(storage.size(file))


def _memory_bytes() -> int:
    """Returns the memory that is available, or all there is where nobody says."""
    facts = Path("/proc/meminfo")
    if facts.exists():
        for line in facts.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
