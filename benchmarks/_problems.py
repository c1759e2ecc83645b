"""The workload: the paper's circuit as a layer, as an equilibrium, and in a training step."""

import dataclasses
import functools as ft
import math
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from eqx_qdeq import (
    AbstractCell,
    AddInjection,
    Circuit,
    circuits,
    DEQ,
    Picard,
    QDEQ,
    Solution,
)

from ._peers import available, Layer, MatrixOnce, ours

OURS = "eqx-qdeq"
DEFAULT = "eqx-qdeq, default solver"
TOLERANCE = 1e-4

Equilibrium = Callable[[Array, Array], Solution]
"""`(angles, x) -> solution` for one sample."""


@dataclasses.dataclass(frozen=True)
class Problem:
    """A circuit, its angles and a batch of samples."""

    circuit: Circuit
    angles: Array
    x: Array


def problem(circuit: Circuit, batch: int, n_features: int | None = None) -> Problem:
    """Random angles, and features of unit variance, as the paper's standardized pixels have.

    As many features as the paper pools an image to, n², unless `n_features` says otherwise.
    """
    n = circuit.n_qubits
    angle_key, key = jax.random.split(jax.random.key(0))
    angles = jax.random.uniform(angle_key, (circuit.n_params,), minval=-math.pi, maxval=math.pi)
    features = min(n**2, 2**n) if n_features is None else n_features
    return Problem(circuit, angles, jax.random.normal(key, (batch, features)))


def paper(n_qubits: int, batch: int) -> Problem:
    """The paper's circuit; at other sizes than its 4 and 10 wires, a usual one of similar size."""
    known = n_qubits in (4, 10)
    circuit = circuits.paper(n_qubits) if known else circuits.hardware_efficient(n_qubits, 4)
    return problem(circuit, batch)


def layers(
    circuit: Circuit, peers: Iterable[str], *, engine: str = "auto", batch: int = 256
) -> dict[str, Layer]:
    """Ours, planned for batches of this size, and the peers'."""
    return {OURS: ours(circuit, engine=engine, batch=batch), **available(circuit, peers)}


def batched_loss(run: Layer) -> Callable[[Array, Array], Array]:
    """The mean square of all values of a batch."""
    return lambda angles, x: jnp.mean(jax.vmap(run, (None, 0))(angles, x) ** 2)


class _PeerCell(AbstractCell):
    """A peer's layer with the paper's injection, x + upsample(w)."""

    layer: Layer
    injection: AddInjection
    angles: Array
    n_values: int = eqx.field(static=True)

    # Measured values are bounded. Said here, or `DEQ` would evaluate the peers' circuits twice
    # more to find out.
    always_finite: ClassVar[bool] = True

    def init(self, x: Array) -> Array:
        return jnp.zeros(self.n_values, x.dtype)

    def bind(self, x: Array) -> Callable[[Array], Array]:
        if isinstance(self.layer, MatrixOnce):
            layer = self.layer.bound(self.angles, x.size)
        else:
            layer = ft.partial(self.layer, self.angles)
        return lambda w: layer(self.injection(w, x))


def our_equilibrium(
    problem: Problem, *, default_solver: bool = False, max_steps: int = 256
) -> Equilibrium:
    """`QDEQ` by Picard iteration, or with the solver that it takes when none is named."""
    n, d = problem.circuit.n_qubits, problem.x.shape[1]
    qdeq = QDEQ(n, d, circuit=problem.circuit, key=jax.random.key(0))
    solver = None if default_solver else Picard(TOLERANCE, TOLERANCE)

    def solve(angles: Array, x: Array) -> Solution:
        cell = eqx.tree_at(lambda c: c.layer.angles, qdeq.deq.cell, angles)
        return DEQ(cell, solver, max_steps=max_steps).solve(x)

    return solve


def peer_equilibrium(problem: Problem, layer: Layer) -> Equilibrium:
    """The same equilibrium, found and differentiated by our `DEQ` on a peer's circuit."""
    n, d = problem.circuit.n_qubits, problem.x.shape[1]
    solver = Picard(TOLERANCE, TOLERANCE)

    def solve(angles: Array, x: Array) -> Solution:
        return DEQ(_PeerCell(layer, AddInjection(d), angles, n), solver).solve(x)

    return solve


def equilibria(problem: Problem, peers: Iterable[str]) -> dict[str, Equilibrium]:
    """Ours and the peers', all by Picard iteration to the same tolerance."""
    found = {
        name: peer_equilibrium(problem, layer)
        for name, layer in available(problem.circuit, peers).items()
    }
    return {OURS: our_equilibrium(problem), **found}


def training_step(values: Layer) -> tuple[Callable[..., Any], Callable[[Array], Any]]:
    """One step of Adam on the mean square of the equilibrium, and the optimizer's first state."""
    optimizer = optax.adam(5e-3)
    loss = batched_loss(values)

    def step(angles: Array, state: Any, x: Array) -> tuple[Array, Array, Any]:
        value, gradient = jax.value_and_grad(loss)(angles, x)
        updates, state = optimizer.update(gradient, state, angles)
        return value, optax.apply_updates(angles, updates), state  # pyright: ignore

    return step, optimizer.init


def value_of(equilibrium: Equilibrium) -> Layer:
    """Only the equilibrium itself."""
    return lambda angles, x: equilibrium(angles, x).value
