"""Small things that many tests make: patches, shards, configs."""

from dataclasses import replace

import numpy as np

from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.archive.patch import Patch
from bigearthnet_tf.records import convert, manifest
from bigearthnet_tf.records.plan import plan_split

ALL_BANDS = tuple(band_facts.BANDS)


def raster(name: str, rng: np.random.Generator) -> np.ndarray:
    facts = band_facts.BANDS[name]
    shape = (facts.pixels, facts.pixels)
    if facts.dtype == "float32":
        return rng.normal(-15, 5, shape).astype(np.float32)
    return rng.integers(0, 2**16, shape, dtype=np.uint16)


def patch(number: int = 0, label_type: str = "original", bands=ALL_BANDS) -> Patch:
    """A patch of noise with two labels and its number in its names."""
    rng = np.random.default_rng(number)
    names = label_facts.LABELS[label_type]
    chosen = sorted(rng.choice(len(names), 2, replace=False))
    h, v = divmod(number, 91)
    return Patch(
        name_s2=f"S2A_MSIL2A_20170613T101031_{h}_{v}",
        name_s1=f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{h}_{v}",
        bands={name: raster(name, rng) for name in bands},
        labels=tuple(names[i] for i in chosen),
        label_type=label_type,
    )


class Memory:
    """An archive whose patches are made when they are read."""

    def __init__(self, version="v1", bands=ALL_BANDS):
        self.version, self.bands, self.origin = version, bands, ()
        self.label_types = ("original", "BigEarthNet-19")[version == "v2" :]

    def complete(self, entries):
        if self.version == "v1":
            return list(entries)
        return [replace(entry, name=v2_name(entry.name)) for entry in entries]

    def stamp(self, entry):
        return entry.name

    def read(self, entry, bands=None) -> Patch:
        number = int(entry.name.split("_")[-2]) * 91 + int(entry.name.split("_")[-1])
        kind = "original" if self.version == "v1" else "BigEarthNet-19"
        return replace(patch(number, kind, self.bands), name_s2=entry.name)


def v2_name(name: str) -> str:
    """The name of a patch in the other version, given that of version 1."""
    scene, column, row = name.rsplit("_", 2)
    return f"{scene}_N9999_R022_T33UUP_{int(column):02}_{int(row):02}"


def entries(count: int, first: int = 0):
    from bigearthnet_tf.archive.patch import PatchEntry

    made = [patch(number, bands=()) for number in range(first, first + count)]
    return [PatchEntry(name=p.name_s2, name_s1=p.name_s1) for p in made]


def write_records(
    folder, split="train", count=10, version="v1", bands=ALL_BANDS, first=0, **options
) -> manifest.Manifest:
    """Writes shards of patches of noise and returns their manifest."""
    archive = Memory(version, bands)
    plan = plan_split(archive, entries(count, first), split, **options)
    return convert.convert(archive, [plan], folder)[0]
