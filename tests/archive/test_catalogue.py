"""Look-ups in the metadata table of v2."""

import pickle

import pandas as pd
import pytest

from bigearthnet_tf.archive.catalogue import Catalogue
from bigearthnet_tf.archive.patch import PatchEntry

NAME = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP_26_57"
OTHER = NAME.replace("26_57", "26_58")
NAME_S1 = "S1B_IW_GRDH_1SDV_20170612T165809_33UUP_26_57"
OTHER_S1 = NAME_S1.replace("26_57", "26_58")
KIND = "BigEarthNet-19"
KNOWN = PatchEntry(NAME, NAME_S1, ("Pastures",), KIND, "val", "Austria")


@pytest.fixture
def catalogue():
    rows = [
        (NAME, ("Pastures",), "val", "Austria", NAME_S1),
        (OTHER, ("Marine waters",), "train", "", OTHER_S1),
    ]
    columns = ["patch_id", "labels", "split", "country", "s1_name"]
    return Catalogue(pd.DataFrame(rows, columns=columns))


def test_bare_entries_are_filled_up(catalogue):
    found = catalogue.complete(iter([PatchEntry(NAME), PatchEntry(OTHER)]))
    assert found == [
        KNOWN,
        PatchEntry(OTHER, OTHER_S1, ("Marine waters",), KIND, "train", None),
    ]


def test_what_an_entry_says_stays(catalogue):
    own = PatchEntry(NAME, labels=("Marine waters",), label_type=KIND, split="fold_1")
    expected = PatchEntry(NAME, NAME_S1, ("Marine waters",), KIND, "fold_1", "Austria")
    assert catalogue.complete([own]) == [expected]
    paired = PatchEntry(NAME, OTHER_S1, split="fold_1")
    (found,) = catalogue.complete([paired])
    assert (found.name_s1, found.labels) == (OTHER_S1, ("Pastures",))


def test_complete_entries_need_no_table():
    stranger = PatchEntry(NAME, None, ("Pastures",), KIND)
    nothing = Catalogue(None)
    assert nothing.complete([stranger]) == [stranger]
    assert nothing.labels_of(stranger) == (("Pastures",), KIND)
    assert nothing.partner_of(KNOWN) == NAME_S1
    for call in (
        lambda: nothing.complete([stranger], pairing=True),
        lambda: nothing.partner_of(stranger),
        lambda: nothing.labels_of(PatchEntry(NAME)),
    ):
        with pytest.raises(ValueError, match=f"of {NAME} are not known: .*--metadata"):
            call()


def test_single_look_ups(catalogue):
    assert catalogue.partner_of(PatchEntry(NAME)) == NAME_S1
    assert catalogue.labels_of(PatchEntry(NAME)) == (("Pastures",), KIND)
    own = PatchEntry(NAME, labels=("Marine waters",), label_type=KIND)
    assert catalogue.labels_of(own) == (("Marine waters",), KIND)


def test_patches_of_sentinel_1_names(catalogue):
    found = catalogue.entries_of_partners([OTHER_S1, NAME_S1])
    assert [entry.name for entry in found] == [OTHER, NAME]
    assert found[1] == KNOWN
    absent = NAME_S1.replace("26_57", "1_1")
    for table, count in ((catalogue, 1), (Catalogue(None), 2)):
        with pytest.raises(ValueError, match=f"patches of {count} Sentinel-1 names"):
            table.entries_of_partners([absent, NAME_S1])


def test_unknown_patches_are_counted_and_named(catalogue):
    absent = NAME.replace("26_57", "00_00")
    with pytest.raises(ValueError, match=f"1 of 2 patches .* first is {absent}: .*sno"):
        catalogue.complete([PatchEntry(NAME), PatchEntry(absent)])


def test_a_pickled_catalogue_is_empty(catalogue):
    catalogue.complete([PatchEntry(NAME)])
    copy = pickle.loads(pickle.dumps(catalogue))
    assert copy.complete([KNOWN]) == [KNOWN]
    with pytest.raises(ValueError, match="not known"):
        copy.complete([PatchEntry(NAME)])
