"""How much memory is free, and whether something fits into it."""

from __future__ import annotations

from pathlib import Path

_SYSTEM = Path("/proc/meminfo")
# Of a container: what it may have, and what it has (cgroup 2).
_LIMIT = Path("/sys/fs/cgroup/memory.max")
_USED = Path("/sys/fs/cgroup/memory.current")
_FILES = Path("/sys/fs/cgroup/memory.stat")


def available() -> int | None:
    """Returns the bytes that this process can still get; None where nobody tells."""
    found = []
    if _SYSTEM.exists():
        lines = dict(line.split(":", 1) for line in _SYSTEM.read_text().splitlines())
        if "MemAvailable" in lines:
            found.append(int(lines["MemAvailable"].split()[0]) * 1024)
    if _LIMIT.exists() and (limit := _LIMIT.read_text().strip()).isdecimal():
        used = int(_USED.read_text())
        stat = dict(line.split() for line in _FILES.read_text().splitlines())
        # What files have in memory is given back where it is needed.
        found.append(int(limit) - used + int(stat.get("inactive_file", 0)))
    return max(min(found), 0) if found else None


def check_room(needed: int, what: str) -> None:
    """Refuses what does not fit into memory.

    Args:
        needed: bytes, at least.
        what: names the option that they follow from, and ends in "need".

    Raises:
        ValueError: that many are not free.
    """
    free = available()
    if free is not None and needed > free:
        raise ValueError(
            f"{what} {needed / 1e9:.1f} GB or more, but {free / 1e9:.1f} GB of memory "
            "are free: lower it"
        )
