"""Layers and initialisers that the architectures share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

PACKAGE = "bigearthnet_tf"

# Spreads the seeds of replicas apart: 2**32 divided by the golden ratio (Knuth, The
# Art of Computer Programming, section 6.4). Layers that are seeded with neighbouring
# integers so don't meet each other's replicas.
REPLICA_STRIDE = 2654435769


class ReplicaSeedGenerator(keras.random.SeedGenerator):
    """A seed generator that gives every replica of a strategy its own numbers.

    A plain `keras.random.SeedGenerator` is a mirrored variable: under
    `tf.distribute.MirroredStrategy` all replicas read the same state, so every one
    would flip and drop the same. Here the replica's number is mixed into the seed
    that is handed out; the state stays equal everywhere, and the first replica draws
    what a single device would.
    """

    def next(self, ordered: bool = True) -> Any:
        """Returns the next seed, (2,), and advances the state."""
        seed = super().next(ordered)
        context = _replica_context()
        if context is None:
            return seed
        replica = ops.cast(context.replica_id_in_sync_group, seed.dtype)
        return seed + ops.stack([replica * REPLICA_STRIDE, ops.zeros_like(replica)])


def _replica_context() -> Any:
    """Returns TensorFlow's context of this replica, None where there is but one."""
    if keras.config.backend() != "tensorflow":
        return None
    import tensorflow as tf

    context = tf.distribute.get_replica_context()
    return context if context and context.num_replicas_in_sync > 1 else None


def whole_batch(part: Any) -> Any:
    """Returns the size of a batch of which each replica has a part of this size."""
    context = _replica_context()
    return part * context.num_replicas_in_sync if context else part


def own_part(whole: Any) -> Any:
    """Returns the rows (part, ...) of a tensor (batch, ...) that are this replica's."""
    context = _replica_context()
    if context is None:
        return whole
    parts = ops.reshape(
        whole, (context.num_replicas_in_sync, -1, *ops.shape(whole)[1:])
    )
    return ops.take(parts, context.replica_id_in_sync_group, axis=0)


@keras.saving.register_keras_serializable(package=PACKAGE)
class Dropout(keras.layers.Layer):
    """`keras.layers.Dropout` that drops different units on different replicas.

    Args:
        rate: share of the units set to zero in training, at least 0 and below 1; the
            others grow by 1 / (1 - rate).
        seed: of the layer's own stream of random numbers.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: an impossible rate.
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not 0 <= rate < 1:
            raise ValueError(f"expected a rate of at least 0 and below 1, got {rate}")
        self.rate = float(rate)
        self.seed = seed
        self.seed_generator = ReplicaSeedGenerator(seed)

    def call(self, inputs: Any, training: bool = False) -> Any:
        """Returns the inputs, thinned out in training unless the layer is frozen."""
        if not training or not self.rate or not self.trainable:
            return inputs
        return keras.random.dropout(
            inputs,
            self.rate,
            noise_shape=self._noise_shape(inputs),
            seed=self.seed_generator,
        )

    def _noise_shape(self, inputs: Any) -> tuple[Any, ...] | None:
        return None

    def compute_output_shape(
        self, input_shape: tuple[int | None, ...]
    ) -> tuple[int | None, ...]:
        """Returns the shape of the output."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "rate": self.rate, "seed": self.seed}


@keras.saving.register_keras_serializable(package=PACKAGE)
class DropPath(Dropout):
    """Stochastic depth: drops the whole branch of a sample (arXiv 1603.09382)."""

    def _noise_shape(self, inputs: Any) -> tuple[Any, ...]:
        return (ops.shape(inputs)[0], *(1,) * (len(inputs.shape) - 1))


