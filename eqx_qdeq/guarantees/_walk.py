"""From an equilibrium along its branch, step by step, to the branch's end."""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int

from .._precise import dot
from ._arclength import Curve, Point, Slice, step
from ._special_points import kind_between, locate, NOTHING, Special, Tests

RUNNING, REACHED, RETURNED, CLOSED, LOST, DOMAIN, FULL, NO_START = range(8)
# How far an equilibrium may be from z0, relative to 1 + ‖z0‖, to be the one that was meant.
_NEAR = 0.1


class Options(NamedTuple):
    natural: bool
    max_points: int
    max_special: int


class Walk(eqx.Module):
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


def walk_along(
    curve: Curve,
    known: Point,
    tangent: Any,
    curvature: Any,
    lengths: tuple[Any, Any, Any],
    options: Options,
) -> tuple[Curve, Walk]:
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
    start = Walk(
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

    def advance(walk: Walk) -> Walk:
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
        return Walk(
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


def locate_each(curve: Curve, live: Callable[[Point], Array], walk: Walk) -> Special:
    blank = Special(jnp.array(NOTHING), walk.u * jnp.nan, walk.u * jnp.nan)

    def one(args: tuple[Array, Array, Array]) -> Special:
        kind, place, length = args
        return locate(curve, live, kind, walk.points[place], walk.tangents[place], length)

    # One after the other, and only those that are there: each takes as long as many steps.
    each = lambda args: lax.cond(args[0] == NOTHING, lambda _: blank, one, args)
    return lax.map(each, (walk.kinds, walk.places, walk.lengths))
