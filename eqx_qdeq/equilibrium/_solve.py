"""One solve of one sample: what goes in, what comes out, and which samples count."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
import wadler_lindig as wl
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Complex, Float, PyTree

from .._checks import check_instance, describe
from .._inputs import real_state, widened
from .._local import as_plain, is_sharded, local, plain
from .._trees import all_finite, call_doc, constant, only_where, summary, Text, tree_where
from ..adjoints import AdjointProbe, contributes, ImplicitAdjoint, UnrolledAdjoint
from ..cells import AbstractCell
from ..layers import AbstractPrepared
from ..measurements import AbstractMeasurement
from ..solvers import default_solver, is_believable, is_earned

Map = Callable[[PyTree[Array]], PyTree[Array]]
Solver = (
    optx.AbstractFixedPointSolver
    | optx.AbstractRootFinder
    | optx.AbstractLeastSquaresSolver
    | optx.AbstractMinimiser
)
"""What may find an equilibrium: a solver of this library, or any of Optimistix's for fixed points,
roots, least squares or minima, which is then given f(z) - z."""


class Solution(eqx.Module):
    """The result of a solve.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(0.5 * z + x), jnp.zeros_like)
        solution = qdeq.DEQ(cell).solve(jnp.ones(2))
        solution.value.round(3)  # [0.895 0.895]
        bool(solution.success)  # True
        bool(solution.stats["residual"] < 1e-4)  # True
        ```

    **Attributes:**

    - `value`: the equilibrium, a pytree like the cell's state; always finite. Where the solve
        failed it is the best iterate known, at worst the initial guess.
    - `result`: an `optimistix.RESULTS` item that says how the solve ended.
    - `stats`: a dictionary of arrays without derivatives: `"num_steps"` of the solver,
        `"num_evals"` of the cell, `"num_jvps"` of products with its Jacobian, and the true
        `"residual"`, the Euclidean norm ‖f(z) - z‖ at `value`.
    """

    value: PyTree[Array]
    result: optx.RESULTS
    stats: dict[str, Array]

    @property
    def success(self) -> Bool[Array, "..."]:
        """Whether the tolerance was met."""
        return self.result == optx.RESULTS.successful

    # As any module prints, but for `result`, whose success is an empty text: numbers in its place.
    def __pdoc__(self, **kwargs: Any) -> wl.AbstractDoc:
        numbers = {"success": self.success, **self.stats}
        texts = {name: Text(summary(value)) for name, value in numbers.items()}
        return call_doc("Solution", {"value": self.value, **texts}, **kwargs)


def guard(
    cell: AbstractCell, x: PyTree[Array], z0: PyTree[Array] | None = None
) -> tuple[PyTree[Array], Bool[Array, ""]]:
    """Replaces a sample that can only give NaN, and says whether it could be kept.

    The stand-in goes in *before* the cell is evaluated: masking afterwards would leave 0 · NaN
    in the gradient of the shared parameters. It is the sample of zeros, or that of ones if the
    cell is not finite at zero (a logarithm, say).
    """
    # Looked at once, for a cell that promises to be finite wherever its input is.
    usable = all_finite((x, z0))
    stand_in = jtu.tree_map(jnp.zeros_like, x)
    if not cell.always_finite:
        ones = jtu.tree_map(jnp.ones_like, x)
        stand_in = tree_where(_is_finite_at(cell, stand_in, z0), stand_in, ones)
        usable = usable & _is_finite_at(cell, x, z0)
    return tree_where(usable, x, stand_in), usable


def _is_finite_at(
    cell: AbstractCell, x: PyTree[Array], z0: PyTree[Array] | None
) -> Bool[Array, ""]:
    """Whether the cell is finite at its initial guess for x."""
    start = cell.init(x) if z0 is None else z0
    return as_plain(all_finite(jax.lax.stop_gradient(cell.bind(x)(start))))


def mask(
    solution: Solution,
    usable: Bool[Array, ""],
    *,
    throw: bool = False,
    drop_unsolved: bool = False,
) -> Solution:
    """Marks a solve on stand-in input as failed, and cuts the derivatives of what does not
    count."""
    value = solution.value
    if throw:
        value = eqx.error_if(
            value,
            ~usable,
            "The sample or the cell is not finite at the initial guess. Check the input for "
            "NaN, or use throw=False to have such samples marked as failed.",
        )
    # On the stand-in the solve may well have succeeded; that is no success of the sample, and the
    # residual is not the sample's.
    result = optx.RESULTS.where(usable, solution.result, optx.RESULTS.nonfinite)
    value = only_where(counts(result, drop_unsolved), value)
    residual = jnp.where(usable, solution.stats["residual"], jnp.inf)
    return Solution(value, result, solution.stats | {"residual": residual})


def counts(result: optx.RESULTS, drop_unsolved: bool = False) -> Bool[Array, ""]:
    """Whether a sample whose solve ended like this contributes to gradients."""
    return result == optx.RESULTS.successful if drop_unsolved else contributes(result)


class BoundMap(AbstractPrepared):
    """A bound cell as it is handed out after a solve: constant for a sample that does not count.

    Otherwise a stand-in, or an iterate on its way to infinity, would reach the gradients of
    whatever reads more out of the cell than the equilibrium. The outputs are cut and not the
    cell's own arrays, which a batch shares.
    """

    fn: Map
    counts: Bool[Array, ""]

    def only(self, tree: PyTree[Array]) -> PyTree[Array]:
        """What was made of the solution, as a constant for a sample that does not count."""
        return only_where(self.counts, tree)

    def __call__(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.only(self.fn(x))

    def state(self, x: PyTree[Array]) -> Complex[Array, " dim"]:
        return self.only(self.fn.state(x))

    def measure(self, measurement: AbstractMeasurement, x: PyTree[Array]) -> Float[Array, " k"]:
        return self.only(self.fn.measure(measurement, x))

    def probabilities(self, x: PyTree[Array]) -> Float[Array, " dim"]:
        return self.only(self.fn.probabilities(x))


class _Again(AbstractPrepared):
    """A cell that is bound to a sample where it is called: on the device of what it is called
    with."""

    cell: AbstractCell
    x: PyTree[Array]
    z0: PyTree[Array] | None

    def _of(self, read: Callable[[Any, PyTree[Array]], Any], z: PyTree[Array]) -> Any:
        def of(cell: AbstractCell, x: PyTree, z0: PyTree, z: PyTree) -> Any:
            return read(cell.bind(guard(cell, x, z0)[0]), z)

        return local(of)(self.cell, self.x, self.z0, z)

    def __call__(self, x: PyTree[Array]) -> PyTree[Array]:
        return self._of(lambda fn, z: fn(z), x)

    def state(self, x: Float[Array, " m"]) -> Complex[Array, " dim"]:
        return self._of(lambda fn, z: fn.state(z), x)

    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        return self._of(lambda fn, z: fn.measure(measurement, z), x)

    def probabilities(self, x: Float[Array, " m"]) -> Float[Array, " dim"]:
        return self._of(lambda fn, z: fn.probabilities(z), x)


_Solve = Callable[..., tuple[BoundMap, PyTree[Array], Solution]]


def solved_locally(
    solve: _Solve, cell: AbstractCell, x: PyTree[Array], z0: PyTree[Array] | None, *rest: PyTree
) -> tuple[BoundMap, PyTree[Array], Solution]:
    """`solve(cell, x, z0, *rest)`, on one device whatever mesh there is."""
    if not is_sharded((cell, x, z0, rest)):
        return solve(cell, x, z0, *rest)

    def of(*args: Any) -> tuple[Bool[Array, ""], PyTree[Array], Solution]:
        fn, last, solution = solve(*args)
        return fn.counts, last, solution

    # What a bound map closes over stays inside, so it is bound again by whoever calls it.
    counts, last, solution = local(of)(cell, x, z0, *rest)
    return BoundMap(_Again(cell, x, z0), counts), last, solution


def solver_for(
    solver: Solver | None, z0: PyTree[Array], cell: AbstractCell | None = None
) -> Solver:
    """The solver; if none was given, one that suits the size of the state, and what equilibria the
    cell wants."""
    if solver is not None:
        return solver
    size = sum(leaf.size for leaf in jtu.tree_leaves(z0))
    return default_solver(size, stable=cell is not None and cell.follows_flow)


def adjoint_for(adjoint: optx.AbstractAdjoint, cell: AbstractCell) -> optx.AbstractAdjoint:
    """The adjoint, told whether the cell may have flat directions, if it was left open."""
    if isinstance(adjoint, ImplicitAdjoint) and adjoint.least_norm is None and cell.follows_flow:
        return dataclasses.replace(adjoint, least_norm=True)
    return adjoint


class _Solved(optx.AbstractFixedPointSolver):
    """A solve that was made before: the initial guess is its value, `result` how it ended."""

    result: optx.RESULTS
    rtol: float = 0.0
    atol: float = 0.0
    norm: Callable[[PyTree], Array] = optx.two_norm

    def init(self, fn, y, args, options, f_struct, aux_struct, tags):
        return None

    def step(self, fn, y, args, options, state, tags):
        f, aux = fn(y, args)
        return f, state, aux

    def terminate(self, fn, y, args, options, state, tags):
        return jnp.array(True), self.result

    def postprocess(self, fn, y, aux, args, options, state, tags, result):
        return y, aux, {}


def solve_map(
    fn: Map,
    z0: PyTree[Array],
    solver: Solver | None,
    adjoint: optx.AbstractAdjoint,
    *,
    max_steps: int | None,
    throw: bool = False,
    probe: AdjointProbe | None = None,
) -> Solution:
    """Solves z = fn(z), from `z0`. A guess that is not finite marks the solve as failed."""
    fn, z0 = check_map(fn, z0)
    usable = all_finite(z0)
    z0 = tree_where(usable, z0, jtu.tree_map(jnp.zeros_like, z0))
    solver = solver_for(solver, z0)
    start, judge = z0, solver
    steps, minimises = None, optx.AbstractMinimiser | optx.AbstractLeastSquaresSolver
    if isinstance(adjoint, optx.RecursiveCheckpointAdjoint):
        # The same derivative, but one sample's NaN stays out of the others' (see there).
        adjoint = UnrolledAdjoint(adjoint.checkpoints)
    if isinstance(solver, minimises) and not isinstance(adjoint, UnrolledAdjoint):
        # An implicit adjoint would linearize what such a solver was made for, the gradient of
        # ‖f(z) - z‖², and not f(z) - z: with BFGS, LBFGS, NonlinearCG and NelderMead of Optimistix
        # 0.1.0 the derivative is zero or nonsense, and success true. So the solve is made without
        # derivatives, and its value handed over as solved.
        frozen = constant(eqx.filter_closure_convert(fn, z0))
        found = optx.fixed_point(
            lambda z, _: frozen(z), solver, z0, max_steps=max_steps, throw=False
        )
        steps = found.stats["num_steps"]
        z0 = tree_where(all_finite(found.value), constant(found.value), z0)
        solver = _Solved(result=found.result)
    # `fn` is closed over, not an argument: Optimistix finds what it depends on, and differentiates
    # with respect to that, by tracing.
    raw = optx.fixed_point(
        lambda z, _: fn(z),
        solver,
        z0,
        options=None if probe is None else {"probe": probe},
        max_steps=max_steps,
        adjoint=adjoint,
        throw=throw,
    )
    steps = raw.stats["num_steps"] if steps is None else steps
    value, result = raw.value, raw.result
    residual = raw.stats.get("residual")
    if residual is None:
        # Only ours report the residual of what they return; another costs two evaluations.
        residual, believed = _check(jax.lax.stop_gradient(raw.value), fn, start, judge)
        wrong = (result == optx.RESULTS.successful) & ~believed
        result = optx.RESULTS.where(wrong, optx.RESULTS.nonlinear_max_steps_reached, result)
        if throw:
            value = result.error_if(value, wrong)
    stats = {
        "num_steps": steps,
        "num_evals": raw.stats.get("num_evals", steps),
        "num_jvps": raw.stats.get("num_jvps", 0),
        "residual": residual,
    }
    solution = Solution(value, result, jax.lax.stop_gradient(stats))
    return mask(solution, usable, throw=throw)


def _check(
    value: PyTree[Array], fn: Map, start: PyTree[Array], solver: Solver
) -> tuple[Array, Bool[Array, ""]]:
    """The Euclidean residual at `value`, and whether a claim of success there is believed.

    That of a solver which looks at its increments is not, where the residual is ten times the
    tolerance and more (damped steps are small everywhere), nor that of one which walked so far that
    its relative tolerance covers any residual.
    """
    f = fn(value)
    gap = jtu.tree_map(jnp.subtract, f, value)
    first = jax.lax.stop_gradient(fn(start))
    peak = solver.norm(jtu.tree_map(jnp.subtract, first, start))
    error, scale = solver.norm(gap), solver.norm(f)
    _, _, earned = is_earned(error, scale, peak, solver.norm(start) + peak, solver.atol)
    return jnp.linalg.norm(ravel_pytree(gap)[0]), is_believable(error, scale, solver) & earned


def check_map(fn: Map, z0: PyTree[Array]) -> tuple[Map, PyTree[Array]]:
    """The map, and the initial guess in the precision of what the map makes of it. Refuses a map
    that does not lead from states to states."""
    z0 = real_state(z0)
    # A fresh function: JAX compares the one it is given with those it saw before, and comparing
    # modules that hold tracers fails.
    out = jax.eval_shape(lambda z: fn(z), z0)
    wider = widened(z0, out)
    if wider is not z0:
        z0 = wider
        out = jax.eval_shape(lambda z: fn(z), z0)
    here = jax.eval_shape(lambda z: z, z0)
    if jtu.tree_structure(out) != jtu.tree_structure(here) or any(
        a.shape != b.shape or a.dtype != b.dtype
        for a, b in zip(jtu.tree_leaves(out), jtu.tree_leaves(here), strict=True)
    ):
        raise ValueError(
            "the cell must map a state to one of the same structure, shapes and dtypes; it maps "
            f"{_describe(here)} to {_describe(out)}."
        )
    return plain(fn, out), z0


def check_cell(cell: object) -> None:
    if not isinstance(cell, AbstractCell):
        raise TypeError(
            f"`cell` must be an AbstractCell; got {describe(cell)}. Wrap a function "
            "fn(z, x) as `FunctionCell(fn, initial)`."
        )


def check_method(solver: object, adjoint: object) -> None:
    check_instance(
        "solver", solver, Solver | None, "an Optimistix solver, ours or theirs, e.g. `Picard()`"
    )
    check_instance("adjoint", adjoint, optx.AbstractAdjoint, "an adjoint, e.g. `ImplicitAdjoint()`")


def _describe(tree: PyTree) -> str:
    return str(jtu.tree_map(lambda s: f"{s.dtype}{list(s.shape)}", tree))
