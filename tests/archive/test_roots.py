import pytest

from bigearthnet_tf.archive import archives, roots

V1 = "S2A_MSIL2A_20170613T101031_87_48"
V2 = "S2A_MSIL2A_20170613T101031_N9999_R022_T33UUP"
RADAR_V1 = "S1A_IW_GRDH_1SDV_20170613T165043_33UUP_87_48"
RADAR_V2 = "S1A_IW_GRDH_1SDV_20170613T165043"


def make(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
    return folder


@pytest.mark.parametrize(
    ("names", "version", "sensors"),
    [
        ([V1], "v1", {"S2"}),
        ([V2, "README"], "v2", {"S2"}),
        ([RADAR_V1], "v1", {"S1"}),
        ([RADAR_V2], "v2", {"S1"}),
        ([V1, RADAR_V1], "v1", {"S1", "S2"}),
    ],
)
def test_all_folders_are_looked_at(tmp_path, names, version, sensors):
    found = roots.look(make(tmp_path, *names))
    assert (found.version, found.sensors) == (version, sensors)


@pytest.mark.parametrize("names", [[V1, V2], [RADAR_V1, V2], [V1, RADAR_V2]])
def test_patches_of_two_versions_are_refused(tmp_path, names):
    with pytest.raises(ValueError, match="of one archive version, got S"):
        roots.look(make(tmp_path, *names))


def test_the_root_of_another_sensor_is_refused(tmp_path):
    optical = make(tmp_path / "s2", V1)
    radar = make(tmp_path / "s1", RADAR_V1)
    both = make(tmp_path / "both", V1, RADAR_V1)
    for given in ((radar, None), (radar, optical), (optical, optical), (None, optical)):
        with pytest.raises(ValueError, match=r"expected patches of S\d, got those of"):
            archives.open_archive(*given)
    assert archives.open_archive(both, both).bands[:3] == ("VV", "VH", "B01")
