"""How far the cheap adjoints are from the exact one, on the user's own batch."""

import dataclasses
from collections.abc import Callable, Mapping

import equinox as eqx
import jax
import jax.tree_util as jtu
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

from ..adjoints import (
    BackwardReport,
    ImplicitAdjoint,
    ImplicitVJPAdjoint,
    NeumannAdjoint,
    OneStepAdjoint,
    PhantomAdjoint,
    ShineAdjoint,
    UnrolledAdjoint,
)
from ..solvers import Broyden, default_solver, DENSE_SIZE
from ._deq import DEQ


class AdjointComparison(eqx.Module):
    """What [`eqx_qdeq.compare_adjoints`][] found; printing it gives a table.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
        adjoints = {
            "one step": qdeq.OneStepAdjoint(),
            "exact": qdeq.ImplicitVJPAdjoint(),
        }
        found = qdeq.compare_adjoints(
            deq,
            jnp.ones((2, 4)),
            lambda deq, x: jnp.mean(jax.vmap(deq)(x) ** 2),
            adjoints=adjoints,
        )
        found.names  # ('one step', 'exact')
        bool(found.cosine[1] > 0.999)  # True
        ```

    **Attributes:** arrays of shape `(len(names),)`, without units but for the last two:

    - `names`: of the adjoints.
    - `cosine`: of the angle between a gradient and the exact one.
    - `relative_error`: the norm of their difference, over the norm of the exact one.
    - `forward`: evaluations of the cell in the solve, per sample.
    - `backward`: evaluations, Jacobian-vector and vector-Jacobian products of the cell after
        it, per sample and counted alike; NaN for an adjoint that is not ours.
    """

    names: tuple[str, ...] = eqx.field(static=True)
    cosine: Float[np.ndarray, " n"]
    relative_error: Float[np.ndarray, " n"]
    forward: Float[np.ndarray, " n"]
    backward: Float[np.ndarray, " n"]

    def __str__(self) -> str:
        width = max(map(len, (*self.names, "adjoint")))
        lines = [f"{'adjoint':<{width}}  {'cosine':>9}  rel. error  forward  backward"]
        columns = (self.names, self.cosine, self.relative_error, self.forward, self.backward)
        for name, cosine, error, forward, backward in zip(*columns, strict=True):
            lines.append(
                f"{name:<{width}}  {cosine:9.6f}  {error:10.1e}  {forward:7.1f}  {backward:8.1f}"
            )
        return "\n".join(lines)


def compare_adjoints(
    deq: DEQ,
    x: PyTree[Array],
    loss: Callable[[DEQ, PyTree[Array]], Float[Array, ""]],
    *,
    adjoints: Mapping[str, optx.AbstractAdjoint] | None = None,
) -> AdjointComparison:
    r"""Compares gradients of a loss by several adjoints with the exact one.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
        x = jax.random.normal(jax.random.key(1), (32, 4))
        loss = lambda deq, x: jnp.mean(jax.vmap(deq)(x) ** 2)
        # Without `adjoints`, all of this library.
        adjoints = {"JFB": qdeq.OneStepAdjoint(), "phantom": qdeq.PhantomAdjoint()}
        print(qdeq.compare_adjoints(deq, x, loss, adjoints=adjoints))
        ```

    **Arguments:**

    - `deq`: the equilibrium; the gradients are those of its parameters.
    - `x`: a batch, each array of shape `(batch, ...)`.
    - `loss`: `(deq, x) -> scalar`, which applies `jax.vmap(deq)` to the batch once. What comes
        after the equilibrium (a readout, labels) is up to it.
    - `adjoints`: by name; if left out, all of this library. [`eqx_qdeq.ShineAdjoint`][] runs with
        Broyden's method at the tolerance of the default solver unless `deq` has it already.

    **Returns:** an [`eqx_qdeq.AdjointComparison`][].

    **Raises:** `ValueError` where the exact gradient is zero or not finite, as nothing can be
    compared with it.
    """
    adjoints = default_adjoints() if adjoints is None else dict(adjoints)
    size = ravel_pytree(deq.cell.init(jtu.tree_map(lambda a: a[0], x)))[0].size
    default = default_solver(size)
    exact, products = _exact_gradient_and_products(deq, x, loss)
    scale = np.linalg.norm(exact)
    if not 0 < scale < np.inf:
        raise ValueError(
            f"the exact gradient of `loss` has norm {scale}; choose a loss and a batch for which "
            "it is finite and not zero."
        )
    # Counted, not timed: the same on every machine, and what a circuit on hardware would cost.
    rows, own_evals = [], _evaluations(deq, x)
    for adjoint in adjoints.values():
        solver = deq.solver
        if isinstance(adjoint, ShineAdjoint) and not isinstance(solver, Broyden):
            solver = Broyden(default.rtol, default.atol)
        variant = dataclasses.replace(deq, solver=solver, adjoint=adjoint)
        # The solve is the same for all adjoints, but for the one that needs its own solver.
        evals = own_evals if solver is deq.solver else _evaluations(variant, x)
        gradient = _gradient(variant, x, loss)
        # The cosine says whether training goes the right way. The error sees the length too, which
        # truncated series get wrong first and an optimizer like Adam forgives.
        norm = np.linalg.norm(gradient)
        cosine = gradient @ exact / (norm * scale) if norm > 0 else 0.0
        error = np.linalg.norm(gradient - exact) / scale
        rows.append((cosine, error, evals, backward_cost(adjoint, size, evals, products)))
    columns = np.asarray(rows, float).reshape(-1, 4).T
    return AdjointComparison(tuple(adjoints), *columns)


