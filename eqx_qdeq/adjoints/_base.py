"""What the adjoints share: which samples can be differentiated, and where."""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from .._trees import all_finite, constant, tree_where


def is_usable(residual: PyTree) -> Bool[Array, ""]:
    """Whether a root may be linearised at: found, or at least still on its way."""
    _, result, *_ = residual
    return (
        (result == optx.RESULTS.successful)
        | (result == optx.RESULTS.nonlinear_max_steps_reached)
        | (result == optx.RESULTS.stagnation)
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
    """Where to linearise, whatever happened: the root or, in its stead, the initial guess."""
    return ravel_pytree(tree_where(usable, root, constant(inputs[2])))[0]


def with_loop(inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """The inputs of a solve, with the loop that needs no derivatives."""
    return (*inputs, ft.partial(eqxi.while_loop, kind="lax"))


def without_derivative(residual: PyTree) -> PyTree:
    """What a solve returns beside its root, which raises if it is differentiated."""
    return jtu.tree_map(eqxi.nondifferentiable_backward, residual)


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

    def attach(self, zero: Float[Array, " n"]) -> PyTree[Array]:
        """The root with the derivative of `zero`; none if the sample is not usable."""
        zero = jnp.where(self.usable, zero - jax.lax.stop_gradient(zero), 0)
        return jtu.tree_map(jnp.add, self.root, self.gap.unravel(zero))


def solve_first(primal_fn: Callable, rewrite_fn: Callable, inputs: tuple[Any, ...]) -> Solved:
    """Solves without derivatives. What is differentiated afterwards is up to the adjoint."""
    # A solve that ended with NaN has an infinite derivative at NaN, and 0 · NaN is NaN in the sum
    # over a batch. So whatever an adjoint evaluates for such a sample, it does so at `point`.
    root, residual = run(primal_fn, with_loop(constant(inputs)))
    root, residual = constant(root), constant(residual)
    usable = is_usable(residual)
    gap = Gap(rewrite_fn, residual, with_loop(inputs), root)
    return Solved(root, residual, usable, finite_point(root, usable, inputs), gap)


# --- Linear solves that raise nothing, in derivatives neither. ---


class Unfailing(lx.AbstractLinearSolver[Any]):
    """Another solver, but one that always reports success.

    Lineax raises an error if a solve fails whose result is a tangent or a cotangent, whatever
    `throw` says, and one sample's error ends the whole batch. What was found counts instead, or
    zero where that is not finite.
    """

    solver: lx.AbstractLinearSolver

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        return self.solver.init(operator, options)

    def compute(
        self, state: Any, vector: PyTree[Array], options: dict[str, Any]
    ) -> tuple[PyTree[Array], lx.RESULTS, dict[str, Any]]:
        value, _, stats = self.solver.compute(state, vector, options)
        value = jax.tree.map(lambda leaf: jnp.where(jnp.isfinite(leaf), leaf, 0), value)
        return value, lx.RESULTS.successful, stats

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return self.solver.conj(state, options)

    def assume_full_rank(self) -> bool:
        return self.solver.assume_full_rank()
