"""The noisy layer on other simulators: a Pauli error after every gate, by density matrices."""

import functools as ft
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from eqx_qdeq import AmplitudeEncoding, Circuit, noise, PauliZ

from ._peers import Layer, our_layer, pennylane_gate

ONE, TWO = 0.001, 0.01
"""The probabilities of an error after gates on one wire and on two."""


def noise_model() -> noise.NoiseModel:
    """Depolarizing noise after every gate."""
    two = noise.Depolarizing(probability=TWO, n_wires=2)
    return noise.NoiseModel((noise.Depolarizing(probability=ONE),), (two,))


def our_noisy_layer(circuit: Circuit, *, engine: str, batch: int) -> Layer:
    """eqx-qdeq's layer under noise."""
    layer = our_layer(circuit, PauliZ(), engine="auto", batch=batch)
    layer = layer.with_noise(noise_model(), engine=engine)

    def run(angles: Array, x: Array) -> Array:
        return eqx.tree_at(lambda l: l.angles, layer, angles)(x)

    return run


_PAULIS = np.array([[[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]])


def _kraus(n_wires: int) -> list[np.ndarray]:
    p = ONE if n_wires == 1 else TWO
    weights = np.array([1 - p, *([p / (4**n_wires - 1)] * (4**n_wires - 1))])
    products = itertools.product(_PAULIS, repeat=n_wires)
    paulis = [ft.reduce(np.kron, factors) for factors in products]
    return list(np.sqrt(weights)[:, None, None] * np.stack(paulis))


def qujax(circuit: Circuit) -> Layer:
    """qujax's density matrices, gate by gate."""
    import qujax

    n = circuit.n_qubits
    operators, wires, params = [], [], []
    for gate, ws, ps in zip(*circuit.to_qujax(), strict=True):
        operators += [gate, [jnp.asarray(k) for k in _kraus(len(ws))]]
        wires += [ws, ws]
        params += [ps, [[] for _ in range(4 ** len(ws))]]
    function = qujax.get_params_to_densitytensor_func(operators, wires, params, n)
    encoding = AmplitudeEncoding()
    signs = jnp.asarray(PauliZ().diagonals(n), jnp.float32)

    def run(angles: Array, x: Array) -> Array:
        state = encoding.state(x, n)
        rho = jnp.outer(state, state.conj()).reshape((2,) * (2 * n))
        rho = function(angles / jnp.pi, rho).reshape(2**n, 2**n)  # pyright: ignore
        return jnp.dot(signs, jnp.diagonal(rho).real)

    return run


def pennylane(circuit: Circuit) -> Layer:
    """PennyLane's `default.mixed`, traced by JAX."""
    import pennylane as qml

    n = circuit.n_qubits
    encoding = AmplitudeEncoding()

    @qml.qnode(qml.device("default.mixed", wires=n), interface="jax", diff_method="backprop")
    def run(angles: Array, x: Array):
        state: Any = encoding.state(x, n)
        qml.StatePrep(state, wires=range(n), validate_norm=False)
        for gate, wires, params in zip(circuit.gates, circuit.wires, circuit.params, strict=True):
            pennylane_gate(str(gate))(*(angles[p] for p in params), wires=list(wires))
            if len(wires) == 1:
                qml.DepolarizingChannel(ONE, wires[0])
            else:
                qml.QubitChannel(_kraus(2), list(wires))
        return [qml.expval(qml.PauliZ(w)) for w in range(n)]

    return lambda angles, x: jnp.stack(run(angles, x)).astype(x.dtype)


NOISY_PEERS: dict[str, Callable[[Circuit], Layer]] = {"qujax": qujax, "pennylane": pennylane}
