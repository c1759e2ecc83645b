"""Cells: the map whose fixed point is wanted."""

import abc
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from ..circuits import Picture
from ..layers import AbstractPrepared
from ._picture import flow


class AbstractCell(eqx.Module):
    r"""A map $z \mapsto f(z, x)$ on any pytree of real arrays, one sample at a time.

    A subclass says where to start (`init`) and what to iterate (`bind`). Whatever does not
    depend on z belongs in `bind`: it is done once for a solve, however many steps it takes.
    """

    # Whether f(z, x) is finite for all finite z and x. If not, `DEQ` looks at f(z0, x) before
    # it solves, so that one bad sample cannot spoil a batch's gradient.
    always_finite: ClassVar[bool] = False

    @abc.abstractmethod
    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        """The state from which a solve starts, for a sample `x`."""

    @abc.abstractmethod
    def bind(self, x: PyTree[Array]) -> Callable[[PyTree[Array]], PyTree[Array]]:
        """The map $z \\mapsto f(z, x)$ for a sample `x`."""

    def draw(self, width: int = 100) -> str:
        """The cell as text: injection, encoding, circuit, readout, and what is fed back.

        **Arguments:**

        - `width`: lines of the circuit are broken before they get longer than this.
        """
        return flow(self).text(width, f"{type(self).__name__}, applied once")

    def picture(self, width: int = 900) -> Picture:
        """The same as a picture, whose `svg()` needs no other library. Notebooks show it."""
        return flow(self).picture(width, f"{type(self).__name__}, applied once")

    def _repr_svg_(self) -> str | None:
        return self.picture().svg() if flow(self).is_drawn else None


class FunctionCell(AbstractCell):
    """Any function `fn(z, x) -> z` as a cell: classical, quantum or hybrid.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        linear = eqx.nn.Linear(3, 3, key=jax.random.key(0))
        cell = qdeq.FunctionCell(
            lambda z, x: jnp.tanh(0.3 * linear(z) + x), jnp.zeros_like
        )
        z = qdeq.DEQ(cell)(jnp.ones(3))
        ```

    `fn` may be an `equinox.Module`; its arrays are then parameters of the cell.
    """

    fn: Callable[[PyTree[Array], PyTree[Array]], PyTree[Array]]
    initial: Callable[[PyTree[Array]], PyTree[Array]]

    def __check_init__(self) -> None:
        for name, form in (("fn", "lambda z, x: new_z"), ("initial", "lambda x: z0")):
            given = getattr(self, name)
            if not callable(given):
                raise TypeError(
                    f"`FunctionCell({name}=...)` must be a function, e.g. `{form}`; got "
                    f"{type(given).__name__}."
                )

    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.initial(x)

    def bind(self, x: PyTree[Array]) -> Callable[[PyTree[Array]], PyTree[Array]]:
        return lambda z: self.fn(z, x)


FunctionCell.__init__.__doc__ = """**Arguments:**

- `fn`: the map `(z, x) -> z`. The result must have the structure, shapes and dtypes of z.
- `initial`: `x -> z0`, e.g. `jnp.zeros_like` where z has the shape of x.

**Raises:** `TypeError` for anything that is not a function.
"""


# How often a solve evaluates a quantum cell for each sample, for the choice of an engine.
EVALUATIONS = 10


class AbstractCompiledCell(AbstractCell):
    """A quantum cell whose angle-dependent work is done."""

    always_finite: ClassVar[bool] = True

    @abc.abstractmethod
    def bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        """Fills in a sample: the map w ↦ f(w) that a solver iterates."""
