"""Band groups, preprocessing, architecture and head put together to one Keras model."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import keras

from bigearthnet_tf.models import augmentation as augmentations
from bigearthnet_tf.models import (
    finite,
    keras_settings,
    layers,
    preprocessing,
    published,
    zoo,
)


@dataclass(frozen=True)
class BandGroup:
    """Bands of one sensor and resolution that enter a model as one array.

    Attributes:
        name: of the input, such as `"s2_20m"`.
        bands: names in the order of the array's planes.
        pixels: a side.
        dtype: `"uint16"` or `"float32"`.
    """

    name: str
    bands: tuple[str, ...]
    pixels: int
    dtype: str


def assemble(
    name: str,
    num_labels: int,
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    *,
    image_size: int = 120,
    interpolation: str = "nearest",
    augmentation: Sequence[str] = (),
    augmentation_options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    drop_rate: float = 0.0,
    drop_path_rate: float = 0.0,
    head_dims: Sequence[int] = (),
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds a model from digital numbers to logits.

    Inputs: a dictionary from a group's name to planar (batch, bands, pixels, pixels)
    in the group's dtype. Output: float32 logits (batch, num_labels), whatever the
    mixed-precision policy; NaN, as the features are, for a patch with a pixel that is
    NaN or infinite. The layers of the front are called `preprocessing_*` and
    `augmentation_*`, the one with the features (batch, f) `features`, the last `head`.

    Args:
        name: an architecture of `zoo.list_models()`, or an alias.
        num_labels: number of logits.
        groups: what comes in; bands that `band_order` leaves out are dropped.
        band_order: bands in the order in which the network sees them.
        mean: of each band of the groups, in the unit of the input.
        std: likewise, the standard deviation.
        image_size: pixels a side that all bands are resampled to.
        interpolation: a name of `resampling.KERNELS`.
        augmentation: names of `augmentation.AUGMENTATIONS`, applied in this order.
        augmentation_options: of their layers, by name: `{"noise": {"deviation": 0.1}}`;
            those of names that `augmentation` leaves out don't matter.
        drop_rate: dropout before the head, and before each of its hidden layers.
        drop_path_rate: stochastic depth of the deepest block.
        head_dims: units of hidden layers between features and head, each followed by
            a GELU: `head_hidden1`, ...; none for a linear head.
        seed: of weights, augmentation and dropout.
        **options: keyword options of the architecture's builder.

    Raises:
        ValueError: an unknown name or option, an impossible number, a band without
            statistics, a group that is not used or comes twice.
    """
    entry = zoo.get_model(name)
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    entry.check_options(options)
    check(num_labels, groups, band_order, mean, std)
    if any(units < 1 for units in head_dims):
        raise ValueError(f"expected units of at least 1, got head_dims={head_dims}")

    with seeded(seed):
        inputs = make_inputs(groups)
        x = network_input(
            entry,
            inputs,
            groups,
            band_order,
            mean,
            std,
            image_size=image_size,
            interpolation=interpolation,
            augmentation=augmentation,
            augmentation_options=augmentation_options,
        )
        x = build_features(entry, x, options)
        marks = finite.marks(inputs)
        logits = add_head(entry, x, num_labels, head_dims, drop_rate, marks)
        return keras.Model(inputs, logits, name=entry.keras_name)


def add_head(
    entry: zoo.ModelEntry,
    x: Any,
    num_labels: int,
    head_dims: Sequence[int],
    drop_rate: float,
    marks: Any = None,
) -> Any:
    """Maps features to logits (batch, num_labels), float32.

    Args:
        entry: whose last layer is initialised as its publishers do.
        x: (batch, features).
        num_labels: number of logits.
        head_dims: as for `assemble`.
        drop_rate: likewise.
        marks: of the patches, see `finite`.
    """
    x = finite.marked(x, marks, name="features")
    x = _hidden_layers(x, head_dims, drop_rate)
    if drop_rate:
        x = layers.Dropout(drop_rate, name=f"{published.HEAD}_dropout")(x)
    head = entry.head(x.shape[-1])
    return keras.layers.Dense(num_labels, dtype="float32", name=published.HEAD, **head)(
        x
    )


def make_inputs(groups: Sequence[BandGroup]) -> dict[str, Any]:
    """Returns the inputs of a model, by the names of the groups."""
    return {
        group.name: keras.Input(
            (len(group.bands), group.pixels, group.pixels),
            dtype=group.dtype,
            name=group.name,
        )
        for group in groups
    }


def network_input(
    entry: zoo.ModelEntry,
    inputs: Mapping[str, Any],
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    *,
    image_size: int,
    interpolation: str,
    augmentation: Sequence[str],
    augmentation_options: Mapping[str, Mapping[str, Any]],
) -> Any:
    """Maps band groups to what an architecture takes, augmented in training.

    Arguments as for `assemble`.

    Returns:
        (batch, pixels, pixels, bands), or by pixels a side such tensors at native
        resolution, as the entry says.
    """
    if entry.inputs == "stacked":
        x = stack_bands(
            inputs, groups, band_order, mean, std, image_size, interpolation
        )
        return augment(x, augmentation, augmentation_options)
    planes = [_standardize(inputs[g.name], g, mean, std) for g in groups]
    by_pixels = _stack_by_resolution(planes, groups, band_order)
    planes = list(by_pixels.values())
    changed = augment(planes, augmentation, augmentation_options)
    return dict(zip(by_pixels, changed, strict=True))


