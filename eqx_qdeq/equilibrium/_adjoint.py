"""The exact implicit adjoint, safe for each sample of a batch.

Derivation. At a root g(z, θ) = 0, with g(z, θ) = f(z, θ) - z for a fixed point,

    ∂g/∂z · dz + ∂g/∂θ · dθ = 0,    so    dz = -(∂g/∂z)⁻¹ ∂g/∂θ · dθ,

and reverse mode solves with the transpose. This is what `optimistix.ImplicitAdjoint` does. What
it lacks, and what is added here:

- One sample without a usable root makes the shared parameters' gradient NaN, because 0 · NaN is
  NaN in the sum over the batch. Here such a sample is linearised at its initial guess, which is
  finite, and g is replaced by z - const, whose Jacobian is the identity and whose derivative with
  respect to everything else is zero: it contributes exactly nothing.
- The linear solve of `optimistix.ImplicitAdjoint` raises for the whole batch if one sample's
  Jacobian is singular. Here the Jacobian is a small dense matrix for each sample, its LU
  factors tell beforehand whether it can be solved, and a singular sample contributes nothing.
"""

import functools as ft

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import lineax as lx
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from ._solvers._linear import factoriser


class ImplicitAdjoint(optx.AbstractAdjoint):
    r"""Differentiates an equilibrium by the implicit function theorem, exactly and for each
    sample on its own.

    $$\frac{\mathrm dz}{\mathrm d\theta} = \Big(I - \frac{\partial f}{\partial z}\Big)^{-1}
    \frac{\partial f}{\partial \theta}$$

    with a dense Jacobian, so meant for states of up to a few hundred numbers per sample (the
    measured values of a quantum cell). Forward and reverse mode and higher derivatives work. A
    sample that diverged, is not finite, or whose Jacobian is singular contributes a zero
    derivative and leaves those of the other samples of a `vmap` as they are; a sample that only
    ran out of steps is differentiated at its last iterate.

    May be used wherever `optimistix.ImplicitAdjoint` may.

    ??? cite "Reference"

        S. Bai, J. Z. Kolter and V. Koltun, "Deep equilibrium models", NeurIPS 2019.
    """

    linear_solver: lx.AbstractLinearSolver | None = None

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        inputs = (*inputs, ft.partial(eqxi.while_loop, kind="lax"))
        root, residual = _implicit(primal_fn, rewrite_fn, inputs, self.linear_solver)
        return root, jtu.tree_map(eqxi.nondifferentiable_backward, residual)


ImplicitAdjoint.__init__.__doc__ = """**Arguments:**

- `linear_solver`: the Lineax solver for the dense system of one sample; if left out, one that
    suits its size.
"""


def _usable(residual: PyTree) -> Bool[Array, ""]:
    """Whether a root may be linearised at: found, or at least still on its way."""
    _, result, *_ = residual
    return (
        (result == optx.RESULTS.successful)
        | (result == optx.RESULTS.nonlinear_max_steps_reached)
        | (result == optx.RESULTS.stagnation)
    )


def all_finite(tree: PyTree[Array]) -> Bool[Array, ""]:
    """Whether every entry of every inexact array is finite."""
    leaves = [x for x in jtu.tree_leaves(tree) if eqx.is_inexact_array(x)]
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(x)) for x in leaves] or [jnp.array(True)]))


def tree_where(predicate: Bool[Array, ""], a: PyTree[Array], b: PyTree[Array]) -> PyTree[Array]:
    """`jnp.where` on the arrays of two trees of one structure."""
    return jtu.tree_map(lambda x, y: jnp.where(predicate, x, y), a, b)


@eqx.filter_custom_jvp
def _implicit(primal_fn, rewrite_fn, inputs, linear_solver):
    del rewrite_fn, linear_solver
    root, (num_steps, result, *rest) = jtu.tree_map(jnp.asarray, primal_fn(inputs))
    # A value that is not finite must not reach the caller's own arithmetic. (Optimistix looks
    # at the iterate before the last step, so the result may not know yet.)
    finite, y0 = all_finite(root), inputs[2]
    result = optx.RESULTS.where(finite, result, optx.RESULTS.nonfinite)
    return tree_where(finite, root, y0), (num_steps, result, *rest)


@_implicit.def_jvp
def _implicit_jvp(primals, tangents):
    primal_fn, rewrite_fn, inputs, linear_solver = primals
    _, _, t_inputs, _ = tangents
    is_none = lambda x: x is None
    fixed = jtu.tree_map(is_none, t_inputs, is_leaf=is_none)
    nondiff, diff = eqx.partition(inputs, fixed, is_leaf=is_none)

    root, residual = _implicit(primal_fn, rewrite_fn, inputs, linear_solver)
    usable = _usable(residual)
    # A finite point to linearise at, whatever happened.
    point, unravel = ravel_pytree(tree_where(usable, root, jax.lax.stop_gradient(inputs[2])))

    def g(z: Array, some_inputs: PyTree) -> Array:
        value = rewrite_fn(unravel(z), residual, eqx.combine(some_inputs, nondiff))
        return ravel_pytree(value)[0]

    jacobian = jax.jacfwd(g)(point, diff)
    _, right = jax.jvp(ft.partial(g, point), (diff,), (t_inputs,))
    t_root = unravel(-_solve(jacobian, right, usable, linear_solver))
    t_residual = jtu.tree_map(
        lambda x: jax.custom_derivatives.zero_from_primal(x, symbolic_zeros=True), residual
    )
    return (root, residual), (t_root, t_residual)


def _solve(
    matrix: Float[Array, "n n"],
    right: Float[Array, " n"],
    usable: Bool[Array, ""],
    solver: lx.AbstractLinearSolver | None,
) -> Float[Array, " n"]:
    """matrix⁻¹ right; zero, and without derivatives, if not usable or singular to rounding."""
    n = matrix.shape[0]
    eye = jnp.eye(n, dtype=matrix.dtype)
    constant = jax.lax.stop_gradient(matrix)
    usable = usable & jnp.all(jnp.isfinite(constant))
    direct = factoriser(n)
    state, pivots = direct.factorise(jnp.where(usable, constant, eye))
    pivots = jnp.abs(pivots)
    usable = usable & (jnp.min(pivots) > jnp.finfo(matrix.dtype).eps * jnp.max(pivots))
    # Where it is not, the system becomes 1·x = 0.
    operator = lx.MatrixLinearOperator(jnp.where(usable, matrix, eye))
    right = jnp.where(usable, right, 0)
    if solver is None:
        state = tree_where(usable, state, direct.factorise(eye)[0])
        solution = lx.linear_solve(operator, right, direct, state=state, throw=False)
    else:
        solution = lx.linear_solve(operator, right, solver, throw=False)
    return solution.value
