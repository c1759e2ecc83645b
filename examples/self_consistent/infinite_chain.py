"""An infinite chain of spins from a few wires: a site at a time, and the rest is an equilibrium.

A circuit acts on bond wires and a fresh wire, which becomes the next site; the bond wires go on to
the site after it. What reaches a site through infinitely many others is the fixed point of that
channel. The circuit's angles are those of the least energy of -Σ ZZ - g Σ X, per site.

    python examples/self_consistent/infinite_chain.py
"""

from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy.integrate import quad
from scipy.optimize import minimize

import eqx_qdeq as qdeq

FRESH = np.array([1.0, 0.0, 0.0, 1.0])  # |0⟩, by its expectation values of 1, X, Y and Z


class Chain(eqx.Module):
    """A site's circuit, on the bond wires and on the site's own."""

    circuit: qdeq.Circuit

    def emit(self, environment: jax.Array, angles: jax.Array, n_sites: int) -> jax.Array:
        """The expectation values of all Paulis on bond wires and sites, shape (4, ..., 4)."""
        c, n_bonds = self.circuit, self.circuit.n_qubits - 1
        state = jnp.concatenate([jnp.ones(1), environment]).reshape((4,) * n_bonds)
        for site in range(n_sites):
            names = [*range(n_bonds), n_bonds + site]
            wires = [[names[wire] for wire in wires] for wires in c.wires]
            here = qdeq.Circuit(c.gates, wires, c.params)
            state = qdeq.noise.noisy_circuit(here, angles).push(state[..., None] * FRESH)
        return state

    def cell(self) -> qdeq.FunctionCell:
        """From a state of the bond wires to that one site further."""
        size = 4 ** (self.circuit.n_qubits - 1) - 1
        further = lambda r, angles: self.emit(r, angles, 1)[..., 0].reshape(-1)[1:]
        return qdeq.FunctionCell(further, lambda angles: jnp.zeros(size))

    def energy(self, environment: jax.Array, angles: jax.Array, g: float) -> jax.Array:
        sites = self.emit(environment, angles, 2)[(0,) * (self.circuit.n_qubits - 1)]
        return -sites[3, 3] - g * sites[1, 0]


def study(n_bonds: int, fields: tuple[float, ...], n_applied: int, max_steps: int) -> list[tuple]:
    """At each field: the energy above the exact one, the channel's slope, and the error of the
    gradient after 1, 2, ... applications of the channel."""
    chain = Chain(qdeq.circuits.strongly_entangling(n_bonds + 1, 3))
    cell = chain.cell()
    deq = qdeq.DEQ(cell, qdeq.Newton(rtol=0.0, atol=1e-11))
    both = eqx.filter_jit(jax.value_and_grad(lambda a, g: chain.energy(deq(a), a, g)))
    slope = eqx.filter_jit(lambda a: qdeq.spectral_radius(cell.bind(a), deq(a)))

    def energies(a: jax.Array, g: float) -> jax.Array:
        step = lambda r, _: (cell.bind(a)(r), chain.energy(cell.bind(a)(r), a, g))
        return jax.lax.scan(step, cell.init(a), length=n_applied)[1]

    unrolled, found = eqx.filter_jit(jax.jacrev(energies)), []
    # All spins up, nearly; then from what was best in the field before.
    start = np.random.default_rng(0).uniform(-0.3, 0.3, chain.circuit.n_params)
    for g in fields:
        of = lambda a, g=g: [np.asarray(value) for value in both(a, g)]
        best = minimize(of, start, jac=True, method="BFGS", options={"maxiter": max_steps})
        # P. Pfeuty, Annals of Physics 57 (1970), 79-90.
        exact = -quad(lambda k, g=g: np.sqrt(1 + g**2 - 2 * g * np.cos(k)), 0, np.pi)[0] / np.pi
        wrong = np.linalg.norm(unrolled(best.x, g) - both(best.x, g)[1], axis=1)
        start = best.x
        found.append((best.fun - exact, float(slope(best.x)), wrong))
    return found


def main(n_applied: int = 40, out: Path = Path("infinite_chain.png"), smoke: bool = False) -> None:
    """Finds the least energies with one and two bond wires, and what gradients need.

    Args:
        n_applied: applications of the channel at most, beside its equilibrium.
        out: the figure to write.
        smoke: one bond wire, three fields, few steps.
    """
    fields = (0.5, 1.0, 1.5) if smoke else (0.5, 0.75, 0.9, 1.0, 1.1, 1.25, 1.5)
    max_steps, sizes = (40, (1,)) if smoke else (300, (1, 2))
    found = {n: study(n, fields, n_applied, max_steps) for n in sizes}

    figure = Figure(figsize=(11, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for n, results in found.items():
        above, slopes, wrong = zip(*results, strict=True)
        name = f"{n} bond wire{'s' * (n > 1)}"
        left.semilogy(fields, above, "o-", label=name)
        middle.plot(fields, slopes, "o-", label=name)
        for g, style in ((0.5, ":"), (1.0, "-")):
            errors = wrong[fields.index(g)]
            right.semilogy(
                range(1, n_applied + 1), errors, f"C{n - 1}{style}", label=f"{name}, {g=}"
            )
    left.set(title="Energy above the exact one", xlabel="g", ylabel="per site")
    middle.set(title="Slope of the channel", xlabel="g", ylabel="second eigenvalue", ylim=(0, 1))
    right.set(title="Error of the gradient", xlabel="applications in place of the equilibrium")
    right.set_ylim(1e-12, 1e5)
    for ax in (left, middle, right):
        ax.legend(fontsize="small")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    three = [fields.index(g) for g in (0.5, 1.0, 1.5)]
    parts = []
    for n, results in found.items():
        energies = ", ".join(f"{results[i][0]:.1e}" for i in three)
        ten = ", ".join(f"{results[i][2][9]:.0e}" for i in three)
        parts.append(f"{n} bond wire{'s' * (n > 1)}: energy too high by {energies}, gradient "
                     f"after ten applications wrong by {ten}")  # fmt: skip
    print(f"checked: at g = 0.5, 1, 1.5, with {'; with '.join(parts)}")


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
