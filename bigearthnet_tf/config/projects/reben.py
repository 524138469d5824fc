"""Arguments of reBEN's `train_BigEarthNetv2_0.py` as a config."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bigearthnet_tf.config.projects.translated import Translated


def translate(arguments: Sequence[str], overrides: Mapping[str, Any]) -> Translated:
    """Returns the config that the arguments stand for.

    Args:
        arguments: as on the command line of that script.
        overrides: keys and values of `--set`.

    Raises:
        ValueError: an unknown argument or an impossible value.
    """
    raise ValueError("not built yet")
