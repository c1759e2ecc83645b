"""Following a branch: what happens to an equilibrium as a parameter changes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from .._checks import (
    can_check,
    check_at_least,
    check_choice,
    check_instance,
    check_positive,
    describe,
)
from .._inputs import arrays, check_state, real_state
from .._trees import constant, nan_on_purpose
from ..adjoints import ImplicitAdjoint
from ..cells import AbstractCell, SelfConsistentCell
from ..equilibrium import solve_map
from ..solvers import Newton
from ._arclength import Curve
from ._branch import Branch
from ._certificate import own_bound
from ._special_points import NOTHING
from ._walk import locate_each, NO_START, Options, walk_along


def trace_branch(
    cell: AbstractCell,
    path: Callable[[Float[Array, ""]], PyTree[Array]],
    z0: PyTree[Array],
    *,
    start: float | Float[Array, ""] = 0.0,
    stop: float | Float[Array, ""] = 1.0,
    begin: float | Float[Array, ""] | None = None,
    tangent: tuple[Array, PyTree[Array]] | None = None,
    method: Literal["arclength", "natural"] = "arclength",
    curvature: float | Float[Array, ""] | None = None,
    step_size: float = 0.05,
    largest_step: float = 0.2,
    smallest_step: float = 1e-6,
    max_points: int = 256,
    max_special: int = 8,
) -> Branch:
    r"""Follows an equilibrium as a parameter changes, around folds and past crossings.

    A path gives the input x for each value of a parameter p. From an equilibrium at its beginning
    the branch of equilibria is followed until the parameter leaves the interval from `start` to
    `stop`. By pseudo-arclength continuation: a step along the tangent, then Newton's method back to
    the curve, in the plane normal to the tangent. At a fold the parameter turns round, and the
    branch goes on with the other equilibrium. A step is halved until it surely stays on the branch:
    if the tangent turns by less than 26°, and the way back is less than 0.4 of the step. With
    `curvature` steps are as long as Newton and Kantorovich allow, and **proven** to stay on it.

    On the way folds, pitchforks, transcritical crossings and Hopf points are located, down to
    rounding. States should be small: Jacobians are dense.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # The mean field of a magnet: m = tanh(m / T). Below T = 1 it has two more equilibria.
        cell = qdeq.FunctionCell(lambda m, t: jnp.tanh(m / t), lambda t: jnp.zeros(1))
        branch = qdeq.trace_branch(
            cell, lambda t: t[None], jnp.zeros(1), start=0.5, stop=1.5
        )
        assert branch.kinds == ("pitchfork",)
        print(branch)
        ```

    **Arguments:**

    - `cell`: any cell whose state is real and small.
    - `path`: from the parameter, a scalar, to the cell's input x. A function, or a module whose
        arrays may be differentiated.
    - `z0`: an equilibrium at the beginning, or so close to one that a few Newton steps lead there.
    - `start`, `stop`: the interval of the parameter. `stop` may be below `start`.
    - `begin`: where in the interval z0 is; `start` if left out.
    - `tangent`: in which direction to begin, as a pair (change of the parameter, change of z), e.g.
        from `Branch.special_directions`. Toward `stop` if left out.
    - `method`: `"natural"` keeps the parameter fixed on the way back to the branch. It ends at the
        first fold.
    - `curvature`: a Lipschitz constant of the derivative of (z, q) ↦ f(z; path(p)) along the
        branch, with q = (p - start)/(stop - start), in the spectral norm. No step is certified
        without it.
    - `step_size`, `largest_step`, `smallest_step`: lengths of steps, in (z, q): the first one, the
        longest, and that at which the branch is given up as lost.
    - `max_points`, `max_special`: the room for points, and for special points.

    **Returns:**

    A [`eqx_qdeq.Branch`][] of arrays: works under `jit` and `vmap`.

    **Raises:** `ValueError` if `z0` is no equilibrium (under `jit` and `vmap`, `ended` says so), or
    for a number out of range.

    ??? cite "Reference"

        R. Seydel, "Practical Bifurcation and Stability Analysis", 3rd ed., Springer (2010).
    """
    check_instance("cell", cell, AbstractCell, "a cell, e.g. `FunctionCell(f, z0)`")
    if not callable(path):
        raise TypeError(f"`path` must be a function from the parameter to x; got {path!r}.")
    check_choice("method", method, ("arclength", "natural"))
    lengths = {"step_size": step_size, "largest_step": largest_step, "smallest_step": smallest_step}
    for name, number in lengths.items():
        check_positive(f"trace_branch({name}=...)", number)
    if not smallest_step <= step_size <= largest_step:
        raise ValueError(
            f"`step_size` must be from `smallest_step` to `largest_step`; got {step_size}, "
            f"{smallest_step} and {largest_step}."
        )
    check_at_least("trace_branch(max_points=...)", max_points, 2)
    check_at_least("trace_branch(max_special=...)", max_special, 1)
    _check_interval(start, stop, begin)
    if curvature is not None:
        curvature = own_bound("trace_branch(curvature=...)", curvature, jnp.result_type(float))
    z0 = arrays(z0, "z0")
    begins = jnp.asarray(start, float)
    check_state("z0", z0, eqx.filter_eval_shape(lambda p: cell.init(path(p)), begins))
    if tangent is not None:
        _check_tangent(tangent, z0)
    options = Options(method == "natural", max_points, max_special)
    branch = _trace(
        cell,
        path,
        z0,
        (start, stop, start if begin is None else begin),
        tangent,
        curvature,
        (step_size, largest_step, smallest_step),
        options,
    )
    if not isinstance(branch.ended, Tracer) and np.ndim(branch.ended) == 0:
        if int(branch.ended) == NO_START:
            raise ValueError(
                "`z0` is no equilibrium at the branch's beginning, and Newton's method found none "
                "near it. Start from `DEQ(cell)(path(start))`, or from "
                "one that `find_equilibria` found."
            )
    return branch


def _check_interval(start: Any, stop: Any, begin: Any) -> None:
    interval = {"start": start, "stop": stop} | ({} if begin is None else {"begin": begin})
    known = {k: v for k, v in interval.items() if can_check(f"trace_branch({k}=...)", v)}
    for name, number in known.items():
        if not math.isfinite(number):
            raise ValueError(f"`trace_branch({name}=...)` must be finite; got {number}.")
    if len(known) == len(interval):
        if start == stop:
            raise ValueError(f"`start` and `stop` must differ; both are {start}.")
        if begin is not None and not min(start, stop) <= begin <= max(start, stop):
            raise ValueError(
                f"`trace_branch(begin=...)` must be from {start} to {stop}, the interval of the "
                f"parameter; got {begin}."
            )


def _check_tangent(tangent: Any, z0: PyTree[Array]) -> None:
    if not isinstance(tangent, tuple | list) or len(tangent) != 2:
        raise TypeError(
            "`trace_branch(tangent=...)` must be a pair (change of the parameter, change of "
            f"z); got {describe(tangent)}."
        )
    check_state("tangent[1]", tangent[1], z0)
    moves = jnp.linalg.norm(ravel_pytree(tangent)[0])
    if not isinstance(moves, Tracer) and not 0 < float(moves) < float("inf"):
        raise ValueError(f"`trace_branch(tangent=...)` must be finite and not zero; got {tangent}.")


@nan_on_purpose
@eqx.filter_jit
def _trace(
    cell: AbstractCell,
    path: Callable,
    z0: PyTree[Array],
    interval: tuple[Any, Any, Any],
    tangent: Any,
    curvature: Any,
    lengths: tuple[Any, Any, Any],
    options: Options,
) -> Branch:
    flat, unravel = ravel_pytree(real_state(z0))
    begin, stop, at = (lax.stop_gradient(jnp.asarray(value, flat.dtype)) for value in interval)

    def residual(cell: AbstractCell, path: Callable, z: Array, p: Array) -> Array:
        return ravel_pytree(cell.bind(path(p))(unravel(z)))[0] - z

    parameter = lambda q: begin + (stop - begin) * q
    followed = cell
    if isinstance(cell, SelfConsistentCell):
        # The same equilibria without a metric. That has no derivatives, which on the equilibria
        # themselves changes nothing; but Newton's method for where they cross needs those nearby.
        followed = dataclasses.replace(cell, metric_shift=None)
    live = lambda u: residual(followed, path, u[:-1], parameter(u[-1]))
    # Nothing on the way is differentiated. A cell may hold what is in closures, too.
    equations = constant(eqx.filter_closure_convert(live, jnp.append(flat, flat[0])))
    eps = jnp.finfo(flat.dtype).eps
    q0 = (at - begin) / (stop - begin)
    u0 = lax.stop_gradient(jnp.append(flat, q0))
    curve = Curve.plain(equations, u0, (1 + jnp.linalg.norm(u0[:-1])) * eps**0.5)
    curve, walk = walk_along(curve, u0, tangent, curvature, lengths, options)

    # --- What is at the points. Derivatives come from one more solve at each, which begins at its
    # end: implicit differentiation at a fixed parameter.
    there = jnp.arange(options.max_points) < walk.count
    # Where there is no point, that of the first stands: derivatives of what is hidden are 0 times
    # something, which must be finite.
    points = jnp.where(there[:, None], walk.points, walk.points[:1])
    p = parameter(points[:, -1])

    def attach(u: Array, t: Array, p: Array) -> Array:
        z = u[:-1]
        # Of what is flat nothing moves.
        here = curve.sliced(u, t)[0]
        gap = here.of(lambda u: residual(cell, path, u[:-1], p))
        found = solve_map(
            lambda z: z + gap(jnp.append(z, u[-1])),
            z,
            Newton(rtol=0.0, atol=float(eps) ** 0.5),
            ImplicitAdjoint(),
            max_steps=2,
        )
        return found.value

    tangents = jnp.where(there[:, None], walk.tangents, walk.tangents[:1])
    values = jax.vmap(attach)(points, tangents, p)
    spectra = jax.vmap(lambda u: curve.spectrum(curve.slopes(u)) + 1)(points)
    # dz/dp from the tangent: ż / (ṗ).
    slope = walk.tangents[:, :-1] / (walk.tangents[:, -1:] * (stop - begin))
    special = locate_each(curve, live, walk)
    hide = lambda keep, x: jnp.where(keep.reshape(keep.shape + (1,) * (x.ndim - 1)), x, jnp.nan)
    many = jax.vmap(unravel)
    some = special.kind != NOTHING
    return Branch(
        parameters=hide(there, p),
        values=many(hide(there, values)),
        slopes=many(hide(there, slope)),
        count=walk.count,
        stable=there & (jnp.max(jnp.abs(spectra), axis=1) < 1),
        flow_stable=there & (jnp.max(spectra.real, axis=1) < 1),
        certified=walk.certified,
        flat=curve.flat,
        special_kinds=special.kind,
        special_parameters=hide(some, parameter(special.u[:, -1])),
        special_values=many(hide(some, special.u[:, :-1])),
        special_directions=(
            special.other[:, -1] * (stop - begin),
            many(special.other[:, :-1]),
        ),
        n_special=walk.n_special,
        n_evals=walk.n_evals,
        ended=walk.ended,
    )
