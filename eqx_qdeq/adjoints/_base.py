"""What the adjoints share: which samples can be differentiated, and where."""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from .._trees import all_finite, constant, tree_where


def contributes(result: optx.RESULTS) -> Bool[Array, ""]:
    """Whether a solve that ended like this is differentiated: one that found its equilibrium, or
    stopped on its way there. One that diverged or is not finite is a constant."""
    results = optx.RESULTS
    return (
        (result == results.successful)
        | (result == results.nonlinear_max_steps_reached)
        | (result == results.stagnation)
    )


def run(primal_fn: Callable, inputs: PyTree) -> tuple[PyTree[Array], PyTree]:
    """The solve itself; its root is finite."""
    root, (num_steps, result, *rest) = jtu.tree_map(jnp.asarray, primal_fn(inputs))
    # A value that is not finite must not reach the caller's own arithmetic. (Optimistix looks
    # at the iterate before the last step, so the result may not know yet.)
    finite, y0 = all_finite(root), inputs[2]
    result = optx.RESULTS.where(finite, result, optx.RESULTS.nonfinite)
    return tree_where(finite, root, y0), (num_steps, result, *rest)


def finite_point(
    root: PyTree[Array], usable: Bool[Array, ""], inputs: tuple[Any, ...]
) -> Float[Array, " n"]:
    """Where to linearize, whatever happened: the root or, in its stead, the initial guess."""
    return ravel_pytree(tree_where(usable, root, constant(inputs[2])))[0]


def with_loop(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a solve, with the loop that needs no derivatives."""
    return (*inputs, ft.partial(eqxi.while_loop, kind="lax"))


def without_derivative(residual: PyTree) -> PyTree:
    """What a solve returns beside its root, which raises if it is differentiated."""
    return jtu.tree_map(eqxi.nondifferentiable_backward, residual)


def once(u: Float[Array, " n"], at: Float[Array, " n"], who: str) -> Float[Array, " n"]:
    """`u`, made in a backward pass; an error if that is differentiated again.

    Such a pass has J as a constant, so second derivatives would lack a term, silently. They are
    asked for where the primal value `at`, which depends on all that f does, has a tangent.
    """
    message = f"{who} has first derivatives only. Use adjoint=ImplicitAdjoint() for higher ones."
    return jnp.where(True, u, eqxi.nondifferentiable(at, msg=message))


class Gap(eqx.Module):
    """g(z) = f(z) - z on flattened states, with derivatives for all that f depends on."""

    rewrite_fn: Callable
    residual: PyTree
    inputs: tuple[Any, ...]
    template: PyTree[Array]

    def unravel(self, z: Float[Array, " n"]) -> PyTree[Array]:
        return ravel_pytree(self.template)[1](z)

    def __call__(self, z: Float[Array, " n"]) -> Float[Array, " n"]:
        return ravel_pytree(self.rewrite_fn(self.unravel(z), self.residual, self.inputs))[0]


class Solved(NamedTuple):
    """A solve without derivatives, and where it may be differentiated."""

    root: PyTree[Array]
    residual: PyTree
    usable: Bool[Array, ""]
    point: Float[Array, " n"]
    gap: Gap

    def attach(self, change: Float[Array, " n"]) -> PyTree[Array]:
        """The root with the derivative of `change`; none if the sample is not usable, or if
        `change` overflowed on its way."""
        usable = self.usable & all_finite(jax.lax.stop_gradient(change))
        flat, unravel = ravel_pytree(self.root)
        return unravel(_with_derivative_of(jnp.where(usable, change, 0), flat))


@jax.custom_jvp
def _with_derivative_of(change: Float[Array, " n"], value: Float[Array, " n"]):
    """`value`, a constant, with the derivative of `change`. (Not value + change - change, which is
    NaN for a change that overflowed.)"""
    del change
    return value


@_with_derivative_of.defjvp
def _with_derivative_of_jvp(primals, tangents):
    return primals[1], tangents[0]


def solve_first(primal_fn: Callable, rewrite_fn: Callable, inputs: tuple[Any, ...]) -> Solved:
    """Solves without derivatives. What is differentiated afterwards is up to the adjoint."""
    # A solve that ended with NaN has an infinite derivative at NaN, and 0 · NaN is NaN in the sum
    # over a batch. So whatever an adjoint evaluates for such a sample, it does so at `point`.
    root, residual = run(primal_fn, with_loop(constant(inputs)))
    root, residual = constant(root), constant(residual)
    usable = contributes(residual[1])
    gap = Gap(rewrite_fn, residual, with_loop(inputs), root)
    return Solved(root, residual, usable, finite_point(root, usable, inputs), gap)


# --- Linear solves that raise nothing, in derivatives neither. ---

Linear = Callable[[Float[Array, " n"]], Float[Array, " n"]]


def solve_linear(
    product: Linear,
    right: Float[Array, " n"],
    solve: Callable[[Linear, Float[Array, " n"]], Float[Array, " n"]],
    transposed: Callable[[Linear, Float[Array, " n"]], Float[Array, " n"]] | None = None,
) -> Float[Array, " n"]:
    """A x = b by `solve(product, b)` for a linear `product`, x ↦ A x, with derivatives in A and b.

    `transposed` solves with the transpose, by `solve` if left out. What they do is not
    differentiated: A dx = db - dA x is solved again.
    """
    # By JAX and not by Lineax, which raises an error if a solve fails whose result is a tangent or
    # a cotangent, whatever `throw` says, and one sample's error ends the whole batch.
    back = solve if transposed is None else transposed
    return jax.lax.custom_linear_solve(
        product, right, lambda a, b: answer(solve(a, b), b), lambda a, b: answer(back(a, b), b)
    )


def answer(x: Float[Array, " n"], right: Float[Array, " n"]) -> Float[Array, " n"]:
    """The solution that was found for a right side: nothing where that failed, but NaN where NaN
    was asked for. A caller's NaN is the caller's to see."""
    return jnp.where(all_finite(right), jnp.where(all_finite(x), x, 0), jnp.nan)
