"""The LMDBs of v1: the genuine one against Python's own reading, and made ones."""

import os
import pickle

import lmdb_patches
import numpy as np
import pytest
import v1_lmdbs

from bigearthnet_tf.archive import (
    archives,
    labels,
    lmdb_store,
    lmdb_v1,
    statistics,
)
from bigearthnet_tf.archive.patch import PatchEntry

NAME = "S2A_MSIL2A_20170613T101031_87_48"
NAME_S1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
OTHER = "S2B_MSIL2A_20170924T93020_69_24"
PIXELS = lmdb_patches.make_patch().bands
S2 = {name: array for name, array in PIXELS.items() if name[0] == "B"}
S1 = {name: array for name, array in PIXELS.items() if name[0] == "V"}
PASTURES = labels.to_multi_hot(["Pastures"], "BigEarthNet-19").astype(np.float64)


@pytest.fixture(scope="module")
def genuine(shared):
    return shared / "data/v1_lmdb/BigEarthNetEncoded.lmdb"


def test_the_genuine_lmdb_has_what_python_unpickles(genuine):
    stored = lmdb_patches.read_raw(genuine)
    source = lmdb_store.open_lmdb(genuine)
    assert isinstance(source, lmdb_v1.LmdbV1Archive) and source.version == "v1"
    assert source.names() == sorted(stored) and len(stored) == 30
    assert len(source.bands) == 14
    for name, value in stored.items():
        patch = source.read(PatchEntry(name))
        arrays, own = v1_lmdbs.python_reads(value)
        assert (patch.labels, patch.label_type) == (own, "original")
        assert (patch.name_s2, patch.name_s1) == (name, None)
        found = {f"band{b.removeprefix('B')}": a for b, a in patch.bands.items()}
        assert found.keys() == arrays.keys()
        for attribute, pixels in arrays.items():
            np.testing.assert_array_equal(found[attribute], pixels, strict=True)


def test_genuine_pixels_are_those_of_v1(genuine, shared):
    """None of them is among the six GeoTIFF patches, so statistics must do."""
    source = lmdb_store.open_lmdb(genuine)
    root = shared / "data/v1/BigEarthNet-v1.0"
    assert {path.name for path in root.iterdir()}.isdisjoint(source.names())
    patches = [source.read(PatchEntry(name)) for name in source.names()]
    known = statistics.band_statistics("v1")
    for name in source.bands:
        mean = np.mean([patch.bands[name].mean() for patch in patches])
        assert abs(mean - known.mean[name]) < known.std[name] / 2, name


def test_geotiffs_that_were_encoded_come_back(shared, tmp_path):
    roots = [shared / "data/v1" / f"BigEarthNet-{s}v1.0" for s in ("", "S1-")]
    archive = archives.open_archive(*roots)
    entries = archive.complete(map(PatchEntry, (p.name for p in roots[0].iterdir())))
    patches = [archive.read(entry) for entry in entries]
    content = {p.name_s2: v1_lmdbs.encoded(p.bands, p.labels) for p in patches}
    source = lmdb_store.open_lmdb(v1_lmdbs.write(tmp_path / "x", content))
    copy = pickle.loads(pickle.dumps(source))
    for entry, patch in zip(entries, patches, strict=True):
        found = copy.read(*source.complete([entry]))
        assert (found.labels, found.name_s1) == (patch.labels, patch.name_s1)
        assert found.bands.keys() == patch.bands.keys()
        for name, pixels in patch.bands.items():
            np.testing.assert_array_equal(found.bands[name], pixels, strict=True)


def write_cbir(folder, protocol=4):
    content = {NAME: v1_lmdbs.cbir_s2(S2, PASTURES, protocol)}
    extra = {"__keys__": pickle.dumps([NAME]), "__len__": pickle.dumps(1)}
    optical = v1_lmdbs.write(folder / "s2", content | extra)
    content = {NAME_S1: v1_lmdbs.cbir_s1(S1, PASTURES, protocol)}
    return optical, v1_lmdbs.write(folder / "s1", content | extra)


