"""Your own parts: an encoding, an injection, a cell and a solver, about ten lines each.

python examples/own_parts.py
"""

from collections.abc import Callable
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optimistix as optx
import tyro
from matplotlib.figure import Figure

import eqx_qdeq as qdeq
from eqx_qdeq import training
from eqx_qdeq.solvers import Point, Proposal, SolverLimits


class PhaseEncoding(qdeq.AbstractStateEncoding):
    """Feature i is the phase of wire i: the state is the product of (|0⟩ + exp(i x)|1⟩)/√2."""

    is_complex = property(lambda self: True)

    def check(self, in_size: int, n_qubits: int) -> None:
        assert in_size == n_qubits, "one feature for each wire"

    def n_amplitudes(self, in_size: int, n_qubits: int) -> int:
        return 2 * 2**n_qubits  # real parts, then imaginary parts

    def state(self, x: jax.Array, n_qubits: int) -> jax.Array:
        bits = (jnp.arange(2**n_qubits)[:, None] >> jnp.arange(n_qubits)[::-1]) & 1
        return jnp.exp(1j * (bits @ x)) / 2 ** (n_qubits / 2)  # wire 0 is the first bit

    def amplitudes(self, x: jax.Array, n_qubits: int) -> jax.Array:
        state = self.state(x, n_qubits)
        return jnp.concatenate([state.real, state.imag])


class NeighborInjection(qdeq.AbstractLinearInjection):
    """v = x + g·(z of the wire before), with a trained gain for each wire."""

    gain: jax.Array

    def offset(self, x: jax.Array, n_values: int) -> jax.Array:
        return x

    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> jax.Array:
        return jnp.roll(jnp.eye(n_values, dtype=dtype), 1, axis=0) * self.gain.astype(dtype)


class SlowCell(qdeq.AbstractCell):
    """Another cell, of whose step a part is taken: the same equilibria, on a calmer way."""

    cell: qdeq.AbstractCell
    part: float = 0.7

    def init(self, x: jax.Array) -> jax.Array:
        return self.cell.init(x)

    def bind(self, x: jax.Array) -> Callable[[jax.Array], jax.Array]:
        f = self.cell.bind(x)
        return lambda z: (1 - self.part) * z + self.part * f(z)


class Aitken(qdeq.AbstractResidualSolver):
    """y + ω r, with the ω that the last two residuals suggest (Irons and Tuck, 1969)."""

    rtol: float
    atol: float
    norm: Callable = eqx.field(static=True, default=optx.two_norm)
    limits: SolverLimits = SolverLimits()

    def remember(self, y: jax.Array, f: Callable) -> tuple[jax.Array, jax.Array]:
        return jnp.zeros_like(y), jnp.ones((), y.dtype)

    def propose(self, at: Point, memory: tuple[jax.Array, jax.Array]) -> Proposal:
        r_before, omega = memory
        change = at.r - r_before
        omega *= -(r_before @ change) / jnp.maximum(change @ change, 1e-30)
        omega = jnp.where(at.is_first, 1, omega)
        return Proposal(at.y + omega * at.r, (at.r, omega))


def main(epochs: int = 60, out: Path = Path("own_parts.png"), smoke: bool = False) -> None:
    """Puts the four together and trains them on the iris.

    Args:
        epochs: passes over the training samples.
        out: the figure to write.
        smoke: two epochs only.
    """
    keys = jax.random.split(jax.random.key(0))
    circuit = qdeq.circuits.strongly_entangling(n_qubits=4, depth=3)
    layer = qdeq.QuantumLayer(circuit, PhaseEncoding(), qdeq.PauliZ(), key=keys[0])
    cell = SlowCell(qdeq.QuantumCell(layer, NeighborInjection(jnp.full(4, 0.5))))
    deq = qdeq.DEQ(cell, Aitken(rtol=1e-5, atol=1e-5))
    model = eqx.nn.Sequential([deq, eqx.nn.Linear(4, 3, key=keys[1])])
    data = training.load_dataset("iris")
    epochs = 2 if smoke else epochs
    result = training.fit(model, data, optimizer=optax.adam(0.05), epochs=epochs, batch_size=32)
    test = training.evaluate(result.model, data.test)

    # Any solver finds the same: ours, plain iteration, and the one that is taken if none is given.
    deq, x = result.model.layers[0], data.test.x
    ours = {"own solver": deq, "Picard": qdeq.DEQ(deq.cell, qdeq.Picard(1e-5, 1e-5))}
    values = [jax.vmap(deq)(x) for deq in (*ours.values(), qdeq.DEQ(deq.cell))]
    apart = max(float(abs(values[0] - value).max()) for value in values)

    figure = Figure(figsize=(6, 3.4), layout="constrained")
    axes = figure.subplots()
    for name, each in ours.items():
        axes.semilogy(jnp.nanmedian(training.residual_history(each, x, 12), 0), "o-", label=name)
    axes.set(title="Median over the test flowers", xlabel="step", ylabel="‖f(z) - z‖")
    axes.legend()
    figure.savefig(out, dpi=100)
    print(f"figure {out}")
    print(
        f"checked: three solvers find the same equilibria to {apart:.0e}; {test.accuracy:.1%} of "
        f"{len(x)} flowers are right, {test.fraction_converged:.0%} of the solves converged"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
