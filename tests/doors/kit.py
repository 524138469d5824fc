"""What the cases start from: small archives, records, runs, tiles, features, scenes.

It is made once and shared: a case that damages something copies it first.
"""

from __future__ import annotations

import json
import shutil
import sys
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

SIZE = 32  # of a tile of time series, pixels of 10 m
PATCHES = 24


@dataclass(frozen=True)
class Kit:
    """The folder of the kit and the paths in it.

    Attributes:
        root: the folder.
    """

    root: Path

    @property
    def v1(self) -> Path:
        """Generated archive of version 1, both sensors, with train.csv and so on."""
        return self.root / "v1"

    @property
    def v2(self) -> Path:
        """Generated archive of version 2, both sensors, maps and metadata.parquet."""
        return self.root / "v2"

    @property
    def lmdb(self) -> Path:
        """The archive of version 2 as an LMDB."""
        return self.root / "lmdb"

    @property
    def records(self) -> Path:
        """Records of the archive of version 2: train, val, test."""
        return self.root / "records"

    @property
    def config(self) -> Path:
        """Config of `run`, with absolute paths; change `out_dir` to train anew."""
        return self.root / "config.json"

    @property
    def run(self) -> Path:
        """A run on both sensors, trained a few steps and evaluated."""
        return self.root / "run"

    @property
    def s2_run(self) -> Path:
        """A run on the 10 bands of `s2` with the weights that it began with."""
        return self.root / "s2_run"

    @property
    def rgb_run(self) -> Path:
        """The same on B02, B03, B04."""
        return self.root / "rgb_run"

    @property
    def vv_run(self) -> Path:
        """The same on VV and B04: both sensors in two bands."""
        return self.root / "vv_run"

    @property
    def features(self) -> Path:
        """Features as `embed` writes them (random numbers): p_s1 and p_s2."""
        return self.root / "features"

    @property
    def index(self) -> Path:
        """An exact index of the Sentinel-2 side of `features`."""
        return self.root / "index"

    @property
    def tiles(self) -> Path:
        """Three generated tiles of time series (`.npy`): tile_01 to tile_03."""
        return self.root / "tiles"

    @property
    def blocks(self) -> Path:
        """Block records of the tiles, one a split."""
        return self.root / "blocks"

    @property
    def land_cover(self) -> Path:
        """A run of land cover on `blocks`."""
        return self.root / "land_cover"

    @property
    def scene(self) -> Path:
        """Folder of GeoTIFFs scene_B02.tif ... of 240 x 240 pixels of 10 m, no S1."""
        return self.root / "scene"

    def bands_of_v2(self) -> tuple[Path, Path]:
        """Returns the roots of Sentinel-2 and Sentinel-1 of the archive."""
        return self.v2 / "BigEarthNet-S2", self.v2 / "BigEarthNet-S1"

    def bands_of_v1(self) -> tuple[Path, Path]:
        """Returns the roots of Sentinel-2 and Sentinel-1 of the older archive."""
        return self.v1 / "BigEarthNet-v1.0", self.v1 / "BigEarthNet-S1-v1.0"

    def copy(self, name: str, here: Path) -> Path:
        """Returns a copy of a part of the kit (`records`, ...) below a folder."""
        source = getattr(self, name)
        copied = here / source.name
        if source.is_dir():
            shutil.copytree(source, copied)
        else:
            shutil.copy(source, copied)
        return copied

    def write_config(self, here: Path, **keys: object) -> Path:
        """Writes the config of `run` with other keys; returns its path."""
        content = json.loads(self.config.read_text())
        path = here / "config.json"
        path.write_text(json.dumps(content | {"out_dir": str(here / "run")} | keys))
        return path


def _call(main: Callable[[], None], *arguments: object) -> None:
    sys.argv = [str(argument) for argument in arguments]
    try:
        main()
    except SystemExit as left:
        if left.code:
            raise RuntimeError(f"{sys.argv}: status {left.code}") from left


