"""Where patches lie, by their names, and hits as GeoJSON."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio import warp

from bigearthnet_tf import files
from bigearthnet_tf.archive import names as patch_names
from bigearthnet_tf.archive import spatial

# Corners of a patch from its upper left one, in metres east and south, against the
# clock as RFC 7946 (section 3.1.6) has outer rings; the ring closes.
_RING = ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0))
_EARTH_RADIUS_KM = 6371.0
# Side of a tile of Sentinel-2, which overlaps its neighbours (ESA's product guide).
_TILE_METRES = 109_800

Ring = Sequence[tuple[float, float]]


def footprints(
    names: Sequence[str], names_s1: Sequence[str]
) -> list[list[tuple[float, float]] | None]:
    """Returns the corners of patches as closed rings of longitude and latitude.

    Args:
        names: of the patches.
        names_s1: of their Sentinel-1 partners, which say where patches of v1 lie; empty
            where there are none.

    Returns:
        Five corners each, in degrees (WGS 84); None where no name tells the place.
    """
    parsed = [_with_tile(*pair) for pair in zip(names, names_s1, strict=True)]
    found = spatial.locate(
        [name.tile or "" if name else "" for name in parsed],
        [name.column if name else 0 for name in parsed],
        [name.row if name else 0 for name in parsed],
    )
    rings: list[list[tuple[float, float]] | None] = [None] * len(parsed)
    side = spatial.PATCH_METRES * np.array(_RING)
    # All of a zone at once: a call of the projection takes 100 times a point.
    for zone in set(found.zone.tolist()) - {spatial.UNKNOWN_ZONE}:
        (rows,) = np.nonzero(found.zone == zone)
        east = found.east[rows, None] + side[:, 0]
        north = found.north[rows, None] - side[:, 1]
        there = warp.transform(
            f"EPSG:{32600 + zone}", "EPSG:4326", east.ravel(), north.ravel()
        )
        corners = np.array(there).T.reshape(len(rows), len(_RING), 2)
        for row, ring in zip(rows, corners.tolist(), strict=True):
            rings[row] = [(lon, lat) for lon, lat in ring]
    return rings


def tile_outlines(
    names: Sequence[str], names_s1: Sequence[str]
) -> dict[str, list[tuple[float, float]]]:
    """Returns the tiles of Sentinel-2 that patches lie in, with their outlines.

    Args:
        names: of the patches.
        names_s1: of their partners.

    Returns:
        MGRS name to a closed ring of longitude and latitude in degrees (WGS 84).
    """
    parsed = (_with_tile(*pair) for pair in zip(names, names_s1, strict=True))
    tiles = sorted({name.tile for name in parsed if name and name.tile})
    outlines = {}
    for tile in tiles:
        west, north = spatial.tile_origin(tile)
        side = np.array(_RING) * _TILE_METRES
        lon, lat = warp.transform(
            f"EPSG:{32600 + int(tile[:2])}",
            "EPSG:4326",
            west + side[:, 0],
            north - side[:, 1],
        )
        outlines[tile] = list(zip(lon, lat, strict=True))
    return outlines


def _with_tile(name: str, name_s1: str) -> patch_names.PatchName | None:
    for text in (name, name_s1):
        try:
            found = patch_names.parse_name(text)
        except ValueError:
            continue
        if found.tile and _exists(found.tile):
            return found
    return None


@functools.cache
def _exists(tile: str) -> bool:
    """Tells whether there is such a tile; one odd name must not end a search."""
    try:
        spatial.tile_origin(tile)
    except ValueError:
        return False
    return True


def centre(ring: Ring) -> tuple[float, float]:
    """Returns longitude and latitude of the middle of a ring, in degrees."""
    lon, lat = np.mean(ring[:4], axis=0)
    return float(lon), float(lat)


def kilometres(
    one: tuple[float, float], others: Sequence[tuple[float, float]]
) -> NDArray[np.float64]:
    """Returns great-circle distances, by the haversine formula on a sphere.

    Args:
        one: longitude and latitude in degrees.
        others: likewise.
    """
    lon, lat = np.radians(np.asarray(others, np.float64).reshape(-1, 2)).T
    lon_one, lat_one = np.radians(one)
    a = (
        np.sin((lat - lat_one) / 2) ** 2
        + np.cos(lat) * np.cos(lat_one) * np.sin((lon - lon_one) / 2) ** 2
    )
    return 2 * _EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(a, 0, 1)))


def is_geojson(path: Path) -> bool:
    """Recognises a file with the content of `geojson`."""
    try:
        first = files.read_json(path)["features"][0]["properties"]
    except (OSError, ValueError, LookupError, TypeError):
        return False
    return isinstance(first, dict) and {"rank", "distance"} <= set(first)


def geojson(
    rows: Sequence[dict[str, Any]],
    rings: Sequence[Sequence[tuple[float, float]] | None],
) -> dict[str, Any]:
    """Returns a FeatureCollection (RFC 7946): query and hits with their footprints.

    Args:
        rows: properties of each.
        rings: of `footprints`; a patch without a place has no geometry.
    """
    features = [
        {
            "type": "Feature",
            "properties": row,
            "geometry": None
            if ring is None
            else {
                "type": "Polygon",
                "coordinates": [[[round(x, 7), round(y, 7)] for x, y in ring]],
            },
        }
        for row, ring in zip(rows, rings, strict=True)
    ]
    return {"type": "FeatureCollection", "features": features}