def stack_bands(
    inputs: Mapping[str, Any],
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    image_size: int,
    interpolation: str,
    suffix: str = "",
) -> Any:
    """Maps band groups to standardised images (batch, pixels, pixels, bands).

    Args:
        inputs: of `make_inputs`.
        groups: those that are stacked.
        band_order: of their bands.
        mean: as for `assemble`, as are the next three.
        std: standard deviations.
        image_size: pixels a side.
        interpolation: kernel.
        suffix: of the stacking layer's name.
    """
    planes = [
        preprocessing.Resample(
            image_size, interpolation, name=f"preprocessing_resample_{g.name}"
        )(_standardize(inputs[g.name], g, mean, std))
        for g in groups
    ]
    return _stack(planes, groups, band_order, f"preprocessing_stack{suffix}")


def build_features(entry: zoo.ModelEntry, x: Any, options: dict[str, Any]) -> Any:
    """Builds an architecture from its input to features (batch, features).

    Raises:
        ValueError: a feature map becomes empty, the output has another shape, or the
            builder of somebody's own model fails.
    """
    try:
        features = entry.build(x, **options)
    except Exception as error:
        if "output size would be zero" in str(error):
            raise ValueError(
                f"{entry.name}: the images are too small for it; choose a larger "
                "image_size"
            ) from error
        if not entry.is_own:
            raise
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"model {entry.name!r} can't be built: {type(error).__name__}: {reason}"
        ) from error
    if entry.is_own:
        _check_features(entry.name, features)
    return features


def _check_features(name: str, features: Any) -> None:
    """Refuses what a builder returns other than features of its input."""
    if not isinstance(features, keras.KerasTensor):
        what = (
            "a keras.Model: return its output"
            if isinstance(features, keras.Model)
            else f"{type(features).__name__}, which is not made of the builder's input"
        )
        raise ValueError(
            f"model {name!r}: expected features (batch, features), got {what}"
        )
    if len(features.shape) != 2 or features.shape[1] is None:
        raise ValueError(
            f"model {name!r}: expected features (batch, features), got shape "
            f"{tuple(features.shape)}; pool over rows and columns at the end, as "
            "keras.layers.GlobalAveragePooling2D does"
        )


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Makes all that is random in what is built inside, and names, follow from `seed`.

    Keras layers, initialisers and seed generators without a seed of their own draw
    one from Python's `random` when they are made. Its state is put back afterwards,
    so that building a model changes nothing for others.
    """
    state = random.getstate()
    random.seed(seed)
    try:
        with keras_settings.counting_afresh():
            yield
    finally:
        random.setstate(state)


def check(
    num_labels: int,
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
) -> None:
    """Raises ValueError where the arguments of `assemble` don't fit together."""
    if num_labels < 1:
        raise ValueError(f"expected at least one label, got num_labels={num_labels}")
    names = [group.name for group in groups]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"expected band groups with different names, got {names}")
    for group in groups:
        if not set(group.bands) & set(band_order):
            raise ValueError(
                f"group {group.name!r} has no band of the model's order "
                f"{list(band_order)}: leave it out"
            )
        for kind, table in (("mean", mean), ("deviation", std)):
            missing = [band for band in group.bands if band not in table]
            if missing:
                raise ValueError(
                    f"expected a {kind} for every band of group {group.name!r}, "
                    f"but {missing} have none"
                )


def _standardize(
    x: Any, group: BandGroup, mean: Mapping[str, float], std: Mapping[str, float]
) -> Any:
    return preprocessing.Standardize(
        [mean[band] for band in group.bands],
        [std[band] for band in group.bands],
        name=f"preprocessing_standardize_{group.name}",
    )(x)


def _stack(
    planes: Sequence[Any],
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    name: str,
) -> Any:
    bands = [band for group in groups for band in group.bands]
    return preprocessing.StackBands(bands, band_order, name=name)(list(planes))


def _stack_by_resolution(
    planes: Sequence[Any], groups: Sequence[BandGroup], band_order: Sequence[str]
) -> dict[int, Any]:
    """Stacks groups of equal size; returns pixels a side -> stacked tensor."""
    stacked = {}
    for pixels in sorted({group.pixels for group in groups}, reverse=True):
        chosen = [
            (x, g) for x, g in zip(planes, groups, strict=True) if g.pixels == pixels
        ]
        xs, same_size = zip(*chosen, strict=True)
        present = {band for group in same_size for band in group.bands}
        order = [band for band in band_order if band in present]
        stacked[pixels] = _stack(xs, same_size, order, f"preprocessing_stack_{pixels}")
    return stacked


def _hidden_layers(x: Any, dims: Sequence[int], drop_rate: float) -> Any:
    """Maps features to what the last layer sees, (batch, last of `dims`)."""
    for number, units in enumerate(dims, start=1):
        name = f"{published.HEAD_HIDDEN}{number}"
        if drop_rate:
            x = layers.Dropout(drop_rate, name=f"{name}_dropout")(x)
        x = keras.layers.Dense(
            units, activation="gelu", name=name, **layers.torch_linear(x.shape[-1])
        )(x)
    return x


def augment(
    x: Any,
    names: Sequence[str],
    options: Mapping[str, Mapping[str, Any]],
    suffix: str = "",
) -> Any:
    """Applies augmentations; all tensors of a list get the same ones.

    Args:
        x: images, or a list of them.
        names: of the augmentations.
        options: of their layers, by name.
        suffix: of the layers' names.
    """
    if len(set(names)) != len(names):
        raise ValueError(f"expected each augmentation once, got {list(names)}")
    for name in (*names, *options):
        augmentations.AUGMENTATIONS.resolve(name)
    for name in names:
        layer = augmentations.AUGMENTATIONS.get(name)
        x = layer(name=f"augmentation_{name}{suffix}", **options.get(name, {}))(x)
    return x
