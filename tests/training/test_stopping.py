import numpy as np

from bigearthnet_tf import metrics
from bigearthnet_tf.training import stopping


def test_right_scores_are_better_than_wrong_ones_in_every_metric():
    labels = (np.random.default_rng(0).random((200, 5)) < 0.3).astype(int)
    labels[labels.sum(axis=1) == 0, 0] = 1
    right = metrics.multi_label_report(labels, np.where(labels, 0.99, 0.01))
    wrong = metrics.multi_label_report(labels, np.where(labels, 0.01, 0.99))
    facts = ("label_cardinality", "num_labels_without", "num_positives")
    for name, value in right.items():
        if not name.startswith(facts):
            gain = value - wrong[name]
            assert (-gain if stopping.lower_is_better(name) else gain) > 0, name


def test_losses_and_their_terms_are_better_low():
    for name in ("nt_xent_loss", "barlow_twins_loss", "on_diagonal", "off_diagonal"):
        assert stopping.lower_is_better(name)
    for name in ("rankme_h", "mean_iou", "s1_s2_map@10", "knn_accuracy"):
        assert not stopping.lower_is_better(name)
