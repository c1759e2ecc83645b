"""Magnets by clusters: a circuit's ground state and the mean field around it, one equilibrium.

On a square lattice one or two spins are a circuit, and the neighbors outside of the cluster are a
mean field m, which must be the cluster's own. That, and angles at which the energy is least, is one
equilibrium z = (m, angles). Its derivative is the susceptibility; where that diverges is the
transition, at the fields 4 and 3.8537 (the lattice itself: 3.044).

    python examples/self_consistent/clusters.py
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy.optimize import root_scalar

import eqx_qdeq as qdeq


class Cluster(NamedTuple):
    """Spins, their bonds inside, and how many neighbors each has outside."""

    n: int
    bonds: list[tuple[int, int]]
    outside: int
    circuit: qdeq.Circuit

    def energy(self, m: jax.Array, h: jax.Array) -> qdeq.PauliSum:
        fields = {"X": -h, "Z": -self.outside * m}
        terms = {f"Z{a} Z{b}": jnp.array(-1.0) for a, b in self.bonds}
        terms |= {f"{axis}{i}": fields[axis].reshape(()) for axis in "XZ" for i in range(self.n)}
        return qdeq.PauliSum(terms)

    def deq(self) -> qdeq.DEQ:
        mean = qdeq.PauliSum({f"Z{i}": 1 / self.n for i in range(self.n)})
        angles = jnp.full(self.circuit.n_params, 0.5)
        layer = qdeq.QuantumLayer(self.circuit, qdeq.AmplitudeEncoding(), mean, angles=angles)
        cell = qdeq.SelfConsistentCell(layer, self.energy, initial_fields=jnp.ones(1))
        solver = qdeq.default_solver(0, rtol=0.0, atol=1e-10, stable=True)
        return qdeq.DEQ(cell, solver, max_steps=1000)

    def diagonalized(self) -> Callable[[float, float], float]:
        """From m and h to the exact ground state's mean, with NumPy."""
        of = lambda m, h: np.asarray(self.energy(jnp.array(m), jnp.array(h)).matrix(self.n)[0])
        bonds, by_m, by_h = of(0.0, 0.0), of(1.0, 0.0) - of(0.0, 0.0), of(0.0, 1.0) - of(0.0, 0.0)
        means = np.real(np.diag(by_m)) / (-self.outside * self.n)
        state = lambda m, h: np.linalg.eigh(bonds + m * by_m + h * by_h)[1][:, 0]
        return lambda m, h: float(abs(state(m, h)) ** 2 @ means)


CLUSTERS = {
    "one site": Cluster(1, [], 4, qdeq.Circuit(["Ry"], [[0]], [[0]])),
    # cos |00⟩ + sin |11⟩, turned twice alike: all states that are the same from both sides.
    "pair": Cluster(
        2,
        [(0, 1)],
        3,
        qdeq.Circuit(["Ry", "CX", "Ry", "Ry"], [[0], [0, 1], [0], [1]], [[0], [], [1], [1]]),
    ),
}


def solved(f: Callable[[float, float], float], h: float) -> float:
    return root_scalar(lambda m: f(m, h) - m, bracket=(1e-3, 1), xtol=1e-14).root


def plain_steps(f: Callable[[float, float], float], h: float) -> int:
    """Plain iteration of exact ground states, until a step is below 1e-12."""
    m, new, steps = 1.0, f(1.0, h), 0
    while abs(new - m) > 1e-12:
        m, new, steps = new, f(new, h), steps + 1
    return steps


def main(out: Path = Path("clusters.png"), smoke: bool = False) -> None:
    """Solves the clusters in many fields, and goes to their transitions.

    Args:
        out: the figure to write.
        smoke: in few fields.
    """
    shares = np.array([0.3, 0.6, 0.95] if smoke else [*np.linspace(0.1, 0.9, 9), 0.95, 0.98, 0.99])
    figure = Figure(figsize=(11, 3.5), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    critical, error_m, error_slope, cost = [], 0.0, 0.0, ""
    for i, (name, cluster) in enumerate(CLUSTERS.items()):
        deq, f = cluster.deq(), cluster.diagonalized()
        exact = lambda h, f=f: solved(f, h)

        def mean(h: jax.Array, deq: qdeq.DEQ = deq) -> tuple[jax.Array, qdeq.Solution]:
            solution = deq.solve(h)
            return jnp.abs(solution.value.fields[0]), solution  # either sign is one

        solve = jax.jit(jax.vmap(jax.value_and_grad(mean, has_aux=True)))
        # m² falls linearly to zero at h + m / 2|dm/dh|, the more exactly the closer h is.
        end = jnp.array(3.4)
        for _ in range(4):
            (m, _), slope = solve(jnp.full(len(shares) + 1, end))
            end = (end - 0.9 * m / (2 * slope))[0]
        end = (end - 0.1 * m / (2 * slope))[0]
        critical.append(float(end))
        fields = jnp.append(shares * end, 3.84 if name == "pair" else 0.5 * end)
        (m, solution), slope = solve(fields)
        m, slope, evals = m[:-1], slope[:-1], np.asarray(solution.stats["num_evals"])
        expected = np.array([exact(h) for h in np.asarray(fields[:-1])])
        d = 1e-4
        differences = [
            (8 * (exact(h + d) - exact(h - d)) - exact(h + 2 * d) + exact(h - 2 * d)) / (12 * d)
            for h in np.asarray(fields[:-1])
        ]
        error_m = max(error_m, float(abs(m - expected).max()))
        error_slope = max(error_slope, float(abs(slope / np.array(differences) - 1).max()))
        steps = [plain_steps(f, h) for h in np.asarray(fields[:-1])]
        if name == "pair":
            cost = f"{evals[-1]} evaluations, plain iteration {plain_steps(f, 3.84)} steps"
        left.plot(fields[:-1], expected, f"C{i}", label=f"{name}, by diagonalization")
        left.plot(fields[:-1], m, f"C{i}o", label=f"{name}, equilibrium")
        middle.semilogy(fields[:-1], -np.array(differences), f"C{i}")
        middle.semilogy(fields[:-1], -slope, f"C{i}o", label=name)
        right.semilogy(fields[:-1], steps, f"C{i}--", label=f"{name}, plain iteration")
        right.semilogy(fields[:-1], evals[:-1], f"C{i}o-", label=f"{name}, equilibrium")
    left.axvline(3.044, color="0.6", linestyle=":")
    left.set(title="Magnetization", xlabel="field h", ylabel="m")
    middle.set(title="Susceptibility, lines by differences", xlabel="field h", ylabel="-dm/dh")
    right.set(title="Cost", xlabel="field h", ylabel="evaluations; steps of plain iteration")
    for ax in (left, middle, right):
        ax.legend(fontsize="x-small")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    places = ", ".join(f"{h:.4f}" for h in critical)
    print(
        f"checked: critical fields {places}; m to {error_m:.0e} and dm/dh to {error_slope:.0e} of "
        f"diagonalization; the pair at h = 3.84 in {cost}"
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
