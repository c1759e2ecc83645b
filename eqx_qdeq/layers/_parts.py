"""Layers whose states lie on several devices: each has its part of every state."""

import functools as ft
from collections.abc import Iterable, Mapping

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Complex, Float

from .._amplitudes import enter, leave, my_part, n_parts, own_rows
from .._checks import describe
from .._inputs import precision
from .._mesh import AMPLITUDES
from ..circuits import Circuit
from ..encodings import (
    AbstractEncoding,
    AbstractStateEncoding,
    AngleEncoding,
    DataReuploading,
    product_state,
)
from ..measurements import AbstractMeasurement, parts_of_forms
from ..simulate import (
    evolve_parts,
    from_complex,
    Gradient,
    in_order,
    make_sharded_plan,
    ShardedPlan,
)
from ._compiled import AbstractPrepared


class PartedCircuit(eqx.Module):
    """A circuit on states that lie on several devices, for use on each of them; its angles may be
    those that all devices have, or what came of `enter`."""

    circuit: Circuit = eqx.field(static=True)
    angles: Float[Array, " n_params"]
    block_size: int = eqx.field(static=True)
    gradient: Gradient = eqx.field(static=True)

    def plan(self, restore: bool = False) -> ShardedPlan:
        return _plan(self.circuit, n_parts(), self.block_size, restore)

    def __call__(
        self, columns: Float[Array, "2 part cols"], *, restore: bool = False
    ) -> Float[Array, "2 part cols"]:
        """The device's part of the columns after the circuit. Their wires stand in an order of
        their own, in which `forms` looks for them; with `restore`, in that in which they came."""
        plan = self.plan(restore)
        out = evolve_parts(plan, self.angles, columns, AMPLITUDES, self.gradient)
        return in_order(plan, out) if restore else out

    def forms(
        self,
        measurement: AbstractMeasurement,
        left: Float[Array, "2 part a"],
        right: Float[Array, "2 part b"],
    ) -> Float[Array, "m a b"]:
        """What this device adds to the observables between columns after the circuit."""
        return parts_of_forms(measurement, left, right, self.plan().order)


@ft.lru_cache(maxsize=64)
def _plan(circuit: Circuit, n_devices: int, block_size: int, restore: bool) -> ShardedPlan:
    return make_sharded_plan(circuit, n_devices, block_size, restore=restore)


def own_columns(
    vectors: Float[Array, "p cols"], n_qubits: int, *, is_complex: bool
) -> Float[Array, "2 part cols"]:
    """This device's part of states, given as an encoding gives their amplitudes."""
    if is_complex:
        parts = vectors.reshape(2, 2**n_qubits, -1)
        return jax.vmap(lambda part: own_rows(part, 2**n_qubits))(parts)
    real = own_rows(vectors, 2**n_qubits)
    return jnp.stack([real, jnp.zeros_like(real)])


def own_zero(n_qubits: int, dtype: np.dtype) -> Float[Array, "2 part 1"]:
    """This device's part of |0…0⟩."""
    return own_columns(jnp.ones((1, 1), dtype), n_qubits, is_complex=False)


def own_state(
    encoding: AbstractStateEncoding, x: Float[Array, " d"], n_qubits: int
) -> Float[Array, "2 part 1"]:
    """This device's part of the state of a sample."""
    if not isinstance(encoding, AngleEncoding):
        vectors = encoding.amplitudes(x, n_qubits)[:, None]
        return own_columns(vectors, n_qubits, is_complex=encoding.is_complex)
    # A product state: what the wires of the devices have is one number on each device.
    k, rounds = n_parts().bit_length() - 1, encoding.rotations(x, n_qubits)
    local = product_state([gates[k:] for gates in rounds])
    there = product_state([gates[:k] for gates in rounds])[my_part()] if k else 1
    return from_complex(there * local)[..., None]


def with_rotations(
    circuit: Circuit, at: Mapping[int, Iterable[tuple[str, int, int]]], scale: float = 1.0
) -> Circuit:
    """The circuit with rotations before some of its gates: at each position those of an axis, a
    wire, and the number of their angle behind those of the circuit."""
    rows = []
    for position in range(len(circuit) + 1):
        for axis, wire, number in at.get(position, ()):
            rows.append((f"R{axis.lower()}", [wire], [circuit.n_params + number], [scale], [0.0]))
        if position < len(circuit):
            columns = (circuit.gates, circuit.wires, circuit.params, circuit.scales)
            own = [column[position] for column in (*columns, circuit.offsets)]
            rows.append(tuple(own))
    gates, wires, params, scales, offsets = zip(*rows, strict=True)
    return Circuit(gates, wires, params, circuit.n_qubits, scales=scales, offsets=offsets)


def check_parted(engine: str, noise: object, device: object) -> None:
    """Raises a `ValueError` for layers that compute other things than pure states."""
    for what, there, remedy in (
        (f"engine {engine!r}", engine not in ("auto", "statevector"), "engine='auto'"),
        (f"`noise` {describe(noise)}", noise is not None, "`exact(model)`"),
        (f"`device` {describe(device)}", device is not None, "`exact(model)`"),
    ):
        if there:
            raise ValueError(
                f"a layer with {what} has no state vectors that could lie on several devices. Use "
                f"a mesh without an axis {AMPLITUDES!r}, or {remedy}."
            )


class AbstractPreparedParts(AbstractPrepared):
    """A preparation of a state that lies on several devices, where nobody has all of it."""

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        raise _whole("`state`")

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        raise _whole("`probabilities`")


def _whole(what: str) -> ValueError:
    return ValueError(
        f"{what} would be all of a state, which lies on several devices here; use `measure`, e.g. "
        "`fn.measure(Probabilities([0, 1]), z)`, and `exact(model)` in place of shots."
    )


class PartedLayer(AbstractPreparedParts):
    """Encodes, applies the circuit and measures, on each device its own part."""

    run: PartedCircuit
    encoding: AbstractEncoding
    measurement: AbstractMeasurement

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        return self.measure(self.measurement, x)

    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " d"]
    ) -> Float[Array, " k"]:
        n = self.run.circuit.n_qubits
        x = enter(self.encoding.accept(x, n, precision(self.run)))
        run = self.run
        if isinstance(self.encoding, DataReuploading):
            run = _reuploading(run, self.encoding, x)
            column = own_zero(n, x.dtype)
        else:
            assert isinstance(self.encoding, AbstractStateEncoding)
            column = own_state(self.encoding, x, n)
        column = run(column)
        return leave(run.forms(enter(measurement), column, column)[:, 0, 0])


def _reuploading(
    run: PartedCircuit, encoding: DataReuploading, x: Float[Array, " d"]
) -> PartedCircuit:
    # The data's rotations are gates whose angles are the sample.
    turns, circuit = encoding.encoding, run.circuit
    layout = turns.resolve(x.shape[0], circuit.n_qubits)
    data = [(axis, wire, i) for i, (axis, wire) in enumerate(layout)]
    both = with_rotations(circuit, dict.fromkeys(encoding.cuts(len(circuit)), data), turns.scale)
    return PartedCircuit(both, jnp.concatenate([run.angles, x]), run.block_size, run.gradient)
