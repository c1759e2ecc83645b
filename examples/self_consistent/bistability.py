"""Spins that are driven and decay: two steady states, and the whole curve that joins them.

Each spin turns about X (drive g) and about Z by what it sees of the others (5⟨Z⟩), and decays:
one wire, two rotations and amplitude damping, for ever shorter times. The equilibrium is the steady
state, 4V²z³ - 4V²z² + (1 + 2g²)z - 1 = 0 for z = ⟨Z⟩ on paper: for some g there are three.

    python examples/self_consistent/bistability.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy.optimize import root_scalar

import eqx_qdeq as qdeq

V = 5.0


def change(bloch: jax.Array, drive: jax.Array, others: jax.Array) -> jax.Array:
    """How (⟨X⟩, ⟨Y⟩, ⟨Z⟩) of a spin changes with time, if the others have the mean ⟨Z⟩."""

    def after(time: float) -> jax.Array:
        state = jnp.concatenate([jnp.ones(1), bloch])
        for channel in (
            qdeq.noise.CoherentRotation("X", drive * time),  # pyright: ignore[reportCallIssue]
            qdeq.noise.CoherentRotation("Z", V * others * time),  # pyright: ignore[reportCallIssue]
            qdeq.noise.AmplitudeDamping(time),
        ):
            state = channel.transfer() @ state
        return state[1:]

    return jax.jvp(after, (0.0,), (1.0,))[1]


def closed_form_folds() -> list[float]:
    """Where dg/dz = 0, with g² = (1 - z)(1 + 4V²z²) / 2z."""
    slope = lambda z: -(1 + 4 * V**2 * z**2) + (1 - z) * (4 * V**2 * z**2 - 1) / z
    places = [root_scalar(slope, bracket=ends).root for ends in ((0.3, 0.9), (0.05, 0.2))]
    return [float(np.sqrt((1 - z) * (1 + 4 * V**2 * z**2) / (2 * z))) for z in places]


def main(drives: int = 33, out: Path = Path("bistability.png"), smoke: bool = False) -> None:
    """Follows the steady state through both folds, and searches it from random starts.

    Args:
        drives: at how many drives the search looks.
        out: the figure to write.
        smoke: at two drives, without the proofs.
    """
    drives, low, high = 2 if smoke else drives, 0.5, 6.0
    cell = qdeq.FunctionCell(
        lambda r, g: r + change(r, g, others=r[2]), lambda g: jnp.array([0.0, 0.0, 1.0])
    )
    dark = qdeq.DEQ(cell)(jnp.array(low))
    # f is quadratic in (r, g), so that its curvature is known, and each step can be proven.
    curvature = None if smoke else V + (high - low)
    branch = qdeq.trace_branch(
        cell, lambda g: g, dark, start=low, stop=high, curvature=curvature, max_points=128
    )
    print(branch)
    n = int(branch.count)
    folds, exact = np.asarray(branch.special_parameters[:2]), closed_form_folds()

    # All equilibria at one drive: those of the branch nearby, brought there.
    g = 3.2
    at = np.argsort(abs(branch.parameters[:n] - g))[:12]
    three = qdeq.find_equilibria(cell, jnp.array(g), jax.random.key(0), starts=branch.values[at])
    # The same curve by 64 random starts at each drive.
    starts = jax.random.uniform(jax.random.key(1), (64, 3), minval=-1, maxval=1)
    from_start = lambda g, z0: qdeq.DEQ(cell).solve(g, z0=z0)
    searched = jnp.linspace(low, high, drives)
    found = jax.vmap(jax.vmap(from_start, (None, 0)), (0, None))(searched, starts)
    evals = int(np.sum(found.stats["num_evals"]))
    seen = np.where(found.success, found.value[..., 2], np.nan)

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    ax = figure.subplots()
    dots = ax.plot(searched, seen, "o", color="0.75")
    dots[0].set_label("64 random starts at each drive")
    z, stable = np.asarray(branch.values[:n, 2]), np.asarray(branch.flow_stable[:n])
    for flag, style, name in ((True, "C0-", "stable"), (False, "C3--", "unstable")):
        ax.plot(branch.parameters[:n], np.where(stable == flag, z, np.nan), style, label=name)
    ax.plot(folds, branch.special_values[:2, 2], "k*", markersize=12, label="folds")
    ax.set(xlabel="drive g", ylabel="⟨Z⟩", title="The steady states of driven spins")
    ax.legend()
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    apart = max(abs(folds - exact))
    states = ", ".join(
        f"{three.values[i, 2]:.4f} {'stable' if three.flow_stable[i] else 'unstable'}"
        for i in np.argsort(three.values[: int(three.count), 2])
    )
    print(
        f"checked: folds at {folds[0]:.6f} and {folds[1]:.6f}, {apart:.0e} from paper; at g = {g} "
        f"{states}; {int(branch.certified.sum())} of {n - 1} steps certified; "
        f"{int(branch.n_evals)} evaluations; 64 random starts at {drives} drives: {evals}"
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
