"""Electrons that stop moving: the Mott transition as the equilibrium of a circuit on four wires.

In Gutzwiller's theory a site c of a lattice (two spins) hops into a bath f, with a strength that
its own state sets: from R follows the hopping κR, from the ground state of
U (n↑ - ½)(n↓ - ½) - κR Σ (c†f + f†c) a new R = 2⟨c†f⟩. On paper the share of electrons that move
is Z = R² = 1 - (U/U_c)², and the map's slope there is (U/U_c)².

    python examples/self_consistent/mott.py
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq

KAPPA = 4 / (3 * np.pi)  # of the Bethe lattice with a half-bandwidth of 1
U_C = 8 * KAPPA


class Site(eqx.Module):
    """The wires are c↑ c↓ f↑ f↓, by Jordan and Wigner; one angle turns two singlets."""

    layer: qdeq.QuantumLayer  # measures (n↑ - ½)(n↓ - ½) and the hopping

    def __call__(self, r: jax.Array, u: jax.Array) -> jax.Array:
        # The energy is a sine of the angle, so three points tell where it is least.
        repulsion, hopping = jax.vmap(self.layer)(jnp.array([[0], [jnp.pi / 2], [-jnp.pi / 2]])).T
        zero, plus, minus = u * repulsion - KAPPA * r * hopping
        angle = -jnp.pi / 2 - jnp.arctan2(2 * zero - plus - minus, plus - minus)
        return self.layer(angle[None])[1] / 2


def make_cell() -> qdeq.FunctionCell:
    circuit = qdeq.Circuit(
        ["CX", "H", "CX", "CX", "CX", "X", "X"],
        [[0, 1], [0], [0, 1], [0, 2], [1, 3], [2], [3]],
        [[]] * 7,
    )
    strings = ["Z0 Z1", "X0 Z1 X2", "Y0 Z1 Y2", "X1 Z2 X3", "Y1 Z2 Y3"]
    sums = np.array([[0.25, 0, 0, 0, 0], [0, 0.5, 0.5, 0.5, 0.5]])
    measured = qdeq.PauliSum(strings, sums)
    layer = qdeq.QuantumLayer(circuit, qdeq.AngleEncoding("Y"), measured, angles=jnp.zeros(0))
    return qdeq.FunctionCell(Site(layer), lambda u: jnp.ones(()))


def main(n_shots: int = 10_000, out: Path = Path("mott.png"), smoke: bool = False) -> None:
    """Follows the moving electrons to the transition; then under noise and with shots.

    Args:
        n_shots: of each measurement.
        out: the figure to write.
        smoke: fewer points.
    """
    cell, many = make_cell(), 3 if smoke else 10
    z = lambda model: jax.jit(jax.vmap(lambda u: model(u) ** 2))
    exact = qdeq.DEQ(cell, qdeq.Newton(rtol=0.0, atol=1e-12))
    u = jnp.linspace(0.1, 0.98, 3 if smoke else 45) * U_C
    found, slope = jax.vmap(jax.value_and_grad(lambda u: exact(u) ** 2))(u)
    error = abs(found - (1 - (u / U_C) ** 2)).max(), abs(slope + 2 * u / U_C**2).max()
    near = U_C * jnp.array([0.8, 0.9, 0.95])
    ten = z(qdeq.Unrolled(cell, 10))
    wrong = 100 * (ten(near) / (1 - (near / U_C) ** 2) - 1)
    # Plain iteration: by how much the distance to the equilibrium shrinks in a step.
    after = jax.vmap(lambda u: qdeq.Unrolled(cell, 5)(u, z0=exact(u) + 1e-5) - exact(u))(near)
    rate = (after / 1e-5) ** (1 / 5) / (near / U_C) ** 2

    # Where R = 0 has the slope 1 the metal ends; that slope goes as 1/U.
    model = lambda p: qdeq.noise.NoiseModel.depolarizing(p)
    errors = jnp.geomspace(1e-4, 0.1, many)
    slope_at_zero = lambda cell: jax.grad(cell.bind(jnp.array(U_C)))(jnp.zeros(()))
    end = lambda p: U_C * slope_at_zero(qdeq.with_noise(cell, model(p)))
    moved = 100 * (jax.jit(jax.vmap(end))(errors) / U_C - 1)
    at_999, at_99 = (100 * (end(p) / U_C - 1) for p in (0.001, 0.01))
    noisy = {p: z(qdeq.DEQ(qdeq.with_noise(cell, model(p))))(u) for p in (0.001, 0.01)}
    # With shots the iteration never ends; a hundred steps forget where it began.
    sampled = qdeq.with_noise(qdeq.Unrolled(cell, 100), model(0.001))
    sampled = qdeq.with_shots(sampled, n_shots)
    keys, some = jax.random.split(jax.random.key(0), many), u[:: 1 if smoke else 4]
    draw = lambda u, key: sampled(u, key=key) ** 2
    shots = jax.jit(jax.vmap(jax.vmap(draw, (0, None)), (None, 0)))(some, keys)

    figure = Figure(figsize=(11, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    left.plot(u / U_C, found, "k", label="equilibrium")
    left.plot(u / U_C, ten(u), "C1--", label="ten applications")
    for p, color in ((0.001, "C0"), (0.01, "C3")):
        left.plot(u / U_C, noisy[p], color, label=f"equilibrium, {1 - p:.1%} two-wire fidelity")
    bars = shots.mean(axis=0), shots.std(axis=0)
    left.errorbar(some / U_C, *bars, fmt="C0o", label=f"..., {n_shots} shots", markersize=4)
    left.set(xlabel="U / U_c", ylabel="Z", title="The share of electrons that move")
    left.legend(fontsize="small")
    right.loglog(errors, abs(moved), "o-")
    for p, word in ((0.01, "99%"), (0.001, "99.9%")):
        right.axvline(p, color="0.6", linestyle=":")
        right.text(p, abs(moved).min(), f" {word}", color="0.4")
    right.set(xlabel="error of a two-wire gate", ylabel="change of U_c, %")
    right.set_title("Where the noisy circuit sees the transition")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    off = ", ".join(f"{value:.1f}" for value in wrong)
    print(
        f"checked: Z and dZ/dU to {error[0]:.0e} and {error[1]:.0e}; ten applications wrong by "
        f"{off}% at 0.8, 0.9, 0.95 U_c; rate over (U/U_c)² {rate.min():.4f} to {rate.max():.4f}; "
        f"U_c moves by {at_999:.1f}% at 99.9% two-wire fidelity, {at_99:.1f}% at 99%, and by less "
        f"than 1% up to an error of {np.interp(1, abs(moved), errors):.1e}"
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
