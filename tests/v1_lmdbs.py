"""LMDBs of v1 as bigearthnet_encoder and the CBIR project write them.

Their classes are stand-ins under the names that the genuine values refer to; they are
known to Python only while something is pickled.
"""

import contextlib
import pickle
import sys
import types

import lmdb
import numpy as np

from bigearthnet_tf.archive import bands, labels

PACKAGE = "bigearthnet_patch_interface"
CLASSES = {
    "merged_interface": ("BigEarthNet_S1_S2_Patch",),
    "s1_interface": ("BigEarthNet_S1_Patch",),
    "s2_interface": ("BigEarthNet_S2_Patch",),
    "band_interface": ("BenS1_Band", "BenS2_10mBand", "BenS2_20mBand", "BenS2_60mBand"),
}
CBIR_S2 = (
    ("B02", "B03", "B04", "B08"),
    ("B05", "B06", "B07", "B8A", "B11", "B12"),
    ("B01", "B09"),
)


@contextlib.contextmanager
def encoder_classes():
    """Yields stand-ins of the encoder's classes, by name."""
    modules = {f"{PACKAGE}.{name}": types.ModuleType(name) for name in CLASSES}
    found = {}
    for name, classes in CLASSES.items():
        module = f"{PACKAGE}.{name}"
        for kind in classes:
            found[kind] = type(kind, (), {"__module__": module})
            setattr(modules[module], kind, found[kind])
    sys.modules |= {PACKAGE: types.ModuleType(PACKAGE), **modules}
    try:
        yield found
    finally:
        for module in (PACKAGE, *modules):
            del sys.modules[module]


def encoded(pixels, own_labels=("Pastures",), *, protocol=4, **attributes):
    """The value of bigearthnet_encoder.

    Args:
        pixels: band name to array; of one sensor or of both.
        own_labels: of the 43.
        protocol: of the pickle.
        attributes: of the patch, in place of what the encoder sets.
    """
    with encoder_classes() as classes:

        def make(kind, **state):
            made = classes[kind]()
            made.__dict__.update(state)
            return made

        def make_band(name):
            band = bands.BANDS[name]
            metres = 1200 // band.pixels
            kind = "BenS1_Band" if band.sensor == "S1" else f"BenS2_{metres}mBand"
            # pydantic keeps the attributes one level deeper.
            inner = {"name": name, "spatial_resolution": metres, "data": pixels[name]}
            return make(kind, inner=inner)

        parts = {}
        for sensor in ("s1", "s2"):
            own = [n for n in pixels if bands.BANDS[n].sensor == sensor.upper()]
            made = {f"band{n.removeprefix('B')}": make_band(n) for n in own}
            parts[f"{sensor}_patch"] = make(
                f"BigEarthNet_{sensor.upper()}_Patch", **made, bands=[*made.values()]
            )
        for kind in ("BenS1_Band", "BenS2_10mBand", "BenS2_20mBand", "BenS2_60mBand"):
            classes[kind].__getstate__ = lambda self: {
                "__dict__": self.inner,
                "__fields_set__": {"name", "data"},
                "__private_attribute_values__": {},
            }
        named = {"labels": list(own_labels)}
        named["new_labels"] = list(labels.convert_43_to_19(own_labels)) or None
        state = parts | named | {"__stored_args__": named} | attributes
        return pickle.dumps(make("BigEarthNet_S1_S2_Patch", **state), protocol)


def cbir_s2(pixels, vector, protocol=4):
    """The value of the CBIR project for Sentinel-2."""
    groups = [np.stack([pixels[b] for b in g]).astype(np.float32) for g in CBIR_S2]
    return pickle.dumps((*groups, vector), protocol)


def cbir_s1(pixels, vector, protocol=4):
    """The value of the CBIR project for Sentinel-1."""
    return pickle.dumps((pixels["VV"][None], pixels["VH"][None], vector), protocol)


def python_reads(pickled):
    """What Python makes of a value of the encoder: (arrays by attribute, labels)."""
    with encoder_classes() as classes:
        for kind in classes.values():
            kind.__setstate__ = lambda self, state: self.__dict__.update(
                state.get("__dict__", state)
            )
        found = pickle.loads(pickled)
    arrays = {
        attribute: band.data
        for part in (found.s1_patch, found.s2_patch)
        for attribute, band in vars(part).items()
        if attribute.startswith("band") and attribute != "bands"
    }
    return arrays, tuple(found.labels)


def write(path, content):
    """Writes keys and values."""
    with lmdb.open(str(path), 1 << 28) as env, env.begin(write=True) as transaction:
        for key, value in content.items():
            transaction.put(key.encode(), value)
    return path
