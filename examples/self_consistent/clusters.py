"""Magnets by clusters: a circuit's ground state and the mean field around it, one equilibrium.

On a square lattice, one, two or four spins are a circuit, and the neighbors outside of the cluster
are a mean field m, which must be the cluster's own. That, and angles at which the energy is least,
is one equilibrium z = (m, angles). Its derivative is the susceptibility; where that diverges is the
transition: at the fields 4, 3.8537 and 3.6785 (the lattice itself: 3.044).

    python examples/self_consistent/clusters.py
"""

from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import tyro
from matplotlib.figure import Figure
from scipy.optimize import brentq

import eqx_qdeq as qdeq


class Cluster(NamedTuple):
    """Spins, their bonds inside, how many neighbors each has outside; and a circuit for them."""

    n: int
    bonds: list[tuple[int, int]]
    outside: int
    gates: list[str]  # each on all spins or all bonds, with an angle of its own

    def energy(self, m: jax.Array, h: jax.Array) -> qdeq.PauliSum:
        strings = [f"Z{a} Z{b}" for a, b in self.bonds]
        strings += [f"{axis}{i}" for axis in "XZ" for i in range(self.n)]
        each = [
            -jnp.ones(len(self.bonds)),
            -h * jnp.ones(self.n),
            -self.outside * m * jnp.ones(self.n),
        ]
        return qdeq.PauliSum(strings, jnp.concatenate(each))

    def deq(self) -> qdeq.DEQ:
        rows = [
            (gate, wires, [k])
            for k, gate in enumerate(self.gates)
            for wires in (self.bonds if gate == "ZZPhase" else [(i,) for i in range(self.n)])
        ]
        circuit = qdeq.Circuit(*zip(*rows, strict=True))
        mean = qdeq.PauliSum({f"Z{i}": 1 / self.n for i in range(self.n)})
        angles = 0.3 * jnp.cos(jnp.arange(circuit.n_params))
        layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), mean, angles=angles)
        cell = qdeq.SelfConsistentCell(layer, self.energy, initial_fields=jnp.ones(1))
        solver = qdeq.PseudoTransient(rtol=0, atol=1e-10, avoids_saddles=True)
        return qdeq.DEQ(cell, solver, max_steps=1000)

    def measured(self, m: float, h: float) -> float:
        """The exact ground state's magnetization in the mean field m, by diagonalization."""
        state = np.linalg.eigh(self.energy(jnp.array(m), jnp.array(h)).matrix(self.n)[0])[1][:, 0]
        ups = [sum(1 - 2 * (k >> i & 1) for i in range(self.n)) for k in range(2**self.n)]
        return float(abs(state) ** 2 @ np.array(ups) / self.n)

    def exact(self, h: float) -> float:
        return brentq(lambda m: self.measured(m, h) - m, 1e-3, 1, xtol=1e-13)


CLUSTERS = {
    "one site": Cluster(1, [], 4, ["Ry"]),
    "pair": Cluster(2, [(0, 1)], 3, ["Ry", "ZZPhase", "Rx", "Ry"]),
    "2 × 2": Cluster(
        4, [(0, 1), (1, 2), (2, 3), (3, 0)], 2, ["Ry"] + ["ZZPhase", "Rx", "Rz", "Ry"] * 4
    ),
}


def main(out: Path = Path("clusters.png"), smoke: bool = False) -> None:
    """Solves the clusters in many fields, and goes to their transitions.

    Args:
        out: the figure to write.
        smoke: without the largest cluster, in few fields.
    """
    names = list(CLUSTERS)[: 2 if smoke else 3]
    fractions = jnp.array(
        [0.25, 0.5, 0.75, 0.95] if smoke else [*np.linspace(0.1, 0.9, 9), 0.94, 0.97, 0.99]
    )
    figure = Figure(figsize=(12.5, 3.8), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    critical, errors = [], [[], []]
    for i, name in enumerate(names):
        cluster, deq = CLUSTERS[name], CLUSTERS[name].deq()
        one = lambda h, deq=deq: (lambda s: (s.value.fields[0], s))(deq.solve(h))
        solve = jax.jit(jax.vmap(jax.value_and_grad(one, has_aux=True)))
        # As m² falls linearly there, the transition is at h + m / 2|dm/dh|, the better the closer.
        h = jnp.array([3.3])
        for _ in range(4):
            (m, _), slope = solve(h)
            end = h - m / (2 * slope)
            h = h + 0.9 * (end - h)
        critical.append(float(end[0]))
        fields = fractions * end
        (m, solution), slope = solve(fields)
        exact = np.array([cluster.exact(float(h)) for h in fields])
        d = 1e-5
        finite = [
            (cluster.exact(float(h) + d) - cluster.exact(float(h) - d)) / (2 * d) for h in fields
        ]
        errors[0].append(float(abs(m - exact).max()))
        errors[1].append(float(abs(slope / np.array(finite) - 1).max()))
        left.plot(fields, exact, f"C{i}", label=f"{name}, exact")
        left.plot(fields, m, f"C{i}o", label=f"{name}, equilibrium")
        middle.semilogy(fields, -np.array(finite), f"C{i}")
        middle.semilogy(fields, -slope, f"C{i}o")
        steps = [plain_steps(cluster, float(h)) for h in fields]
        right.semilogy(fields, steps, f"C{i}--", label=f"{name}, plain iteration")
        right.semilogy(fields, solution.stats["num_evals"], f"C{i}o-", label=f"{name}, equilibrium")
        print(
            name,
            fields,
            m - exact,
            slope / np.array(finite) - 1,
            steps,
            solution.stats["num_evals"],
            solution.success,
        )
    figure.savefig(out, dpi=100)
    print(critical, errors)


def plain_steps(cluster: Cluster, h: float) -> int:
    m, before, steps = 1.0, 2.0, 0
    while abs(m - before) > 1e-12 and steps < 3000:
        m, before, steps = cluster.measured(m, h), m, steps + 1
    return steps


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
