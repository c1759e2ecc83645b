"""The implicit derivative with its inverse cut off after a few terms."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from .._solvers._base import check_at_least
from ._linearised import AbstractLinearisedAdjoint


class NeumannAdjoint(AbstractLinearisedAdjoint):
    r"""The first terms of the Neumann series in place of the inverse.

    $$(I - J)^{-1} \approx \sum_{k<K} J^k$$

    An approximation of a relative error of about $\rho^K$ at spectral radius $\rho < 1$, and no
    good at all above. One linearisation at the equilibrium, K - 1 products with J: less memory than
    [`eqx_qdeq.PhantomAdjoint`][], which has the same first derivatives with `damping=1` and does
    without Jacobian-vector products.

    ??? cite "Reference"

        S. W. Fung, H. Heaton, Q. Li, D. McKenzie, S. Osher and W. Yin, "JFB: Jacobian-free
        backpropagation for implicit networks", AAAI 2022; Z. Geng, X.-Y. Zhang, S. Bai, Y. Wang
        and Z. Lin, "On training implicit models", NeurIPS 2021.
    """

    terms: int = eqx.field(static=True, default=5)

    def __check_init__(self) -> None:
        check_at_least("NeumannAdjoint", "terms", self.terms, 1)

    def tangent(
        self,
        gap: Callable[[Float[Array, " n"]], Float[Array, " n"]],
        point: Float[Array, " n"],
        right: Float[Array, " n"],
        usable: Bool[Array, ""],
    ) -> Float[Array, " n"]:
        right = jnp.where(usable, right, 0)
        _, product = jax.linearize(gap, point)

        def horner(t: Float[Array, " n"], _: None) -> tuple[Float[Array, " n"], None]:
            # t + g'(z) t is J t.
            return right + jnp.where(usable, t + product(t), 0), None

        return jax.lax.scan(horner, right, None, length=self.terms - 1)[0]


NeumannAdjoint.__init__.__doc__ = """**Arguments:**

- `terms`: the number K of terms; 1 is Jacobian-free backpropagation.

**Raises:** `ValueError` for fewer than one term.
"""
