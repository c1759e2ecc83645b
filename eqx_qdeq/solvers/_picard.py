"""Picard iteration."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, PyTree, Scalar

from .._checks import check_fraction
from ._base import (
    AbstractResidualSolver,
    check_tolerances,
    finite_or,
    Limits,
    observe,
    Record,
    start,
)


class _PicardState(eqx.Module):
    record: Record


class Picard(AbstractResidualSolver):
    r"""Damped Picard iteration: the map itself, again and again.

    $$y_{k+1} = y_k + \beta\,(f(y_k) - y_k)$$

    One evaluation per step and no memory. Converges if f contracts; with $\beta < 1$ also for
    many maps whose Jacobian has eigenvalues below -1. Needs about $\log(\mathrm{tol}) /
    \log(\rho)$ steps at spectral radius $\rho$.

    The test is on the undamped residual, so damping cannot fake success (unlike that of
    `optimistix.FixedPointIteration(damp=...)`).

    ??? cite "Reference"

        M. A. Krasnosel'skii, "Two remarks on the method of successive approximations", Uspekhi
        Matematicheskikh Nauk 10 (1955), 123-127.
    """

    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = optx.two_norm
    damping: float = 1.0
    limits: Limits = Limits()

    def __check_init__(self) -> None:
        check_tolerances(self)
        check_fraction("Picard", "damping", self.damping)

    def record(self, state: _PicardState) -> Record:
        return state.record

    def init(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree[jax.ShapeDtypeStruct],
        aux_struct: PyTree[jax.ShapeDtypeStruct],
        tags: frozenset[object],
    ) -> _PicardState:
        return _PicardState(start(y, aux_struct))

    def step(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _PicardState,
        tags: frozenset[object],
    ) -> tuple[PyTree[Array], _PicardState, PyTree[Array]]:
        f, aux = fn(y, args)
        record = observe(self, state.record, y, f, aux, steps_back=False)
        flat, unravel = ravel_pytree(y)
        r = ravel_pytree(f)[0] - flat
        return unravel(finite_or(flat + self.damping * r, flat)), _PicardState(record), aux


Picard.__init__.__doc__ = """**Arguments:**

- `rtol`, `atol`: the tolerance is `atol + rtol * norm(f(y))`.
- `norm`: the norm of the residual, any function from the state to a scalar.
- `damping`: the step length β in (0, 1].
- `limits`: when to give up.

**Raises:** `ValueError` for a value out of range.
"""
