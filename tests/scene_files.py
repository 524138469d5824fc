"""Scenes and runs that tests of maps and predictions need, made small."""

from pathlib import Path

import numpy as np
import rasterio
from affine import Affine

from bigearthnet_tf import config as configs
from bigearthnet_tf.archive import archives
from bigearthnet_tf.archive import bands as band_facts
from bigearthnet_tf.tasks import base
from bigearthnet_tf.training.checkpoints import CheckpointFolder
from bigearthnet_tf.training.state import State

LEFT, TOP, CRS = 600000.0, 5900040.0, "EPSG:32629"


def write_run(folder: Path, bands="s2", label_type="BigEarthNet-19", **keys) -> Path:
    """A run whose only checkpoint has the weights that it begins with."""
    config = configs.from_dict(
        {
            "model_name": "resnet_test",
            "label_type": label_type,
            "bands": list(band_facts.resolve_bands(bands)),
            "statistics": "v2_120_nearest",
            "image_size": 32,
            "out_dir": str(folder),
            "batch_size": 4,
            "tr_tf_record_files": ["none"],
        }
        | keys
    )
    task = base.open_task(config)
    model = task.build_model()
    # So that scores differ from patch to patch.
    head = model.get_layer("head")
    head.kernel.assign(head.kernel * 3)
    saved = CheckpointFolder(folder / "checkpoints", task.describe())
    saved.save(State(model), 7, progress={"config": config.model_dump()})
    saved.wait()
    return folder


def real_patches(shared: Path, bands="s2_full") -> list[dict[str, np.ndarray]]:
    """The bands of the real patches of version 1."""
    root = shared / "data/v1/BigEarthNet-v1.0"
    names = band_facts.resolve_bands(bands)
    return [
        archives.read_bands({"S2": folder}, names) for folder in sorted(root.iterdir())
    ]


def mosaic(patches, columns: int) -> dict[str, np.ndarray]:
    """Puts patches side by side, row by row."""
    rows = [patches[i : i + columns] for i in range(0, len(patches), columns)]
    return {
        name: np.block([[patch[name] for patch in row] for row in rows])
        for name in patches[0]
    }


def noise(height: int, width: int, bands="s2", seed=0) -> dict[str, np.ndarray]:
    """Bands of a scene of so many pixels of 10 m; brightness grows to the east."""
    rng = np.random.default_rng(seed)
    made = {}
    for name in band_facts.resolve_bands(bands):
        facts = band_facts.BANDS[name]
        step = facts.metres // 10
        shape = -(-height // step), -(-width // step)
        if facts.dtype == "float32":
            made[name] = rng.normal(-15, 5, shape).astype(np.float32)
        else:
            slope = np.linspace(100, 3000, shape[1])
            made[name] = (slope + rng.integers(0, 400, shape)).astype(np.uint16)
    return made


def write_bands(folder: Path, bands, metres=None, **profile) -> Path:
    """Writes a GeoTIFF for each band, named after it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, values in bands.items():
        side = metres or band_facts.BANDS[name].metres
        write_tiff(folder / f"scene_{name}.tif", values[None], side, **profile)
    return folder


def write_tiff(path: Path, values, metres: float, descriptions=(), **profile) -> Path:
    """Writes (bands, rows, columns) as a GeoTIFF from (LEFT, TOP) on."""
    count, height, width = values.shape
    facts = {
        "driver": "GTiff",
        "crs": CRS,
        "transform": Affine(metres, 0, LEFT, 0, -metres, TOP),
        "count": count,
        "height": height,
        "width": width,
        "dtype": values.dtype,
    }
    with rasterio.open(path, "w", **facts | profile) as dataset:
        dataset.write(values)
        for index, text in enumerate(descriptions, 1):
            dataset.set_band_description(index, text)
    return path


METADATA = """<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-2A_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD">
 <n1:General_Info><Product_Info>
  <PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE></Product_Info>
  <Product_Image_Characteristics>
   <QUANTIFICATION_VALUES_LIST>
    <BOA_QUANTIFICATION_VALUE unit="none">{quantification}</BOA_QUANTIFICATION_VALUE>
   </QUANTIFICATION_VALUES_LIST>{offsets}
  </Product_Image_Characteristics></n1:General_Info>
</n1:Level-2A_User_Product>
"""


def write_safe(
    folder: Path, bands, baseline="05.10", offsets=True, quantification=10000
) -> Path:
    """Writes a SAFE folder of level 2A as ESA has it, lossless."""
    listed = "".join(
        f'<BOA_ADD_OFFSET band_id="{i}">-1000</BOA_ADD_OFFSET>' for i in range(13)
    )
    listed = f"<BOA_ADD_OFFSET_VALUES_LIST>{listed}</BOA_ADD_OFFSET_VALUES_LIST>"
    images = folder / "GRANULE" / "L2A_T29UPU_A000001_20240601T113321" / "IMG_DATA"
    for name, values in bands.items():
        metres = band_facts.BANDS[name].metres
        place = images / f"R{metres}m"
        place.mkdir(parents=True, exist_ok=True)
        write_tiff(
            place / f"T29UPU_20240601T113321_{name}_{metres}m.jp2",
            values[None],
            metres,
            driver="JP2OpenJPEG",
            QUALITY="100",
            REVERSIBLE="YES",
        )
    text = METADATA.format(
        baseline=baseline,
        quantification=quantification,
        offsets=listed if offsets else "",
    )
    (folder / "MTD_MSIL2A.xml").write_text(text)
    return folder


def packed(name: str) -> bytes:
    """The first bytes of a zip, tar, gzip or XML of that name."""
    if name.endswith(".xml"):
        return b"<?xml version='1.0'?><a/>"
    if name.endswith(".tar"):
        return b"\0" * 257 + b"ustar\0" + b"\0" * 249
    return (b"\x1f\x8b\x08" if name.endswith("gz") else b"PK\3\4") + bytes(100)
