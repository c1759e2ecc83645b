"""Tangents of an equilibrium, by a rule that says how to solve (I - J) t = b.

Derivation. At a fixed point g(z, θ) = 0, with g(z, θ) = f(z, θ) - z,

    ∂g/∂z · dz + ∂g/∂θ · dθ = 0,    so    dz = (I - J)⁻¹ b,    b = ∂f/∂θ · dθ,    J = ∂f/∂z.

This is linear in dθ, so JAX transposes it for reverse mode. It is what
`optimistix.ImplicitAdjoint` does. What it lacks, and what is added here: one sample without a
usable root makes the shared parameters' gradient NaN, because 0 · NaN is NaN in the sum over the
batch. Here such a sample is linearized at its initial guess, which is finite, and its tangent is
cut: it contributes exactly nothing.
"""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.tree_util as jtu
import optimistix as optx
from jaxtyping import Array, Bool, Float

from ._base import contributes, finite_point, Gap, run, with_loop, without_derivative


class AbstractLinearizedAdjoint(optx.AbstractAdjoint):
    """An adjoint that linearizes f at the equilibrium, for forward and reverse mode."""

    @abc.abstractmethod
    def tangent(
        self,
        gap: Callable[[Float[Array, " n"]], Float[Array, " n"]],
        point: Float[Array, " n"],
        right: Float[Array, " n"],
        usable: Bool[Array, ""],
    ) -> Float[Array, " n"]:
        """(I - J)⁻¹ `right`, or an approximation to it, with derivatives of its own.

        **Arguments:**

        - `gap`: z ↦ f(z) - z.
        - `point`: where J is meant.
        - `right`: of a sample that is not usable, too; its tangent must come out as zero.
        - `usable`: whether the solve ended in something that can be differentiated.
        """

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        root, residual = _solve(primal_fn, rewrite_fn, with_loop(inputs), self)
        return root, without_derivative(residual)


@eqx.filter_custom_jvp
def _solve(primal_fn, rewrite_fn, inputs, adjoint):
    del rewrite_fn, adjoint
    return run(primal_fn, inputs)


@_solve.def_jvp
def _solve_jvp(primals, tangents):
    primal_fn, rewrite_fn, inputs, adjoint = primals
    _, _, t_inputs, _ = tangents
    is_none = lambda x: x is None
    fixed = jtu.tree_map(is_none, t_inputs, is_leaf=is_none)
    nondiff, diff = eqx.partition(inputs, fixed, is_leaf=is_none)

    root, residual = _solve(primal_fn, rewrite_fn, inputs, adjoint)
    usable = contributes(residual[1])
    point = finite_point(root, usable, inputs)
    gap = lambda some: Gap(rewrite_fn, residual, eqx.combine(some, nondiff), root)
    _, right = jax.jvp(lambda some: gap(some)(point), (diff,), (t_inputs,))
    tangent = adjoint.tangent(lambda z: gap(diff)(z), point, right, usable)
    t_root = gap(diff).unravel(tangent)
    t_residual = jtu.tree_map(
        lambda x: jax.custom_derivatives.zero_from_primal(x, symbolic_zeros=True), residual
    )
    return (root, residual), (t_root, t_residual)
