"""Keys of a config: two sensors as a pair, and retrieval."""

from __future__ import annotations

from typing import Annotated, Literal

import pydantic
from pydantic import Field

Split = Literal["train", "val", "test"]


def _rename(definitions: str) -> str:
    """Returns the present name of definitions of metrics."""
    return "cbir" if definitions == "older" else definitions


class PairKeys(pydantic.BaseModel):
    """Encoders of both sensors, what is learnt from pairs, and retrieval."""

    encoders: Literal["single", "separate", "joint"] = Field(
        "single",
        description="`single`: one network for all bands together; of `modality` MM "
        "also `separate`: one for each sensor, or `joint`: one that both share, after "
        "a 1x1 convolution of each sensor's own, with its own BatchNorm for each",
    )
    out_channels: int = Field(
        32, gt=0, description="of `joint`: channels that both sensors are mapped to"
    )
    projection_dim: int = Field(
        128, gt=0, description="dimensions of each sensor's projection"
    )
    projection_hidden_dims: list[Annotated[int, Field(gt=0)]] = Field(
        [],
        description="units of hidden layers between features and projection, each with "
        "a ReLU; empty: a linear projection",
    )
    projection_activation: Literal["linear", "relu"] = Field(
        "linear",
        description="activation of the projections; `relu` in the CBIR project",
    )
    fusion: Literal["concat", "avg", "max", "sum"] = Field(
        "concat",
        description="how the projections of both sensors become one; with `task` "
        "contrastive it matters for retrieval alone",
    )
    temperature: float = Field(
        0.1, gt=0, description="of the contrastive loss; the first one if it is learnt"
    )
    learn_temperature: bool = Field(
        False, description="the temperature is learnt with the weights"
    )
    intra_modal_weight: float = Field(
        0.0,
        ge=0,
        description="weight of contrastive losses between two augmented views of the "
        "same sensor, beside that between sensors; 0: none",
    )
    pair_augmentation: Literal["together", "independent"] = Field(
        "together",
        description="whether both sensors of a patch are flipped, turned and cropped "
        "alike, or each on its own",
    )

    # Retrieval, for `eval.py` of a run with two encoders.
    query_split: Split = Field("test", description="split whose patches are searched")
    archive_split: Split = Field(
        "test",
        description="split that is searched in; a patch never finds itself in its own "
        "sensor",
    )
    retrieval_layer: Literal["p", "h"] = Field(
        "p", description="`p`: projections, `h`: features of the encoders before them"
    )
    retrieval_metric: Literal["cosine", "l2", "chi_square"] = Field(
        "cosine",
        description="distance; `chi_square`, that of the CBIR project, needs features "
        "that are not negative",
    )
    retrieval_k: list[Annotated[int, Field(gt=0)]] = Field(
        [1, 5, 10, 20, 50, 100],
        min_length=1,
        description="numbers of hits that retrieval is measured at",
    )
    retrieval_definitions: Annotated[
        Literal["corrected", "cbir", "older"], pydantic.AfterValidator(_rename)
    ] = Field(
        "corrected",
        description="definitions of the metrics of retrieval; `cbir`: those of the "
        "CBIR project, for comparison (precision and recall at one rank alone, ideal "
        "order among the hits, of which there are 1000); `older` is its former name",
    )