def _archives(kit: Kit) -> None:
    from bigearthnet_tf.archive import sample

    sample.write_archive(kit.v1, PATCHES, version="v1", seed=1, workers=1)
    sample.write_archive(kit.v2, PATCHES, version="v2", seed=1, workers=1)


def _records(kit: Kit) -> None:
    import prep_splits
    from bigearthnet_tf import cli

    s2, s1 = kit.bands_of_v2()
    options = ("--workers", 1, "--shard-size-mb", 1)
    _call(
        prep_splits.main, "prep_splits.py", "-r", s2, "-s", s1, "-o", kit.records,
        "--metadata", kit.v2 / "metadata.parquet", *options,
    )  # fmt: skip
    records = sorted(map(str, kit.records.glob("*.tfrecord")))
    _call(
        cli.run, "bigearthnet-tf", "convert", *records, "-o", kit.lmdb, "--to", "lmdb"
    )


def _scene(kit: Kit) -> None:
    import scene_files

    bands = scene_files.noise(240, 240, "s2_full")
    scene_files.write_bands(kit.scene, bands)


def _tiles(kit: Kit) -> None:
    from bigearthnet_tf import cli
    from bigearthnet_tf.archive import tile_sample

    tile_sample.write_tiles(kit.tiles, tiles=3, size=SIZE, dates=60)
    _call(
        cli.run, "bigearthnet-tf", "tiles", kit.tiles, "-o", kit.blocks,
        "--block-size", 16, "--val", "tile_02", "--test", "tile_03",
        "--min-valid", 16, "--workers", 1,
    )  # fmt: skip


def _run(kit: Kit) -> None:
    import trained_runs

    from bigearthnet_tf import config as configs

    out = trained_runs.train(kit.root, out_dir=str(kit.run), **_files(kit.records))
    config = configs.load(out / "config.json", [])
    kit.config.write_text(
        json.dumps(config.model_dump(mode="json", exclude_unset=True))
    )


def _untrained_runs(kit: Kit) -> None:
    import scene_files

    scene_files.write_run(kit.s2_run)
    scene_files.write_run(kit.rgb_run, bands=("B02", "B03", "B04"))
    scene_files.write_run(kit.vv_run, bands=("VV", "B04"))


def _files(records: Path) -> dict[str, list[str]]:
    return {
        f"{key}_tf_record_files": [str(records / f"{split}-*.tfrecord")]
        for key, split in (("tr", "train"), ("val", "val"), ("test", "test"))
    }


def _land_cover(kit: Kit) -> None:
    from bigearthnet_tf import config as configs
    from bigearthnet_tf.training import session

    keys = {
        "task": "land_cover",
        "model_name": "pixel_mlp",
        "loss": "softmax_cross_entropy",
        "batch_size": 64,
        "nb_epoch": 1,
        "learning_rate": 0.005,
        "devices": "cpu",
        "out_dir": str(kit.land_cover),
    }
    opened = session.open_session(configs.from_dict(keys | _files(kit.blocks)))
    session.train(opened, *session.build(opened), kit.land_cover)


def _features(kit: Kit) -> None:
    import feature_folders

    from bigearthnet_tf import cli

    feature_folders.write(kit.features)
    _call(cli.run, "bigearthnet-tf", "index", "build", kit.index, kit.features)


# In the order in which they need another.
PARTS = (
    *(_archives, _records, _scene, _tiles, _run, _untrained_runs),
    *(_land_cover, _features),
)


def digests(folder: Path) -> dict[str, tuple[int, int]]:
    """Returns what lies below a folder: mode and checksum of each path."""
    found = {}
    for path in sorted(folder.rglob("*")):
        kind = path.lstat()
        content = zlib.crc32(path.read_bytes()) if path.is_file() else 0
        found[str(path.relative_to(folder))] = (kind.st_mode, content)
    return found


def random_bands(names: tuple[str, ...], seed: int = 0) -> dict[str, np.ndarray]:
    """Returns plausible pixels of a patch for bands by name."""
    import scene_files

    return scene_files.noise(120, 120, names, seed)
