"""What a config or command line of another project becomes here."""

from __future__ import annotations

import importlib
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bigearthnet_tf import files

logger = logging.getLogger(__name__)

# Projects whose training script takes its settings as arguments, and where those are
# translated: a module with `translate(arguments, overrides) -> Translated`.
COMMAND_LINES = {
    "reben": "bigearthnet_tf.config.projects.reben",
    "balanced": "bigearthnet_tf.config.projects.balanced",
}


@dataclass(frozen=True)
class CommandLine:
    """Arguments of another project's training script.

    Attributes:
        project: a key of `COMMAND_LINES`.
        arguments: as they stand on that script's command line.
    """

    project: str
    arguments: str

    def __str__(self) -> str:
        return f"--from-{self.project} {shlex.quote(self.arguments)}"


@dataclass(frozen=True)
class Translated:
    """Keys of ours that say what another project's settings mean.

    Attributes:
        keys: as they would stand in a JSON config.
        assumed: what that project fixed in its code and is set here, a phrase each.
        left_out: settings that have no counterpart, each with what to do instead.
    """

    keys: dict[str, Any]
    assumed: Sequence[str] = ()
    left_out: Sequence[str] = ()

    def tell(self, source: str) -> None:
        """Logs what is assumed and what is left out, a line each.

        Args:
            source: the file or command line.
        """
        if self.assumed:
            logger.info("%s: assumed %s", source, "; ".join(self.assumed))
        if self.left_out:
            logger.warning("%s: not carried over: %s", source, "; ".join(self.left_out))


def translate(line: CommandLine, overrides: Mapping[str, Any]) -> Translated:
    """Translates the arguments of another project's training script.

    Args:
        line: project and arguments.
        overrides: keys and values of `--set`, which come before the arguments.

    Raises:
        ValueError: unknown arguments, or values that are impossible.
    """
    try:
        words = shlex.split(line.arguments)
    except ValueError as error:
        raise ValueError(
            f"--from-{line.project}: expected arguments as in a shell, got "
            f"{files.echo(line.arguments)} ({error})"
        ) from None
    module = importlib.import_module(COMMAND_LINES[line.project])
    translated: Translated = module.translate(words, overrides)
    return translated
