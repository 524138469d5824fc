"""Queries and their hits as people see them: pictures, labels, distances, places."""

from __future__ import annotations

import base64
import functools
import html
import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bigearthnet_tf.archive import composites
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.evaluation import page
from bigearthnet_tf.records import inspection
from bigearthnet_tf.retrieval import places
from bigearthnet_tf.retrieval.stored import Embeddings

STYLE = """\
.hits { display: flex; gap: .8rem; overflow-x: auto; padding: .2rem 0 1.2rem; }
.hits figure { flex: 0 0 9.5rem; margin: 0; }
.hits figure.query { border-right: 2px solid var(--line); padding-right: .8rem;
  flex-basis: 10.3rem; }
.hits img { width: 9.5rem; height: 9.5rem; padding: 0; border-radius: 3px;
  margin-bottom: 3px; image-rendering: pixelated; }
.hits figcaption { font-size: .78rem; line-height: 1.35; overflow-wrap: anywhere; }
.hits .shared { color: #157f3b; font-weight: 600; }
.hits .name { font-size: .68rem; }
.hits .partner { font-weight: 700; color: var(--ink); }
@media (prefers-color-scheme: dark) { .hits .shared { color: #5fce86; } }
"""
# JPEG: a fifth of the bytes of PNG, with nothing to be seen of it at this size.
_QUALITY = 88


def choose(
    values: NDArray[np.float64], count: int, seed: int = 42
) -> dict[str, list[int]]:
    """Returns queries that are shown: best, worst and drawn at random.

    Args:
        values: (queries,) of a metric; ties go by number. NaN, of queries that have
            nothing to find, is neither best nor worst.
        count: of each kind; fewer where there are not so many.
        seed: of the draw.
    """
    known = np.flatnonzero(np.isfinite(values))
    order = known[np.argsort(-values[known], kind="stable")]
    drawn = np.random.default_rng(seed).permutation(len(values))
    chosen = {"Best": order, "Worst": order[::-1], "At random": drawn}
    return {name: [int(row) for row in rows[:count]] for name, rows in chosen.items()}


def section(
    queries: Embeddings,
    archive: Embeddings,
    ids: NDArray[np.int64],
    distances: NDArray[np.float32],
    values: NDArray[np.float64],
    *,
    title: str,
    same: bool,
    count: int = 3,
    hits: int = 6,
) -> str:
    """Returns HTML with queries and their first hits; `STYLE` belongs to it.

    Args:
        queries: features of the query split.
        archive: features of the archive split.
        ids: (queries, hits) rows of the archive, -1 for none.
        distances: likewise.
        values: (queries,) metric by which queries are best and worst.
        title: of the section.
        same: whether both splits are the same records, so that the hit of a query's own
            row is its partner.
        count: queries of each kind.
        hits: shown of each.
    """
    parts = []
    for kind, rows in choose(values, count).items():
        for row in rows:
            shown = [int(i) for i in ids[row, :hits] if i >= 0]
            figures = [_figure(queries, row, queries, row, "query", False)]
            figures += [
                _figure(
                    archive,
                    hit,
                    queries,
                    row,
                    f"{rank}. at {distances[row, rank - 1]:.3f}",
                    same and hit == row,
                )
                for rank, hit in enumerate(shown, start=1)
            ]
            value = f"{values[row]:.3f}" if np.isfinite(values[row]) else "no labels"
            head = f"{kind}: {html.escape(queries.names[row])}, {value}"
            parts.append(
                f'<p>{head}</p><div class="hits" tabindex="0">{"".join(figures)}</div>'
            )
    return page.section(html.escape(title), "\n".join(parts))


def _figure(
    own: Embeddings,
    row: int,
    asked: Embeddings,
    query: int,
    caption: str,
    is_partner: bool,
) -> str:
    has = np.asarray(own.labels[row]) > 0
    wanted = np.asarray(asked.labels[query]) > 0
    is_query = caption == "query"
    labels = ", ".join(
        f'<span class="shared">{html.escape(name)}</span>'
        if wanted[j] and not is_query
        else html.escape(name)
        for j, name in enumerate(own.facts.labels)
        if has[j]
    )
    name, name_s1 = own.names[row], own.names_s1[row]
    ring = places.footprints([name], [name_s1])[0]
    where = ""
    if ring is not None:
        lon, lat = places.centre(ring)
        where = f"{abs(lat):.2f}° {'N' if lat >= 0 else 'S'}, "
        where += f"{abs(lon):.2f}° {'E' if lon >= 0 else 'W'}<br>"
    partner = '<span class="partner">its own partner</span><br>' if is_partner else ""
    images = "".join(
        f'<img src="{uri}" alt="{sensor} of {html.escape(name)}">'
        for sensor, uri in thumbnails(_read(own, row)).items()
    )
    kind = ' class="query"' if is_query else ""
    return (
        f"<figure{kind}>{images}<figcaption><b>{caption}</b><br>{partner}"
        f'{labels or "no label"}<br>{where}<span class="name">{html.escape(name)}'
        "</span></figcaption></figure>\n"
    )


def thumbnails(patch: Patch) -> dict[str, str]:
    """Returns data URIs of the pictures of a patch, by sensor.

    Sentinel-2 in true colour, Sentinel-1 as VV, VH and their ratio, each where its
    bands are there.
    """
    drawn = {}
    if set(composites.TRUE_COLOUR) <= set(patch.bands):
        drawn["Sentinel-2"] = composites.true_colour(patch.bands)
    if {"VV", "VH"} <= set(patch.bands):
        drawn["Sentinel-1"] = composites.radar_composite(patch.bands)
    return {sensor: _uri(pixels) for sensor, pixels in drawn.items()}


def _uri(pixels: NDArray[np.uint8]) -> str:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _read(own: Embeddings, row: int) -> Patch:
    _, patch = inspection.read_record(_look(tuple(own.facts.files)), row)
    return patch


@functools.lru_cache(maxsize=4)
def _look(paths: Sequence[str]) -> list[inspection.Split]:
    return inspection.look(list(paths))
