"""Keys of a config: what is learnt, and from which data."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

import pydantic
from pydantic import Field

from bigearthnet_tf import disk, files, registry


def _expand(path: str) -> str:
    return files.expand(disk.check_scheme(path))


def _expand_place(path: str) -> str:
    return files.expand(disk.check_scheme(path, disk.SCHEMES))


# A leading `~` is the home folder.
PathName = Annotated[str, pydantic.AfterValidator(_expand)]
Paths = list[PathName]
# Those of records may lie behind `gs://`.
Records = list[Annotated[str, pydantic.AfterValidator(_expand_place)]]
Tasks = Literal[
    "classification", "contrastive", "segmentation", "barlow_twins", "land_cover"
]
Augmentations = Literal["flips", "quarter_turns", "crops", "band_drop", "noise"]


class DataKeys(pydantic.BaseModel):
    """Task, model, records and the first layers."""

    # What is learnt, and from which bands.
    task: Tasks | str = Field(
        "classification",
        description="what the run learns; one of your own where `modules` has it",
    )
    model_name: str = Field(
        "ResNet50",
        description="architecture, by a name of `list_models()`, of `modules`, or of "
        "a file `models/<model_name>.py` in the working directory",
    )
    modules: Paths = Field(
        [],
        description="your own Python modules with models, losses, augmentations or "
        "tasks: files (relative to the working directory, or beside the config), or "
        "import names; they are executed",
    )
    modality: Literal["S1", "S2", "MM"] = Field(
        "S2",
        description="sensors: Sentinel-1, Sentinel-2 or both (MM); picks the band "
        "set `s1`, `s2` or `all` unless `bands` is given",
    )
    bands: str | list[str] | None = Field(
        None,
        description="name of a band set (`s2`, `rgb`, `all_full`, ...) or a list of "
        "bands in the order the model sees them; null: the model's own set, else "
        "that of `modality`",
    )
    label_type: Literal["original", "BigEarthNet-43", "BigEarthNet-19"] = Field(
        "original", description="nomenclature: the 43 original labels or the 19"
    )

    # Data.
    records: PathName | None = Field(
        None,
        description="JSON file with `train`, `val`, `test` and `label_type`, the "
        "`sets.json` of balanced-bigearthnet; it stands for the next three keys and "
        "`label_type`, and overrides those of `base.json`",
    )
    tr_tf_record_files: Records = Field(
        ["TFRecord_files/train*.tfrecord"],
        description="training shards; paths relative to the working directory, "
        "wildcards allowed",
    )
    val_tf_record_files: Records = Field(
        ["TFRecord_files/val*.tfrecord"],
        description="validation shards; an empty list switches validation off",
    )
    test_tf_record_files: Records = Field(
        ["TFRecord_files/test*.tfrecord"], description="test shards, for `eval.py`"
    )
    training_size: int | None = Field(
        None,
        gt=0,
        description="expected number of training records; the real number is taken "
        "from the files, and a difference is reported",
    )
    val_size: int | None = Field(
        None, gt=0, description="likewise for the validation records"
    )
    test_size: int | None = Field(
        None, gt=0, description="likewise for the test records"
    )
    shuffle_buffer_size: int = Field(
        4096,
        ge=0,
        description="records held to shuffle from, 0.16 MB each (0.28 MB with "
        "Sentinel-1); 0: no shuffling at all",
    )
    cache: PathName = Field(
        "",
        description="`memory`, or a folder on a fast disk: training and validation "
        "shards are copied there first; empty: they are read where they lie",
    )

    # Input, as the first layers of the model do it.
    image_size: int = Field(
        120, gt=0, description="pixels a side that all bands are resampled to"
    )
    interpolation: Literal["nearest", "bilinear", "bicubic", "tf1_bicubic"] = Field(
        "nearest",
        description="kernel of that resampling; `tf1_bicubic` is the one of the TF "
        "project, `nearest` the one of reBEN",
    )
    statistics: PathName | None = Field(
        None,
        description="means and deviations to standardise with: `v1`, "
        "`v2_120_nearest`, ... or a JSON file of `bigearthnet-tf statistics` "
        "(`own.json`, or `own.json#120_bilinear` where it has several); null: those of "
        "the archive that the training records come from",
    )
    augmentation: list[Augmentations | str] = Field(
        [],
        description="random changes of the training images, on the device; names of "
        "`modules` too",
    )
    crop_smallest_share: float = Field(
        0.5,
        gt=0,
        le=1,
        description="of `crops`: smallest share of a patch's area that is cut out and "
        "enlarged to the whole",
    )
    band_drop_rate: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="of `band_drop`: probability that a band is set to its mean",
    )
    noise_deviation: float = Field(
        0.05,
        ge=0,
        description="of `noise`: deviation of the Gaussian noise, in deviations of "
        "each band",
    )
    mixup_alpha: float = Field(
        0.0,
        ge=0,
        description="patches and labels are mixed in pairs, with a share drawn from "
        "Beta(alpha, alpha); 0: not at all",
    )
    cutmix_alpha: float = Field(
        0.0,
        ge=0,
        description="a rectangle of each patch comes from another one, labels by area, "
        "which Beta(alpha, alpha) gives; with `mixup_alpha` one of both, at random; "
        "0: not at all",
    )

    @pydantic.model_validator(mode="after")
    def _names_are_known(self) -> DataKeys:
        """Refuses names of tasks and augmentations that no module can have brought."""
        if self.modules:
            return self
        for key, names, known in (
            ("task", [self.task], get_args(Tasks)),
            ("augmentation", self.augmentation, get_args(Augmentations)),
        ):
            for name in names:
                if name not in known:
                    near = registry.nearest_names(name, known)
                    raise ValueError(
                        f"{key}: unknown name {files.echo(name)}: {near}; one of your "
                        "own needs modules"
                    )
        return self
