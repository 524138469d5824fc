"""Reading the v2 LMDB: the published one, generated ones, and ones with faults."""

import dataclasses
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
import textwrap

import numpy as np
import pytest
from lmdb_patches import (
    ENTRY,
    NAME,
    assert_equal,
    make_patch,
    read_raw,
    write_lmdb,
    write_raw,
)

from bigearthnet_tf.archive import (
    archives,
    bands,
    geotiff,
    lmdb_store,
    lmdb_values,
    lmdb_writer,
    metadata,
    sample,
)
from bigearthnet_tf.archive.patch import PatchEntry

PUBLISHED = (
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_75_43",
    "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_87_48",
    "S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU_04_55",
    "S2A_MSIL2A_20170617T113321_N9999_R080_T29UPU_36_85",
    "S2A_MSIL2A_20171221T112501_N9999_R037_T29SND_56_35",
    "S2B_MSIL2A_20170924T093019_N9999_R136_T35VPK_69_24",
    "S2B_MSIL2A_20180204T094159_N9999_R036_T35VPK_57_38",
)
# Whose Sentinel-1 partner, and whose pixels, are not in the published sample.
WITHOUT_PARTNER = NAME.replace("87_48", "75_43")
MAP_ALONE = NAME.replace("87_48", "26_57")


@pytest.fixture(scope="module")
def tables(shared):
    """The rows of the published patches; one of the six pairs is among those with snow.

    All rows would do as well, and take seconds to index in each test.
    """
    both = metadata.read_tables(sorted((shared / "data/v2").glob("metadata*.parquet")))
    return both[both["patch_id"].isin(PUBLISHED)]


@pytest.fixture(scope="module")
def published(shared):
    return shared / "data/v2/Encoded-BigEarthNet"


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    """A generated archive with reference maps, and its table."""
    root = sample.write_archive(
        tmp_path_factory.mktemp("sample") / "v2", 20, "v2", 5, workers=1
    )
    table = metadata.read_metadata(root / "metadata.parquet")
    return root, table


@pytest.fixture(scope="module")
def geotiffs(generated):
    root, table = generated
    return archives.open_archive(
        root / "BigEarthNet-S2",
        root / "BigEarthNet-S1",
        metadata=table,
        maps_root=root / "Reference_Maps",
    )


def test_published_patches_have_the_pixels_of_the_geotiffs(shared, published, tables):
    source = lmdb_store.open_lmdb(published, tables, reference_maps=False)
    data = shared / "data/v2"
    tiffs = archives.open_archive(
        data / "BigEarthNet-S2", data / "BigEarthNet-S1", metadata=tables
    )
    assert (source.version, source.bands) == ("v2", tuple(bands.BANDS))
    assert source.reference_maps is False
    entries = source.entries()
    assert len(entries) == 7
    pairs = [entry for entry in entries if entry.name != WITHOUT_PARTNER]
    for entry in pairs:
        assert_equal(source.read(entry), tiffs.read(entry))
        assert_equal(source.read(PatchEntry(entry.name)), tiffs.read(entry))
    chosen = source.read(pairs[0], ["B12", "VH", "B02"])
    assert list(chosen.bands) == ["B12", "VH", "B02"]


def test_entries_are_those_of_the_metadata(published, tables):
    source = lmdb_store.open_lmdb(published, tables, reference_maps=False)
    expected = metadata.entries_from_metadata(tables)
    assert source.entries() == sorted(expected, key=lambda entry: entry.name)
    assert tuple(entry.name for entry in source.entries()) == PUBLISHED
    without = tables[tables["patch_id"] != NAME]
    with pytest.raises(ValueError, match=f"1 of 7 patches are not in the .*{NAME}"):
        lmdb_store.open_lmdb(published, without, reference_maps=False).entries()


def test_sentinel_1_alone_finds_its_patches_by_the_metadata(tmp_path, generated):
    _, table = generated
    rows = table.iloc[:3]
    patches = [
        dataclasses.replace(
            make_patch(i, names_of=("S1",)), name_s2=None, name_s1=name_s1
        )
        for i, name_s1 in enumerate(rows["s1_name"])
    ]
    source = lmdb_store.open_lmdb(write_lmdb(tmp_path / "s1", patches), table)
    entries = source.entries()
    assert {entry.name for entry in entries} == set(rows["patch_id"])
    assert source.bands == ("VV", "VH")
    read = {source.read(entry).name_s1 for entry in entries}
    assert read == set(rows["s1_name"])
    with pytest.raises(ValueError, match=r"3 Sentinel-1 names are not known, .*S1"):
        lmdb_store.open_lmdb(tmp_path / "s1").entries()


