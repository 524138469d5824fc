"""Scores on disk, and scores put side by side."""

import io
import zipfile

import numpy as np
import outcomes
import pytest

from bigearthnet_tf.evaluation import predictions


def test_what_is_written_is_read(tmp_path):
    one = outcomes.predictions(
        names_s1=[f"partner {n}" for n in range(60)],
        others={"class priors": np.full((60, 4), 0.25)},
    )
    predictions.save(tmp_path / predictions.FILE, one)
    for path in (tmp_path, tmp_path / predictions.FILE):
        read = predictions.load(path)
        for name in ("labels", "scores"):
            stored = getattr(read, name)
            np.testing.assert_array_equal(stored, getattr(one, name))
            assert stored.dtype == getattr(one, name).dtype
        assert (list(read.names), read.names_s1) == (one.names, one.names_s1)
        assert read.label_order == one.label_order
        assert (read.split, read.iteration) == ("test", 12)
        assert read.fingerprint == one.fingerprint
        np.testing.assert_array_equal(read.others["class priors"], 0.25)


def test_four_arrays_of_others_are_enough(tmp_path):
    one = outcomes.predictions()
    path = tmp_path / "theirs.npz"
    np.savez(
        path, names=np.array(one.names), label_order=np.array(one.label_order),
        labels=one.labels.astype(bool), scores=one.scores.astype(np.float64),
    )  # fmt: skip
    read = predictions.load(path)
    assert (read.split, read.iteration, read.fingerprint) == ("", -1, "")
    assert len(read) == 60


def pickled():
    stream = io.BytesIO()
    np.savez(stream, names=np.array([{}], dtype=object))
    return stream.getvalue()


def single():
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def stored(**arrays):
    stream = io.BytesIO()
    one = outcomes.predictions()
    content = {
        "names": np.array(one.names), "label_order": np.array(one.label_order),
        "labels": one.labels, "scores": one.scores,
    }  # fmt: skip
    content |= arrays
    np.savez(stream, **{k: v for k, v in content.items() if v is not None})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "does not read"),
        (b"names,labels\n", "does not read"),
        (stored()[:500], "does not read"),
        (pickled(), "does not read"),
        (single(), "does not read"),
        (stored(scores=None), "scores is missing"),
        (stored(scores=np.zeros((60, 3))), r"scores of shape.*\(60, 4\).*\(60, 3\)"),
        (stored(scores=np.full((60, 4), 2.0)), "in .0, 1.*logits need a sigmoid"),
        (stored(scores=np.full((60, 4), np.nan)), r"got nan for .*NaN for 60 patches"),
        (stored(labels=np.full((60, 4), 2)), "labels of 0 and 1"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    path = tmp_path / "scores.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        predictions.load(path)
    assert "\n" not in str(raised.value)
    assert "scores.npz" in str(raised.value)


def test_a_damaged_array_is_refused(tmp_path):
    path = tmp_path / predictions.FILE
    predictions.save(path, outcomes.predictions())
    content = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        start = archive.getinfo("scores.npy").header_offset
    content[start + 200] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"evaluate the run again|does not read"):
        predictions.load(path)


def test_what_is_missing_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"eval_scores.npz: no scores .* first"):
        predictions.load(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such file"):
        predictions.load(tmp_path / "none.npz")


def test_aligning_restores_the_order():
    one = outcomes.predictions(
        others={"x": np.arange(240.0).reshape(60, 4)},
        names_s1=[f"partner {n}" for n in range(60)],
    )
    order = np.random.default_rng(1).permutation(60)
    mixed = one.take(order)
    assert mixed.names[0] == one.names[order[0]]
    back = predictions.align(mixed, one)
    np.testing.assert_array_equal(back.scores, one.scores)
    np.testing.assert_array_equal(back.others["x"], one.others["x"])
    assert (back.names, back.names_s1) == (one.names, one.names_s1)


def other(**changes):
    return outcomes.predictions(where="B", **changes)


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (
            other(label_order=tuple(reversed(outcomes.LABELS))),
            "A and B are of other labels: label 0 is 'Urban fabric' in one and 'Marine",
        ),
        (
            other(
                labels=np.zeros((60, 3)),
                scores=np.zeros((60, 3)),
                label_order=outcomes.LABELS[:3],
            ),
            "of other labels: 4 and 3 labels",
        ),
        (
            other(names=[f"x{n}" for n in range(60)], split="val"),
            r"different patches \(60 of split test and 60 of split val\): x0 and 59",
        ),
        (other(samples=50), "and 9 more are in A alone"),
        (other(labels=1 - outcomes.predictions().labels), "true labels of 60 patches"),
    ],
)
def test_scores_of_something_else_are_refused(found, message):
    with pytest.raises(ValueError, match=message):
        predictions.align(outcomes.predictions(where="A"), found)


def test_a_patch_twice_in_another_order_is_refused():
    names = ["a", "a", *outcomes.predictions().names[2:]]
    one, two = other(names=names), other(names=names[::-1])
    with pytest.raises(ValueError, match="more than once"):
        predictions.align(one, two)
