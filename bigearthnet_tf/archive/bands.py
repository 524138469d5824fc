"""The bands of BigEarthNet, the named band sets, and the channel order.

Both versions of the archive hold the same two Sentinel-1 and twelve Sentinel-2
bands; B10 exists in neither. A patch is 1200 m x 1200 m, one single-band GeoTIFF a
band (Sumbul et al. 2019, arXiv:1902.06148; Sumbul et al. 2021, arXiv:2105.07921;
Clasen et al. 2024, arXiv:2407.03653).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bigearthnet_tf.registry import nearest_names

Sensor = Literal["S1", "S2"]

PATCH_METRES = 1200


@dataclass(frozen=True)
class Band:
    """One band as both archive versions store it.

    Attributes:
        name: file name ending and key, such as `"B8A"`.
        sensor: `"S1"` (backscatter in dB) or `"S2"` (reflectance x 10,000).
        metres: side of a pixel on the ground.
        pixels: side of the square patch: 120, 60 or 20.
        dtype: NumPy name of the stored type.
        wavelength_nm: central wavelength of Sentinel-2A (ESA Sentinel-2 Spectral
            Response Functions 3.0); None for radar.
    """

    name: str
    sensor: Sensor
    metres: int
    pixels: int
    dtype: Literal["uint16", "float32"]
    wavelength_nm: float | None

    @property
    def group(self) -> str:
        """Name of the bands of the same sensor and resolution, as `"s2_20m"`."""
        return f"{self.sensor.lower()}_{self.metres}m"


def _s1(name: str) -> Band:
    return Band(name, "S1", 10, PATCH_METRES // 10, "float32", None)


def _s2(name: str, metres: int, wavelength_nm: float) -> Band:
    return Band(name, "S2", metres, PATCH_METRES // metres, "uint16", wavelength_nm)


# THE channel order: radar first, then optical by band number, as ConfigILM 0.5 and
# later, and with them all reBEN weights, have it.
BANDS: dict[str, Band] = {
    band.name: band
    for band in (
        _s1("VV"),
        _s1("VH"),
        _s2("B01", 60, 442.7),
        _s2("B02", 10, 492.4),
        _s2("B03", 10, 559.8),
        _s2("B04", 10, 664.6),
        _s2("B05", 20, 704.1),
        _s2("B06", 20, 740.5),
        _s2("B07", 20, 782.8),
        _s2("B08", 10, 832.8),
        _s2("B8A", 20, 864.7),
        _s2("B09", 60, 945.1),
        _s2("B11", 20, 1613.7),
        _s2("B12", 20, 2202.4),
    )
}

GROUPS = ("s1_10m", "s2_10m", "s2_20m", "s2_60m")

_S1 = ("VV", "VH")
_S2 = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
_S2_FULL = tuple(name for name, band in BANDS.items() if band.sensor == "S2")
_S2_NO_RGB = tuple(name for name in _S2_FULL if name not in ("B02", "B03", "B04"))
_TF_S2 = ("B04", "B03", "B02", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
_ILM_V1_S1 = ("VH", "VV")
_ILM_V1_S2 = ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B11", "B12", "B8A")

BAND_SETS: dict[str, tuple[str, ...]] = {
    # ConfigILM's BENv2 reader and the reBEN training scripts (weights from v0.2.0).
    "s1": _S1,
    "s2": _S2,
    "all": _S1 + _S2,
    "s1_full": _S1,
    "s2_full": _S2_FULL,
    "all_full": tuple(BANDS),
    "rgb": ("B04", "B03", "B02"),
    "rgb_ir": ("B02", "B03", "B04", "B08"),
    "s2_no_rgb": _S2_NO_RGB,
    "all_no_rgb": _S1 + _S2_NO_RGB,
    # TU Berlin's TensorFlow models 1.1.1: red first, radar last.
    "tf_s2": _TF_S2,
    "tf_mm": _TF_S2 + _S1,
    # The same project's K-BranchCNN: its three branches, 10 m, 20 m, 60 m.
    "k_branch": (*_TF_S2, "B01", "B09"),
    # balanced-bigearthnet: the order it means (its set gives a random one).
    "bal_all": _S2_FULL,
    # ConfigILM's BENv1 reader and the published weights up to v0.1.1.
    "ilm_v1_s1": _ILM_V1_S1,
    "ilm_v1_s2": _ILM_V1_S2,
    "ilm_v1_all": _ILM_V1_S2 + _ILM_V1_S1,
    "ilm_v1_rgb_ir": ("B04", "B03", "B02", "B08"),
    # TorchGeo sorts the files by name, so VH comes first (its docstring differs).
    "torchgeo_s1": ("VH", "VV"),
    "torchgeo_all": ("VH", "VV", *_S2_FULL),
}


def resolve_bands(selection: str | Sequence[str]) -> tuple[str, ...]:
    """Returns the band names that a config's `bands` stands for, in its order.

    Args:
        selection: the name of a band set, or a list of band names.

    Raises:
        ValueError: unknown set or band, a band named twice, or no band at all.
    """
    if isinstance(selection, str):
        if selection in BAND_SETS:
            return BAND_SETS[selection]
        if selection in BANDS:
            raise ValueError(
                f"expected a band set or a list of bands, but {selection!r} is one "
                f'band: write ["{selection}"]'
            )
        raise ValueError(
            f"unknown band set {selection!r}: {nearest_names(selection, BAND_SETS)}"
        )
    names = tuple(selection)
    if not names:
        raise ValueError("expected at least one band, but the list of bands is empty")
    for name in names:
        if name not in BANDS:
            raise ValueError(f"unknown band {name!r}: {nearest_names(name, BANDS)}")
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise ValueError(f"bands named more than once: {', '.join(repeated)}")
    return names


def group_bands(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Returns the bands of each sensor and resolution, as batches carry them.

    Args:
        names: band names in any order.

    Returns:
        Group name to its bands in channel order; groups without a band are absent,
        the others in the order of `GROUPS`.

    Raises:
        ValueError: as `resolve_bands`.
    """
    wanted = set(resolve_bands(tuple(names)))
    ordered = [band for band in BANDS.values() if band.name in wanted]
    groups = {
        group: tuple(band.name for band in ordered if band.group == group)
        for group in GROUPS
    }
    return {group: members for group, members in groups.items() if members}
