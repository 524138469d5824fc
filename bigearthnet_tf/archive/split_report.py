"""What a division does to the labels and to the land, as JSON, Markdown and CSV."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

import bigearthnet_tf
from bigearthnet_tf import escapes
from bigearthnet_tf.archive import labels, spatial, stratification
from bigearthnet_tf.archive.division import Division
from bigearthnet_tf.archive.patch_set import PatchSet


@dataclass(frozen=True, eq=False)
class Balance:
    """How labels fall on splits.

    Attributes:
        sizes: int64 (splits,), patches.
        counts: int64 (splits, labels), patches with the label.
    """

    sizes: NDArray[np.int64]
    counts: NDArray[np.int64]

    @property
    def deviation(self) -> NDArray[np.float64]:
        """(splits, labels): frequency in the split / frequency in the whole - 1.

        0 is perfect and -1 an absent label. NaN where no patch at all has the label.
        """
        total = self.counts.sum(axis=0) / self.sizes.sum()
        with np.errstate(invalid="ignore"):
            own = self.counts / self.sizes[:, np.newaxis] / total
        return np.asarray(own - 1)

    @property
    def distance(self) -> NDArray[np.float64]:
        """(splits,): total variation between label distributions of split and whole.

        Half the sum of the absolute differences of the shares that each label has of
        all labels: 0 is equal, 1 disjoint. NaN for a split without any label.
        """
        total = self.counts.sum(axis=0)
        with np.errstate(invalid="ignore"):
            own = self.counts / self.counts.sum(axis=1, keepdims=True)
            return np.asarray(np.abs(own - total / total.sum()).sum(axis=1) / 2)

    def largest(self, split: int | None = None) -> tuple[float, int, int] | None:
        """Returns the deviation furthest from 0, with its split and label.

        Args:
            split: of this split; None for the largest of all.

        Returns:
            None where no patch has a label.
        """
        deviation = self.deviation.copy()
        if split is not None:
            deviation[np.arange(len(deviation)) != split] = np.nan
        if np.isnan(deviation).all():
            return None
        where = np.unravel_index(np.nanargmax(np.abs(deviation)), deviation.shape)
        return float(deviation[where]), int(where[0]), int(where[1])


@dataclass(frozen=True, eq=False)
class SplitReport:
    """All that is said of a division.

    Attributes:
        division: how and into what.
        labels: names, in the order of the counts.
        label_type: their nomenclature.
        balance: of the division.
        random: of a random division into splits of the same sizes.
        contacts: patches that meet patches of other splits.
        unplaced: patches whose place is not known, left out of `contacts`.
        settings: what was asked for, as it stands in the report.
    """

    division: Division
    labels: tuple[str, ...]
    label_type: str
    balance: Balance
    random: Balance
    contacts: spatial.Contacts
    unplaced: int
    settings: Mapping[str, Any]

    @property
    def acronyms(self) -> tuple[str, ...]:
        """Short names of the labels."""
        return labels.acronyms(self.labels, self.label_type)


def describe(
    patches: PatchSet, division: Division, seed: int, settings: Mapping[str, Any]
) -> SplitReport:
    """Returns the report of a division.

    Half a million patches take some 3 seconds and 500 MB.

    Args:
        patches: that were divided.
        division: of them.
        seed: of the random division to compare with.
        settings: to stand in the report.
    """
    sizes = division.sizes.astype(np.int64)
    random = stratification.shuffle(sizes.tolist(), seed)
    places = patches.places()
    return SplitReport(
        division,
        patches.labels,
        patches.label_type,
        Balance(sizes, _count(patches, division.assigned, len(sizes))),
        Balance(sizes, _count(patches, random, len(sizes))),
        spatial.count_contacts(places, division.assigned, len(sizes)),
        int((places.zone == spatial.UNKNOWN_ZONE).sum()),
        settings,
    )


def _count(
    patches: PatchSet, assigned: NDArray[np.intp], splits: int
) -> NDArray[np.int64]:
    counts = [
        patches.multi_hot[assigned == split].sum(axis=0, dtype=np.int64)
        for split in range(splits)
    ]
    return np.stack(counts)


def as_json(report: SplitReport) -> dict[str, Any]:
    """Returns the report as JSON holds it, with None for what is not defined."""
    balance, splits = report.balance, report.division.splits
    return {
        "version": bigearthnet_tf.__version__,
        "settings": {
            key: str(value) if isinstance(value, Path) else value
            for key, value in report.settings.items()
        },
        "method": report.division.method,
        "label_type": report.label_type if report.labels else None,
        "patches": int(balance.sizes.sum()),
        "splits": {
            name: {
                "patches": int(balance.sizes[index]),
                "share": float(balance.sizes[index] / balance.sizes.sum()),
                "ratio": _ratio(report, index),
                "deviation": _deviation_json(report, balance, index),
                "random_deviation": _deviation_json(report, report.random, index),
                "labels": _labels_json(report, index),
                "contacts": _contacts_json(report, index),
            }
            for index, name in enumerate(splits)
        },
        "largest_deviation": _largest_json(report, balance),
        "random_largest_deviation": _largest_json(report, report.random),
        "patches_of_unknown_place": report.unplaced,
    }


def _ratio(report: SplitReport, split: int) -> float | None:
    ratios = report.division.ratios
    return None if ratios is None else ratios[split]


def _deviation_json(
    report: SplitReport, balance: Balance, split: int
) -> dict[str, Any] | None:
    largest = balance.largest(split)
    if largest is None:
        return None
    value, _, label = largest
    return {
        "largest": value,
        "label": report.labels[label],
        "mean_absolute": float(np.nanmean(np.abs(balance.deviation[split]))),
        "total_variation": _finite(balance.distance[split]),
    }


def _largest_json(report: SplitReport, balance: Balance) -> dict[str, Any] | None:
    largest = balance.largest()
    if largest is None:
        return None
    value, split, label = largest
    return {
        "value": value,
        "split": report.division.splits[split],
        "label": report.labels[label],
    }


def _labels_json(report: SplitReport, split: int) -> dict[str, Any]:
    own, random = report.balance, report.random
    return {
        name: {
            "patches": int(own.counts[split, index]),
            "frequency": float(own.counts[split, index] / own.sizes[split]),
            "deviation": _finite(own.deviation[split, index]),
            "random_deviation": _finite(random.deviation[split, index]),
        }
        for index, name in enumerate(report.labels)
    }


def _contacts_json(report: SplitReport, split: int) -> dict[str, dict[str, int]]:
    contacts = report.contacts
    return {
        other: {
            "touching": int(contacts.touching[split, index]),
            "overlapping": int(contacts.overlapping[split, index]),
            "same_place": int(contacts.same_place[split, index]),
        }
        for index, other in enumerate(report.division.splits)
        if index != split
    }


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def as_frame(report: SplitReport) -> pd.DataFrame:
    """Returns one row a label: counts, frequencies and deviations in each split."""
    balance, random = report.balance, report.random
    columns: dict[str, Any] = {
        "label": report.labels,
        "acronym": report.acronyms,
        "patches": balance.counts.sum(axis=0),
    }
    for index, split in enumerate(report.division.splits):
        columns[f"{split}_patches"] = balance.counts[index]
        columns[f"{split}_frequency"] = balance.counts[index] / balance.sizes[index]
        columns[f"{split}_deviation"] = balance.deviation[index]
        columns[f"{split}_random_deviation"] = random.deviation[index]
    return pd.DataFrame(columns)


def as_markdown(report: SplitReport) -> str:
    """Returns the report for people."""
    settings = [_row(pair) for pair in report.settings.items()]
    summary = (
        f"{_number(report.balance.sizes.sum())} patches, {report.division.method}, by "
        f"bigearthnet_tf {bigearthnet_tf.__version__}."
    )
    parts = [
        "# Split",
        summary,
        "\n".join(["| setting | value |", "|--|--|", *settings]),
        "## Splits",
        _splits_table(report),
    ]
    if report.labels:
        parts += ["## Labels", _labels_text(report), _labels_table(report)]
    else:
        parts.append("The source has no labels, so nothing is said of them.")
    return "\n\n".join([*parts, "## Contact", _contacts_text(report)]) + "\n"


def _splits_table(report: SplitReport) -> str:
    measures = "largest deviation | mean | total variation"
    lines = [
        f"| split | patches | share | asked for | {measures} | random: {measures} |",
        "|--|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for index, split in enumerate(report.division.splits):
        size = report.balance.sizes[index]
        ratio = _ratio(report, index)
        cells = [
            split,
            _number(size),
            f"{size / report.balance.sizes.sum():.2%}",
            "" if ratio is None else f"{ratio:.2%}",
            *_deviation_cells(report, report.balance, index),
            *_deviation_cells(report, report.random, index),
        ]
        lines.append(_row(cells))
    return "\n".join(lines)


def _deviation_cells(report: SplitReport, balance: Balance, split: int) -> list[str]:
    own = _deviation_json(report, balance, split)
    if own is None:
        return ["", "", ""]
    acronym = labels.acronyms([own["label"]], report.label_type)[0]
    distance = own["total_variation"]
    return [
        f"{own['largest']:+.2%} ({acronym})",
        f"{own['mean_absolute']:.2%}",
        "" if distance is None else f"{distance:.4f}",
    ]


def _labels_text(report: SplitReport) -> str:
    text = (
        "Frequency is the share of a split's patches that have the label. Deviation is "
        "the frequency in the split divided by that in the whole, less 1. Total "
        "variation is half the sum of the absolute differences between the shares that "
        "each label has of all labels, in the split and in the whole. Random is one "
        "random division into splits of the same sizes."
    )
    absent = _absent(report)
    return f"{text} No patch has {', '.join(absent)}." if absent else text


def _absent(report: SplitReport) -> list[str]:
    totals = report.balance.counts.sum(axis=0)
    return [
        name for name, total in zip(report.labels, totals, strict=True) if not total
    ]


def _labels_table(report: SplitReport) -> str:
    splits = report.division.splits
    heads = [f"{escapes.in_markdown(split)} | deviation | random" for split in splits]
    lines = [
        f"| | label | patches | {' | '.join(heads)} |",
        f"|--|--|--:|{'--:|--:|--:|' * len(splits)}",
    ]
    balance, random = report.balance, report.random
    for index, name in enumerate(report.labels):
        cells = [report.acronyms[index], name, _number(balance.counts[:, index].sum())]
        for split in range(len(splits)):
            cells += [
                _number(balance.counts[split, index]),
                _percent(balance.deviation[split, index]),
                _percent(random.deviation[split, index]),
            ]
        lines.append(_row(cells))
    return "\n".join(lines)


def _contacts_text(report: SplitReport) -> str:
    total = int(report.balance.sizes.sum())
    if report.unplaced == total:
        return (
            "Not known: v1 names do not say where patches lie. Lists with Sentinel-1 "
            "names, the JSON files of the archive and the metadata of v2 do."
        )
    text = (
        "Patches of the first split that share a corner, an edge or ground with a "
        "patch of the second one (touching); ground (overlapping); all of it at "
        "another date (same place)."
    )
    if report.unplaced:
        text += (
            f" The place of {_number(report.unplaced)} patches is not known: they are "
            "not counted."
        )
    lines = [
        "| split | other | touching | share | overlapping | same place |",
        "|--|--|--:|--:|--:|--:|",
    ]
    for index, split in enumerate(report.division.splits):
        for other, own in _contacts_json(report, index).items():
            touching = own["touching"]
            cells = [split, other, _number(touching)]
            cells.append(f"{touching / report.balance.sizes[index]:.2%}")
            cells += [_number(own["overlapping"]), _number(own["same_place"])]
            lines.append(_row(cells))
    return f"{text}\n\n" + "\n".join(lines)


def _row(cells: Sequence[Any]) -> str:
    return f"| {' | '.join(map(escapes.in_markdown, cells))} |"


def _number(value: float) -> str:
    return f"{int(value):,}"


def _percent(value: float) -> str:
    return f"{value:+.2%}" if math.isfinite(value) else ""
