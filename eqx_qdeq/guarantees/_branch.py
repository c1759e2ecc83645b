"""Branches of equilibria: what happens to an equilibrium as a parameter changes."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.core import Tracer
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._checks import (
    can_check,
    check_at_least,
    check_choice,
    check_instance,
    check_positive,
    describe,
)
from .._inputs import arrays, check_state, real_state
from .._precise import dot
from .._trees import constant, nan_on_purpose
from ..adjoints import ImplicitAdjoint
from ..cells import AbstractCell, SelfConsistentCell
from ..equilibrium import solve_map
from ..solvers import Newton
from ._arclength import Curve, Point, Slice, step
from ._certificate import own_bound
from ._special_points import kind_between, KINDS, locate, NOTHING, Special, Tests

RUNNING, REACHED, RETURNED, CLOSED, LOST, DOMAIN, FULL, NO_START = range(8)
_ENDS = {
    REACHED: "reached the end of the path",
    RETURNED: "came back to the path's beginning",
    CLOSED: "closed on itself",
    LOST: "lost: no step, however short, led on",
    DOMAIN: "left the domain: the map or the path is not finite beyond",
    FULL: "not at its end: `max_points` were found",
    NO_START: "not begun: `z0` is no equilibrium",
}
# How far an equilibrium may be from z0, relative to 1 + ‖z0‖, to be the one that was meant.
_NEAR = 0.1
# Numbers of a state that are shown.
_SHOWN = 4


class Branch(eqx.Module):
    r"""What [`eqx_qdeq.trace_branch`][] found; printing it gives a table.

    Under `vmap` all attributes are batched. Their shapes are fixed: there is room for `max_points`
    points, of which the first `count` are points of the branch, in order; the others are NaN, 0 and
    false. So with the `max_special` special points, of which `n_special` are some.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # A magnet in a field h, colder than it orders: m = tanh((m + h) / 0.5).
        fn = lambda m, h: jnp.tanh((m + h) / 0.5)
        cell = qdeq.FunctionCell(fn, lambda h: jnp.zeros(1))
        branch = qdeq.trace_branch(
            cell, lambda h: h[None], -jnp.ones(1), start=-0.5, stop=0.5, max_points=64
        )
        branch.kinds  # ('fold', 'fold')
        branch.special_parameters[:2]  # [0.266 -0.266]
        ```

    **Attributes:**

    - `parameters`: the parameter at each point, shape `(max_points,)`.
    - `values`: the equilibria, a pytree with leaves of shape `(max_points, ...)`. Differentiable
        with respect to the cell and what the path is made of, at fixed parameters.
    - `slopes`: how the equilibrium changes with the parameter, dz/dp, likewise; infinite at a fold.
    - `count`: how many points.
    - `stable`: whether plain iteration converges from nearby, ρ(J) < 1, shape `(max_points,)`.
    - `flow_stable`: whether the flow ż = f(z) - z does, Re λ < 1 for all eigenvalues λ of J.
    - `certified`: whether the step to this point is proven to have followed the same branch (of the
        first one: nothing). False everywhere if no `curvature` was given.
    - `special_kinds`: folds, pitchforks, transcritical crossings and Hopf points, by number (see
        `kinds`), shape `(max_special,)`, in their order along the branch.
    - `special_parameters`, `special_values`: where they are. Of folds, differentiable.
    - `special_directions`: at a crossing, the direction of the other branch as a pair (change of
        the
        parameter, change of the equilibrium), to go on from there: `tangent=`.
    - `n_special`: how many there are (those beyond `max_special` are counted and not kept).
    - `flat`: in how many directions the equilibria are not isolated, at a fixed parameter, as those
        of circuits with more angles than needed are not. The branch goes on normal to these, and
        stability and special points are about what is left.
    - `n_evals`: evaluations of f with its Jacobian.
    - `ended`: how the branch ended, a number; `end` is it in words.
    """

    parameters: Float[Array, "... points"]
    values: PyTree[Array]
    slopes: PyTree[Array]
    count: Int[Array, "..."]
    stable: Bool[Array, "... points"]
    flow_stable: Bool[Array, "... points"]
    certified: Bool[Array, "... points"]
    special_kinds: Int[Array, "... special"]
    special_parameters: Float[Array, "... special"]
    special_values: PyTree[Array]
    special_directions: tuple[Float[Array, "... special"], PyTree[Array]]
    n_special: Int[Array, "..."]
    flat: Int[Array, "..."]
    n_evals: Int[Array, "..."]
    ended: Int[Array, "..."]

    @property
    def end(self) -> str:
        """How the branch ended, in words (of one branch, outside of `jit`)."""
        return _ENDS[int(self.ended)]

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the special points, in words (of one branch, outside of `jit`)."""
        return tuple(KINDS[int(kind)] for kind in self.special_kinds if kind != NOTHING)

    def __str__(self) -> str:
        if jnp.ndim(self.count) > 0:
            ends = {k: int(np.sum(np.asarray(self.ended) == k)) for k in _ENDS}
            rows = [f"{self.count.size} branches of {np.mean(self.count):.0f} points in the mean"]
            return "\n".join(rows + [f"{n:6d}  {_ENDS[k]}" for k, n in ends.items() if n])
        n = int(self.count)
        proven = int(np.sum(self.certified[:n]))
        steps = f"{proven} of {max(n - 1, 0)} steps certified" if proven else "steps not certified"
        k = int(self.flat)
        flat = f", {k} flat direction{'s' * (k > 1)}" if k else ""
        lines = [
            f"a branch of {n} points, {int(self.n_evals)} evaluations, {steps}{flat}; {self.end}"
        ]
        if n == 0:
            return lines[0]
        lines.append("parameter   iteration  flow      value")
        for i in sorted({0, *np.linspace(0, n - 1, min(n, 6)).astype(int).tolist()}):
            words = ["stable" if f[i] else "unstable" for f in (self.stable, self.flow_stable)]
            value = jax.tree.map(lambda leaf, i=i: leaf[i], self.values)
            lines.append(
                f"{self.parameters[i]:10.6g}  {words[0]:9s}  {words[1]:8s}  {_numbers(value)}"
            )
        for k, kind in enumerate(self.kinds):
            value = jax.tree.map(lambda leaf, k=k: leaf[k], self.special_values)
            lines.append(f"{self.special_parameters[k]:10.6g}  {kind:19s}  {_numbers(value)}")
        return "\n".join(lines)


def _numbers(value: PyTree) -> str:
    flat = np.asarray(ravel_pytree(value)[0])
    more = " …" if flat.size > _SHOWN else ""
    return " ".join(f"{v:.4g}" for v in flat[:_SHOWN]) + more


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
        branch,
        with q = (p - start)/(stop - start), in the spectral norm. No step is certified without it.
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
    if curvature is not None:
        curvature = own_bound("trace_branch(curvature=...)", curvature, jnp.result_type(float))
    z0 = arrays(z0, "z0")
    begins = jnp.asarray(start, float)
    check_state("z0", z0, eqx.filter_eval_shape(lambda p: cell.init(path(p)), begins))
    if tangent is not None:
        if not isinstance(tangent, tuple | list) or len(tangent) != 2:
            raise TypeError(
                "`trace_branch(tangent=...)` must be a pair (change of the parameter, change of "
                f"z); got {describe(tangent)}."
            )
        check_state("tangent[1]", tangent[1], z0)
        moves = jnp.linalg.norm(ravel_pytree(tangent)[0])
        if not isinstance(moves, Tracer) and not 0 < float(moves) < float("inf"):
            raise ValueError(
                f"`trace_branch(tangent=...)` must be finite and not zero; got {tangent}."
            )
    options = _Options(method == "natural", max_points, max_special)
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


class _Options(NamedTuple):
    natural: bool
    max_points: int
    max_special: int


class _Walk(eqx.Module):
    """The state of the loop."""

    slice: Slice
    u: Point
    t: Point
    h: Float[Array, ""]
    tests: Tests
    points: Float[Array, "points n1"]
    tangents: Float[Array, "points n1"]
    certified: Bool[Array, " points"]
    count: Int[Array, ""]
    # Of the steps in which something happens: what, from which point, and how long they are.
    kinds: Int[Array, " special"]
    places: Int[Array, " special"]
    lengths: Float[Array, " special"]
    n_special: Int[Array, ""]
    n_evals: Int[Array, ""]
    ended: Int[Array, ""]


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
    options: _Options,
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
    curve, walk = _walk(curve, u0, tangent, curvature, lengths, options)

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
    special = _locate(curve, live, walk)
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


def _walk(
    curve: Curve,
    known: Point,
    tangent: Any,
    curvature: Any,
    lengths: tuple[Any, Any, Any],
    options: _Options,
) -> tuple[Curve, _Walk]:
    dtype, n = known.dtype, known.size - 1
    first_step, largest, smallest = (jnp.asarray(h, dtype) for h in lengths)
    along_q = jnp.zeros(n + 1, dtype).at[-1].set(1)
    u0, found, evals = curve.back(known, along_q, least_norm=True)
    if tangent is None:
        curve, t0 = curve.counted(u0).sliced(u0, along_q)
    else:
        change_p, change_z = tangent
        # Given in the parameter's units; here it is scaled. The direction alone counts.
        t0 = jnp.append(ravel_pytree(change_z)[0], change_p).astype(dtype)
        t0 = lax.stop_gradient(t0 / jnp.linalg.norm(t0))
        # Where branches cross the equilibrium is known, and Newton's method is not asked.
        solved = jnp.linalg.norm(curve.raw(known)) <= 100 * curve.tolerance
        u0, found = jnp.where(solved, known, u0), found | solved
        # There one more direction seems to be flat, so it is counted a step further.
        beyond, _, more = curve.back(u0 + first_step * t0, t0, least_norm=True)
        curve, evals = curve.counted(beyond), evals + more
        slice = curve.sliced(beyond, t0)[0].slice
        curve = curve.held(slice._replace(at=u0))
    # Newton's method may lead far: then it is not the branch that was meant.
    near = jnp.linalg.norm(u0 - known) <= _NEAR * (1 + jnp.linalg.norm(known[:-1]))
    begun = found & near & jnp.all(jnp.isfinite(t0))
    room, kept = options.max_points, options.max_special
    blank = jnp.full((room, n + 1), jnp.nan, dtype)
    start = _Walk(
        slice=curve.slice,
        u=u0,
        t=t0,
        h=first_step,
        tests=Tests.at(curve, u0, t0),
        points=blank.at[0].set(u0),
        tangents=blank.at[0].set(t0),
        certified=jnp.zeros(room, bool),
        count=jnp.where(begun, 1, 0),
        kinds=jnp.full(kept, NOTHING),
        places=jnp.zeros(kept, int),
        lengths=jnp.zeros(kept, dtype),
        n_special=jnp.array(0),
        n_evals=evals,
        ended=jnp.where(begun, RUNNING, NO_START),
    )

    def advance(walk: _Walk) -> _Walk:
        here, u, t = curve.held(walk.slice), walk.u, walk.t
        h, proven = walk.h, jnp.array(False)
        if curvature is not None:
            safe = here.certified_length(u, t, jnp.asarray(curvature, dtype))
            # Where nothing can be proven with a step worth taking, it is taken without a proof.
            proven = (safe >= smallest) & (curve.flat == 0)
            h = jnp.where(proven, jnp.minimum(safe, largest), h)
        row = along_q if options.natural else t
        # Natural steps have a length in the parameter.
        direction = t / jnp.where(options.natural, jnp.abs(t[-1]), 1)
        at = step(here, u, direction, h, row, proven)
        # To the end of the path exactly, and no further.
        outside = (at.u[-1] > 1) | (at.u[-1] < 0)
        goal = jnp.where(at.u[-1] > 1, 1.0, 0.0).astype(dtype)
        share = (goal - u[-1]) / jnp.where(at.u[-1] == u[-1], 1, at.u[-1] - u[-1])
        last, landed, more = lax.cond(
            at.accepted & outside,
            lambda: here.back((u + share * (at.u - u)).at[-1].set(goal), along_q),
            lambda: (u, jnp.array(False), jnp.array(0)),
        )
        ends = at.accepted & outside & landed
        new = jnp.where(ends, last, at.u)
        accepted = at.accepted & (~outside | landed)
        choose = lambda new, old: jax.tree.map(lambda a, b: jnp.where(accepted, a, b), new, old)
        new_curve, new_t = curve.sliced(choose(new, u), choose(at.t, t))

        tests = Tests.at(new_curve, new, new_t)
        kind = jnp.where(accepted, kind_between(walk.tests, tests), NOTHING)
        happened = kind != NOTHING
        place = jnp.where(happened & (walk.n_special < kept), walk.n_special, kept)
        length = jnp.where(ends, dot(last - u, t), h)
        shorter = jnp.where(accepted, h, h / 2)
        longer = jnp.where(accepted & at.easy, jnp.minimum(1.5 * h, largest), shorter)
        # A loop: the beginning lies on the step that was just taken.
        back = dot(u0 - u, t)
        aside = jnp.linalg.norm(u0 - u - back * t)
        closed = accepted & (walk.count > 2) & (back > 0) & (back <= h) & (aside <= 0.1 * h)
        closed = closed & (dot(t, t0) > 0)
        finite = jnp.all(jnp.isfinite(here.equations(u + h * t)))
        ended = jnp.where(longer < smallest, jnp.where(finite, LOST, DOMAIN), RUNNING)
        count = walk.count + accepted.astype(int)
        ended = jnp.where(count >= room, FULL, ended)
        ended = jnp.where(ends, jnp.where(goal == 1, REACHED, RETURNED), ended)
        ended = jnp.where(closed, CLOSED, ended)
        slot = jnp.where(accepted, walk.count, room)
        return _Walk(
            slice=choose(new_curve.slice, walk.slice),
            u=choose(new, u),
            t=choose(new_t, t),
            h=longer,
            tests=choose(tests, walk.tests),
            points=walk.points.at[slot].set(new, mode="drop"),
            tangents=walk.tangents.at[slot].set(new_t, mode="drop"),
            certified=walk.certified.at[slot].set(proven, mode="drop"),
            count=count,
            kinds=walk.kinds.at[place].set(kind, mode="drop"),
            places=walk.places.at[place].set(walk.count - 1, mode="drop"),
            lengths=walk.lengths.at[place].set(length, mode="drop"),
            n_special=walk.n_special + happened.astype(int),
            n_evals=walk.n_evals + at.evals + more,
            ended=ended,
        )

    return curve, lax.while_loop(lambda walk: walk.ended == RUNNING, advance, start)


def _locate(curve: Curve, live: Callable[[Point], Array], walk: _Walk) -> Special:
    blank = Special(jnp.array(NOTHING), walk.u * jnp.nan, walk.u * jnp.nan)

    def one(args: tuple[Array, Array, Array]) -> Special:
        kind, place, length = args
        return locate(curve, live, kind, walk.points[place], walk.tangents[place], length)

    # One after the other, and only those that are there: each takes as long as many steps.
    each = lambda args: lax.cond(args[0] == NOTHING, lambda _: blank, one, args)
    return lax.map(each, (walk.kinds, walk.places, walk.lengths))
