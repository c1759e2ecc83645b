"""Derivatives of a few applications of the cell at the equilibrium."""

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float

from .._solvers._base import check_at_least, check_fraction
from ._base import solve_first, Solved, without_derivative


class PhantomAdjoint(optx.AbstractAdjoint):
    r"""Phantom gradients: backpropagation through a few damped steps that start at the
    equilibrium.

    $$z_0 = z^\star \text{ (constant)}, \qquad z_{k+1} = (1 - \lambda)\,z_k + \lambda f(z_k)$$

    The value is $z^\star$, the derivative that of $z_K$:

    $$\lambda \sum_{k<K} \big((1-\lambda) I + \lambda J\big)^k\,\frac{\partial f}{\partial\theta},$$

    which tends to the exact one as K grows if the damped iteration converges; K steps of memory.
    Works with cells that only have vector-Jacobian products (`jax.custom_vjp`) in reverse mode.
    Second derivatives are those of the K steps, not of the equilibrium.

    ??? cite "Reference"

        Z. Geng, X.-Y. Zhang, S. Bai, Y. Wang and Z. Lin, "On training implicit models", NeurIPS
        2021.
    """

    steps: int = eqx.field(static=True, default=5)
    damping: float = 0.5

    def __check_init__(self) -> None:
        check_at_least("PhantomAdjoint", "steps", self.steps, 1)
        check_fraction("PhantomAdjoint", "damping", self.damping)

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        root = solved.attach(_iterate(solved, self.steps, self.damping))
        return root, without_derivative(solved.residual)


PhantomAdjoint.__init__.__doc__ = """**Arguments:**

- `steps`: the number K of steps.
- `damping`: the step length λ in (0, 1].

**Raises:** `ValueError` for a value out of range.
"""


class OneStepAdjoint(optx.AbstractAdjoint):
    r"""Jacobian-free backpropagation (JFB): the derivative of one application of the cell.

    $$\frac{\mathrm dz}{\mathrm d\theta} \approx \frac{\partial f}{\partial\theta}$$

    The cheapest of all, as if $J = 0$. A descent direction where f is a strong enough contraction
    (the reference has the conditions), and biased always. Works with cells that only have
    vector-Jacobian products.

    ??? cite "Reference"

        S. W. Fung, H. Heaton, Q. Li, D. McKenzie, S. Osher and W. Yin, "JFB: Jacobian-free
        backpropagation for implicit networks", AAAI 2022.
    """

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        root = solved.attach(solved.gap(solved.point))
        return root, without_derivative(solved.residual)


def _iterate(solved: Solved, steps: int, damping: float) -> Float[Array, " n"]:
    def step(z: Float[Array, " n"], _: None) -> tuple[Float[Array, " n"], None]:
        # A sample that is not usable stays where it is finite.
        change = jnp.where(solved.usable, damping * solved.gap(z), 0)
        return z + change, None

    # The steps are alike: one is compiled, and each keeps only its state for reverse mode.
    return jax.lax.scan(jax.checkpoint(step), solved.point, None, length=steps)[0]