def default_adjoints() -> dict[str, optx.AbstractAdjoint]:
    """All adjoints of this library, with their usual settings."""
    return {
        "implicit": ImplicitAdjoint(),
        "implicit, VJPs": ImplicitVJPAdjoint(),
        "unrolled": UnrolledAdjoint(),
        "Neumann, 2 terms": NeumannAdjoint(2),
        "Neumann, 5 terms": NeumannAdjoint(5),
        "phantom, 5 steps": PhantomAdjoint(5),
        "one step (JFB)": OneStepAdjoint(),
        "SHINE": ShineAdjoint(),
    }


def backward_cost(adjoint: optx.AbstractAdjoint, size: int, evals: float, products: float) -> float:
    """Evaluations of the cell and products with its Jacobian that reverse mode takes.

    **Arguments:**

    - `evals`: evaluations of the forward solve.
    - `products`: vector-Jacobian products that an iterative exact solve takes.
    """
    # The linearization at the equilibrium evaluates the cell once, and the gradient of the
    # parameters is one vector-Jacobian product.
    ends = 2.0
    # In between, to solve (I - Jᵀ) u = v: n products for a dense J, as many as the iterative solve
    # takes, N - 1 for u ≈ Σ_{k<N} (Jᵀ)ᵏ v, or none where u ≈ v or the solver knows (I - J)⁻¹.
    if isinstance(adjoint, ImplicitAdjoint):
        return ends + (size if size <= DENSE_SIZE else products)
    if isinstance(adjoint, ImplicitVJPAdjoint):
        return ends + products
    if isinstance(adjoint, NeumannAdjoint):
        return ends + adjoint.terms - 1
    if isinstance(adjoint, OneStepAdjoint | ShineAdjoint):
        return ends
    # Through the iterations themselves: forwards, forwards again from a checkpoint, backwards.
    if isinstance(adjoint, PhantomAdjoint):
        return 3.0 * adjoint.steps
    if isinstance(adjoint, UnrolledAdjoint):
        return 2 * 3 * evals  # twice, as it looks ahead for derivatives that overflow
    return float("nan")


def _evaluations(deq: DEQ, x: PyTree[Array]) -> float:
    return float(np.mean(jax.vmap(deq.solve)(x).stats["num_evals"]))


def _gradient(deq: DEQ, x: PyTree[Array], loss: Callable) -> Float[np.ndarray, " p"]:
    gradient = eqx.filter_jit(eqx.filter_grad(loss))(deq, x)
    # Of the cell alone: a solver's tolerances may be arrays, too.
    return np.asarray(ravel_pytree(eqx.filter(gradient.cell, eqx.is_inexact_array))[0], float)


def _exact_gradient_and_products(
    deq: DEQ, x: PyTree[Array], loss: Callable
) -> tuple[Float[np.ndarray, " p"], float]:
    """The exact gradient, and the products that an iterative backward solve takes on average."""
    # A backward pass returns nothing but gradients, so its report comes by a callback.
    reports: list[BackwardReport] = []
    counting = dataclasses.replace(deq, adjoint=ImplicitVJPAdjoint(callback=reports.append))
    _gradient(counting, x, loss)
    jax.effects_barrier()
    # None come from a loss that does not depend on the equilibrium.
    products = float(np.mean([report.num_products for report in reports] or [np.nan]))
    exact = dataclasses.replace(deq, adjoint=ImplicitAdjoint())
    return _gradient(exact, x, loss), products