@pytest.mark.parametrize("protocol", range(6))
def test_the_two_lmdbs_of_the_cbir_project(tmp_path, protocol):
    optical, radar = write_cbir(tmp_path, protocol)
    entry = PatchEntry(NAME, NAME_S1)
    for pair in ((optical, radar), (radar, optical)):
        source = lmdb_store.open_lmdb(pair[0], other=pair[1])
        assert source.names() == [NAME] and source.complete([entry]) == [entry]
        assert source.label_types == ("BigEarthNet-19",)
        patch = source.read(entry)
        assert (patch.labels, patch.label_type) == (("Pastures",), "BigEarthNet-19")
        assert list(patch.bands) == list(PIXELS)
        for name, pixels in PIXELS.items():
            np.testing.assert_array_equal(patch.bands[name], pixels, strict=True)
    alone = lmdb_store.open_lmdb(radar)
    assert alone.names() == [NAME_S1] and alone.bands == ("VV", "VH")
    assert alone.read(PatchEntry(NAME_S1, NAME_S1)).name_s2 is None
    with pytest.raises(ValueError, match=r"s1: .*give a list of S2 and S1 names"):
        alone.complete([PatchEntry(NAME)])
    with pytest.raises(ValueError, match="s2: holds no patch of S1: leave that"):
        lmdb_store.open_lmdb(optical, sensors=["S1"])


def test_one_sensor_of_both(tmp_path):
    path = v1_lmdbs.write(tmp_path / "x", {NAME: v1_lmdbs.encoded(PIXELS)})
    source = lmdb_store.open_lmdb(path, sensors=["S1"])
    patch = source.read(PatchEntry(NAME))
    assert (list(patch.bands), patch.labels) == (["VV", "VH"], ("Pastures",))
    # Labels of the list go before those of the value.
    own = PatchEntry(NAME, labels=("Airports",), label_type="original")
    assert source.read(own, ["VV"]).labels == ("Airports",)
    content = {NAME: v1_lmdbs.encoded(S2), OTHER: v1_lmdbs.encoded(PIXELS)}
    alone = lmdb_store.open_lmdb(v1_lmdbs.write(tmp_path / "s2", content))
    assert list(alone.read(PatchEntry(OTHER)).bands) == list(alone.bands) == list(S2)


class Trap:
    def __reduce__(self):
        return os.system, ("exit 1",)


def changed(**arrays):
    return S2 | arrays


def tuple_with(vector=PASTURES, **arrays):
    return v1_lmdbs.cbir_s2(changed(**arrays), vector)


