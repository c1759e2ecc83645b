"""Which solver to use: one that suits the size of the state, or several, one after the other."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree, Scalar

from .._checks import can_check, check_at_least, check_instance, integers, is_number
from .._inputs import check_one_key
from ._anderson import Anderson
from ._base import SolverLimits
from ._drive import Drive
from ._earned import is_believable
from ._linear import DENSE_SIZE
from ._newton import Newton
from ._pseudo_transient import PseudoTransient

_RESULTS = optx.RESULTS
_Rung = optx.AbstractFixedPointSolver | optx.AbstractLeastSquaresSolver


def default_solver(
    size: int, *, rtol: float = 1e-5, atol: float = 1e-5, stable: bool = False
) -> optx.AbstractFixedPointSolver:
    """A solver that suits a state of `size` numbers per sample.

    [`eqx_qdeq.Newton`][] up to 64, where the Jacobian is a small dense matrix: a quantum cell's
    takes 3 to 5 steps. [`eqx_qdeq.Anderson`][] above, which needs no Jacobian. Where only
    equilibria are wanted that are stable for the flow ż = f(z) - z, [`eqx_qdeq.PseudoTransient`][].

    !!! example

        ```python
        import eqx_qdeq as qdeq

        type(qdeq.default_solver(4)).__name__  # Newton
        type(qdeq.default_solver(1000)).__name__  # Anderson
        ```

    **Arguments:**

    - `size`: how many numbers the state of one sample has.
    - `rtol`, `atol`: the tolerance on ‖f(y) - y‖ is `atol + rtol * ‖f(y)‖`.
    - `stable`: whether equilibria that are unstable for the flow are not wanted, as of a
        [`eqx_qdeq.SelfConsistentCell`][].

    **Returns:** the solver.

    **Raises:** `ValueError` for a value out of range.
    """
    check_at_least("default_solver(size=...)", size, 0)
    if stable:
        # A flow may be slow for long, in a flat valley or on its way past a saddle.
        patient = SolverLimits(stagnation=200)
        return PseudoTransient(rtol, atol, limits=patient, avoids_saddles=True)
    if size <= DENSE_SIZE:
        return Newton(rtol, atol)
    return Anderson(rtol, atol)


class _Best(eqx.Module):
    """The best iterate of all rungs so far, and what they cost."""

    y: PyTree[Array]
    aux: PyTree[Array]
    residual: Float[Array, ""]
    step: Int[Array, ""]
    result: optx.RESULTS
    num_steps: Int[Array, ""]
    num_evals: Int[Array, ""]
    num_jvps: Int[Array, ""]


class _LadderState(eqx.Module):
    best: _Best
    done: Bool[Array, ""]


class Ladder(optx.AbstractFixedPointSolver, optx.AbstractRootFinder):
    r"""Tries solvers one after the other, each from the best iterate so far, until one succeeds.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        cheap, robust = qdeq.Newton(1e-5, 1e-5), qdeq.PseudoTransient(1e-5, 1e-5)
        solver = qdeq.Ladder(cheap, robust, budget=(30, 100))
        ```

    On hard problems the best iterate may be a trap, a local minimum of the residual that no other
    solver leaves either; with `restart=True` each starts from the initial guess. In that way
    `Ladder(Newton(...), optimistix.Dogleg(...), budget=300, restart=True)` solves 18 of nineteen
    classical systems (`tests/solvers/test_standard_set.py`).

    **Random starts.** With `spread` each rung but the first starts from the guess (with
    `restart=True`, or the best iterate) plus Gaussian numbers of that standard deviation, until one
    succeeds. If none does, the iterate with the smallest residual is returned:
    `Ladder(*[Newton(1e-8, 1e-8)] * 8, restart=True, spread=1.0)`.

    The rungs run within the ladder's first and only step, each in a loop of its own, so in a
    `vmap` a rung costs nothing unless a sample needs it. The budgets stand in for `max_steps`,
    and `stats["num_steps"]` counts the steps of all rungs.

    In `optimistix.root_find` it solves F(y) = 0, as its rungs do. Any Optimistix solver for fixed
    points or least squares can be a rung. For one that does not report its residual it is
    evaluated afterwards, and a success believed only if it is within ten times the tolerance.

    ??? cite "Reference"

        A. Pal, F. Holtorf, A. Larsson, T. Loman, U. Utkarsh, F. Schäfer, Q. Qu, A. Edelman and
        C. Rackauckas, "NonlinearSolve.jl: high-performance and robust solvers for systems of
        nonlinear equations in Julia", arXiv:2403.16341 (2024), for such "polyalgorithms".
    """

    solvers: tuple[_Rung, ...]
    budgets: tuple[int, ...] = eqx.field(static=True)
    restart: bool = eqx.field(static=True)
    spread: float | Float[Array, ""]
    key: PRNGKeyArray | None

    def __init__(
        self,
        *solvers: _Rung,
        budget: int | Sequence[int] = 64,
        restart: bool = False,
        spread: float | Float[Array, ""] = 0.0,
        key: PRNGKeyArray | None = None,
    ) -> None:
        """**Arguments:**

        - `solvers`: the rungs, usually from cheap to robust.
        - `budget`: the steps at most, one number for each rung or for all.
        - `restart`: whether each rung starts from the initial guess, not from the best iterate.
        - `spread`: the standard deviation of what is added to all starts but the first.
        - `key`: for these numbers, the same ones in every solve; `jax.random.key(0)` if left out.

        **Raises:** `TypeError` or `ValueError` if these do not fit.
        """
        self.solvers = solvers
        if isinstance(budget, int) and not isinstance(budget, bool):
            self.budgets = (budget,) * len(solvers)
        else:
            self.budgets = integers("Ladder(budget=...)", budget)
        self.restart = restart
        self.spread = spread
        self.key = key

    def __check_init__(self) -> None:
        if not self.solvers:
            raise ValueError("`Ladder(...)` needs at least one solver; got none.")
        for solver in self.solvers:
            if not isinstance(solver, _Rung):
                raise TypeError(
                    "`Ladder(...)` takes fixed-point and least-squares solvers; got "
                    f"{type(solver).__name__}. Use eqx_qdeq.Newton for a root finder, and "
                    "optimistix.Dogleg for a minimizer."
                )
        if len(self.budgets) != len(self.solvers):
            raise ValueError(
                f"`Ladder(budget=...)` must be one number, or one for each of the "
                f"{len(self.solvers)} solvers; got {self.budgets}."
            )
        for budget in self.budgets:
            check_at_least("Ladder(budget=...)", budget, 1)
        if can_check("Ladder(spread=...)", self.spread) and not self.spread >= 0:
            raise ValueError(
                f"`Ladder(spread=...)` must not be negative; got {self.spread}. 0.0 is no spread."
            )
        if self.key is not None:
            check_one_key("Ladder(key=...)", self.key)
        check_instance("Ladder(restart=...)", self.restart, bool, "True or False")

    # The tolerance is that of the last resort.
    @property
    def rtol(self) -> float:
        return self.solvers[-1].rtol

    @property
    def atol(self) -> float:
        return self.solvers[-1].atol

    @property
    def norm(self) -> Callable[[PyTree], Scalar]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return self.solvers[-1].norm

    def init(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree[jax.ShapeDtypeStruct],
        aux_struct: PyTree[jax.ShapeDtypeStruct],
        tags: frozenset[object],
    ) -> _LadderState:
        zero = jnp.array(0)
        best = _Best(
            y=y,
            aux=jtu.tree_map(lambda s: jnp.zeros(s.shape, s.dtype), aux_struct),
            residual=jnp.array(jnp.inf, ravel_pytree(y)[0].dtype),
            step=zero,
            result=_RESULTS.nonlinear_max_steps_reached,
            num_steps=zero,
            num_evals=zero,
            num_jvps=zero,
        )
        return _LadderState(best, jnp.array(False))

    def step(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _LadderState,
        tags: frozenset[object],
    ) -> tuple[PyTree[Array], _LadderState, PyTree[Array]]:
        best = state.best
        spreads = not is_number(self.spread) or self.spread > 0
        key = jax.random.key(0) if self.key is None else self.key
        for i, (solver, budget) in enumerate(zip(self.solvers, self.budgets, strict=True)):
            start = y if self.restart else best.y
            if spreads and i > 0:
                flat, unravel = ravel_pytree(start)
                noise = jax.random.normal(jax.random.fold_in(key, i), flat.shape, flat.dtype)
                start = unravel(flat + (self.spread * noise).astype(flat.dtype))
            best = _climb(Drive(solver, fn, args, options, tags), budget, best, start)
        return best.y, _LadderState(best, jnp.array(True)), best.aux

    def terminate(
        self,
        fn: Callable,
        y: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _LadderState,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        result = _RESULTS.where(state.done, state.best.result, _RESULTS.successful)
        return state.done, result

    def postprocess(
        self,
        fn: Callable,
        y: PyTree[Array],
        aux: PyTree[Array],
        args: PyTree,
        options: dict[str, Any],
        state: _LadderState,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[PyTree[Array], PyTree[Array], dict[str, Any]]:
        best = state.best
        stats = {
            "residual": best.residual,
            "num_steps": best.num_steps,
            "num_evals": best.num_evals,
            "num_jvps": best.num_jvps,
            "best_step": best.step,
        }
        return best.y, best.aux, stats


def _climb(drive: Drive, budget: int, best: _Best, start: PyTree[Array]) -> _Best:
    """Runs one rung where the ones before failed."""
    # Samples of a batch climb together: a rung's loop runs as long as any of them needs it, and
    # those that have finished are kept as they are (`done` from the start, `better` false).
    finished = best.result == _RESULTS.successful
    at = drive.start(start, best.aux)
    at = drive.run(eqx.tree_at(lambda a: a.done, at, at.done | finished), budget)
    result = _RESULTS.where(at.going, _RESULTS.nonlinear_max_steps_reached, at.result)
    y, aux, stats = drive.finish(eqx.tree_at(lambda a: a.result, at, result))
    num_evals, residual = stats.get("num_evals", at.num_steps), stats.get("residual")
    # A solver that claims success without a finite residual is not believed; nor is one that does
    # not report it, as its test is another one (least squares end in local minima, too).
    success = result == _RESULTS.successful
    if residual is None:
        r, _ = drive.residual(y, drive.args)
        residual, num_evals = optx.two_norm(r), num_evals + 1
        norm, solver = drive.solver.norm, drive.solver
        scale = norm(jtu.tree_map(jnp.add, y, r))
        success = success & is_believable(norm(r), scale, solver)
    residual = jnp.asarray(residual, best.residual.dtype)
    success = success & jnp.isfinite(residual)
    claimed = (result == _RESULTS.successful) & ~success
    result = _RESULTS.where(claimed, _RESULTS.nonlinear_max_steps_reached, result)
    better = ~finished & (success | (residual < best.residual))
    choose = lambda new, old: jtu.tree_map(lambda a, b: jnp.where(better, a, b), new, old)
    ran = jnp.where(finished, 0, 1)
    return _Best(
        y=choose(y, best.y),
        aux=choose(aux, best.aux),
        residual=choose(residual, best.residual),
        step=choose(best.num_steps + stats.get("best_step", at.num_steps), best.step),
        result=_RESULTS.where(finished, best.result, result),
        num_steps=best.num_steps + ran * at.num_steps,
        num_evals=best.num_evals + ran * num_evals,
        num_jvps=best.num_jvps + ran * stats.get("num_jvps", 0),
    )