def test_the_patch_without_partner_is_read_without_sentinel_1(published, tables):
    entry = PatchEntry(WITHOUT_PARTNER)
    source = lmdb_store.open_lmdb(published, tables, reference_maps=False)
    with pytest.raises(
        ValueError,
        match=f"Encoded-BigEarthNet: patch {WITHOUT_PARTNER}, key S1A_.*75_43: no such "
        "key: encode that Sentinel-1 patch, do without",
    ):
        source.read(entry)
    optical = lmdb_store.open_lmdb(
        published, tables, sensors=["S2"], reference_maps=False
    )
    assert optical.bands == bands.BAND_SETS["s2_full"]
    assert list(optical.read(entry).bands) == list(optical.bands)


def test_a_published_map_is_read_and_a_missing_one_named(shared, published, tables):
    source = lmdb_store.open_lmdb(published, tables, reference_maps=True)
    with pytest.raises(ValueError, match=f"{NAME}_reference_map: no such key: do with"):
        source.read(PatchEntry(NAME))
    stored = read_raw_of(published, lmdb_values.map_key(MAP_ALONE))
    codes = lmdb_values.Value.decode(stored, "here").codes()
    (path,) = (shared / "data/v2/Reference_Maps").glob(f"*/{MAP_ALONE}/*.tif")
    np.testing.assert_array_equal(codes, geotiff.read_reference_map(path), strict=True)


def read_raw_of(path, key):
    """One value, through the reader's own environment: a process has one a file."""
    with lmdb_store.open_lmdb(
        path, reference_maps=False
    )._source.transaction() as transaction:
        return transaction.get(key.encode())


def test_published_values_come_back_byte_for_byte(tmp_path, published, tables):
    shutil.copyfile(published / "data.mdb", tmp_path / "data.mdb")
    original = read_raw(tmp_path)
    assert len(original) == 14
    optical = lmdb_store.open_lmdb(
        published, tables, sensors=["S2"], reference_maps=False
    )
    radar = lmdb_store.open_lmdb(
        published, tables, sensors=["S1"], reference_maps=False
    )
    out = tmp_path / "again"
    with lmdb_writer.LmdbWriter(out, "all") as writer:
        for entry in optical.entries():
            writer.write(optical.read(entry))
            if entry.name != WITHOUT_PARTNER:
                writer.write(radar.read(entry))
    (tmp_path / "data.mdb").unlink()
    copy = read_raw(out)
    map_alone = {lmdb_values.map_key(MAP_ALONE)}
    assert set(original) - set(copy) == map_alone
    assert all(copy[key] == original[key] for key in copy)
    codes = lmdb_values.Value.decode(original[map_alone.pop()], "here").codes()
    patch = dataclasses.replace(
        make_patch(names_of=("S2",)),
        name_s2=MAP_ALONE,
        name_s1=None,
        reference_map=codes,
    )
    key = lmdb_values.map_key(MAP_ALONE)
    assert lmdb_values.encode(patch)[key] == original[key]


def test_a_generated_archive_comes_back_with_its_maps(tmp_path, generated, geotiffs):
    _, table = generated
    entries = metadata.entries_from_metadata(table)
    out = write_lmdb(tmp_path / "out", map(geotiffs.read, entries))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]
    assert {path.name for path in out.iterdir()} == {"data.mdb", "GENERATED.txt"}
    source = lmdb_store.open_lmdb(out, table)
    assert source.reference_maps
    assert source.entries() == sorted(entries, key=lambda entry: entry.name)
    for entry in entries:
        assert_equal(source.read(entry), geotiffs.read(entry))
    assert lmdb_store.open_lmdb(
        out, table, reference_maps=False
    ).read(entries[0]).reference_map is None  # fmt: skip


def test_arrays_own_their_memory(tmp_path):
    patch = make_patch(with_map=True)
    path = write_lmdb(tmp_path / "x", [patch])
    source = lmdb_store.open_lmdb(path)
    entry = dataclasses.replace(ENTRY, name=patch.name_s2, name_s1=patch.name_s1)
    read = source.read(entry)
    del source
    shutil.rmtree(path)
    for array in (*read.bands.values(), read.reference_map):
        array += 1
    assert read.reference_map[0, 0] == 232


def test_a_pickled_reader_leaves_map_and_table_behind(tmp_path, generated):
    patch = make_patch()
    source = lmdb_store.open_lmdb(write_lmdb(tmp_path / "x", [patch]), generated[1])
    content = pickle.dumps(source)
    assert len(content) < 600
    entry = dataclasses.replace(ENTRY, name=patch.name_s2, name_s1=patch.name_s1)
    assert_equal(pickle.loads(content).read(entry), source.read(entry))
    with pytest.raises(ValueError, match=r"labels or .* not known.*--metadata"):
        pickle.loads(content).read(PatchEntry(patch.name_s2))


