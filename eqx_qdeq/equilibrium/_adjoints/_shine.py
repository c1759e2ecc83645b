"""The implicit derivative with the inverse that Broyden's method learnt on the way."""

import jax.numpy as jnp
import jax.tree_util as jtu
import optimistix as optx

from .._solvers._broyden import Broyden, broyden_inverse
from .._trees import tree_where
from ._base import solve_first, without_derivative


class ShineAdjoint(optx.AbstractAdjoint):
    r"""SHINE: shares the inverse estimate of the solve with its derivative.

    $$\frac{\mathrm dz}{\mathrm d\theta} \approx B\,\frac{\partial f}{\partial\theta}, \qquad
    B \approx (I - J)^{-1} \text{ as } \texttt{Broyden} \text{ left it}$$

    Costs one application of the cell and no product with its Jacobian. B is learnt along the
    directions that the solve took, so the derivative is the better the more updates it made and
    no better than one step (`B = I`) after none; an update that was forgotten is missing. Needs
    [`eqx_qdeq.Broyden`][] as the solver.

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
        # What a failed solve learnt need not be finite.
        state = tree_where(solved.usable, state, jtu.tree_map(jnp.zeros_like, state))
        root = solved.attach(broyden_inverse(state, solved.gap(solved.point)))
        return root, without_derivative(solved.residual)
