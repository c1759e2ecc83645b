"""Circuits of every kind, and their unitaries from PennyLane."""

import contextlib
import functools as ft
from collections.abc import Callable, Iterator

import hypothesis
import jax
import numpy as np
import pennylane as qml
from hypothesis import strategies as st

from eqx_qdeq import Circuit, circuits
from tests._pennylane import GATES


@contextlib.contextmanager
def default_promotion() -> Iterator[None]:
    """For qujax, which mixes dtypes and ranks as JAX does by default, already when imported."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


with default_promotion():
    import qujax as qujax


def tilted(a, b):
    """A gate given as a function of two angles in radians, without JAX: Rz(b) Ry(a)."""
    c, s = np.cos(a / 2), np.sin(a / 2)
    return np.diag(np.exp([-0.5j * b, 0.5j * b])) @ np.array([[c, -s], [s, c]])


def _random_unitary(n_wires: int) -> np.ndarray:
    rng = np.random.default_rng(n_wires)
    size = (2**n_wires, 2**n_wires)
    return np.linalg.qr(rng.normal(size=size) + 1j * rng.normal(size=size))[0]


ARRAYS = {k: _random_unitary(k) for k in (1, 2)}


def given(*strategies: st.SearchStrategy) -> Callable:
    """`hypothesis.given`, which also calls what `any_circuit` draws.

    Inside a strategy Hypothesis forbids random numbers, and beartype, which watches over `Circuit`,
    takes some.
    """

    def decorate(test):
        @hypothesis.given(*strategies)
        @ft.wraps(test)
        def run(*args, **kwargs):
            built = lambda x: x() if isinstance(x, ft.partial) else x
            test(*map(built, args), **{name: built(x) for name, x in kwargs.items()})

        return run

    return decorate


@st.composite
def any_circuit(draw, n_qubits=None, functions=True, max_gates=7) -> Callable[[], Circuit]:
    """Gates of every kind; some share a parameter, some angles are scaled and shifted.

    Draws a function that builds the circuit: use it with `given` above.
    """
    n = draw(st.integers(1, 3)) if n_qubits is None else n_qubits
    kinds: list = [name for name, info in circuits.GATES.items() if info.n_wires <= n]
    kinds += [k for k in ARRAYS if k <= n] + ([tilted] if functions else [])
    gates = [draw(st.sampled_from(kinds)) for _ in range(draw(st.integers(0, max_gates)))]
    wires, params, scales, offsets = [], [], [], []
    used = 0
    for g, gate in enumerate(gates):
        if isinstance(gate, str):
            n_wires, n_params = circuits.GATES[gate].n_wires, circuits.GATES[gate].n_params
        elif isinstance(gate, int):
            n_wires, n_params, gates[g] = gate, 0, ARRAYS[gate]
        else:
            n_wires, n_params = 1, 2
        wires.append(tuple(draw(st.permutations(range(n)))[:n_wires]))
        indices = []
        for _ in range(n_params):
            indices.append(draw(st.integers(0, used)))
            used = max(used, indices[-1] + 1)
        params.append(tuple(indices))
        scales.append([draw(st.sampled_from([1.0, 1.0, -1.0, 0.5])) for _ in indices])
        offsets.append([draw(st.sampled_from([0.0, 0.0, 0.3])) for _ in indices])
    return ft.partial(Circuit, gates, wires, params, n, scales=scales, offsets=offsets)


def angles_of(circuit: Circuit, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-np.pi, np.pi, circuit.n_params)


def matrix(circuit: Circuit, angles: np.ndarray) -> np.ndarray:
    """The circuit's unitary, in double precision, by PennyLane."""
    operations = []
    for g, gate in enumerate(circuit.gates):
        wires = list(circuit.wires[g])
        slots = zip(circuit.params[g], circuit.scales[g], circuit.offsets[g], strict=True)
        values = [scale * angles[p] + offset for p, scale, offset in slots]
        with qml.queuing.AnnotatedQueue() as queue:
            if isinstance(gate, str):
                GATES[gate](*values, wires=wires[0] if len(wires) == 1 else wires)
            else:
                array = np.asarray(gate(*values) if callable(gate) else gate)
                qml.QubitUnitary(array.reshape(2 ** len(wires), -1), wires)
        operations += qml.tape.QuantumScript.from_queue(queue).operations
    if not operations:
        return np.eye(2**circuit.n_qubits)
    return qml.matrix(qml.tape.QuantumScript(operations), wire_order=range(circuit.n_qubits))


def same_up_to_phase(a: np.ndarray, b: np.ndarray, atol: float) -> bool:
    return bool(abs(abs(np.vdot(a, b)) / len(a) - 1) < atol)


def assert_same_up_to_phase(found: np.ndarray, expected: np.ndarray, atol: float = 1e-12) -> None:
    phase = np.vdot(expected, found)
    np.testing.assert_allclose(found, expected * phase / abs(phase), atol=atol)


def pennylane(function: Callable[[], object], n_qubits: int) -> np.ndarray:
    """The unitary of what a function queues in PennyLane."""
    with qml.queuing.AnnotatedQueue() as queue:
        function()
    operations = qml.tape.QuantumScript.from_queue(queue).operations
    return qml.matrix(qml.tape.QuantumScript(operations), wire_order=range(n_qubits))
