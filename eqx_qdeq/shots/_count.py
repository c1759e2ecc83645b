"""How many circuits and shots something takes."""

import equinox as eqx
from jaxtyping import Array, Int


class ShotCount(eqx.Module):
    """Circuits, and shots of all of them together. Counts add, and multiply by whole numbers.

    A circuit is one preparation, run with one basis: shifted angles, and every group of observables
    that commute, are circuits of their own.
    """

    circuits: int | Int[Array, "*batch"]
    shots: int | Int[Array, "*batch"]

    def __add__(self, other: "ShotCount") -> "ShotCount":
        return ShotCount(self.circuits + other.circuits, self.shots + other.shots)

    def __mul__(self, times: int | Int[Array, "*batch"]) -> "ShotCount":
        return ShotCount(self.circuits * times, self.shots * times)

    __rmul__ = __mul__


ShotCount.__init__.__doc__ = """**Arguments:**

- `circuits`: the number of circuits.
- `shots`: the shots of all circuits together.
"""
