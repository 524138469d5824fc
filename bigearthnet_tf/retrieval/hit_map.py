"""A picture of where a query and its hits lie."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from bigearthnet_tf.pictures import GREY, INK, LIGHT, OKABE_ITO

# Degrees around what is shown, so that a single place has a neighbourhood.
_MARGIN = 0.5


def draw(hits: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draws query and hits by longitude and latitude.

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
    figure = Figure(figsize=(7.2, 6.0), layout="constrained")
    axes = figure.subplots()
    # A degree of longitude is shorter away from the equator.
    axes.set_aspect(1 / np.cos(np.radians(lat.mean())), adjustable="datalim")
    for hit in placed:
        is_query = not hit["rank"]
        shares = bool(hit["shared_labels"])
        axes.plot(
            hit["lon"],
            hit["lat"],
            marker="*" if is_query else "o",
            markersize=18 if is_query else 9,
            color=OKABE_ITO[1] if is_query else OKABE_ITO[0],
            fillstyle="full" if is_query or shares else "none",
            markeredgewidth=1.3,
            linestyle="none",
            zorder=3 if is_query else 2,
        )
    for (x, y), ranks in _places(placed).items():
        axes.annotate(
            ", ".join(map(str, ranks)),
            (x, y),
            xytext=(7, 6),
            textcoords="offset points",
            fontsize=8,
            color=INK,
        )
    axes.set_xlim(lon.min() - _MARGIN, lon.max() + _MARGIN)
    axes.set_ylim(lat.min() - _MARGIN, lat.max() + _MARGIN)
    axes.set_xlabel("longitude (degrees east)")
    axes.set_ylabel("latitude (degrees north)")
    axes.set_title(title, fontsize=10)
    axes.grid(color=LIGHT, linewidth=0.8)
    axes.tick_params(colors=INK)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(GREY)
    _legend(figure, len(hits) - len(placed))
    return figure


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


def _legend(figure: Figure, unplaced: int) -> None:
    from matplotlib.lines import Line2D

    looks: tuple[tuple[str, dict[str, Any]], ...] = (
        ("query", {"marker": "*", "color": OKABE_ITO[1], "markersize": 13}),
        ("hit that shares a label", {"marker": "o", "color": OKABE_ITO[0]}),
        (
            "hit that shares none",
            {"marker": "o", "color": OKABE_ITO[0], "fillstyle": "none"},
        ),
    )
    handles = [Line2D([], [], linestyle="none", label=n, **look) for n, look in looks]
    note = f"{unplaced} not shown: their names tell no place" if unplaced else None
    figure.legend(
        handles=handles, loc="outside lower center", ncols=3, frameon=False, title=note
    )