def _read_sum(job):
    source, entry = job
    return os.getpid(), sum(int(x.sum()) for x in source.read(entry).bands.values())


@pytest.mark.slow
def test_processes_read_side_by_side(tmp_path):
    patches = [make_patch(number) for number in range(8)]
    source = lmdb_store.open_lmdb(write_lmdb(tmp_path / "x", patches))
    jobs = [
        (source, dataclasses.replace(ENTRY, name=patch.name_s2, name_s1=patch.name_s1))
        for patch in patches
    ]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        found = pool.map(_read_sum, jobs, chunksize=2)
    expected = [sum(int(x.sum()) for x in p.bands.values()) for p in patches]
    assert [total for _, total in found] == expected
    assert os.getpid() not in {process for process, _ in found}


def test_a_forked_process_opens_the_file_anew(tmp_path):
    patch = make_patch()
    script = f"""
        import os
        from bigearthnet_tf.archive import lmdb_store
        from bigearthnet_tf.archive.patch import PatchEntry
        source = lmdb_store.open_lmdb({str(write_lmdb(tmp_path / "x", [patch]))!r})
        entry = PatchEntry({patch.name_s2!r}, {patch.name_s1!r}, ("Pastures",),
                           "BigEarthNet-19")
        before = source.read(entry).bands["VV"].sum()
        opened = source._source._opened[1]
        child = os.fork()
        if not child:
            same = source.read(entry).bands["VV"].sum() == before
            os._exit(0 if same and source._source._opened[1] is not opened else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert source.read(entry).bands["VV"].sum() == before
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)


def test_readers_of_one_process_share_the_file(tmp_path):
    path = write_lmdb(tmp_path / "x", [make_patch()])
    one, other = lmdb_store.open_lmdb(path), lmdb_store.open_lmdb(path)
    assert one._source._opened[1] is other._source._opened[1]
    link = tmp_path / "link"
    link.symlink_to(path)
    assert lmdb_store.open_lmdb(link).bands == one.bands


def test_what_another_process_changes_is_not_read(tmp_path):
    first, second = make_patch(0), make_patch(1)
    path = write_lmdb(tmp_path / "x", [first])
    source = lmdb_store.open_lmdb(path)
    entry = dataclasses.replace(ENTRY, name=first.name_s2, name_s1=first.name_s1)
    source.read(entry)
    (tmp_path / "value").write_bytes(lmdb_values.encode(second)[second.name_s2])
    script = f"""
        import lmdb, pathlib
        with lmdb.open({str(path)!r}, 1 << 28) as e, e.begin(write=True) as t:
            t.put({second.name_s2.encode()!r},
                  pathlib.Path({str(tmp_path / "value")!r}).read_bytes())
    """
    subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=True)
    copy = pickle.loads(pickle.dumps(source))
    for reader in (source, copy):
        with pytest.raises(OSError, match=r"x: another process writes to the LMDB: wa"):
            reader.read(entry)
    again = lmdb_store.open_lmdb(path)
    assert_equal(again.read(entry), first)
    other = dataclasses.replace(entry, name=second.name_s2, name_s1=second.name_s1)
    assert again.read(other, ["B02"]).bands["B02"].sum() == second.bands["B02"].sum()


def test_absent_and_foreign_files(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("none", "empty"):
        with pytest.raises(FileNotFoundError, match=rf"{name}: expected the folder of"):
            lmdb_store.open_lmdb(tmp_path / name)
    data = tmp_path / "x" / "data.mdb"
    data.parent.mkdir()
    for content, message in (
        (b"", "it is empty"),
        (b"text" * 9999, "x: expected an LMDB, but data.mdb does not read .*INVALID"),
    ):
        data.write_bytes(content)
        with pytest.raises(ValueError, match=message):
            lmdb_store.open_lmdb(data.parent)
    with pytest.raises(FileNotFoundError, match="but it is a file"):
        lmdb_store.open_lmdb(data)


def test_a_file_cut_short_is_refused_instead_of_killing_the_process(tmp_path):
    path = write_lmdb(tmp_path / "x", [make_patch(), make_patch(1)])
    whole = (path / "data.mdb").stat().st_size
    for size in (whole - 1, whole // 2, 8192):
        os.truncate(path / "data.mdb", size)
        with pytest.raises(
            ValueError, match=rf"data\.mdb: cut short: expected {whole} .*got {size}:"
        ):
            lmdb_store.open_lmdb(path)


def test_damaged_pages_are_reported(tmp_path):
    path = write_raw(tmp_path / "x", {NAME: b"x" * 100})
    content = bytearray((path / "data.mdb").read_bytes())
    content[8192:] = bytes(len(content) - 8192)
    (path / "data.mdb").write_bytes(content)
    with pytest.raises(ValueError, match=r"x: expected an LMDB.*CORRUPTED.*download"):
        lmdb_store.open_lmdb(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write_lmdb(tmp_path / "x", [make_patch()])
    (path / "data.mdb").chmod(0)
    with pytest.raises(OSError, match="no permission to read the LMDB"):
        lmdb_store.open_lmdb(path)


def test_lmdbs_of_other_things(tmp_path):
    write_raw(tmp_path / "nothing", {})
    with pytest.raises(ValueError, match=r"expected an LMDB of .*but it is empty"):
        lmdb_store.open_lmdb(tmp_path / "nothing")
    write_raw(tmp_path / "digits", {"0001": b"x"})
    with pytest.raises(ValueError, match="but its first key is b'0001'"):
        lmdb_store.open_lmdb(tmp_path / "digits")
    write_raw(tmp_path / "odd", {"S2_odd": b"x"})
    with pytest.raises(ValueError, match="odd: not a patch name: 'S2_odd'"):
        lmdb_store.open_lmdb(tmp_path / "odd")
    write_raw(tmp_path / "s2", lmdb_values.encode(make_patch(names_of=("S2",))))
    with pytest.raises(ValueError, match="s2: holds no patch of S1: leave that sens"):
        lmdb_store.open_lmdb(tmp_path / "s2", sensors=["S1", "S2"])


# What pyarrow 10 made of the arrays of bigearthnet-19-models, its first 28 bytes.
OF_PYARROW = bytes.fromhex(
    "000000000000000004000000 00000000 ffffffff 80010000 10000000"
)


def test_what_is_neither_v1_nor_v2_is_refused(tmp_path):
    v1_name = "S2A_MSIL2A_20170613T101031_87_48"
    for name in (NAME, v1_name):
        content = {name: OF_PYARROW + bytes(99), "__len__": b"1"}
        path = write_raw(tmp_path / f"arrow{len(name)}", content)
        with pytest.raises(
            ValueError, match=r"pyarrow\.serialize, which was removed f"
        ):
            lmdb_store.open_lmdb(path)
    renamed = {v1_name: lmdb_values.encode(make_patch())[make_patch().name_s2]}
    with pytest.raises(ValueError, match=r"_87_48 is a name of v1: .*restore the"):
        lmdb_store.open_lmdb(write_raw(tmp_path / "v1", renamed))
    whole = lmdb_values.encode(make_patch())
    pickled = write_raw(tmp_path / "x", whole | {NAME: pickle.dumps(1)})
    with pytest.raises(ValueError, match="got a pickle, as LMDBs of v1 alone have"):
        lmdb_store.open_lmdb(pickled).read(ENTRY, ["B02"])


def test_names_that_are_not_there(tmp_path):
    source = lmdb_store.open_lmdb(write_lmdb(tmp_path / "x", [make_patch()]))
    with pytest.raises(ValueError, match=f"x: key {NAME}: no such key: encode that p"):
        source.read(ENTRY, ["B02"])
    v1 = dataclasses.replace(ENTRY, name="S2A_MSIL2A_20170613T101031_87_48")
    with pytest.raises(ValueError, match="no such key: it is a name of v1"):
        source.read(v1, ["B02"])


def test_a_subset_of_bands_comes_back(tmp_path):
    patch = make_patch()
    few = dataclasses.replace(
        patch, bands={name: patch.bands[name] for name in ("B04", "B03", "B02")}
    )
    source = lmdb_store.open_lmdb(write_lmdb(tmp_path / "x", [few]))
    assert source.bands == ("B02", "B03", "B04")
    entry = dataclasses.replace(ENTRY, name=patch.name_s2, name_s1=patch.name_s1)
    assert_equal(source.read(entry, ["B04", "B03", "B02"]), few)


def test_what_the_first_patch_has_all_must_have(tmp_path):
    whole = [make_patch(number, with_map=True) for number in (1, 2)]
    content = lmdb_values.encode(whole[0]) | lmdb_values.encode(whole[1])
    name = whole[1].name_s2
    without_map = {k: v for k, v in content.items() if k != lmdb_values.map_key(name)}
    path = write_raw(tmp_path / "some maps", without_map)
    with pytest.raises(ValueError, match="1 of 2 patches have a reference map"):
        lmdb_store.open_lmdb(path)
    assert not lmdb_store.open_lmdb(path, reference_maps=False).reference_maps

    arrays = {b: a for b, a in whole[1].bands.items() if b != "B03"}
    fewer = lmdb_values.encode(dataclasses.replace(whole[1], bands=arrays))
    path = write_raw(tmp_path / "some bands", content | fewer)
    entry = PatchEntry(name, whole[1].name_s1, ("Pastures",), "BigEarthNet-19", "train")
    with pytest.raises(ValueError, match=name):
        lmdb_store.open_lmdb(path).read(entry)
