"""What stands under a key of the v2 LMDB, and values with faults."""

import dataclasses
import json
import struct

import numpy as np
import pytest
import safetensors.numpy
from lmdb_patches import ENTRY, NAME, make_patch, write_raw

from bigearthnet_tf.archive import lmdb_store, lmdb_values


def save(**arrays):
    return safetensors.numpy.save(arrays)


def header(**arrays):
    text = json.dumps(arrays).encode()
    return struct.pack("<Q", len(text)) + text


S2_ARRAYS = make_patch().bands


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "expected arrays in safetensors form, got 0 bytes of an unknown"),
        (b"abc", "got 3 bytes of an unknown form: encode the patch again"),
        (bytes(160_832), "got 160832 bytes of an unknown form"),
        (save(B02=S2_ARRAYS["B02"])[:-1], "that are damaged or cut short: encode"),
        (save(B02=S2_ARRAYS["B02"]) + b"x", "that are damaged or cut short"),
        (
            header(B02={"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}) + b"xx",
            "damaged",
        ),
        (save(), "expected an array B02, got none"),
        (save(B03=S2_ARRAYS["B03"]), "expected an array B02, got B03"),
        (save(B02=S2_ARRAYS["B05"]), "band B02: expected 120 x 120 pixels.*got 60 x"),
        (save(B02=S2_ARRAYS["B02"].ravel()), "band B02: .*got 14400 of uint16"),
        (save(B02=S2_ARRAYS["B02"].astype(np.int32)), "band B02: .* of int32"),
    ],
)
def test_corrupt_values_are_named(tmp_path, value, message):
    """The first patch is whole, so that the fault is found in reading."""
    good = make_patch(names_of=("S2",))
    assert good.name_s2 < NAME
    path = tmp_path / "x"
    write_raw(path, {**lmdb_values.encode(good), NAME: value})
    source = lmdb_store.open_lmdb(path)
    with pytest.raises(ValueError, match=rf"x: key {NAME}: .*{message}") as caught:
        source.read(ENTRY, ["B02"])
    assert "\n" not in str(caught.value)


def test_a_corrupt_map_is_named(tmp_path):
    good = make_patch(names_of=("S2",), with_map=True)
    small = save(Data=np.zeros((60, 60), np.uint16))
    other = lmdb_values.encode(make_patch(names_of=("S2",)))[good.name_s2]
    write_raw(
        tmp_path / "x",
        {**lmdb_values.encode(good), NAME: other, f"{NAME}_reference_map": small},
    )
    with pytest.raises(
        ValueError,
        match=f"patch {NAME}, key {NAME}_reference_map: reference map: .*120 x 120",
    ):
        lmdb_store.open_lmdb(tmp_path / "x").read(ENTRY)


def test_views_of_arrays_are_written_in_order(tmp_path):
    patch = make_patch()
    fortran = {name: np.asfortranarray(array) for name, array in patch.bands.items()}
    turned = dataclasses.replace(patch, bands=fortran)
    assert lmdb_values.encode(turned) == lmdb_values.encode(patch)
