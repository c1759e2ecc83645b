"""The same layer on other simulators: x ↦ ⟨Z⟩ on every wire after the circuit on x/‖x‖."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array

from eqx_qdeq import (
    AbstractMeasurement,
    AmplitudeEncoding,
    Circuit,
    PauliZ,
    QuantumLayer,
)
from eqx_qdeq.simulate import qujax_state_function

Layer = Callable[[Array, Array], Array]
"""`(angles, x) -> values` for one sample."""


def ours(circuit: Circuit, *, engine: str = "auto", batch: int = 256) -> Layer:
    """eqx-qdeq's own layer, planned for batches of this size."""
    layer = our_layer(circuit, PauliZ(), engine=engine, batch=batch)

    def run(angles: Array, x: Array) -> Array:
        return eqx.tree_at(lambda l: l.angles, layer, angles)(x)

    return run


def our_layer(
    circuit: Circuit, measurement: AbstractMeasurement, *, engine: str, batch: int
) -> QuantumLayer:
    """The module behind `ours`."""
    return QuantumLayer(
        circuit,
        AmplitudeEncoding(),
        measurement,
        key=jax.random.key(0),
        engine=engine,
        expected_batch=batch,
    )


def qujax(circuit: Circuit) -> Layer:
    """qujax, gate by gate on each sample's state."""
    n = circuit.n_qubits
    function = qujax_state_function(circuit)
    encoding, measurement = AmplitudeEncoding(), PauliZ()

    def run(angles: Array, x: Array) -> Array:
        state = encoding.state(x, n).reshape((2,) * n)
        return measurement.values(function(angles, state).reshape(-1))

    return run


class MatrixOnce(eqx.Module):
    """qujax's gates on the basis states, once for a batch or a solve, and their matrix on each
    sample: what one would write who knows that the angles are the same for all."""

    circuit: Circuit = eqx.field(static=True)

    def bound(self, angles: Array, n_features: int) -> Callable[[Array], Array]:
        """`x -> values` at these angles, with the matrix already there."""
        n, function = self.circuit.n_qubits, qujax_state_function(self.circuit)
        basis = jnp.eye(n_features, 2**n, dtype=angles.dtype).reshape(-1, *(2,) * n)
        matrix = jax.vmap(function, (None, 0))(angles, basis).reshape(n_features, -1)
        parts = jnp.stack([matrix.real, matrix.imag])

        def values(x: Array) -> Array:
            real, imag = jnp.matmul(x / jnp.linalg.norm(x), parts, precision="highest")
            return PauliZ().values(jax.lax.complex(real, imag))

        return values

    def __call__(self, angles: Array, x: Array) -> Array:
        return self.bound(angles, x.size)(x)


def pennylane(circuit: Circuit) -> Layer:
    """PennyLane's `default.qubit`, traced by JAX."""
    import pennylane as qml

    n = circuit.n_qubits
    encoding = AmplitudeEncoding()

    @qml.qnode(qml.device("default.qubit", wires=n), interface="jax", diff_method="backprop")
    def run(angles: Array, x: Array):
        state: Any = encoding.state(x, n)
        qml.StatePrep(state, wires=range(n), validate_norm=False)
        for gate, wires, params in zip(circuit.gates, circuit.wires, circuit.params, strict=True):
            pennylane_gate(str(gate))(*(angles[p] for p in params), wires=list(wires))
        return [qml.expval(qml.PauliZ(w)) for w in range(n)]

    return lambda angles, x: jnp.stack(run(angles, x)).astype(x.dtype)


def pennylane_gate(name: str) -> Any:
    """PennyLane's operation for one of our gates."""
    import pennylane as qml

    names = {"Rx": "RX", "Ry": "RY", "Rz": "RZ", "CRx": "CRX", "CX": "CNOT", "H": "Hadamard"}
    return getattr(qml, names.get(name, name))


def tensorcircuit(circuit: Circuit) -> Layer:
    """TensorCircuit-NG with its JAX backend."""
    import tensorcircuit as tc

    tc.set_backend("jax")
    n = circuit.n_qubits
    encoding = AmplitudeEncoding()
    names = {"Rx": "rx", "Ry": "ry", "Rz": "rz", "CRx": "crx", "CX": "cnot", "H": "h"}

    def run(angles: Array, x: Array) -> Array:
        tensor: Any = tc.Circuit(n, inputs=encoding.state(x, n))
        for gate, wires, params in zip(circuit.gates, circuit.wires, circuit.params, strict=True):
            if gate == "SX":
                tensor.any(*wires, unitary=jnp.array([[1 + 1j, 1 - 1j], [1 - 1j, 1 + 1j]]) / 2)
            elif params:
                getattr(tensor, names[gate])(*wires, theta=angles[params[0]])  # pyright: ignore
            else:
                getattr(tensor, names[gate])(*wires)  # pyright: ignore
        return PauliZ().values(tensor.state())

    return run


PEERS: dict[str, Callable[[Circuit], Layer]] = {
    "qujax": qujax,
    "qujax-matrix": MatrixOnce,
    "pennylane": pennylane,
    "tensorcircuit-ng": tensorcircuit,
}


def available(
    circuit: Circuit,
    names: Iterable[str],
    peers: Mapping[str, Callable[[Circuit], Layer]] = PEERS,
) -> dict[str, Layer]:
    """The layers of the peers that are installed; the others are named in the output."""
    layers = {}
    for name in names:
        if name not in peers:
            continue  # one that has no such circuits
        try:
            layers[name] = peers[name](circuit)
        except ImportError:
            print(f"(not installed, left out: {name})")
    return layers
