"""The legend of WorldCover, and how its codes become classes."""

import re

import numpy as np
import pytest

from bigearthnet_tf.archive import land_cover

CODES = [10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100]


@pytest.mark.parametrize("merge", [False, True])
def test_every_code_has_its_class_and_all_others_none(merge):
    classes = land_cover.land_cover_classes(merge)
    assert len(classes) == 11 - merge
    table = land_cover.class_of_code(merge)
    for code in range(256):
        owners = [j for j, each in enumerate(classes) if code in each.codes]
        assert len(owners) == (code in CODES)
        assert table[code] == (owners[0] if owners else -1)
    assert [each.code for each in classes] == sorted(each.code for each in classes)
    assert sorted(code for each in classes for code in each.codes) == CODES
    for fact in ("name", "colour"):
        assert len({getattr(each, fact) for each in classes}) == len(classes)
    assert all(re.fullmatch("#[0-9a-f]{6}", each.colour) for each in classes)


def test_mangroves_are_apart_or_wetland():
    apart, merged = (land_cover.class_of_code(merge) for merge in (False, True))
    assert apart[90] != apart[95]
    assert merged[90] == merged[95]
    # btfm's classes less the one for no data: 1 + code // 10, but 10 last.
    np.testing.assert_array_equal(merged[CODES], [*range(8), 8, 8, 9])


def test_strange_codes_are_named():
    land_cover.check_codes(np.array([[0, 255], [10, 95]], np.uint8), "here")
    land_cover.check_codes([], "here")
    with pytest.raises(ValueError, match=r"^here: labels of code 11, 96, which World"):
        land_cover.check_codes([96, 10, 11, 11], "here")
    with pytest.raises(ValueError, match=r"code 1, 2, 3, 4, 5, \.\.\., which"):
        land_cover.check_codes(range(10), "here")
