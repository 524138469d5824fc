"""Patches of noise, LMDBs of them, and LMDBs of anything."""

import dataclasses

import lmdb
import numpy as np

from bigearthnet_tf.archive import bands, lmdb_writer
from bigearthnet_tf.archive.patch import Patch, PatchEntry

NAME = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48"
NAME_S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
ENTRY = PatchEntry(NAME, NAME_S1, ("Pastures",), "BigEarthNet-19", "train")


def make_patch(number=0, *, names_of=("S1", "S2"), with_map=False):
    """A patch whose pixels follow from its number."""
    generator = np.random.default_rng(number)
    ending = f"_{number // 100:02}_{number % 100:02}"
    pixels = {}
    for band in bands.BANDS.values():
        if band.sensor in names_of:
            numbers = generator.integers(0, 9999, (band.pixels, band.pixels))
            # Decibels, or digital numbers.
            numbers = numbers / -400 if band.sensor == "S1" else numbers
            pixels[band.name] = numbers.astype(band.dtype)
    return Patch(
        name_s2=NAME.removesuffix("_87_48") + ending,
        name_s1=NAME_S1.removesuffix("_87_48") + ending,
        bands=pixels,
        labels=("Pastures",),
        label_type="BigEarthNet-19",
        reference_map=np.full((120, 120), 231, np.uint16) if with_map else None,
    )


def write_lmdb(path, patches, plan="test", **options):
    with lmdb_writer.LmdbWriter(path, plan, **options) as writer:
        for patch in patches:
            writer.write(patch)
    return path


def write_raw(path, content):
    """Writes keys and values as they are."""
    with lmdb.open(str(path), 1 << 28) as env, env.begin(write=True) as transaction:
        for key, value in content.items():
            transaction.put(key.encode(), value)
    return path


def read_raw(path):
    with (
        lmdb.open(str(path), readonly=True, lock=False) as env,
        env.begin() as transaction,
    ):
        return {key.decode(): value for key, value in transaction.cursor()}


def assert_equal(one, other):
    assert dataclasses.replace(one, bands={}, reference_map=None).__dict__ == (
        dataclasses.replace(other, bands={}, reference_map=None).__dict__
    )
    assert list(one.bands) == list(other.bands)
    for name, pixels in one.bands.items():
        np.testing.assert_array_equal(pixels, other.bands[name], strict=True)
    assert (one.reference_map is None) == (other.reference_map is None)
    if one.reference_map is not None:
        np.testing.assert_array_equal(
            one.reference_map, other.reference_map, strict=True
        )
