"""The memory of a recurrent controller: sensors that its own last step has given."""

from dataclasses import dataclass

from surefoot.errors import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Memory:
    """Which neurons are the next values of the last sensors.

    One step of a recurrent controller is a function of the observation and of the memory. Whoever
    runs it feeds these neurons back as the last sensors of the next step.

    Attributes:
        layers: For each number of the memory how many layers come before its next value, at
            least 1.
        neurons: Its place among the outputs of the last of them.
    """

    layers: tuple[int, ...]
    neurons: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check that both have an entry for each number.

        Raises:
            InputError: If they have not, or there is none.
        """
        if not self.layers or len(self.layers) != len(self.neurons):
            raise InputError(
                f"memory must have a layer and a neuron for each number, got {len(self.layers)} "
                f"and {len(self.neurons)}"
            )

    @property
    def size(self) -> int:
        """How many of the last sensors are the memory."""
        return len(self.layers)

    @property
    def value(self) -> str:
        """Layers and neurons, as digests say it."""
        return f"memory({list(self.layers)}, {list(self.neurons)})"

    def of_layer(self, number: int) -> tuple[list[int], list[int]]:
        """Return which numbers a layer gives, counted from 1, and by which of its neurons."""
        places = [place for place, layer in enumerate(self.layers) if layer == number]
        return places, [self.neurons[place] for place in places]
