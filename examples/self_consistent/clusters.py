"""Magnets by clusters: a circuit's ground state and the mean field around it, one equilibrium.

On a square lattice one, two or four spins are a circuit, and the neighbors outside of the cluster
are a mean field m, which must be the cluster's own. That, and angles at which the energy is least,
is one equilibrium z = (m, angles). Its derivative is the susceptibility; where that diverges is the
transition, at the fields 4, 3.8537 and 3.6785 (the lattice itself: 3.044).

    python examples/self_consistent/clusters.py
"""

import dataclasses
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
        # Of all sizes: near small ones a circuit with many angles does the same by most of them.
        angles = jax.random.uniform(jax.random.key(7), (self.circuit.n_params,), float, -3.1, 3.1)
        angles = angles if self.n == 4 else jnp.full(self.circuit.n_params, 0.5)
        layer = qdeq.QuantumLayer(self.circuit, qdeq.AmplitudeEncoding(), mean, angles=angles)
        cell = qdeq.SelfConsistentCell(layer, self.energy, initial_fields=jnp.ones(1))
        return qdeq.DEQ(cell, qdeq.default_solver(0, rtol=0.0, atol=1e-9, stable=True))

    def diagonalized(self) -> Callable[[float, float], float]:
        """From m and h to the exact ground state's mean, with NumPy."""
        of = lambda m, h: np.asarray(self.energy(jnp.array(m), jnp.array(h)).matrix(self.n)[0])
        bonds, by_m, by_h = of(0.0, 0.0), of(1.0, 0.0) - of(0.0, 0.0), of(0.0, 1.0) - of(0.0, 0.0)
        means = np.real(np.diag(by_m)) / (-self.outside * self.n)
        state = lambda m, h: np.linalg.eigh(bonds + m * by_m + h * by_h)[1][:, 0]
        return lambda m, h: float(abs(state(m, h)) ** 2 @ means)


def solved(f: Callable[[float, float], float], h: float) -> float:
    return root_scalar(lambda m: f(m, h) - m, bracket=(1e-3, 1), xtol=1e-14).root


def plain_steps(f: Callable[[float, float], float], h: float) -> int:
    """Plain iteration of exact ground states, until a step is below 1e-12."""
    m, new, steps = 1.0, f(1.0, h), 0
    while abs(new - m) > 1e-12:
        m, new, steps = new, f(new, h), steps + 1
    return steps


SQUARE = [(0, 1), (1, 2), (2, 3), (3, 0)]
# On the square all spins turn alike, and so do all bonds: more angles than the state needs.
ROWS = [("Ry", [i], [0]) for i in range(4)]
for k, gate in enumerate(["ZZPhase", "Rx", "Rz", "Ry"] * 4):
    ROWS += [(gate, [*w], [k + 1]) for w in (SQUARE if k % 4 == 0 else [(i,) for i in range(4)])]
CLUSTERS = {
    "one site": Cluster(1, [], 4, qdeq.Circuit(["Ry"], [[0]], [[0]])),
    # cos |00⟩ + sin |11⟩, turned twice alike: all states that are the same from both sides.
    "pair": Cluster(
        2, [(0, 1)], 3,
        qdeq.Circuit(["Ry", "CX", "Ry", "Ry"], [[0], [0, 1], [0], [1]], [[0], [], [1], [1]]),
    ),
    "2 × 2": Cluster(
        4, SQUARE, 2,
        qdeq.Circuit([g for g, _, _ in ROWS], [w for _, w, _ in ROWS], [a for _, _, a in ROWS]),
    ),
}  # fmt: skip


