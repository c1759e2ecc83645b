r"""Backpropagation through steps that are undone on the way back.

Derivation. The steps are $y_{k+1} = d\,y_{k-1} + (1 - d)\,f(y_k, \theta)$ with $y_{-1} = y_0$. With
$a_k$ for the cotangent of $y_k$, backwards each of them adds

    a_k += (1 - d) Jᵀ(y_k) a_{k+1},    a_{k-1} += d a_{k+1},    θ̄ += (1 - d) (∂f/∂θ)ᵀ(y_k) a_{k+1},

and $y_{k-1} = (y_{k+1} - (1 - d) f(y_k))/d$ is found again from the same evaluation of f whose
vector-Jacobian product is taken. So two states and their cotangents are all that is kept.

What contracts forwards expands backwards: errors of the states found again grow by $d^{-1/2}$ in
each step and more. The last two states have to agree with the initial guess, which is known: by how
much they do not tells whether the others can be trusted.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree

from .._local import as_plain
from .._trees import constant
from ..solvers import Reversible
from ._base import once, solve_first, without_derivative


class ReversibleAdjoint(optx.AbstractAdjoint):
    r"""Differentiates the steps that the solver took, exactly, without storing them.

    Needs [`eqx_qdeq.Reversible`][] as the solver, whose steps are undone one by one on the way
    back. As [`eqx_qdeq.UnrolledAdjoint`][] it is the derivative of what was computed, with a
    cotangent for the initial guess, at one evaluation and one vector-Jacobian product for each
    step, and in memory that does not grow with their number. Works with cells that only have
    vector-Jacobian products. First derivatives in reverse mode only.

    Undoing steps amplifies rounding. Where the initial guess is not found again (to one part in a
    thousand, of the way from there) the gradient is NaN: use more damping, fewer steps or double
    precision.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: jnp.cos(x * z), lambda x: x)
        solver = qdeq.Reversible(1e-3, 1e-3, damp=0.2)
        deq = qdeq.DEQ(cell, solver, qdeq.ReversibleAdjoint(), max_steps=40)
        jax.grad(lambda x: deq(x)[0])(jnp.array([0.5])).round(2)  # [-0.32]
        ```

    ??? cite "Reference"

        S. McCallum, K. Arora and J. Foster, "Reversible deep equilibrium models",
        arXiv:2509.12917 (2025).
    """

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solver = inputs[1]
        if not isinstance(solver, Reversible):
            raise TypeError(
                "`ReversibleAdjoint` undoes the steps of the solver Reversible; got "
                f"{type(solver).__name__}. Use solver=Reversible(...), or another adjoint."
            )
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        _, _, state, *_ = solved.residual
        start = ravel_pytree(inputs[2])[0]
        steps = jnp.where(solved.usable, state.record.num_steps - 1, 0)
        best = jnp.where(solved.usable, state.record.best_step, 0)
        usable = lambda y: jnp.where(solved.usable, y, solved.point)
        pair = jtu.tree_map(usable, constant(state.memory))
        change = _end((solved.gap, start), solved.point, pair, steps, best, constant(solver.damp))
        return solved.attach(change), without_derivative(solved.residual)


@eqx.filter_custom_vjp
def _end(variables, end, pair, steps, best, damp):
    """The iterate number `best`, as a function of f and the initial guess."""
    del variables, pair, steps, best, damp
    return end


@_end.def_fwd
def _end_fwd(perturbed, variables, end, pair, steps, best, damp):
    del perturbed
    return _end(variables, end, pair, steps, best, damp), None


@_end.def_bwd
def _end_bwd(residuals, cotangent, perturbed, variables, end, pair, steps, best, damp):
    del residuals, perturbed
    if cotangent is None:
        cotangent = jnp.zeros_like(end)
    # Of a gradient taken outside of a `shard_map`, what is kept for this pass comes typed.
    args = (cotangent, variables, end, pair, steps, best, damp)
    cotangent, (gap, start), end, pair, steps, best, damp = as_plain(args)
    cotangent = once(cotangent, gap(end), "ReversibleAdjoint")
    traced, static = eqx.partition(gap, eqx.is_inexact_array)
    damp = jnp.asarray(damp, end.dtype)
    f = lambda traced, y: y + eqx.combine(traced, static)(y)

    def undo(carry: tuple[Any, ...]) -> tuple[Any, ...]:
        k, last, before, of_last, of_before, of_f = carry
        of_last = of_last + jnp.where(k == best, cotangent, 0)
        # y_k is `last`, made of y_{k-1}, which is `before`, and of y_{k-2}.
        value, pull = jax.vjp(f, traced, before)
        more_of_f, more = pull((1 - damp) * of_last)
        of_f = jtu.tree_map(jnp.add, of_f, more_of_f)
        return (
            k - 1,
            before,
            (last - (1 - damp) * value) / damp,
            of_before + more,
            damp * of_last,
            of_f,
        )

    zeros = jnp.zeros_like(end)
    carry = (steps, *pair, zeros, zeros, jtu.tree_map(jnp.zeros_like, traced))
    carry = jax.lax.while_loop(lambda carry: carry[0] > 0, undo, carry)
    _, last, before, of_last, of_before, of_f = carry
    of_start = of_last + of_before + jnp.where(best == 0, cotangent, 0)
    lost = jnp.maximum(jnp.linalg.norm(last - start), jnp.linalg.norm(before - start))
    eps = jnp.finfo(end.dtype).eps
    scale = 1e-3 * jnp.linalg.norm(end - start) + 100 * eps * jnp.linalg.norm(start)
    exact = (lost <= scale) | (steps == 0)
    or_nan = lambda tree: jtu.tree_map(lambda x: jnp.where(exact, x, jnp.nan), tree)
    return or_nan(of_f), or_nan(of_start)
