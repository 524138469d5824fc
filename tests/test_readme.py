"""What README.md says of models and keys is what the code has."""

import re
from pathlib import Path

from bigearthnet_tf import models
from bigearthnet_tf.models import zoo

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_the_model_table_has_every_model_and_alias():
    rows = re.findall(r"^\| `(\w+)` \| (?:`([\w-]+)`)? *\|", README, re.MULTILINE)
    known = {name for name in models.list_models() if "/" not in name}
    listed = {name for name, _ in rows} & known
    assert listed == {name for name in known if not name.endswith("_test")}
    aliases = {alias: name for name, alias in rows if alias}
    assert aliases == zoo.MODELS.aliases()


def test_linked_files_are_there():
    root = Path(__file__).parents[1]
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", README):
        assert (root / target).exists(), target
