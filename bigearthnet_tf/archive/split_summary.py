"""What a division into splits is like, in a line a split."""

from __future__ import annotations

from collections.abc import Iterator

from bigearthnet_tf.archive import metadata
from bigearthnet_tf.archive.split_report import SplitReport


def lines(report: SplitReport) -> Iterator[str]:
    """Yields sizes, largest deviations and contacts of the splits.

    Contacts are there where places are known and the splits are three at most.
    """
    splits_of, sizes = report.division.splits, report.balance.sizes
    for index, split in enumerate(splits_of):
        parts = [
            f"{split}: {sizes[index]:,} patches ({sizes[index] / sizes.sum():.2%})"
        ]
        own, random = report.balance.largest(index), report.random.largest(index)
        if own and random:
            parts.append(
                f"largest deviation {own[0]:+.2%} ({report.acronyms[own[2]]}), of a "
                f"random split {random[0]:+.2%} ({report.acronyms[random[2]]})"
            )
        if report.unplaced < sizes.sum() and len(sizes) <= len(metadata.SPLITS):
            parts += [
                f"{report.contacts.touching[index, other]:,} touch {name}"
                for other, name in enumerate(splits_of)
                if other != index
            ]
        yield "; ".join(parts)
    if report.unplaced:
        yield f"place not known of {report.unplaced:,} patches: no contact counted"
