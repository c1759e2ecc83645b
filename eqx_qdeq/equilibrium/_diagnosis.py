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

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
        diagnosis = qdeq.DEQ(cell).diagnose(jnp.ones(2))
        diagnosis.spectral_norm.round(3)  # 0.5
        diagnosis.contraction_margin.round(3)  # 0.5
        ```

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
        a saddle, say, of the energy that a variational problem minimizes.
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

    @property
    def is_saddle(self) -> Bool[Array, "*batch"]:
        """Whether the flow leaves the equilibrium, beyond what rounding and the residual explain:
        along a curve of equilibria its rate is zero, and of the size of the residual next to it."""
        unsure = 30 * self.residual + jnp.finfo(self.flow_rate.dtype).eps ** 0.5
        return self.flow_rate > unsure

    def __str__(self) -> str:
        header = f"{'':<28}{'median':>10}{'least':>10}{'largest':>10}"
        rows = [
            ("forward solve succeeded", self.success),
            ("  residual", self.residual),
            ("  steps", self.num_steps),
            ("  evaluations", self.num_evals),
            ("  Jacobian-vector products", self.num_jvps),
            ("spectral radius", self.spectral_radius),
            ("spectral norm", self.spectral_norm),
            ("rate under the flow", self.flow_rate),
            ("contraction margin", self.contraction_margin),
            ("backward solve succeeded", self.backward.success),
            ("  residual", self.backward.residual),
            ("  vector-Jacobian products", self.backward.num_products),
            *((f"gradient norm {name}", norm) for name, norm in self.gradient_norms.items()),
        ]
        lines = [_row(name, np.asarray(value).reshape(-1)) for name, value in rows]
        if n_saddles := int(np.sum(self.is_saddle)):
            which = "this" if np.size(self.success) == 1 else f"{n_saddles} of these"
            lines.append(f"The flow leaves {which}: of an energy it is a saddle, no minimum.")
        return "\n".join([header, *lines] if np.size(self.success) > 1 else lines)

    def plot(self) -> "Figure":
        """A figure by [`eqx_qdeq.plotting.plot_diagnosis`][]. Needs the extra `plot`."""
        from ..plotting import plot_diagnosis

        return plot_diagnosis(self)


def _row(name: str, values: np.ndarray) -> str:
    # Whether, as a share of the batch; how much, as its middle and its ends.
    if values.dtype == bool:
        return f"{name:<28}{np.mean(values):>10.1%}"
    numbers = [np.median(values)]
    if len(values) > 1:
        numbers += [values.min(), values.max()]
    # A path's end says more than its beginning.
    if len(name) > 27:
        name = "…" + name[-26:]
    return f"{name:<28}" + "".join(f"{_number(float(x)):>10}" for x in numbers)


def _number(x: float) -> str:
    # Counts and medians of counts without digits that say nothing.
    return f"{x:.0f}" if abs(x) < 1e6 and x == round(x) else f"{x:.3g}"


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
    # ‖J‖ < 1: each step of plain iteration brings it nearer. ρ(J) < 1: it comes there in the long
    # run, though single steps may lead away.
    z = jax.lax.stop_gradient(solution.value)
    norm = spectral_norm(fn, z)
    # The record repeats the last iterate after the end; what is drawn and averaged must not.
    recorded = jnp.arange(trajectory.residuals.shape[-1]) < trajectory.num_steps
    names = ("residual", "num_steps", "num_evals", "num_jvps")
    found = Diagnosis(
        success=solution.success,
        residuals=jnp.where(recorded, trajectory.residuals, jnp.nan),
        **{name: jnp.asarray(solution.stats[name]) for name in names},
        # (I - Jᵀ) u = ∂ℓ/∂z is the system that reverse mode through the equilibrium solves.
        backward=solve_adjoint(fn, z, jax.grad(loss)(z)).report,
        spectral_radius=spectral_radius(fn, z),
        spectral_norm=norm,
        flow_rate=spectral_abscissa(fn, z) - 1,
        contraction_margin=1 - norm,
        gradient_norms=norms,
    )
    return constant(found)
