"""The best and the worst patches of a split, as people see them."""

from __future__ import annotations

import html
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bigearthnet_tf.evaluation import gallery, page
from bigearthnet_tf.evaluation.predictions import Predictions
from bigearthnet_tf.records import inspection

STYLE = """\
.patches { display: grid; gap: 1.2rem 1rem; margin-bottom: 1.5rem;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 15.5rem), 1fr)); }
.patches figure { margin: 0; }
.patches .views { display: flex; gap: 4px; }
.patches img { width: 7.6rem; height: 7.6rem; padding: 0; border-radius: 3px;
  image-rendering: pixelated; }
.patches figcaption { font-size: .8rem; line-height: 1.4; overflow-wrap: anywhere; }
.patches ul { list-style: none; margin: .3rem 0 0; padding: 0; color: var(--ink); }
.patches li { padding-left: 1.1em; text-indent: -1.1em; }
.patches .hit { color: #157f3b; }
.patches .missed { color: #b3470a; font-weight: 600; }
.patches .false { color: #0b5f9e; font-weight: 600; }
.patches .name { font-size: .68rem; }
@media (prefers-color-scheme: dark) {
  .patches .hit { color: #5fce86; } .patches .missed { color: #ff9d5c; }
  .patches .false { color: #6cb8f0; }
}
"""
_LEGEND = (
    '<p class="note">A label is given from its threshold on: ✓ right, – missed, + '
    "false alarm, each with its score. The number is the mean cross-entropy of the "
    "patch. Of the best there is one for each set of labels.</p>"
)
# Scores of exactly 0 and 1 would be infinitely wrong.
_SMALLEST = 1e-7
_LISTED = 8


def cross_entropy(predictions: Predictions) -> NDArray[np.float64]:
    """Returns the mean cross-entropy of each patch over the labels, in nats."""
    scores = predictions.scores.astype(np.float64).clip(_SMALLEST, 1 - _SMALLEST)
    truth = predictions.labels > 0
    return -np.log(np.where(truth, scores, 1 - scores)).mean(axis=1)


def choose(predictions: Predictions, count: int) -> dict[str, list[int]]:
    """Returns rows of the best and the worst patches, by cross-entropy.

    Easy patches look alike: of the best there is one for each set of labels.

    Args:
        predictions: of all patches.
        count: of each kind; fewer where there are not so many.
    """
    order = np.argsort(cross_entropy(predictions), kind="stable")
    sets: dict[bytes, int] = {}
    for row in order:
        sets.setdefault(predictions.labels[row].tobytes(), int(row))
        if len(sets) == count:
            break
    return {"Best": list(sets.values()), "Worst": [int(r) for r in order[::-1][:count]]}


def section(
    predictions: Predictions,
    thresholds: NDArray[np.float64],
    shards: Sequence[str],
    count: int = 8,
) -> str:
    """Returns HTML with the best and the worst patches; `STYLE` belongs to it.

    Args:
        predictions: in the order of the records.
        thresholds: (labels,) scores from which labels are given.
        shards: paths of the records.
        count: patches of each kind.

    Raises:
        ValueError: the records are damaged.
    """
    splits = inspection.look(list(shards))
    values = cross_entropy(predictions)
    parts = [_LEGEND]
    for kind, rows in choose(predictions, count).items():
        figures = []
        for row in rows:
            _, patch = inspection.read_record(splits, row)
            name = html.escape(predictions.names[row])
            views = "".join(
                f'<img src="{uri}" alt="{sensor} of {name}">'
                for sensor, uri in gallery.thumbnails(patch).items()
            )
            figures.append(
                f'<figure><div class="views">{views}</div><figcaption>'
                f"<b>{values[row]:.3f}</b>{_verdicts(predictions, row, thresholds)}"
                f'<span class="name">{name}</span>'
                "</figcaption></figure>\n"
            )
        parts.append(f'<h3>{kind}</h3><div class="patches">\n{"".join(figures)}</div>')
    return page.section("Best and worst patches", "\n".join(parts))


def _verdicts(
    predictions: Predictions, row: int, thresholds: NDArray[np.float64]
) -> str:
    """Returns the list of what the patch has and is given, the highest scores first."""
    truth, scores = predictions.labels[row] > 0, predictions.scores[row]
    given = scores >= thresholds
    order = np.argsort(-scores, kind="stable")
    lines = []
    for j in order:
        if not truth[j] and not given[j]:
            continue
        kind, sign = ("hit", "✓") if truth[j] and given[j] else ("missed", "–")
        if not truth[j]:
            kind, sign = "false", "+"
        name = html.escape(predictions.label_order[j])
        lines.append(f'<li class="{kind}">{sign} {scores[j]:.2f} {name}</li>')
    if len(lines) > _LISTED:
        lines = [*lines[:_LISTED], f"<li>and {len(lines) - _LISTED} more</li>"]
    return f"<ul>{''.join(lines) or '<li>no label, and none given</li>'}</ul>"
