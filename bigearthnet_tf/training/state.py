"""The variables that a run consists of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from bigearthnet_tf import optimization


@dataclass(frozen=True)
class State:
    """What a checkpoint holds, besides the iteration.

    Every variable is listed in the order in which the model or optimizer has it; the
    states of Keras's random generators are among the model's variables. A tensor's name
    is its group, its number in that order, and the variable's path, which is there for
    people to read.

    Attributes:
        model: whose variables are saved.
        optimizer: likewise; None to restore weights alone.
        others: variables beside those two, such as the loss scale.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer | None = None
    others: Sequence[keras.Variable] = ()

    @property
    def averages(self) -> dict[int, keras.Variable]:
        """Moving averages of weights, by the number of the weight in the model."""
        if self.optimizer is None or not self.optimizer.use_ema:
            return {}
        numbers = {id(v): number for number, v in enumerate(self.model.variables)}
        averages = optimization.averages(self.optimizer)
        weights = self.model.trainable_variables
        return {numbers[id(w)]: a for w, a in zip(weights, averages, strict=True)}

    def shapes(self) -> list[list[int]]:
        """Returns the shapes of the model's variables, in their order."""
        return [list(variable.shape) for variable in self.model.variables]

    def copy(self) -> dict[str, np.ndarray]:
        """Returns a copy of all values by the names of their tensors."""
        return {
            f"{name}/{variable.path}": np.asarray(variable).copy()
            for name, variable in self._numbered().items()
        }

    def wanted(self, names: Collection[str]) -> list[str]:
        """Returns which tensors of a checkpoint `assign` needs.

        Raises:
            ValueError: one is missing.
        """
        by_number = {_number(name): name for name in names}
        missing = [name for name in self._sources(by_number) if name not in by_number]
        if missing:
            raise ValueError(f"it has no tensor {missing[0]}")
        return [by_number[name] for name in self._sources(by_number)]

    def assign(self, tensors: Mapping[str, np.ndarray]) -> None:
        """Sets all variables from the tensors of a checkpoint.

        Args:
            tensors: by name, as `copy` has them. A state without an optimizer takes
                the averages for its trainable variables, where there are any.
        """
        by_number = {_number(name): value for name, value in tensors.items()}
        for name, variable in self._sources(by_number).items():
            variable.assign(by_number[name])

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Puts the averages in place of the weights for a while, if there are any."""
        pairs = [(self.model.variables[n], a) for n, a in self.averages.items()]
        kept = [np.asarray(weight).copy() for weight, _ in pairs]
        try:
            for weight, average in pairs:
                weight.assign(np.asarray(average))
            yield
        finally:
            for (weight, _), value in zip(pairs, kept, strict=True):
                weight.assign(value)

    def _numbered(self) -> dict[str, keras.Variable]:
        optimizer = [] if self.optimizer is None else self.optimizer.variables
        averages = {id(variable) for variable in self.averages.values()}
        groups = {
            "model": enumerate(self.model.variables),
            "optimizer": enumerate(v for v in optimizer if id(v) not in averages),
            "average": self.averages.items(),
            "other": enumerate(self.others),
        }
        return {
            f"{group}/{number:04d}": variable
            for group, variables in groups.items()
            for number, variable in variables
        }

    def _sources(self, present: Collection[str]) -> dict[str, keras.Variable]:
        """Returns which tensor each variable is set from."""
        if self.optimizer is not None:
            return self._numbered()
        sources = {}
        for name, variable in self._numbered().items():
            average = name.replace("model", "average")
            sources[average if average in present else name] = variable
        return sources


def _number(name: str) -> str:
    """Returns the group and number of a tensor, without the path."""
    return "/".join(name.split("/")[:2])