FRACTION = S2["B05"] + 0.5
NAN = np.where(np.eye(120) > 0, np.nan, 1.0)
ENCODED = v1_lmdbs.encoded(S2)
WRONG = {
    "a call": (pickle.dumps(Trap()), r"calls '(posix|nt)\.system': nothing of it was"),
    "a hidden call": (v1_lmdbs.encoded(S2, extra=[Trap()]), r"'(posix|nt)\.system'"),
    "a call of protocol 0": (pickle.dumps(Trap(), 0), r"calls '(posix|nt)\.system'"),
    "cut short": (ENCODED[:-9], "pickled, but .*nothing of it was executed; get the"),
    "no pickle": (b"abc", "but it is no pickle: nothing"),
    "a number": (pickle.dumps(3, 4), "it holds a value of type int"),
    "another class": (pickle.dumps(Trap, 4), r"it holds '.*\.Trap'"),
    "no bands": (v1_lmdbs.encoded({}), "BigEarthNet_S1_S2_Patch' without bands"),
    "no pixels": (v1_lmdbs.encoded(S2 | {"B02": None}), "band02 has a value of type N"),
    "fewer bands": (
        v1_lmdbs.encoded({"B02": S2["B02"]}), "expected a band B01, got B02: get the"),
    "a small band": (
        v1_lmdbs.encoded(changed(B02=S2["B05"])), "B02: expected 120 x 120 .*got 60"),
    "a wide band": (
        v1_lmdbs.encoded(changed(B02=S2["B02"].astype("i4"))), "B02: .* of int32"),
    "no labels": (v1_lmdbs.encoded(S2, labels=None), "expected labels, got none"),
    "empty labels": (v1_lmdbs.encoded(S2, labels=[]), "list of labels is empty"),
    "odd labels": (v1_lmdbs.encoded(S2, labels=[["x"]]), "labels are no list of nam"),
    "unknown labels": (v1_lmdbs.encoded(S2, labels=["Pasture"]), "unknown label 'Past"),
    "other new labels": (
        v1_lmdbs.encoded(S2, new_labels=["Arable land"]), "new_labels are not those"),
    "another band": (ENCODED.replace(b"B8A", b"B12", 1), "band8A says that it is"),
    "other form": (tuple_with(), "expected labels of 'original' as in the first"),
    "a short tuple": (pickle.dumps((1, 2)), "a tuple of 2, expected 4 .S2. or 3 .S1."),
    "a tuple of numbers": (pickle.dumps((1, 2, 3)), "other things than arrays"),
    "a flat tuple": (pickle.dumps((NAN, NAN, PASTURES)), r"shape \(120, 120\) for VV"),
    "fractions": (tuple_with(B05=FRACTION), r"B05: .*3600 of 3600 are no whole.*\.5"),
    "nan": (tuple_with(B02=NAN), r"120 of 14400 are no whole numbers of uint16 .nan"),
    "negative": (tuple_with(B02=NAN * 0 - 1), "14400 of 14400 are no whole numbers"),
    "large": (tuple_with(B02=np.full((120, 120), 65536.0)), "no whole numbers"),
    "scores": (tuple_with(PASTURES / 2), "expected zeros and ones"),
    "43 in a tuple": (tuple_with(np.zeros(43)), r"expected a vector of shape \(19,\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG)
def test_wrong_values_are_named(tmp_path, case):
    value, message = WRONG[case]
    path = v1_lmdbs.write(tmp_path / "x", {NAME: ENCODED, OTHER: value})
    source = lmdb_store.open_lmdb(path)
    with pytest.raises(ValueError, match=rf"x: key {OTHER}: .*{message}") as caught:
        source.read(PatchEntry(OTHER))
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_a_hostile_first_value_is_named(tmp_path):
    for protocol in range(6):
        value = pickle.dumps(Trap(), protocol)
        path = v1_lmdbs.write(tmp_path / f"{protocol}", {NAME: value})
        with pytest.raises(ValueError, match=rf"{protocol}: key {NAME}: .*\.system"):
            lmdb_store.open_lmdb(path)


def test_values_of_the_two_sensors_agree(tmp_path):
    optical, _ = write_cbir(tmp_path)
    value = v1_lmdbs.cbir_s1(S1, np.eye(19)[3])
    radar = v1_lmdbs.write(tmp_path / "r", {NAME_S1: value})
    source = lmdb_store.open_lmdb(optical, other=radar)
    entry = PatchEntry(NAME, NAME_S1)
    with pytest.raises(
        ValueError, match=rf"s2: key {NAME}: has other labels than .*r:"
    ):
        source.read(entry)
    assert source.read(entry, ["B02"]).labels == ("Pastures",)
    with pytest.raises(ValueError, match="are no pair"):
        source.complete([PatchEntry(OTHER, NAME_S1)])
    power = {name: 10 ** (array / 10) for name, array in S1.items()}
    path = v1_lmdbs.write(tmp_path / "p", {NAME: v1_lmdbs.encoded(S2 | power)})
    with pytest.raises(ValueError, match=r"band V[VH]: .*decibels"):
        lmdb_store.open_lmdb(path).read(PatchEntry(NAME))


def test_what_does_not_go_together(tmp_path):
    optical, radar = write_cbir(tmp_path)
    with pytest.raises(ValueError, match=rf"s2: key {NAME}: has S2, and so has"):
        lmdb_store.open_lmdb(optical, other=optical)
    with pytest.raises(
        ValueError, match=r"s2: is an LMDB of v1, .*leave the reference"
    ):
        lmdb_store.open_lmdb(optical, reference_maps=True)
    v2 = lmdb_patches.write_lmdb(tmp_path / "v2", [lmdb_patches.make_patch()])
    with pytest.raises(ValueError, match="v2: is an LMDB of v2, which has its own"):
        lmdb_store.open_lmdb(v2, other=radar)
    renamed = v1_lmdbs.write(tmp_path / "n", {lmdb_patches.NAME: ENCODED})
    with pytest.raises(
        ValueError, match=r"holds pickles.* is a name of v2: encode the"
    ):
        lmdb_store.open_lmdb(renamed)
    source = lmdb_store.open_lmdb(optical)
    for name, message in (
        (OTHER, "no such key: leave the patch out"),
        (lmdb_patches.NAME, "no such key: it is a name of v2"),
    ):
        with pytest.raises(ValueError, match=message):
            source.read(PatchEntry(name))
    with pytest.raises(ValueError, match="holds no patch of S1"):
        source.read(PatchEntry(NAME, NAME_S1), ["VV"])
