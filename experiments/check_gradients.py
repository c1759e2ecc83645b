"""Every adjoint against finite differences, by solver tolerance and by cost.

    python -m experiments.check_gradients

Differentiates a classification loss on handwritten digits with respect to the angles of a quantum
cell, in double precision. The reference are finite differences of the loss at equilibria that are
solved to 1e-13; they know nothing of adjoints.
"""

from pathlib import Path
from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq
from eqx_qdeq.training import load_dataset

from . import Off

# Okabe and Ito's colors; a dash and a marker of its own for each, as lines lie on each other.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#666666", "#000000")
DASHES = ("-", "--", "-.", ":", "-", "--", "-.", ":")
MARKERS = "os^Dv*PX"


def make_loss(cell: qdeq.QuantumCell, data: Any) -> Any:
    """`(deq, x) -> loss`: cross-entropy behind a fixed readout."""
    weight = 3 * jax.random.normal(jax.random.key(5), (data.n_classes, cell.layer.out_size))

    def loss(deq: qdeq.DEQ, x: jax.Array) -> jax.Array:
        logits = jax.vmap(lambda image: weight @ deq(image))(x)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(len(x)), data.train.y[: len(x)]])

    return loss


def finite_differences(cell: qdeq.QuantumCell, loss: Any, x: jax.Array, h: float) -> np.ndarray:
    """The gradient with respect to each angle, of fourth order in h."""
    angles = cell.layer.angles

    @jax.jit
    @jax.vmap
    def value(angles: jax.Array) -> jax.Array:
        moved = eqx.tree_at(lambda c: c.layer.angles, cell, angles)
        return loss(qdeq.DEQ(moved, qdeq.Newton(1e-13, 1e-13)), x)

    at = lambda k: value(angles + k * h * jnp.eye(angles.size))
    return np.asarray(8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h)


def adjoints() -> dict[str, optx.AbstractAdjoint]:
    return {
        "implicit": qdeq.ImplicitAdjoint(),
        "implicit, VJPs": qdeq.ImplicitVJPAdjoint(),
        "unrolled": qdeq.UnrolledAdjoint(),
        "Neumann, 5 terms": qdeq.NeumannAdjoint(5),
        "phantom, 5 steps": qdeq.PhantomAdjoint(5),
        "Neumann, 2 terms": qdeq.NeumannAdjoint(2),
        "SHINE": qdeq.ShineAdjoint(),
        "one step (JFB)": qdeq.OneStepAdjoint(),
    }


def draw(
    tolerances: np.ndarray, errors: dict[str, list[float]], comparison: qdeq.AdjointComparison
) -> Figure:
    figure = Figure(figsize=(10, 4.6), dpi=150, layout="constrained")
    left, right = figure.subplots(1, 2)
    for i, (name, values) in enumerate(errors.items()):
        style = {"color": COLOURS[i], "marker": MARKERS[i]}
        left.loglog(tolerances, values, linestyle=DASHES[i], markersize=5, label=name, **style)
        cost = comparison.backward[comparison.names.index(name)]
        right.loglog(cost, values[-1], markersize=10, linestyle="", alpha=0.8, **style)
    left.invert_xaxis()
    left.set(xlabel="solver tolerance", ylabel="relative error of the gradient")
    left.set_title("Against finite differences")
    figure.legend(loc="outside lower center", ncols=4, frameon=False)
    right.set(xlabel="cell evaluations and products, backwards", ylabel="relative error")
    right.set_title(f"Against cost, at tolerance {tolerances[-1]:.0e}")
    right.set_xlim(1, 100)
    for axes in (left, right):
        axes.grid(True, color="#DDDDDD", linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure


def main(
    samples: int = 64,
    gain: float = 0.4,
    seed: int = 0,
    out: Path = Path("check_gradients.png"),
    smoke: Annotated[bool, Off] = False,
) -> None:
    """Compares all adjoints with finite differences.

    Args:
        samples: how many images.
        gain: the strength of the feedback; more of it, larger Jacobians.
        seed: of the angles.
        out: the figure to write.
        smoke: a few samples and tolerances only.
    """
    jax.config.update("jax_enable_x64", True)  # before any array is made
    data = load_dataset("digits", classes=(0, 3, 6, 9))
    x = jnp.asarray(data.train.x[: 4 if smoke else samples], jnp.float64)
    circuit = qdeq.circuits.paper(4)
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(seed)
    )
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(16, gain))
    loss = make_loss(cell, data)

    diagnosis = eqx.filter_jit(lambda d, x: jax.vmap(d.diagnose)(x))(qdeq.DEQ(cell), x)
    radius = np.asarray(diagnosis.spectral_radius)
    print(f"spectral radius at the equilibria: median {np.median(radius):.2f}, {radius.max():.2f}")

    exact = finite_differences(cell, loss, x, h=1e-3)
    tolerances = np.array([1e-1, 1e-6]) if smoke else 10.0 ** -np.arange(1, 13)
    errors: dict[str, list[float]] = {}
    for name, adjoint in adjoints().items():
        print(f"{name:<18}", end="", flush=True)

        @eqx.filter_jit
        def gradient(tolerance: jax.Array, adjoint: Any = adjoint) -> jax.Array:
            deq = qdeq.DEQ(cell, qdeq.Broyden(tolerance, tolerance), adjoint)  # pyright: ignore
            return eqx.filter_grad(loss)(deq, x).cell.layer.angles

        found = [np.asarray(gradient(jnp.asarray(tolerance))) for tolerance in tolerances]
        errors[name] = [float(np.linalg.norm(g - exact) / np.linalg.norm(exact)) for g in found]
        print(" ".join(f"{error:.0e}" for error in errors[name]))

    tight = float(tolerances[-1])
    deq = qdeq.DEQ(cell, qdeq.Broyden(tight, tight))
    comparison = qdeq.compare_adjoints(deq, x, loss, adjoints=adjoints())
    print(f"\nat tolerance {tight:.0e}, against the exact adjoint:\n{comparison}")
    draw(tolerances, errors, comparison).savefig(out)
    print(f"figure: {out}")


if __name__ == "__main__":
    tyro.cli(main)