def main(n_fields: int = 6, out: Path = Path("clusters.png"), smoke: bool = False) -> None:
    """Follows the clusters through their fields, and goes to their transitions.

    Args:
        n_fields: how many in a row.
        out: the figure to write.
        smoke: without the largest cluster, in few fields.
    """
    n_fields, names = (3, list(CLUSTERS)[:2]) if smoke else (n_fields, list(CLUSTERS))
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    left, right = figure.subplots(1, 2)
    critical, errors, found, cost = [], [], [], ""
    for i, name in enumerate(names):
        deq, exact = CLUSTERS[name].deq(), CLUSTERS[name].diagonalized()

        # The same equilibria and derivatives without the metric of states: less to compile.
        bare = dataclasses.replace(deq, cell=dataclasses.replace(deq.cell, metric_shift=None))

        def change(h: jax.Array, z: qdeq.SelfConsistentState, deq: qdeq.DEQ = bare) -> jax.Array:
            return jax.grad(lambda h: deq(h, z0=z).fields[0])(h)

        @jax.jit
        def sweep(fields: jax.Array, z0: qdeq.SelfConsistentState, deq: qdeq.DEQ = deq) -> tuple:
            """From field to field: the magnetizations, how they change, and the solves."""
            solution = qdeq.solve_sequence(deq, fields, z0=z0)
            m = solution.value.fields[:, 0]
            slope = jax.lax.map(lambda at, change=change: change(*at), (fields, solution.value))
            return jnp.sign(m) * m, jnp.sign(m) * slope, solution  # either sign is one

        # Downwards; and from the same start upwards, where m² falls to zero linearly, at
        # h + m / 2|dm/dh|, the more exactly the closer h is.
        rows, z, ends = [], deq.cell.init(jnp.array(3.0)), (3.0, 1.0)
        for _ in range(5):
            fields = jnp.linspace(*ends, n_fields)
            m, slope, solution = sweep(fields, z)
            rows.append((fields, m, slope, solution.success))
            if ends[1] > ends[0]:
                z = jax.tree.map(lambda leaf: leaf[-1], solution.value)
            else:
                m, slope, fields = m[:1], slope[:1], fields[:1]
            to_go = -m[-1] / (2 * slope[-1])
            ends = (float(fields[-1]), float(fields[-1] + 0.7 * to_go))
        critical.append(float(fields[-1] + to_go))
        fields, m, slope, success = (np.concatenate(column) for column in zip(*rows, strict=True))
        expected, d = np.array([solved(exact, h) for h in fields]), 1e-4
        around = np.array([[solved(exact, h + k * d) for k in (-2, -1, 1, 2)] for h in fields])
        differences = around @ np.array([1, -8, 8, -1]) / (12 * d)
        errors.append((abs(m - expected).max(), abs(slope / differences - 1).max()))
        found.append(success.mean())
        if name == "pair":
            _, _, solution = sweep(jnp.full(n_fields, 3.84), deq.cell.init(jnp.array(3.84)))
            evals, steps = int(solution.stats["num_evals"][0]), plain_steps(exact, 3.84)
            cost = f"{evals} evaluations, plain iteration {steps} steps"
        order = np.argsort(fields)
        left.plot(fields[order], expected[order], f"C{i}", label=f"{name}, by diagonalization")
        left.plot(fields, m, f"C{i}o", label=f"{name}, equilibrium")
        right.semilogy(fields[order], -differences[order], f"C{i}")
        right.semilogy(fields, -slope, f"C{i}o", label=name)
    left.axvline(3.044, color="0.6", linestyle=":")
    left.set(title="Magnetization", xlabel="field h", ylabel="m")
    right.set(title="Susceptibility, lines by differences", xlabel="field h", ylabel="-dm/dh")
    for ax in (left, right):
        ax.legend(fontsize="x-small")
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    error, error_slope = np.max(errors, axis=0)
    places = ", ".join(f"{h:.4f}" for h in critical)
    print(
        f"checked: critical fields {places}; m to {error:.0e} and dm/dh to {error_slope:.0e} of "
        f"diagonalization, {np.mean(found):.0%} of solves to 1e-9; the pair at h = 3.84 in {cost}"
    )


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
