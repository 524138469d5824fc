"""Self-supervised learning from pixels: two subsets of a year's dates agree."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from matplotlib.figure import Figure

from bigearthnet_tf import losses
from bigearthnet_tf.config import Config
from bigearthnet_tf.metrics import knn, rank
from bigearthnet_tf.tasks import base, gathering, pixel_pictures, pixels

# Rows that RankMe is computed of, evenly spread: 100 times 128 dimensions and more.
RANK_ROWS = 16_384
_CORRELATION_ROWS = 65_536


@base.TASKS.register("barlow_twins")
class BarlowTwins(pixels.PixelTask):
    """Learns embeddings that are alike for any dates of a pixel, and not redundant.

    Args:
        config: of the run.

    Raises:
        ValueError: an unknown encoder, or an option that it does not have.
    """

    name = "barlow_twins"
    default_monitor = "barlow_twins_loss"
    loss_name = "barlow_twins_loss"
    # Dimensions are correlated over all of it.
    needs_whole_batch = True
    learns_labels = False
    training_views = 2

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.scoring_views = max(2, config.evaluation_draws)

    def losses(
        self, model: keras.Model, batch: pixels.Batch, training: bool
    ) -> tf.Tensor:
        """Returns the loss of the whole batch, once for each pixel of this part.

        So that the mean over the batch is the loss. Each view is a pass of its own: a
        BatchNorm must not mix them.
        """
        one, other = (
            gathering.gather(
                model(pixels.one_view(batch[0], view), training=training)["p_s2"]
            )
            for view in (0, 1)
        )
        loss = self._loss(one.whole, other.whole).loss
        return tf.fill(tf.shape(one.own)[:1], loss)

    def _loss(self, one: Any, other: Any) -> Any:
        config = self.config
        return losses.barlow_twins(
            one, other, config.off_diagonal_weight, form=config.correlation_form
        )

    def outputs(self, model: keras.Model, batch: pixels.Batch) -> dict[str, tf.Tensor]:
        """Returns embedding, both projections, class and weight of each pixel."""
        series, codes, weights = batch
        views = [pixels.encode(model, series, v) for v in range(self.scoring_views)]
        drawn = [view["h_s2"] for view in views[: self.config.evaluation_draws]]
        return {
            "h": tf.add_n(drawn) / len(drawn),
            "p_one": views[0]["p_s2"],
            "p_other": views[1]["p_s2"],
            "classes": self.class_numbers(codes),
            "weight": weights,
        }

    def metrics(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        """Returns loss, RankMe, and accuracy of the neighbours on a split.

        The loss and its terms are means over full batches of `batch_size` pixels,
        since they depend on the size of a batch, each evenly spread over the split:
        neighbours in one batch are alike, which correlates all dimensions. A split
        that fills no batch is one. `knn_accuracy` is of the pixels that have a class.
        """
        result = self._mean_losses(outputs)
        for name, key in (("embedding", "h"), ("projection", "p_one")):
            rows = _spread(outputs[key], RANK_ROWS)
            result[f"rank_me_{name}"] = rank.rank_me(rows)
            result[f"rank_me_share_{name}"] = rank.rank_me_normalised(rows)
        has_class = outputs["classes"] >= 0
        if has_class.sum() > 1:
            result["knn_accuracy"] = knn.knn_accuracy(
                outputs["h"][has_class], outputs["classes"][has_class]
            )
        return result

    def _mean_losses(self, outputs: dict[str, np.ndarray]) -> dict[str, float]:
        count, size = len(outputs["p_one"]), self.config.batch_size
        batches = max(1, count // size)
        rows = [slice(first, None, batches) for first in range(batches)]
        views = outputs["p_one"], outputs["p_other"]
        found = np.array(
            [self._loss(*(view[own][:size] for view in views)) for own in rows],
            np.float64,
        ).mean(axis=0)
        names = (self.loss_name, "on_diagonal", "off_diagonal")
        return dict(zip(names, found.tolist(), strict=True))

    def metric_names(self) -> list[str]:
        """Returns the names of all metrics."""
        source = self.find("val") or self.find("test")
        labelled = bool(source and source.num_labelled > 1)
        eye = np.eye(4, dtype=np.float32)
        outputs = dict.fromkeys(("h", "p_one", "p_other"), eye)
        classes = np.full(4, 0 if labelled else -1)
        return list(self.metrics({**outputs, "classes": classes}))

    def per_class(self, metrics: dict[str, float]) -> dict[str, dict[str, float]]:
        """Returns nothing: classes are not learnt."""
        return {}

    def samples(self, count: int) -> None:
        """Returns nothing: `watch` looks at the whole split."""

    def watch(
        self, outputs: dict[str, np.ndarray], samples: None = None
    ) -> dict[str, Figure]:
        """Returns a picture of how the projections' dimensions correlate."""
        return {"cross_correlation": pixel_pictures.correlations(_correlate(outputs))}

    def histograms(self, outputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Returns the correlations on and off the diagonal."""
        correlation = _correlate(outputs)
        is_diagonal = np.eye(len(correlation), dtype=bool)
        return {
            "correlations/on_diagonal": correlation[is_diagonal],
            "correlations/off_diagonal": correlation[~is_diagonal],
        }

    def summary(self) -> list[str]:
        """Returns lines for the user: encoder, projector, data."""
        config = self.config
        dims = "-".join(map(str, (config.latent_dim, *config.projector_dims)))
        model, *data = self.summary_of_data()
        return [
            model,
            f"learns   Barlow Twins on {dims}, lambda {config.off_diagonal_weight:g}",
            *data,
        ]

    def describe(self) -> dict[str, Any]:
        """Returns what fixes the meaning of the weights."""
        return {**super().describe(), "projector_dims": self.config.projector_dims}


def _correlate(outputs: dict[str, np.ndarray]) -> np.ndarray:
    views = (_spread(outputs[key], _CORRELATION_ROWS) for key in ("p_one", "p_other"))
    return np.asarray(losses.cross_correlation(*views))


def _spread(rows: np.ndarray, most: int) -> np.ndarray:
    """Returns at most so many rows, evenly spread over all."""
    return rows[np.linspace(0, len(rows) - 1, min(most, len(rows))).astype(int)]
