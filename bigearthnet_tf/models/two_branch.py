"""Two encoders, one for each sensor, whose projections can be compared or fused.

Sentinel-1 and Sentinel-2 of a patch go through an encoder each (`h_s1`, `h_s2`) and a
projection each (`p_s1`, `p_s2`). Separate encoders have nothing in common. Joint ones
share all weights after a 1x1 convolution of each sensor's own, but for BatchNorm: the
statistics of radar and optical images have nothing in common either.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import keras
from keras import ops

from bigearthnet_tf import vectors
from bigearthnet_tf.models import build, finite, layers, zoo
from bigearthnet_tf.models.build import BandGroup

SENSORS = ("s1", "s2")
# A learnt temperature does not fall below this: CLIP bounds its inverse at 100 (Radford
# et al., arXiv 2103.00020, section 2.5).
LOWEST_TEMPERATURE = 0.01


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class Temperature(keras.layers.Layer):
    """Carries the learnt temperature of a contrastive loss; hands its input on.

    Args:
        initial: temperature to begin with, above zero.
        **kwargs: of `keras.layers.Layer`.
    """

    def __init__(self, initial: float, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.initial = initial

    def build(self, input_shape: Any) -> None:
        """Makes the weight, the logarithm of the temperature."""
        start = keras.initializers.Constant(math.log(self.initial))
        self.log_temperature = self.add_weight(
            shape=(), dtype="float32", initializer=start, name="log_temperature"
        )

    def call(self, inputs: Any) -> Any:
        """Returns the inputs."""
        return inputs

    def value(self) -> Any:
        """Returns the temperature, a scalar float32."""
        return ops.maximum(ops.exp(self.log_temperature), LOWEST_TEMPERATURE)

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "initial": self.initial}


def temperature_of(model: keras.Model) -> Any:
    """Returns the learnt temperature of a model, a scalar float32.

    Raises:
        ValueError: it was built without one.
    """
    return model.get_layer("temperature").value()


def build_two_branch(
    name: str,
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    *,
    temperature: float | None = None,
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds both encoders with their projections.

    Inputs as of `build.assemble`; outputs a dictionary of `h_s1`, `h_s2` (batch,
    features), `p_s1`, `p_s2` (batch, projection_dim), float32.

    Args:
        name: architecture of the encoders.
        groups: of both sensors; those of Sentinel-1 are called `s1_...`.
        band_order: bands in the order that the encoders see them.
        mean: as for `build.assemble`.
        std: likewise.
        temperature: to begin with, if it is learnt; None: it is not.
        seed: of all weights, augmentation and dropout.
        **options: see `_branches`, and those of the architecture.

    Raises:
        ValueError: a sensor is missing, an architecture that can't be an encoder, or
            as for `build.assemble`.
    """
    with build.seeded(seed):
        inputs, outputs, _ = _branches(name, groups, band_order, mean, std, **options)
        if temperature is not None:
            carrier = Temperature(temperature, name="temperature")
            outputs["p_s1"] = carrier(outputs["p_s1"])
        return keras.Model(inputs, outputs, name=_keras_name(name))


def build_two_branch_classifier(
    name: str,
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    *,
    num_labels: int,
    fusion: str = "concat",
    head_dims: Sequence[int] = (),
    drop_rate: float = 0.0,
    seed: int = 42,
    **options: Any,
) -> keras.Model:
    """Builds both encoders, the fusion of their projections, and a head.

    Inputs and output as of `build.assemble`.

    Args:
        name: as for `build_two_branch`, as are the next four.
        groups: of both sensors.
        band_order: bands in order.
        mean: of each band.
        std: of each band.
        num_labels: number of logits.
        fusion: a name of `vectors.FUSIONS`.
        head_dims: as for `build.assemble`.
        drop_rate: likewise.
        seed: of all weights, augmentation and dropout.
        **options: see `_branches`, and those of the architecture.

    Raises:
        ValueError: as for `build_two_branch`.
    """
    with build.seeded(seed):
        inputs, found, marks = _branches(name, groups, band_order, mean, std, **options)
        fused = vectors.fuse(found["p_s1"], found["p_s2"], fusion, ops)
        logits = build.add_head(
            zoo.get_model(name), fused, num_labels, head_dims, drop_rate, marks["s1"]
        )
        return keras.Model(inputs, logits, name=_keras_name(name))


