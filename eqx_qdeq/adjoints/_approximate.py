"""Derivatives of a few applications of the cell at the equilibrium."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx
from jaxtyping import Array, Bool, Float

from .._checks import check_at_least, check_damp
from .._deprecated import renamed_arguments
from .._trees import tree_where
from ..solvers import Broyden, broyden_inverse
from ._base import Linear, solve_first, solve_linear, Solved, without_derivative
from ._linearised import AbstractLinearizedAdjoint


@renamed_arguments(
    damping="`damp`, as in Optimistix: damp=0 is no damping, damp=1-b what damping=b was"
)
class PhantomAdjoint(optx.AbstractAdjoint):
    r"""Phantom gradients: backpropagation through a few damped steps that start at the
    equilibrium.

    $$z_0 = z^\star \text{ (constant)}, \qquad z_{k+1} = d\,z_k + (1 - d)\,f(z_k)$$

    The value is $z^\star$, the derivative that of $z_K$:

    $$(1 - d) \sum_{k<K} \big(d\,I + (1 - d)\,J\big)^k\,\frac{\partial f}{\partial\theta},$$

    which tends to the exact one as K grows if the damped iteration converges; K steps of memory.
    Works with cells that only have vector-Jacobian products (`jax.custom_vjp`) in reverse mode.
    Second derivatives are those of the K steps, not of the equilibrium.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1; the exact dz/da at a = 1 is 2.
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(cell, adjoint=qdeq.PhantomAdjoint())
        gradient = jax.grad(deq)(jnp.array(1.0))
        bool(1 < gradient < 2)  # True
        ```

    ??? cite "Reference"

        Z. Geng, X.-Y. Zhang, S. Bai, Y. Wang and Z. Lin, "On training implicit models", NeurIPS
        2021.
    """

    steps: int = eqx.field(static=True, default=5)
    damp: float = 0.5

    def __check_init__(self) -> None:
        check_at_least("PhantomAdjoint(steps=...)", self.steps, 1)
        check_damp("PhantomAdjoint(damp=...)", self.damp)

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        root = solved.attach(_iterate(solved, self.steps, 1 - self.damp))
        return root, without_derivative(solved.residual)


PhantomAdjoint.__init__.__doc__ = """**Arguments:**

- `steps`: the number K of steps.
- `damp`: the damping d in [0, 1); 0 is none.

**Raises:** `ValueError` for a value out of range.
"""


class OneStepAdjoint(optx.AbstractAdjoint):
    r"""Jacobian-free backpropagation (JFB): the derivative of one application of the cell.

    $$\frac{\mathrm dz}{\mathrm d\theta} \approx \frac{\partial f}{\partial\theta}$$

    The cheapest of all, as if $J = 0$. A descent direction where f is a strong enough contraction
    (the reference has the conditions), and biased always. Works with cells that only have
    vector-Jacobian products. Second derivatives are those of the one application.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1; the exact dz/da at a = 1 is 2, and one step gives z / 2.
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(cell, adjoint=qdeq.OneStepAdjoint())
        jax.grad(deq)(jnp.array(1.0)).round(3)  # 1.
        ```

    ??? cite "Reference"

        S. W. Fung, H. Heaton, Q. Li, D. McKenzie, S. Osher and W. Yin, "JFB: Jacobian-free
        backpropagation for implicit networks", AAAI 2022.
    """

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        root = solved.attach(solved.gap(solved.point))
        return root, without_derivative(solved.residual)


def _iterate(solved: Solved, steps: int, length: float) -> Float[Array, " n"]:
    def step(z: Float[Array, " n"], _: None) -> tuple[Float[Array, " n"], None]:
        # A sample that is not usable stays where it is finite.
        change = jnp.where(solved.usable, length * solved.gap(z), 0)
        return z + change, None

    # The steps are alike: one is compiled, and each keeps only its state for reverse mode.
    return jax.lax.scan(jax.checkpoint(step), solved.point, None, length=steps)[0]


# --- The implicit derivative with its inverse cut off after a few terms. ---


class NeumannAdjoint(AbstractLinearizedAdjoint):
    r"""The first terms of the Neumann series in place of the inverse.

    $$(I - J)^{-1} \approx \sum_{k<K} J^k$$

    An approximation of a relative error of about $\rho^K$ at spectral radius $\rho < 1$, and no
    good at all above. One linearization at the equilibrium, K - 1 products with J: less memory than
    [`eqx_qdeq.PhantomAdjoint`][], which has the same first derivatives with `damp=0` and does
    without Jacobian-vector products.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1; the exact dz/da at a = 1 is 2.
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(cell, adjoint=qdeq.NeumannAdjoint(2))
        jax.grad(deq)(jnp.array(1.0)).round(3)  # 1.5
        ```

    ??? cite "Reference"

        S. W. Fung, H. Heaton, Q. Li, D. McKenzie, S. Osher and W. Yin, "JFB: Jacobian-free
        backpropagation for implicit networks", AAAI 2022; Z. Geng, X.-Y. Zhang, S. Bai, Y. Wang
        and Z. Lin, "On training implicit models", NeurIPS 2021.
    """

    terms: int = eqx.field(static=True, default=5)

    def __check_init__(self) -> None:
        check_at_least("NeumannAdjoint(terms=...)", self.terms, 1)

    def tangent(
        self,
        gap: Callable[[Float[Array, " n"]], Float[Array, " n"]],
        point: Float[Array, " n"],
        right: Float[Array, " n"],
        usable: Bool[Array, ""],
    ) -> Float[Array, " n"]:
        _, product = jax.linearize(gap, point)

        def series(a: Linear, b: Float[Array, " n"]) -> Float[Array, " n"]:
            # Horner's rule: x ← b + J x, where a is I - J.
            horner = lambda x, _: (b + x - a(x), None)
            return jax.lax.scan(horner, b, None, length=self.terms - 1)[0]

        operator = lambda t: jnp.where(usable, -product(t), t)
        return solve_linear(operator, jnp.where(usable, right, 0), series)


NeumannAdjoint.__init__.__doc__ = """**Arguments:**

- `terms`: the number K of terms; 1 is Jacobian-free backpropagation.

**Raises:** `ValueError` for fewer than one term.
"""


# --- The implicit derivative with the inverse that Broyden's method learned on the way. ---


class ShineAdjoint(optx.AbstractAdjoint):
    r"""SHINE: shares the inverse estimate of the solve with its derivative.

    $$\frac{\mathrm dz}{\mathrm d\theta} \approx B\,\frac{\partial f}{\partial\theta}, \qquad
    B \approx (I - J)^{-1} \text{ as } \texttt{Broyden} \text{ left it}$$

    Costs one application of the cell and no product with its Jacobian. B is learned along the
    directions that the solve took, so the derivative is the better the more updates it made and
    no better than one step (`B = I`) after none; an update that was forgotten is missing. Needs
    [`eqx_qdeq.Broyden`][] as the solver. Second derivatives are those of the one application.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # z = a z / 2 + 1; of one number, Broyden's inverse is soon the exact one.
        cell = qdeq.FunctionCell(lambda z, a: a * z / 2 + 1, jnp.zeros_like)
        deq = qdeq.DEQ(cell, qdeq.Broyden(1e-5, 1e-5), adjoint=qdeq.ShineAdjoint())
        jax.grad(deq)(jnp.array(1.0)).round(3)  # 2.
        ```

    ??? cite "Reference"

        Z. Ramzi, F. Mannel, S. Bai, J.-L. Starck, P. Ciuciu and T. Moreau, "SHINE: sharing the
        inverse estimate from the forward pass for bi-level optimization and implicit models",
        ICLR 2022.
    """

    def apply(self, primal_fn, rewrite_fn, inputs, tags):
        del tags
        solver = inputs[1]
        if not isinstance(solver, Broyden):
            raise TypeError(
                "`ShineAdjoint` reuses the inverse that Broyden's method learns; got the solver "
                f"{type(solver).__name__}. Use solver=Broyden(...), or another adjoint."
            )
        solved = solve_first(primal_fn, rewrite_fn, inputs)
        _, _, state, *_ = solved.residual
        # What a failed solve learned need not be finite.
        state = tree_where(solved.usable, state, jtu.tree_map(jnp.zeros_like, state))
        root = solved.attach(broyden_inverse(state.memory, solved.gap(solved.point)))
        return root, without_derivative(solved.residual)
