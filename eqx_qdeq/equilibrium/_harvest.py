"""Programs that also return what is named in them: sums over the solves inside.

A jaxpr is evaluated again, equation by equation. Where a name stands, its numbers are added up;
where an equation has programs inside (a loop, a branch, a function with its own derivative), it is
made anew so that it returns their sums as well. That is done before anything is differentiated or
batched from outside, so that sums of a sample stay sums of that sample.
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.custom_derivatives import SymbolicZero
from jax.extend import linear_util as lu
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal, Primitive, primitives, Var
from jaxtyping import Array

HOW, FAR = ": steps and success", ": residual"
"""How the names of a solve's numbers end."""


class Wanted(NamedTuple):
    """Which names are looked for, and the primitives that hide some."""

    tag: str
    unseen: list[str]


class Sums(NamedTuple):
    """Of a program: numbers that `scan` can carry, whatever the precision of the model."""

    count: Array
    num_steps: Array
    residual: Array
    residual_max: Array
    num_converged: Array

    @staticmethod
    def zero() -> "Sums":
        return Sums(*[jnp.zeros((), jnp.result_type(float))] * 5)

    def add(self, other: "Sums") -> "Sums":
        largest = jnp.maximum(self.residual_max, other.residual_max)
        total = Sums(*[a + b for a, b in zip(self, other, strict=True)])
        return total._replace(residual_max=largest)

    def see(self, what: str, value: Array) -> "Sums":
        """With the numbers of a solve, or of a batch of them."""
        value = jax.lax.stop_gradient(value)
        number = lambda x: jnp.sum(jnp.asarray(x, jnp.result_type(float)))
        if what.endswith(FAR):
            largest = jnp.max(value, initial=0).astype(jnp.result_type(float))
            new = {"residual": number(value), "residual_max": largest}
        else:
            steps = jnp.where(value < 0, ~value, value)
            new = {"count": number(jnp.ones_like(value)), "num_steps": number(steps)}
            new["num_converged"] = number(value >= 0)
        return self.add(Sums.zero()._replace(**new))


def _inner(eqn: JaxprEqn) -> list[Jaxpr]:
    """The programs inside an equation."""
    is_program = lambda x: isinstance(x, ClosedJaxpr | Jaxpr)
    found = jtu.tree_leaves(list(eqn.params.values()), is_leaf=is_program)
    return [f.jaxpr if isinstance(f, ClosedJaxpr) else f for f in found if is_program(f)]


def names(program: Jaxpr, tag: str) -> bool:
    """Whether a solve is named somewhere in a program."""
    return any(
        _is_name(eqn, tag) or any(names(inner, tag) for inner in _inner(eqn))
        for eqn in program.eqns
    )


def _is_name(eqn: JaxprEqn, tag: str) -> bool:
    return eqn.primitive is primitives.name_p and eqn.params["name"].startswith(tag)


def run(
    program: Jaxpr, consts: Sequence[Any], args: Sequence[Any], wanted: Wanted
) -> tuple[list[Any], Sums]:
    """Evaluates a program as JAX does, and adds up what is named on the way."""
    values: dict[Var, Any] = dict(zip(program.constvars, consts, strict=True))
    values |= dict(zip(program.invars, args, strict=True))
    read = lambda atom: atom.val if isinstance(atom, Literal) else values[atom]
    total = Sums.zero()
    for eqn in program.eqns:
        operands = list(map(read, eqn.invars))
        with eqn.ctx.manager:
            if any(names(inner, wanted.tag) for inner in _inner(eqn)):
                rule = _RULES.get(eqn.primitive)
                if rule is None:
                    wanted.unseen.append(str(eqn.primitive))
                    out = _bind(eqn, operands)
                else:
                    out, sums = rule(eqn, operands, wanted)
                    total = total.add(sums)
            else:
                out = _bind(eqn, operands)
                if _is_name(eqn, wanted.tag):
                    total = total.see(eqn.params["name"], operands[0])
        values |= dict(zip(eqn.outvars, out, strict=True))
    return list(map(read, program.outvars)), total


def _bind(eqn: JaxprEqn, operands: list[Any]) -> list[Any]:
    out = eqn.primitive.bind(*operands, **eqn.primitive.get_bind_params(eqn.params))
    return list(out) if eqn.primitive.multiple_results else [out]


# --- What has programs inside: the same again, which also returns the sums. ---


