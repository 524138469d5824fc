"""Records of patches of noise with reference maps, for tests of labels of pixels."""

from dataclasses import replace

import numpy as np
import toy

from bigearthnet_tf.archive import labels as label_facts
from bigearthnet_tf.records import convert
from bigearthnet_tf.records.plan import plan_split

# Some CLC codes; 122 and 999 are no label of the 19, 111 and 112 are the same one.
CODES = (111, 112, 211, 312, 512, 122, 999)


def clc_map(number: int) -> np.ndarray:
    """CLC codes (120, 120) uint16 in squares of 20 pixels."""
    rng = np.random.default_rng(1000 + number)
    return rng.choice(CODES, (6, 6)).astype(np.uint16).repeat(20, 0).repeat(20, 1)


def classes_of(codes: np.ndarray) -> np.ndarray:
    """Labels of the 19 by a loop over all codes; 255 for none."""
    found = np.full(codes.shape, 255, np.uint8)
    for code, index in label_facts.CLC_TO_19.items():
        if index is not None:
            found[codes == code] = index
    return found


class WithMaps(toy.Memory):
    """Patches whose bands of 10 m follow from the map, so that it can be learnt."""

    maps_root = "maps"

    def read(self, entry, bands=None):
        patch = super().read(entry, bands)
        number = int(entry.name.split("_")[-2]) * 91 + int(entry.name.split("_")[-1])
        codes = clc_map(number)
        level = classes_of(codes).astype(np.uint16) * 100 + 500
        seen = {
            name: level if values.shape == (120, 120) and name[0] == "B" else values
            for name, values in patch.bands.items()
        }
        return replace(patch, bands=seen, reference_map=codes)


def write(folder, split, count, first=0, **options):
    """Writes shards of `count` patches with maps."""
    archive = WithMaps("v2")
    entries = toy.entries(count, first)
    plan = plan_split(archive, entries, split, reference_maps=True, **options)
    return convert.convert(archive, [plan], folder)[0]


def write_all(folder):
    """Writes three splits of 6, 4 and 5 patches."""
    for split, count, first in (("train", 6, 0), ("val", 4, 10), ("test", 5, 20)):
        write(folder, split, count, first)
    return folder
