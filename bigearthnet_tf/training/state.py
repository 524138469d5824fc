"""The variables that a run consists of."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
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
        weights_only: to restore from a run with other augmentation or dropout: the
            states of random generators stay as they are.
    """

    model: keras.Model
    optimizer: keras.optimizers.Optimizer | None = None
    others: Sequence[keras.Variable] = ()
    weights_only: bool = False

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

    def fits(self, shapes: Sequence[Sequence[int]], names: Collection[str]) -> bool:
        """Tells whether the model's variables have the shapes of a checkpoint's.

        Args:
            shapes: of the checkpoint, as `shapes` has them.
            names: of its tensors.
        """
        if not self.weights_only:
            return list(shapes) == self.shapes()
        theirs = [list(shapes[_index(number)]) for number in _weights(names)]
        return theirs == [list(v.shape) for v in self._restored().values()]

    def matches(self, names: Collection[str]) -> dict[str, keras.Variable]:
        """Returns the tensors of a checkpoint to read, and which variable each is for.

        A state without an optimizer takes the averages for its trainable variables,
        where there are any.

        Args:
            names: of the tensors of a checkpoint that fits.

        Raises:
            ValueError: one is missing.
        """
        by_number = {_number(name): name for name in names}
        sources = self._restored()
        if self.weights_only:
            sources = dict(zip(_weights(names), sources.values(), strict=True))
        found = {}
        for number, variable in sources.items():
            average = number.replace("model", "average")
            has_average = self.optimizer is None and average in by_number
            name = by_number.get(average if has_average else number)
            if name is None:
                raise ValueError(f"it has no tensor {number}")
            found[name] = variable
        return found

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

    def _restored(self) -> dict[str, keras.Variable]:
        """Returns the variables to restore, by the numbers of their tensors."""
        return {
            number: variable
            for number, variable in self._numbered().items()
            if not (self.weights_only and _is_random(variable.path))
        }


def _weights(names: Collection[str]) -> list[str]:
    """Returns the numbers of the model's tensors, without random generators' states."""
    numbers = [
        _number(name)
        for name in names
        if name.startswith("model/") and not _is_random(name)
    ]
    return sorted(numbers, key=_index)


def _index(number: str) -> int:
    """Returns the position of a tensor in its group, from 0."""
    return int(number.split("/")[1])


def _is_random(path: str) -> bool:
    """Tells whether a variable is the state of one of Keras's random generators."""
    return path.endswith("/seed_generator_state")


def _number(name: str) -> str:
    """Returns the group and number of a tensor, without the path."""
    return "/".join(name.split("/")[:2])
