"""A picture of where a query and its hits lie."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bigearthnet_tf import pictures
from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO
from bigearthnet_tf.retrieval import places

# Around what is shown: a share of its extent, and degrees at least.
_MARGIN, _LEAST_MARGIN = 0.08, 0.05
# Points: a rank's digit and height, half a marker, and how far a rank may stand off.
_DIGIT, _HEIGHT, _MARKER = 5.5, 10.0, 5.0
_DISTANCES = (11, 17, 24, 32, 41, 52, 65)

Box = tuple[float, float, float, float]


def draw(hits: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draws query and hits by longitude and latitude, on the tiles that they are of.

    Hits are numbered by rank; filled ones share a label with the query. Where several
    lie at one place, their ranks stand together.

    Args:
        hits: of `queries.search_patch`; those without a place are counted in a note.
        title: above the picture.

    Raises:
        ValueError: no place is known.
    """
    placed = [hit for hit in hits if "lon" in hit]
    if not placed:
        raise ValueError("no name tells where query or hits lie; there is no map")
    lon, lat = (np.array([hit[key] for hit in placed]) for key in ("lon", "lat"))
    figure = Figure(figsize=(7.2, 6.4), layout="constrained")
    axes = figure.subplots()
    # A degree of longitude is shorter away from the equator.
    axes.set_aspect(1 / np.cos(np.radians(lat.mean())), adjustable="datalim")
    for hit in placed:
        look = _query_look() if not hit["rank"] else _look(hit["shared_labels"])
        axes.plot(
            hit["lon"],
            hit["lat"],
            linestyle="none",
            zorder=2 + (not hit["rank"]),
            **look,
        )
    margin = max(_LEAST_MARGIN, _MARGIN * max(np.ptp(lon), np.ptp(lat)))
    corners = [[x.min() - margin, x.max() + margin] for x in (lon, lat)]
    axes.margins(0)
    axes.update_datalim(np.transpose(corners))
    axes.autoscale_view()
    axes.set_xlabel("longitude (degrees east)")
    axes.set_ylabel("latitude (degrees north)")
    axes.set_title(title, fontsize=10)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    _legend(figure, hits, len(hits) - len(placed))
    # Before anything is placed by its pixels, everything else has its own.
    pictures.without_formulas(figure)
    figure.draw_without_rendering()
    axes.autoscale(enable=False)
    axes.set_adjustable("box")
    taken = _marked(axes, placed)
    _number(axes, placed, taken)
    _outline_tiles(axes, placed, taken)
    return figure


def _query_look() -> dict[str, Any]:
    return {"marker": "*", "color": OKABE_ITO[1], "markersize": 17}


def _look(shared: Sequence[str] | None) -> dict[str, Any]:
    """Returns how a hit looks: by its labels, or where those of the query are unknown.

    Args:
        shared: labels that it shares; None: unknown.
    """
    look: dict[str, Any] = {"marker": "o", "markersize": 8, "markeredgewidth": 1.3}
    if shared is None:
        return look | {"color": GREY}
    return look | {"color": OKABE_ITO[0], "fillstyle": "full" if shared else "none"}


def _points(axes: Axes, place: tuple[float, float]) -> tuple[float, float]:
    """Returns where longitude and latitude are in the figure, in points."""
    to_points = 72 / axes.get_figure(root=True).dpi  # type: ignore[union-attr]
    x, y = axes.transData.transform(place) * to_points
    return float(x), float(y)


def _marked(axes: Axes, placed: Sequence[Mapping[str, Any]]) -> list[Box]:
    """Returns the boxes of the markers, in points."""
    boxes = []
    for hit in placed:
        x, y = _points(axes, (hit["lon"], hit["lat"]))
        half = _MARKER if hit["rank"] else 2 * _MARKER
        boxes.append((x - half, y - half, x + half, y + half))
    return boxes


