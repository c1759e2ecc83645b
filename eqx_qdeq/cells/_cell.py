"""Cells: the map whose fixed point is wanted."""

import abc
import functools as ft
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jaxtyping import Array, Float, PyTree

from .._inputs import arrays, numbers
from ..circuits import Picture
from ..layers import AbstractPrepared
from ._picture import flow

_F = TypeVar("_F", bound=Callable)


class AbstractCell(eqx.Module):
    r"""A map $z \mapsto f(z, x)$ on any pytree of real arrays, one sample at a time.

    A subclass says where to start (`init`) and what to iterate (`bind`). Whatever does not
    depend on z belongs in `bind`: it is done once for a solve, however many steps it takes.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq


        class Tanh(qdeq.AbstractCell):
            weight: jax.Array

            def init(self, x):
                return jnp.zeros_like(x)

            def bind(self, x):
                shift = 2 * x  # done once, however many steps the solver takes
                return lambda z: jnp.tanh(self.weight @ z + shift)


        deq = qdeq.DEQ(Tanh(0.5 * jnp.eye(2)))
        deq(jnp.ones(2))  # [0.986 0.986]
        ```
    """

    # Whether f(z, x) is finite for all finite z and x. If not, `DEQ` looks at f(z0, x) before
    # it solves, so that one bad sample cannot spoil a batch's gradient.
    always_finite: ClassVar[bool] = False

    def accept(self, x: Any) -> PyTree[Array]:
        """A sample as the cell computes with it, e.g. a list of numbers as an array of the
        precision of its parameters. By default numbers and NumPy arrays become JAX arrays. To be
        overridden by cells that know more; `DEQ` asks before it does anything else.

        **Raises:** `TypeError` or `ValueError` for what is no sample, such as a batch.
        """
        return arrays(x)

    @abc.abstractmethod
    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        """The state from which a solve starts, for a sample `x`."""

    @abc.abstractmethod
    def bind(self, x: PyTree[Array]) -> Callable[[PyTree[Array]], PyTree[Array]]:
        """The map $z \\mapsto f(z, x)$ for a sample `x`."""

    @property
    def follows_flow(self) -> bool:
        """Whether the equilibria that are wanted are those that attract the flow ż = f(z) - z, as
        where f descends an energy, of which saddles are equilibria, too. By default they are not;
        `DEQ` chooses a solver, and how it differentiates, by it. To be overridden."""
        return False

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


def accepting(method: _F) -> _F:
    """A method `(self, x, ..., z0=None)` that is given `x` and `z0` as `self.cell` takes them.

    It goes around what is compiled, which would be compiled anew for each list of numbers.
    """

    @ft.wraps(method)
    def checked(self: Any, x: Any, *others: Any, **named: Any) -> Any:
        if others:
            raise TypeError(
                f"{type(self).__name__} takes one sample; got {1 + len(others)} arguments. Give a "
                "sample of several parts as a tuple, e.g. `deq((features, adjacency))`, and other "
                "arguments by name."
            )
        x = self.cell.accept(x)
        if named.get("z0") is not None:
            named["z0"] = _guess(self.cell, x, named["z0"])
        return method(self, x, **named)

    return checked  # pyright: ignore[reportReturnType]


def _guess(cell: AbstractCell, x: PyTree[Array], z0: Any) -> PyTree[Array]:
    """An initial guess in the place of the cell's own, and like it."""
    # A function of its own: JAX remembers what it is given and compares it, and comparing modules
    # that hold tracers fails.
    own, z0 = jax.eval_shape(lambda x: cell.init(x), x), arrays(z0, "z0")
    same = jtu.tree_structure(own) == jtu.tree_structure(z0)
    pairs = list(zip(jtu.tree_leaves(own), jtu.tree_leaves(z0), strict=False))
    if not same or any(a.shape != getattr(b, "shape", None) for a, b in pairs):
        show = lambda tree: jtu.tree_map(lambda a: getattr(a, "shape", a), tree)
        raise ValueError(
            f"`z0` must be like the cell's own initial guess, of shape {show(own)}; got "
            f"{show(z0)}. Batch with `jax.vmap(lambda x, z0: deq(x, z0=z0))`."
        )

    def like(a: jax.ShapeDtypeStruct, b: Array) -> Array:
        is_real = jnp.issubdtype(a.dtype, jnp.floating)
        return numbers(b, a.dtype if is_real else None, name="z0")

    return jtu.tree_map(like, own, z0)


FunctionCell.__init__.__doc__ = """**Arguments:**

- `fn`: the map `(z, x) -> z`. The result must have the structure, shapes and dtypes of z.
- `initial`: `x -> z0`, e.g. `jnp.zeros_like` where z has the shape of x.

**Raises:** `TypeError` for anything that is not a function.
"""


# How often a solve evaluates a quantum cell for each sample, for the choice of an engine.
EVALUATIONS = 10


class AbstractCompiledCell(AbstractCell):
    """A quantum cell whose angle-dependent work is done.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq.cell
        compiled = cell.compile(4)  # for samples of 4 features
        isinstance(compiled, qdeq.AbstractCompiledCell)  # True
        fn = compiled.bind(jnp.ones(4))
        fn(jnp.zeros(2)).shape  # (2,)
        ```
    """

    always_finite: ClassVar[bool] = True

    @abc.abstractmethod
    def bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        """Fills in a sample: the map z ↦ f(z) that a solver iterates."""
