"""Contact sheets: records as small pictures with their names and labels.

A page is one matplotlib axes in inches, y downwards, on which everything has its place.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from bigearthnet_tf import pictures
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import composites, labels
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.pictures import GREY, INK, LIGHT

# Beyond, a sheet is no longer looked at, and too tall for many programs.
MAX_RECORDS = 240

_DPI = 200
_SMALL, _TEXT, _TITLE = 5.5, 6.5, 9.0  # points
_LINE = 1.35  # from line to line, in heights of the font
# Inches. The widest page fits on A4 with the margins of a paper.
_WIDEST, _NARROWEST = 7.6, 5.2
_MARGIN, _BETWEEN_PANELS, _BETWEEN_CELLS = 0.15, 0.05, 0.16
_LARGEST_PANEL, _ABOVE_CAPTION = 1.6, 0.03
_CELLS_PER_ROW = {1: 6, 2: 4, 3: 3}  # by the number of panels of a patch


@dataclass(frozen=True)
class Record:
    """A record to show: its number among all, and its patch."""

    number: int
    patch: Patch


@dataclass(frozen=True)
class _Panel:
    """A kind of picture: its title, what it takes, how it is made and how read."""

    title: str
    needs: tuple[str, ...]
    paint: Callable[[Patch], NDArray[np.uint8]]
    legend: str

    def missing(self, patch: Patch) -> list[str]:
        """Returns what a patch lacks for this picture."""
        present = set(patch.bands)
        if patch.reference_map is not None:
            present.add(_MAP)
        return [name for name in self.needs if name not in present]


@dataclass(frozen=True)
class _Chip:
    """Words that stay together, behind a square of their colour if they have one."""

    text: str
    colour: str | None = None

    def width(self, points: float) -> float:
        """Returns the width in inches."""
        square = points / 72 if self.colour else 0.0
        return _text_width(self.text, points) + square


# Chips with their distances from the left margin, in inches.
_Line = list[tuple[float, _Chip]]


@dataclass(frozen=True)
class _Cell:
    """A record with the lines that stand below its pictures."""

    record: Record
    name_lines: list[_Line]
    label_lines: list[_Line]

    @property
    def caption_height(self) -> float:
        """Inches below the pictures."""
        names, chips = self.name_lines, self.label_lines
        return _ABOVE_CAPTION + _height(names, _SMALL) + _height(chips, _TEXT)


_MAP = "reference map"


def _paint_true_colour(patch: Patch) -> NDArray[np.uint8]:
    return composites.true_colour(patch.bands)


def _paint_radar(patch: Patch) -> NDArray[np.uint8]:
    return composites.radar_composite(patch.bands)


def _paint_map(patch: Patch) -> NDArray[np.uint8]:
    codes = np.asarray(patch.reference_map)
    return composites.reference_map_colours(codes, patch.label_type)


def _radar_legend() -> str:
    ranges = [
        f"{colour} {name} {low:g} to {high:g} dB".replace("-", "\N{MINUS SIGN}")
        for colour, (name, (low, high)) in zip(
            ("red", "green", "blue"), composites.RADAR_DECIBELS.items(), strict=True
        )
    ]
    return f"Sentinel-1: {', '.join(ranges)}"


_PANELS = (
    _Panel(
        "true colour",
        composites.TRUE_COLOUR,
        _paint_true_colour,
        f"True colour: {', '.join(composites.TRUE_COLOUR)}, reflectance 0 to "
        f"{composites.WHITE / 10_000:g}",
    ),
    _Panel("Sentinel-1", composites.RADAR, _paint_radar, _radar_legend()),
    _Panel(_MAP, (_MAP,), _paint_map, "Reference map: colours of the labels"),
)


def choose(total: int, count: int, seed: int | None = None) -> list[int]:
    """Returns the numbers of the records to show, in order.

    Args:
        total: number of records there are.
        count: number of records to show; all, if there are fewer.
        seed: of a random choice; None for records at even distances.

    Raises:
        ValueError: no records, or a count below 1 or above `MAX_RECORDS`.
    """
    if total < 1:
        raise ValueError("a contact sheet needs records, but these files hold none")
    if not 1 <= count <= MAX_RECORDS:
        raise ValueError(f"expected 1 to {MAX_RECORDS} records on a sheet, got {count}")
    count = min(total, count)
    if seed is None:
        return [place * total // count for place in range(count)]
    chosen = np.random.default_rng(seed).choice(total, count, replace=False)
    return sorted(chosen.tolist())


def not_drawn(patches: Iterable[Patch]) -> list[str]:
    """Returns which composites none of the patches can have, and why."""
    patches = list(patches)
    lacking = {
        panel.title: [panel.missing(patch) for patch in patches]
        for panel in _PANELS
        if panel.title != _MAP
    }
    return [
        f"no {title} composite: the records hold no {', '.join(missing[0])}"
        for title, missing in lacking.items()
        if all(missing)
    ]


def draw(records: Sequence[Record], title: str) -> Figure:
    """Returns a page with the pictures, numbers, names and labels of records.

    Labels stand as their acronyms, which the foot of the page spells out. A picture
    that no record has the bands for is left out; one that this record lacks them for
    is an empty box that says so.

    Args:
        records: what to show, row by row.
        title: of the page.

    Raises:
        ValueError: no record, or none that could be drawn.
    """
    patches = [record.patch for record in records]
    panels = [p for p in _PANELS if any(not p.missing(patch) for patch in patches)]
    if not panels:
        raise ValueError(
            "a contact sheet needs B04, B03 and B02, or VV and VH, or reference maps; "
            "these records hold none of these"
        )
    columns = min(_CELLS_PER_ROW[len(panels)], len(records))
    side = _panel_side(columns, len(panels))
    cell_width = len(panels) * (side + _BETWEEN_PANELS) - _BETWEEN_PANELS
    pitch = cell_width + _BETWEEN_CELLS
    cells = [_caption(record, cell_width) for record in records]
    rows = [cells[i : i + columns] for i in range(0, len(cells), columns)]
    text_width = max(columns * pitch - _BETWEEN_CELLS, _NARROWEST - 2 * _MARGIN)
    foot = _foot(patches, panels, text_width)

    top = _MARGIN + _inches(_TITLE) + _inches(_TEXT)
    tops = [top]
    for row in rows:
        caption = max(cell.caption_height for cell in row)
        tops.append(tops[-1] + side + caption + _BETWEEN_CELLS)
    height = tops[-1] + _height(foot, _TEXT) + _MARGIN
    figure, axes = _page(text_width + 2 * _MARGIN, height)
    _write(axes, _MARGIN, _MARGIN, [[(0.0, _Chip(title))]], _TITLE)
    for row, y in zip(rows, tops, strict=False):
        for column, cell in enumerate(row):
            _draw_cell(axes, cell, panels, _MARGIN + column * pitch, y, side)
    for column in range(columns):
        for index, panel in enumerate(panels):
            x = _MARGIN + column * pitch + index * (side + _BETWEEN_PANELS)
            heading = [[(0.0, _Chip(panel.title))]]
            _write(axes, x, top - _inches(_TEXT), heading, _TEXT, GREY)
    _write(axes, _MARGIN, tops[-1], foot, _TEXT)
    return figure


def save_png(figure: Figure, path: Path | str) -> None:
    """Writes a sheet as PNG, atomically; the same sheet gives the same bytes.

    Raises:
        OSError: the file can't be written.
        ValueError: the path does not end with `.png`.
    """
    check_path(path)
    pictures.save_png(figure, path)


def check_path(path: Path | str) -> None:
    """Raises ValueError for a path that is not that of a PNG."""
    if Path(path).suffix.lower() != ".png":
        raise ValueError(f"{path}: expected a path that ends with .png")


def _panel_side(columns: int, panels: int) -> float:
    width = (_WIDEST - 2 * _MARGIN + _BETWEEN_CELLS) / columns - _BETWEEN_CELLS
    return min((width + _BETWEEN_PANELS) / panels - _BETWEEN_PANELS, _LARGEST_PANEL)


def _caption(record: Record, width: float) -> _Cell:
    """Breaks number, name and labels of a record into lines."""
    patch = record.patch
    name = patch.name_s2 or patch.name_s1 or "no name"
    pieces = [_Chip(piece) for piece in re.findall("[^_]*_?", name) if piece]
    chips = [_Chip(x.acronym, x.colour) for x in _labels_of(patch)] or [
        _Chip("no label")
    ]
    number = _Chip(f"{record.number}  ")
    return _Cell(
        record,
        [_join(line) for line in _flow([number, *pieces], _SMALL, width, gap=0.0)],
        _flow(chips, _TEXT, width),
    )


def _labels_of(patch: Patch) -> list[labels.Label]:
    table = labels.TABLES[patch.label_type]
    return [label for label in table if label.name in patch.labels]


def _foot(
    patches: Sequence[Patch], panels: Sequence[_Panel], width: float
) -> list[_Line]:
    """Returns how to read the pictures, and the labels in full with their colours."""
    side = f"{band_facts.PATCH_METRES / 1000:g}"
    notes = [f"Side of a patch: {side} km", *(panel.legend for panel in panels)]
    lines = _flow([_Chip(f"{note}.") for note in notes], _TEXT, width)
    drawn = any(panel.title == _MAP for panel in panels)
    for label_type in dict.fromkeys(patch.label_type for patch in patches):
        alike = [patch for patch in patches if patch.label_type == label_type]
        lines += _flow(_legend(alike, label_type, drawn), _TEXT, width)
    return lines


def _legend(patches: Sequence[Patch], label_type: str, with_maps: bool) -> list[_Chip]:
    by_code = composites.labels_by_code(label_type)
    names = {name for patch in patches for name in patch.labels}
    codes: set[int] = set()
    for patch in patches:
        if with_maps and patch.reference_map is not None:
            codes |= set(np.unique(patch.reference_map).tolist())
    names |= {by_code[code].name for code in codes & by_code.keys()}
    chips = [
        _Chip(f"{label.acronym}  {label.name}", label.colour)
        for label in labels.TABLES[label_type]
        if label.name in names
    ]
    if codes - by_code.keys():
        chips.append(_Chip("without a label", composites.UNLABELLED))
    return chips


def _flow(
    chips: Sequence[_Chip], points: float, width: float, gap: float | None = None
) -> list[_Line]:
    """Breaks chips into lines of a width; `gap` is between chips, in inches."""
    gap = points / 72 if gap is None else gap
    lines: list[_Line] = [[]]
    x = 0.0
    for chip in chips:
        if lines[-1] and x + chip.width(points) > width:
            lines.append([])
            x = 0.0
        lines[-1].append((x, chip))
        x += chip.width(points) + gap
    return lines


def _join(line: _Line) -> _Line:
    """Returns a line as one piece: pieces of a word would not quite meet."""
    return [(0.0, _Chip("".join(chip.text for _, chip in line)))]


@functools.cache
def _text_width(text: str, points: float) -> float:
    """Returns the width of a text in inches, as it will be drawn."""
    renderer = FigureCanvasAgg(Figure(figsize=(1, 1), dpi=_DPI)).get_renderer()
    font = FontProperties(size=points)
    width, _, _ = renderer.get_text_width_height_descent(text, font, False)
    return float(width) / _DPI


def _inches(points: float) -> float:
    """Returns the height of a line."""
    return points * _LINE / 72


def _height(lines: Sequence[_Line], points: float) -> float:
    return len(lines) * _inches(points)


def _page(width: float, height: float) -> tuple[Figure, Axes]:
    """Returns a page and axes that cover it, in inches from its upper left corner."""
    figure = Figure(figsize=(width, height), dpi=_DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set(xlim=(0, width), ylim=(height, 0), autoscale_on=False)
    return figure, axes


def _draw_cell(
    axes: Axes, cell: _Cell, panels: Sequence[_Panel], x: float, y: float, side: float
) -> None:
    for index, panel in enumerate(panels):
        left = x + index * (side + _BETWEEN_PANELS)
        missing = panel.missing(cell.record.patch)
        if missing:
            _box(axes, left, y, side, LIGHT)
            note = [[(0.05, _Chip(f"no {' '.join(missing)}"))]]
            _write(axes, left, y + side / 2, note, _SMALL, GREY)
        else:
            picture = panel.paint(cell.record.patch)
            extent = (left, left + side, y + side, y)
            axes.imshow(picture, extent=extent, aspect="auto")
    y += side + _ABOVE_CAPTION
    _write(axes, x, y, cell.name_lines, _SMALL, GREY)
    _write(axes, x, y + _height(cell.name_lines, _SMALL), cell.label_lines, _TEXT)


def _write(
    axes: Axes,
    x: float,
    y: float,
    lines: Sequence[_Line],
    points: float,
    colour: str = INK,
) -> None:
    """Writes lines downwards from a place."""
    for line in lines:
        y += _inches(points)
        base = y - 0.25 * points / 72
        for offset, chip in line:
            left = x + offset
            if chip.colour:
                square = 0.7 * points / 72
                _box(axes, left, base - square, square, chip.colour)
                left += points / 72
            axes.text(left, base, chip.text, fontsize=points, color=colour)


def _box(axes: Axes, x: float, y: float, side: float, colour: str) -> None:
    axes.add_patch(
        Rectangle((x, y), side, side, facecolor=colour, edgecolor=GREY, linewidth=0.3)
    )