def _outline_tiles(
    axes: Axes, placed: Sequence[Mapping[str, Any]], taken: list[Box]
) -> None:
    """Draws the tiles, named at a corner that is seen, where nothing else stands."""
    names = [hit["name"] for hit in placed], [hit["name_s1"] for hit in placed]
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    for tile, ring in places.tile_outlines(*names).items():
        lon, lat = np.array(ring).T
        axes.plot(lon, lat, color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), zorder=1)
        top, bottom = (
            (max(lon[0], left), min(lat[0], high)),
            (max(lon[1], left), max(lat[1], low)),
        )
        size = (_DIGIT * len(tile), _HEIGHT)
        # Outside below and above, and inside, in points from a corner.
        for corner, dx, dy in ((bottom, 0, -11), (top, 0, 3), (top, 4, -11)):
            if not (left <= corner[0] <= right and low <= corner[1] <= high):
                continue
            x, y = _points(axes, corner)
            box = (x + dx, y + dy, x + dx + size[0], y + dy + size[1])
            if _is_free(box, [*taken, *_outside(axes)]):
                taken.append(box)
                axes.annotate(
                    tile,
                    corner,
                    xytext=(dx, dy),
                    textcoords="offset points",
                    fontsize=7.5,
                    color=GREY,
                )
                break


def _outside(axes: Axes) -> list[Box]:
    """Returns boxes around the axes, in points."""
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    (x, y), (x_end, y_end) = _points(axes, (left, low)), _points(axes, (right, high))
    far = 1e6
    return [
        (-far, -far, x, far),
        (x_end, -far, far, far),
        (-far, -far, far, y),
        (-far, y_end, far, far),
    ]


def _number(axes: Axes, placed: Sequence[Mapping[str, Any]], taken: list[Box]) -> None:
    """Writes the ranks beside the markers, where nothing else stands."""
    for place, ranks in _places(placed).items():
        text = ", ".join(map(str, ranks))
        size = (_DIGIT * len(text), _HEIGHT)
        spot = next(
            (
                each
                for each in _spots(*_points(axes, place), *size)
                if _is_free(each[1], taken)
            ),
            None,
        )
        if spot is None:  # So crowded that one more number would not be read.
            continue
        (dx, dy, distance), box = spot
        taken.append(box)
        line = {"arrowstyle": "-", "color": GREY, "linewidth": 0.6, "shrinkB": _MARKER}
        axes.annotate(
            text,
            place,
            xytext=(dx, dy),
            textcoords="offset points",
            ha="center",
            va="center",
            fontsize=8,
            color=INK,
            arrowprops=None if distance == _DISTANCES[0] else line,
            zorder=4,
        )


def _spots(
    x: float, y: float, width: float, height: float
) -> Iterator[tuple[tuple[float, float, int], Box]]:
    """Yields offsets around a place, nearest first, and the box of a text there."""
    for distance in _DISTANCES:
        for angle in np.radians((45, 0, 90, 135, 180, 225, 270, 315)):
            dx = np.cos(angle) * (distance + width / 2 - _DIGIT / 2)
            dy = np.sin(angle) * distance
            middle = x + dx, y + dy
            yield (
                (dx, dy, distance),
                (
                    middle[0] - width / 2,
                    middle[1] - height / 2,
                    middle[0] + width / 2,
                    middle[1] + height / 2,
                ),
            )


def _is_free(box: Box, taken: Sequence[Box]) -> bool:
    return not any(
        box[0] < right and left < box[2] and box[1] < top and bottom < box[3]
        for left, bottom, right, top in taken
    )


def _places(
    placed: Sequence[Mapping[str, Any]],
) -> dict[tuple[float, float], list[int]]:
    """Returns the ranks of the hits at each place."""
    ranks: dict[tuple[float, float], list[int]] = {}
    for hit in placed:
        if hit["rank"]:
            place = (round(hit["lon"], 3), round(hit["lat"], 3))
            ranks.setdefault(place, []).append(hit["rank"])
    return ranks


def _legend(figure: Figure, hits: Sequence[Mapping[str, Any]], unplaced: int) -> None:
    from matplotlib.lines import Line2D

    looks = [("query", _query_look() | {"markersize": 13})]
    if hits[0]["shared_labels"] is None:
        looks.append(("hit; labels of the query unknown", _look(None)))
    else:
        looks.append(("hit that shares a label", _look(["one"])))
        looks.append(("hit that shares none", _look([])))
    handles = [Line2D([], [], linestyle="none", label=n, **look) for n, look in looks]
    handles.append(
        Line2D([], [], color=GREY, linewidth=0.9, linestyle=(0, (4, 3)), label="tile")
    )
    note = f"{unplaced} not shown: their names tell no place" if unplaced else None
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=len(handles),
        frameon=False,
        title=note,
        fontsize=9,
    )
