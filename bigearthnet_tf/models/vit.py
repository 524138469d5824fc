"""Vision Transformers: images as sequences of patches, attention between all of them.

The form is timm's (VisionTransformer of timm 1.0): a class token and learnt positions,
normalisation before each branch, one layer for queries, keys and values. Architecture:
Dosovitskiy et al., arXiv 2010.11929. Layers are called `block<i>_<part>`, counted
from 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from bigearthnet_tf.models import layers, published, zoo

# timm's `init_weights` of VisionTransformer.
CLASS_TOKEN_DEVIATION = 1e-6
POSITION_DEVIATION = 0.02


# Tokens at the ends of the blocks.
MAPS = r"block\d+_mlp_add"


@dataclass(frozen=True)
class Form:
    """What tells the transformer of one architecture from that of another.

    Attributes:
        heads: of the attention; they divide the width of the tokens.
        expansion: hidden units of the perceptron, in widths of the tokens.
        activation: of the perceptron, a name that Keras knows.
        epsilon: of the normalisations.
        deviation: of the initial weights.
    """

    heads: int
    expansion: int
    activation: str
    epsilon: float
    deviation: float


# timm's `vit_base_patch8_224` and its default initialisation. The truncated normal of
# timm cuts at 2, which is a hundred deviations: a plain one. Keras's "gelu" is exact.
BASE = Form(heads=12, expansion=4, activation="gelu", epsilon=1e-6, deviation=0.02)


def normal(deviation: float) -> keras.initializers.Initializer:
    """Returns N(0, deviation^2)."""
    return keras.initializers.RandomNormal(stddev=deviation)


def timm_head(features: int) -> dict[str, Any]:
    """Returns the initialisers of the head; timm treats it as any linear layer."""
    return {"kernel_initializer": normal(BASE.deviation), "bias_initializer": "zeros"}


def timm_name(layer: str, variable: str) -> str:
    """Returns what timm calls a variable: `blocks.0.attn.qkv.weight`."""
    if layer == "tokens":
        return variable
    if layer == "patch_embed":
        return f"patch_embed.proj.{published.linear_name(variable)}"
    block, _, part = layer.rpartition("_")
    if not block:  # the last normalisation, or the head
        return timm_part_name(part, variable)
    number = int(block.removeprefix("block")) - 1
    return f"blocks.{number}.{timm_part_name(part, variable)}"


def timm_part_name(part: str, variable: str) -> str:
    """Returns what timm calls a variable within a transformer block."""
    if part.startswith("norm"):
        return f"{part}.{published.batch_norm_name(variable)}"
    module = {"qkv": "attn.", "proj": "attn.", "fc1": "mlp.", "fc2": "mlp."}
    return f"{module.get(part, '')}{part}.{published.linear_name(variable)}"


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class PositionedTokens(keras.layers.Layer):
    """Puts a class token in front of a sequence and adds positions; both are learnt.

    Input (batch, tokens, width), output (batch, tokens + 1, width).
    """

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Makes the variables `cls_token` and `pos_embed`, under timm's names."""
        _, tokens, width = input_shape
        self.cls_token = self.add_weight(
            name="cls_token",
            shape=(1, 1, width),
            initializer=normal(CLASS_TOKEN_DEVIATION),
        )
        self.pos_embed = self.add_weight(
            name="pos_embed",
            shape=(1, tokens + 1, width),
            initializer=normal(POSITION_DEVIATION),
        )

    def call(self, inputs: Any) -> Any:
        """Returns the longer sequence."""
        first = ops.repeat(self.cls_token, ops.shape(inputs)[0], axis=0)
        return ops.concatenate([first, inputs], axis=1) + self.pos_embed

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the shape of the output."""
        batch, tokens, width = input_shape
        return (batch, tokens + 1, width)


@keras.saving.register_keras_serializable(package=layers.PACKAGE)
class SelfAttention(keras.layers.Layer):
    """Scaled dot-product attention within a sequence (arXiv 1706.03762); no weights.

    Input (batch, tokens, 3 * width): queries, keys and values, each of them all heads
    one after another. Output (batch, tokens, width). The softmax runs in float32. In
    training the scores of a layer take batch * heads * tokens^2 numbers of memory.

    Args:
        heads: number of them.
        **kwargs: of `keras.layers.Layer`.

    Raises:
        ValueError: when called, channels that don't divide into three times `heads`.
    """

    def __init__(self, heads: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.heads = heads

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Checks the number of channels."""
        if input_shape[-1] % (3 * self.heads):
            raise ValueError(
                f"{self.name}: expected channels in multiples of three times "
                f"{self.heads} heads, got {input_shape[-1]}"
            )

    def call(self, inputs: Any) -> Any:
        """Returns what every token has gathered from all tokens."""
        _, tokens, channels = inputs.shape
        width = channels // 3
        split = (-1, tokens, 3, self.heads, width // self.heads)
        query, key, value = ops.unstack(ops.reshape(inputs, split), axis=2)
        gathered = ops.dot_product_attention(query, key, value)
        return ops.reshape(gathered, (-1, tokens, width))

    def compute_output_shape(self, input_shape: tuple[Any, ...]) -> tuple[Any, ...]:
        """Returns the shape of the output."""
        return (*input_shape[:-1], input_shape[-1] // 3)

    def multiply_adds(self, output_shape: tuple[int, ...]) -> int:
        """Returns the multiply-adds for an output (batch, tokens, width)."""
        batch, tokens, width = output_shape
        return 2 * batch * tokens**2 * width

    def get_config(self) -> dict[str, Any]:
        """Returns what the layer is built from."""
        return {**super().get_config(), "heads": self.heads}


def transformer_block(
    x: Any, name: str, form: Form, *, drop_path_rate: float = 0.0
) -> Any:
    """Adds attention between the tokens, then a perceptron on each.

    Args:
        x: (batch, tokens, width).
        name: of the block; its layers are called `<name>_<part>`.
        form: of the transformer.
        drop_path_rate: stochastic depth of both branches.
    """
    width = x.shape[-1]

    branch = normalization(x, f"{name}_norm1", form)
    branch = linear(branch, 3 * width, f"{name}_qkv", form)
    branch = SelfAttention(form.heads, name=f"{name}_attention")(branch)
    branch = linear(branch, width, f"{name}_proj", form)
    x = _residual(x, branch, f"{name}_attention", drop_path_rate)

    branch = normalization(x, f"{name}_norm2", form)
    hidden = form.expansion * width
    branch = linear(branch, hidden, f"{name}_fc1", form, activation=form.activation)
    branch = linear(branch, width, f"{name}_fc2", form)
    return _residual(x, branch, f"{name}_mlp", drop_path_rate)


def normalization(x: Any, name: str, form: Form) -> Any:
    """Normalises every token."""
    return keras.layers.LayerNormalization(epsilon=form.epsilon, name=name)(x)


def linear(
    x: Any, units: int, name: str, form: Form, *, activation: str | None = None
) -> Any:
    """Maps every token linearly."""
    return keras.layers.Dense(
        units,
        activation=activation,
        kernel_initializer=normal(form.deviation),
        name=name,
    )(x)


def _residual(x: Any, branch: Any, name: str, drop_path_rate: float) -> Any:
    if drop_path_rate:
        branch = layers.DropPath(drop_path_rate, name=f"{name}_drop_path")(branch)
    return keras.layers.Add(name=f"{name}_add")([x, branch])


def vit(
    x: Any,
    *,
    patch: int = 8,
    width: int = 768,
    depth: int = 12,
    form: Form = BASE,
    drop_path_rate: float = 0.0,
) -> Any:
    """Maps images to features by a vision transformer.

    Args:
        x: (batch, height, width, bands).
        patch: pixels a side of what becomes a token.
        width: of the tokens.
        depth: number of transformer blocks.
        form: of the transformer.
        drop_path_rate: stochastic depth of the last block; it grows linearly from 0 in
            the first.

    Returns:
        The normalised class token, (batch, width).

    Raises:
        ValueError: a side of the images is no multiple of the patch.
    """
    _, height, columns, bands = x.shape
    _check_sides((height, columns), patch)
    # timm leaves the convolution as torch makes it.
    uniform = layers.torch_linear(patch * patch * bands)
    x = keras.layers.Conv2D(width, patch, patch, name="patch_embed", **uniform)(x)
    tokens = (height // patch) * (columns // patch)
    x = keras.layers.Reshape((tokens, width), name="patches")(x)
    x = PositionedTokens(name="tokens")(x)
    for block in range(depth):
        x = transformer_block(
            x,
            f"block{block + 1}",
            form,
            drop_path_rate=drop_path_rate * block / max(depth - 1, 1),
        )
    # Tokens are normalised one by one, and the others are not needed any more.
    return normalization(x[:, 0], "norm", form)


def _check_sides(sides: tuple[int, ...], patch: int) -> None:
    for side in sides:
        if side % patch or not side:
            fitting = max(side // patch, 1) * patch
            raise ValueError(
                f"expected images whose sides are multiples of the patch of {patch} "
                f"pixels, got {' by '.join(map(str, sides))}: take an image_size such "
                f"as {fitting} or {fitting + patch}"
            )


@zoo.register_model("vit_base_patch8_224", head=timm_head, timm=timm_name, maps=MAPS)
def vit_base_patch8_224(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """ViT-Base on patches of 8 pixels as in timm: 768 features.

    The 224 belongs to timm's name; any multiple of 8 pixels will do. The number of
    positions, and so of weights, follows from it: 226 at 120 pixels.
    """
    return vit(x, drop_path_rate=drop_path_rate)


@zoo.register_model("vit_test", head=timm_head, timm=timm_name, maps=MAPS)
def vit_test(x: Any, *, drop_path_rate: float = 0.0) -> Any:
    """A size for tests and trial runs: patches of 8 pixels, two blocks, 32 features."""
    form = Form(heads=2, expansion=2, activation="gelu", epsilon=1e-6, deviation=0.02)
    return vit(x, width=32, depth=2, form=form, drop_path_rate=drop_path_rate)