@keras.saving.register_keras_serializable(package=PACKAGE)
class BatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` on TensorFlow's fused kernel.

    Same arguments, weights and results as its parent. On TensorFlow, for images
    (batch, height, width, channels) in float32, bfloat16 or float16, one kernel
    replaces a dozen element-wise ones, forwards and backwards. Whatever the kernel
    does not do (other ranks and axes, masks, `synchronized`, `renorm`, float64, other
    backends) runs as in the parent.
    """

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        """Returns the normalised inputs; in training updates the moving statistics."""
        if not self._can_fuse(inputs, mask):
            return super().call(inputs, training=training, mask=mask)
        import tensorflow as tf

        use_batch = bool(training and self.trainable)
        mean = tf.convert_to_tensor(self.moving_mean)
        variance = tf.convert_to_tensor(self.moving_variance)
        fused = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma if self.scale else tf.ones_like(variance),
            offset=self.beta if self.center else tf.zeros_like(mean),
            mean=tf.zeros([0]) if use_batch else mean,
            variance=tf.zeros([0]) if use_batch else variance,
            epsilon=self.epsilon,
            is_training=use_batch,
        )
        if use_batch:
            self._update_moving_statistics(fused, ops.shape(inputs))
        return fused.y

    def _can_fuse(self, inputs: Any, mask: Any) -> bool:
        return (
            keras.config.backend() == "tensorflow"
            and mask is None
            and not self.synchronized
            and not self.renorm
            and len(inputs.shape) == 4
            and self.axis in (-1, 3)
            and keras.backend.standardize_dtype(inputs.dtype)
            in ("float32", "bfloat16", "float16")
        )

    def _update_moving_statistics(self, fused: Any, shape: tuple[Any, ...]) -> None:
        """Moves the statistics towards the batch's, as the parent does."""
        # The kernel returns the unbiased variance (Bessel's correction); Keras keeps
        # the biased one.
        count = ops.cast(shape[0] * shape[1] * shape[2], "float32")
        variance = fused.batch_variance * ((count - 1) / count)
        for moving, batch in (
            (self.moving_mean, fused.batch_mean),
            (self.moving_variance, variance),
        ):
            moving.assign(moving * self.momentum + batch * (1 - self.momentum))


def synchronize_batch_norm(model: keras.Model) -> None:
    """Makes every BatchNorm of a model normalise over the batches of all replicas."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.synchronized = True


def uniform_by_fan_in(fan_in: int) -> keras.initializers.Initializer:
    """Returns U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's default for biases."""
    bound = fan_in**-0.5
    return keras.initializers.RandomUniform(-bound, bound)


def torch_linear(features: int) -> dict[str, keras.initializers.Initializer]:
    """Returns the initialisers of a Dense layer that torch's `Linear` starts with.

    Args:
        features: number of inputs of the layer.
    """
    return {
        "kernel_initializer": uniform_by_fan_in(features),
        "bias_initializer": uniform_by_fan_in(features),
    }


def torch_convolution() -> keras.initializers.Initializer:
    """Returns U(-1/sqrt(fan_in), 1/sqrt(fan_in)), torch's default for kernels."""
    return keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform")


def glorot_linear(features: int) -> dict[str, str]:
    """Returns the initialisers that Keras's own layers start with.

    Args:
        features: number of inputs of the layer; does not matter here.
    """
    return {"kernel_initializer": "glorot_uniform", "bias_initializer": "zeros"}


def pad(x: Any, pixels: int, name: str) -> Any:
    """Adds `pixels` zeros on each side, symmetrically as torch does.

    Keras's `same` is not symmetric where a stride meets an even size.
    """
    return keras.layers.ZeroPadding2D(pixels, name=name)(x) if pixels else x


def subsample(x: Any, stride: int, name: str) -> Any:
    """Keeps every `stride`-th pixel of both axes, the first one included."""
    return keras.layers.MaxPooling2D(1, stride, name=name)(x)


def convolution(
    x: Any,
    filters: int,
    kernel: int,
    name: str,
    *,
    initializer: Callable[[], keras.initializers.Initializer],
    stride: int = 1,
) -> Any:
    """Convolves without bias, padded symmetrically by half the kernel.

    Args:
        x: (batch, height, width, channels).
        filters: channels of the output.
        kernel: odd side length in pixels.
        name: of the layer.
        initializer: makes the kernel's initialiser.
        stride: in pixels.
    """
    if kernel == 1 and stride > 1:
        # The same numbers as a strided convolution, whose gradient for the kernel
        # writes beyond its memory in TensorFlow 2.21 with oneDNN on a CPU (1x1, stride
        # 2, even size, fewer than 16 channels): crashes, or wrong numbers.
        x = subsample(x, stride, f"{name}_subsample")
        stride = 1
    # At stride 1 `same` is symmetric, and needs no copy of the input.
    if stride > 1:
        x = pad(x, kernel // 2, f"{name}_pad")
    return keras.layers.Conv2D(
        filters,
        kernel,
        stride,
        padding="same" if stride == 1 else "valid",
        use_bias=False,
        kernel_initializer=initializer(),
        name=name,
    )(x)