def _inlined(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    closed = eqn.params["jaxpr"] if "jaxpr" in eqn.params else eqn.params["call_jaxpr"]
    return run(closed.jaxpr, closed.consts, operands, wanted)


def _checkpoint(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    # An open program; what it needs of outside is among the operands.
    inner = lambda *xs: run(eqn.params["jaxpr"], [], xs, wanted)
    how = {name: eqn.params[name] for name in ("prevent_cse", "policy")}
    return jax.checkpoint(inner, **how)(*operands)


def _scan(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    p, closed = eqn.params, eqn.params["jaxpr"]
    consts, carry, xs = _split(operands, p["num_consts"], p["num_carry"])

    def body(both: tuple[Sums, list[Any]], x: list[Any]) -> tuple[Any, list[Any]]:
        sums, carry = both
        out, new = run(closed.jaxpr, closed.consts, [*consts, *carry, *x], wanted)
        return (sums.add(new), out[: len(carry)]), out[len(carry) :]

    how = {name: p[name] for name in ("length", "reverse", "unroll")}
    (sums, carry), ys = jax.lax.scan(body, (Sums.zero(), carry), xs, **how)
    return [*carry, *ys], sums


def _while(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    p, test, body = eqn.params, eqn.params["cond_jaxpr"], eqn.params["body_jaxpr"]
    test_consts, consts, carry = _split(operands, p["cond_nconsts"], p["body_nconsts"])
    if names(test.jaxpr, wanted.tag):
        wanted.unseen.append("the condition of a while loop")

    def go_on(both: tuple[Sums, list[Any]]) -> Any:
        return run(test.jaxpr, test.consts, [*test_consts, *both[1]], wanted)[0][0]

    def step(both: tuple[Sums, list[Any]]) -> tuple[Sums, list[Any]]:
        out, new = run(body.jaxpr, body.consts, [*consts, *both[1]], wanted)
        return both[0].add(new), out

    sums, carry = jax.lax.while_loop(go_on, step, (Sums.zero(), carry))
    return carry, sums


def _cond(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    def branch(closed: ClosedJaxpr) -> Callable[..., Any]:
        return lambda *xs: run(closed.jaxpr, closed.consts, xs, wanted)

    index, *rest = operands
    return jax.lax.switch(index, [branch(closed) for closed in eqn.params["branches"]], *rest)


# A function with derivatives of its own keeps them, and the sums have none. Which tangents are zero
# is known only when it is differentiated, so that its rules are thunks of programs.


def _custom_jvp(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    params = dict(eqn.primitive.get_bind_params(eqn.params))
    call, jvp = params.pop("subfuns")
    n_consts, thunk = eqn.params["num_consts"], eqn.params["jvp_jaxpr_fun"]

    def rule(*both: Any) -> list[Any]:
        primals, tangents = (part[n_consts:] for part in _split(both, len(operands)))
        is_zero = [isinstance(t, SymbolicZero) for t in tangents]
        program, consts, zeros_out = thunk.call_wrapped(*is_zero)
        moving = [t for t, zero in zip(tangents, is_zero, strict=True) if not zero]
        out, sums = run(program, consts, [*primals, *moving], wanted)
        values, changes = _split(out, len(zeros_out))
        left = iter(changes)
        none = lambda value: SymbolicZero(jax.typeof(value).to_tangent_aval())
        ahead = [none(v) if zero else next(left) for v, zero in zip(values, zeros_out, strict=True)]
        return [*values, *sums, *ahead, *map(jnp.zeros_like, sums)]

    functions = _wrapped(call, _both_of(eqn, wanted)), _wrapped(jvp, rule)
    return _parted(eqn.primitive.bind(*operands, subfuns=functions, **params))


def _custom_vjp(eqn: JaxprEqn, operands: list[Any], wanted: Wanted) -> tuple[list[Any], Sums]:
    params = dict(eqn.primitive.get_bind_params(eqn.params))
    call, forward, backward = params.pop("subfuns")
    n_consts, thunk = eqn.params["num_consts"], eqn.params["fwd_jaxpr_thunk"]

    def rule(*pairs: Any) -> list[Any]:
        primals, moves = pairs[::2], pairs[1::2]
        if any(moves[:n_consts]):
            return forward.call_wrapped(*pairs)  # which says that this cannot be
        program, consts = thunk.call_wrapped(*moves[n_consts:])
        out, sums = run(program, consts, primals[n_consts:], wanted)
        return [*out, *sums]

    # What comes back for the sums is not asked for.
    back = lambda *args: backward.call_wrapped(*args[: -len(Sums._fields)])
    functions = (
        _wrapped(call, _both_of(eqn, wanted)),
        _wrapped(forward, rule),
        _wrapped(backward, back),
    )
    return _parted(eqn.primitive.bind(*operands, subfuns=functions, **params))


def _both_of(eqn: JaxprEqn, wanted: Wanted) -> Callable[..., list[Any]]:
    closed = eqn.params["call_jaxpr"]

    def both(*xs: Any) -> list[Any]:
        out, sums = run(closed.jaxpr, closed.consts, xs, wanted)
        return [*out, *sums]

    return both


def _wrapped(like: lu.WrappedFun, function: Callable[..., Any]) -> lu.WrappedFun:
    return lu.wrap_init(function, debug_info=like.debug_info).with_unknown_names()


def _parted(out: Sequence[Any]) -> tuple[list[Any], Sums]:
    values, sums = _split(out, len(out) - len(Sums._fields))
    return values, Sums(*sums)


def _split(values: Sequence[Any], *sizes: int) -> list[list[Any]]:
    ends = list(itertools.accumulate(sizes, initial=0))
    return [list(values[a:b]) for a, b in zip(ends, [*ends[1:], None], strict=True)]


_RULES: dict[Primitive, Callable[[JaxprEqn, list[Any], Wanted], tuple[list[Any], Sums]]] = {
    primitives.jit_p: _inlined,
    primitives.closed_call_p: _inlined,
    primitives.call_p: _inlined,
    primitives.remat_p: _checkpoint,
    primitives.scan_p: _scan,
    primitives.while_p: _while,
    primitives.cond_p: _cond,
    primitives.custom_jvp_call_p: _custom_jvp,
    primitives.custom_vjp_call_p: _custom_vjp,
}