def _branches(
    name: str,
    groups: Sequence[BandGroup],
    band_order: Sequence[str],
    mean: Mapping[str, float],
    std: Mapping[str, float],
    *,
    encoders: str = "separate",
    out_channels: int = 32,
    projection_dim: int = 128,
    projection_hidden_dims: Sequence[int] = (),
    projection_activation: str = "linear",
    pair_augmentation: str = "together",
    image_size: int = 120,
    interpolation: str = "nearest",
    augmentation: Sequence[str] = (),
    augmentation_options: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
    drop_path_rate: float = 0.0,
    **options: Any,
) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Builds everything up to the projections.

    Args:
        name: architecture.
        groups: of both sensors.
        band_order: bands in order.
        mean: of each band.
        std: of each band.
        encoders: `separate` or `joint`.
        out_channels: of `joint`: channels that both sensors are mapped to.
        projection_dim: dimensions of a projection.
        projection_hidden_dims: units of the layers before it, each with a ReLU.
        projection_activation: after it, `linear` or `relu`.
        pair_augmentation: `together`: both sensors are moved alike, or `independent`.
        image_size: as for `build.assemble`, as are the next four.
        interpolation: kernel.
        augmentation: names.
        augmentation_options: of their layers.
        drop_path_rate: stochastic depth.
        **options: keyword options of the architecture's builder.

    Returns:
        Inputs, outputs, and the marks of the patches of each sensor, see `finite`.
    """
    entry = zoo.get_model(name)
    if drop_path_rate:
        options["drop_path_rate"] = drop_path_rate
    entry.check_options(options)
    build.check(1, groups, band_order, mean, std)
    by_sensor = _by_sensor(groups)
    if entry.inputs != "stacked":
        raise ValueError(
            f"{entry.name} takes bands by resolution, which two encoders do not give; "
            "choose another model_name"
        )
    inputs = build.make_inputs(groups)
    images = [
        build.stack_bands(
            inputs,
            own,
            [b for b in band_order if any(b in group.bands for group in own)],
            mean,
            std,
            image_size,
            interpolation,
            suffix=f"_{sensor}",
        )
        for sensor, own in by_sensor.items()
    ]
    if pair_augmentation == "together":
        images = build.augment(images, augmentation, augmentation_options)
    else:
        images = [
            build.augment(x, augmentation, augmentation_options, suffix=f"_{sensor}")
            for sensor, x in zip(SENSORS, images, strict=True)
        ]
    encode = {"separate": _encode_apart, "joint": _encode_jointly}.get(encoders)
    if encode is None:
        raise ValueError(f"expected encoders separate or joint, got {encoders!r}")
    features = encode(entry, images, options, out_channels)

    marks = {
        sensor: finite.marks({g.name: inputs[g.name] for g in own}, f"_{sensor}")
        for sensor, own in by_sensor.items()
    }
    outputs: dict[str, Any] = {}
    for sensor, x in zip(SENSORS, features, strict=True):
        x = finite.marked(x, marks[sensor], dtype="float32", name=f"h_{sensor}")
        outputs[f"h_{sensor}"] = x
        for number, units in enumerate(projection_hidden_dims, start=1):
            x = keras.layers.Dense(
                units, activation="relu", name=f"projection_{sensor}_hidden{number}"
            )(x)
        x = keras.layers.Dense(
            projection_dim,
            activation=projection_activation,
            dtype="float32",
            name=f"projection_{sensor}",
        )(x)
        outputs[f"p_{sensor}"] = finite.marked(
            x, marks[sensor], dtype="float32", name=f"p_{sensor}"
        )
    return inputs, outputs, marks


def _by_sensor(groups: Sequence[BandGroup]) -> dict[str, list[BandGroup]]:
    found = {s: [g for g in groups if g.name.startswith(f"{s}_")] for s in SENSORS}
    for sensor, own in found.items():
        if not own:
            raise ValueError(
                f"two encoders need bands of both sensors, but there are none of "
                f"Sentinel-{sensor[1]}; set modality to MM, or add some to bands"
            )
    return found


def _encode_apart(
    entry: zoo.ModelEntry, images: Sequence[Any], options: dict[str, Any], _: int
) -> list[Any]:
    """Builds an encoder for each sensor, with layers called `s1_...` and `s2_...`."""
    features = []
    for sensor, x in zip(SENSORS, images, strict=True):
        found = build.build_features(entry, x, options)
        for layer in keras.Model(x, found).layers:
            # Two layers of a model can't have one name, which builders give them.
            if not isinstance(layer, keras.layers.InputLayer):
                layer.name = f"{sensor}_{layer.name}"
        features.append(found)
    return features


def _encode_jointly(
    entry: zoo.ModelEntry,
    images: Sequence[Any],
    options: dict[str, Any],
    out_channels: int,
) -> list[Any]:
    """Builds one encoder for both sensors, in which they share all but BatchNorm."""
    size = images[0].shape[1]
    x = keras.Input((size, size, out_channels))
    trunk = keras.Model(x, build.build_features(entry, x, options))
    features = []
    for sensor, image in zip(SENSORS, images, strict=True):
        entrance = keras.layers.Conv2D(out_channels, 1, name=f"{sensor}_entrance")
        features.append(_pass_through(trunk, entrance(image), sensor))
    return features


def _pass_through(trunk: keras.Model, x: Any, sensor: str) -> Any:
    """Applies the layers of a network to a tensor, with BatchNorms of their own."""
    made: dict[str, Any] = {}

    def own(layer: Any) -> Callable[..., Any]:
        if isinstance(layer, keras.layers.BatchNormalization):
            name = f"{sensor}_{layer.name}"
            layer_name, layer = layer.name, _anew(layer, name)
        else:
            layer_name = layer.name
            _check_plain(layer)

        def apply(*arguments: Any, **options: Any) -> Any:
            made[layer_name] = layer(*arguments, **options)
            return made[layer_name]

        return apply

    keras.models.clone_model(trunk, input_tensors=x, clone_function=own)
    return made[trunk.layers[-1].name]


def _anew(layer: Any, name: str) -> Any:
    return type(layer).from_config({**layer.get_config(), "name": name})


def _check_plain(layer: Any) -> None:
    # Plain operations (a reshaping, say) have no layers inside.
    parts: Any = getattr(layer, "_flatten_layers", tuple)()
    inside = (part for part in parts if part is not layer)
    if any(isinstance(part, keras.layers.BatchNormalization) for part in inside):
        raise ValueError(
            f"a joint encoder can't have a BatchNorm inside of layer {layer.name}; "
            "choose encoders separate, or another model_name"
        )


def _keras_name(name: str) -> str:
    return zoo.get_model(name).keras_name
