"""One sample's equilibrium, looked at from all sides."""

from collections.abc import Callable
from typing import Any, TYPE_CHECKING

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree

from .._trees import constant
from ..adjoints import BackwardReport, solve_adjoint
from ..cells import AbstractCell
from ..jacobians import spectral_abscissa, spectral_norm, spectral_radius
from ._trajectory import SolverTrajectory

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Diagnosis(eqx.Module):
    r"""What [`eqx_qdeq.DEQ.diagnose`][] found. Printing it gives a table, `plot()` a figure; both
    sum up a whole batch if there is one.

    **Attributes:** arrays without derivatives, of one sample or with a leading axis for a batch:

    - `success`: whether the forward solve met its tolerance.
    - `residual`: the Euclidean $\|f(z) - z\|$ at the value it returned.
    - `residuals`: that of each iterate, of shape `(n_steps,)`, NaN after the end.
    - `num_steps`, `num_evals`, `num_jvps`: the forward solve's steps, evaluations of the cell and
        Jacobian-vector products.
    - `backward`: an [`eqx_qdeq.BackwardReport`][] of the backward solve for the loss;
        `num_products` are vector-Jacobian products.
    - `spectral_radius`, `spectral_norm`: of the Jacobian at the equilibrium. Plain iteration
        returns to the equilibrium if the radius is below 1.
    - `flow_rate`: [`eqx_qdeq.spectral_abscissa`][] - 1, the rate of a small error under the flow
        $\dot z = f(z) - z$. Below zero the flow returns to the equilibrium; above, it is unstable:
        a saddle, say, of the energy that a variational problem minimises.
    - `contraction_margin`: 1 - `spectral_norm`. Above zero, plain iteration converges nearby.
    - `gradient_norms`: Euclidean norms of the exact gradient of the loss, by the parameter's path
        in the cell, and of the input under `"x"`.
    """

    success: Bool[Array, "*batch"]
    residual: Float[Array, "*batch"]
    residuals: Float[Array, "*batch n_steps"]
    num_steps: Int[Array, "*batch"]
    num_evals: Int[Array, "*batch"]
    num_jvps: Int[Array, "*batch"]
    backward: BackwardReport
    spectral_radius: Float[Array, "*batch"]
    spectral_norm: Float[Array, "*batch"]
    flow_rate: Float[Array, "*batch"]
    contraction_margin: Float[Array, "*batch"]
    gradient_norms: dict[str, Float[Array, "*batch"]]

    def __str__(self) -> str:
        batch = np.size(self.success)
        lines = [f"{'':<28}{'median':>10}{'least':>10}{'largest':>10}"] if batch > 1 else []
        share = np.mean(np.asarray(self.success))
        lines.append(f"{'forward solve succeeded':<28}{share:>10.1%}")
        lines += [_row(name, value) for name, value in self._forward().items()]
        share = np.mean(np.asarray(self.backward.success))
        lines.append(f"{'backward solve succeeded':<28}{share:>10.1%}")
        lines += [_row(name, value) for name, value in self._backward().items()]
        return "\n".join(lines)

    def _forward(self) -> dict[str, Array]:
        return {
            "  residual": self.residual,
            "  steps": self.num_steps,
            "  evaluations": self.num_evals,
            "  Jacobian-vector products": self.num_jvps,
            "spectral radius": self.spectral_radius,
            "spectral norm": self.spectral_norm,
            "rate under the flow": self.flow_rate,
            "contraction margin": self.contraction_margin,
        }

    def _backward(self) -> dict[str, Array]:
        gradients = {f"gradient norm {name}": value for name, value in self.gradient_norms.items()}
        return {
            "  residual": self.backward.residual,
            "  vector-Jacobian products": self.backward.num_products,
            **gradients,
        }

    def plot(self) -> "Figure":
        """A figure by [`eqx_qdeq.plotting.plot_diagnosis`][]. Needs the extra `plot`."""
        from ..plotting import plot_diagnosis

        return plot_diagnosis(self)


def _row(name: str, value: Any) -> str:
    values = np.asarray(value, float).reshape(-1)
    numbers = [np.median(values)]
    if len(values) > 1:
        numbers += [values.min(), values.max()]
    if len(name) > 27:
        name = "…" + name[-26:]
    return f"{name:<28}" + "".join(f"{_number(x):>10}" for x in numbers)


def _number(x: float) -> str:
    return f"{x:.0f}" if x == round(x) and abs(x) < 1e6 else f"{x:.3g}"


def gradient_norms(for_cell: AbstractCell, for_x: PyTree[Array]) -> dict[str, Float[Array, ""]]:
    """The norm of each leaf of a gradient."""
    norms = {
        jtu.keystr(path).lstrip("."): jnp.linalg.norm(leaf)
        for path, leaf in jtu.tree_leaves_with_path(for_cell)
    }
    return {**norms, "x": jnp.linalg.norm(ravel_pytree(for_x)[0])}


def examine(
    fn: Callable[[PyTree[Array]], PyTree[Array]],
    solution: Any,
    trajectory: SolverTrajectory,
    loss: Callable[[PyTree[Array]], Float[Array, ""]],
    norms: dict[str, Float[Array, ""]],
) -> Diagnosis:
    """The diagnosis of a solve that was made and recorded."""
    z = jax.lax.stop_gradient(solution.value)
    norm = spectral_norm(fn, z)
    entries = jnp.arange(trajectory.residuals.shape[-1])
    found = Diagnosis(
        success=solution.success,
        residual=solution.stats["residual"],
        residuals=jnp.where(entries < trajectory.num_steps, trajectory.residuals, jnp.nan),
        num_steps=jnp.asarray(solution.stats["num_steps"]),
        num_evals=jnp.asarray(solution.stats["num_evals"]),
        num_jvps=jnp.asarray(solution.stats["num_jvps"]),
        backward=solve_adjoint(fn, z, jax.grad(loss)(z)).report,
        spectral_radius=spectral_radius(fn, z),
        spectral_norm=norm,
        flow_rate=spectral_abscissa(fn, z) - 1,
        contraction_margin=1 - norm,
        gradient_norms=norms,
    )
    return constant(found)
