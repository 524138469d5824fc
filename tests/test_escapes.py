"""What stands in Markdown is shown, and no more."""

import pytest

from bigearthnet_tf import escapes
from bigearthnet_tf.evaluation import markdown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ("a|b\nc", r"a\|b c"),
        ("Arable & <b>", "Arable &amp; &lt;b&gt;"),
        (7, "7"),
    ],
)
def test_texts(value, shown):
    assert escapes.in_markdown(value) == shown
    assert shown in markdown.table([{"<i>": value, "x": "y"}])
    assert "<i>" not in markdown.table([{"<i>": value}])


def test_code_can_not_be_left():
    assert escapes.as_code("v1") == "`v1`"
    assert escapes.as_code("a`<b>") == "`` a`<b> ``"
    assert escapes.as_code("a``b`") == "``` a``b` ```"
