"""The same noise, but stronger: by the rates of a model, or by more gates."""

import dataclasses
import math
from collections.abc import Iterable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from .._checks import can_check, check_choice, is_number
from ..circuits import Circuit
from ..encodings import DataReuploading
from ..layers import layers_of, map_layers, QuantumLayer
from ..noise import (
    AbstractChannel,
    AmplitudeDamping,
    BitFlip,
    CoherentRotation,
    Depolarizing,
    depolarizing_parameter,
    KrausChannel,
    NoiseModel,
    OverRotation,
    PauliChannel,
    PhaseDamping,
    PhaseFlip,
    probability_from_parameter,
    ReadoutError,
    Reset,
    ThermalRelaxation,
)


def scale_noise(module: PyTree, scale: float | int, method: str = "rates") -> PyTree:
    """A module with all its quantum layers under stronger noise: a layer, a cell, an equilibrium,
    a classifier.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.Circuit(["Rx"], [[0]], [[0]]),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            noise=qdeq.noise.NoiseModel.damping(0.1),
            key=jax.random.key(0),
        )
        stronger = qdeq.mitigation.scale_noise(layer, 3)
        len(qdeq.mitigation.scale_noise(layer, 3, "folding").circuit)  # 3
        ```

    **Arguments:**

    - `module`: any pytree with [`eqx_qdeq.QuantumLayer`][]s in it.
    - `scale`: how many times as strong; at least 1 for folding.
    - `method`: `"rates"` scales the noise model ([`eqx_qdeq.mitigation.scale_rates`][]),
        `"folding"` lengthens the circuit ([`eqx_qdeq.mitigation.fold`][]), as one can on hardware:
        the noise of the preparation stays, and the scale is the nearest one that foldings meet
        ([`eqx_qdeq.mitigation.reached_scales`][]).

    **Returns:** the module, with the same angles.

    **Raises:** `ValueError` if nothing in it has noise, for another method, a scale that cannot
    be, or for folding under data re-uploading.
    """
    _noisy_layers(module, method)

    def scaled(layer: QuantumLayer) -> QuantumLayer:
        if layer.noise is None:
            return layer
        if method == "rates":
            return eqx.tree_at(lambda l: l.noise, layer, scale_rates(layer.noise, scale))
        return layer.replace(circuit=fold(layer.circuit, scale))

    return map_layers(scaled, module)


def reached_scales(
    module: PyTree, scales: Sequence[float | int], method: str = "folding"
) -> tuple[float | int, ...]:
    """The noise scales that a module has when it is asked for these: each once, in order.

    Rates can be scaled by any number. A folding adds two gates, so circuits of g gates have the
    scales 1, 1 + 2/g, 1 + 4/g, …, and those that are asked for are met to 1/g.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.Circuit(["Rx"], [[0]], [[0]]),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            noise=qdeq.noise.NoiseModel.depolarizing(0.1),
            key=jax.random.key(0),
        )
        assert qdeq.mitigation.reached_scales(layer, (1, 2, 3)) == (1, 3)
        ```

    **Arguments:**

    - `module`, `method`: as for [`eqx_qdeq.mitigation.scale_noise`][].
    - `scales`: the scales.

    **Returns:** the scales that are reached, in the order of those asked for.

    **Raises:** as `scale_noise`, and `ValueError` if layers of different lengths reach different
    scales: there is no noise scale of the whole then.
    """
    layers = _noisy_layers(module, method)
    if method == "rates":
        for scale in scales:
            _check(scale)
        return tuple(dict.fromkeys(scales))
    reached: dict[float, None] = {}
    for scale in scales:
        sizes = {len(layer.circuit) for layer in layers}
        met = {1 + 2 * _foldings(scale, size) / size if size else 1.0 for size in sizes}
        if max(met) - min(met) > 1e-9:
            raise ValueError(
                f"at scale {scale} the layers of `module`, of {_listed(sizes)} gates, would have "
                f"the scales {_listed(met)}; use odd scales, which foldings reach in all circuits, "
                "or method='rates'."
            )
        reached[met.pop()] = None
    return tuple(reached)


def _listed(numbers: Iterable[float | int]) -> str:
    return " and ".join(f"{number:.6g}" for number in sorted(numbers))


def _noisy_layers(module: PyTree, method: str) -> list[QuantumLayer]:
    """The layers whose noise is scaled."""
    check_choice("method", method, ("rates", "folding"))
    layers = [layer for layer in layers_of(module) if layer.noise is not None]
    if not layers:
        raise ValueError(
            "`module` holds no QuantumLayer with noise to scale; use `with_noise(module, ...)`."
        )
    if method == "folding" and any(isinstance(l.encoding, DataReuploading) for l in layers):
        raise ValueError(
            "folding would move the places at which data are uploaded again; use method='rates'."
        )
    for layer in layers if method == "folding" else ():
        _check_inverses(layer)
    return layers


def _check_inverses(layer: QuantumLayer) -> None:
    """Noise is as strong after a gate as after its inverse, or folding would not scale it."""
    noise, circuit = layer.noise, layer.circuit
    if noise is None or not noise.overrides:
        return  # by the number of wires alone
    inverse = circuit.inverse()
    undoing = zip(circuit.gates, inverse.gates[::-1], circuit.wires, strict=True)
    for gate, other, wires in dict.fromkeys(undoing):
        one, two = noise.after(gate, wires), noise.after(other, wires)
        alike = jax.tree.structure(one) == jax.tree.structure(two)
        pairs = zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True) if alike else ()
        if not alike or not all(a is b or (is_number(a) and a == b) for a, b in pairs):
            raise ValueError(
                f"after {gate!r} on wires {wires} there is other noise than after its inverse "
                f"{other!r}, so that folding would not scale it; name both in `overrides`, or use "
                "method='rates'."
            )


def channel_power(channel: AbstractChannel, power: float | int) -> AbstractChannel:
    r"""$\Lambda^s$: the channel applied s times, for any $s\geq0$. Its Pauli transfer matrix is the
    power of the channel's. Rates that are numbers stay numbers, and arrays arrays.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        twice = qdeq.mitigation.channel_power(qdeq.noise.BitFlip(0.1), 2)
        twice.probability  # 0.18
        ```

    **Arguments:**

    - `channel`: the channel.
    - `power`: s.

    **Returns:** a channel of the same kind.

    **Raises:** `ValueError` if the power is negative or no channel (a fractional power need not be
    one), `TypeError` for a channel of an unknown kind.
    """
    _check(power)
    # Each kind is a family closed under composition: its transfer matrix has eigenvalues that
    # multiply, and the power of a channel has the powers of them. What is kept, 1 - p, multiplies:
    if isinstance(channel, AmplitudeDamping | PhaseDamping | Reset):
        return type(channel)(1 - (1 - channel.probability) ** power)
    # A Pauli error with probability p leaves the factor 1 - 2p of the Paulis that anticommute.
    if isinstance(channel, BitFlip | PhaseFlip):
        return type(channel)(0.5 - 0.5 * _positive(1 - 2 * channel.probability) ** power)
    if isinstance(channel, Depolarizing):
        p, k = channel.probability, channel.n_wires
        kept = _positive(1 - depolarizing_parameter(p, k)) ** power
        return Depolarizing(probability=probability_from_parameter(1 - kept, k), n_wires=k)
    if isinstance(channel, PauliChannel):
        x, y, z = channel.x, channel.y, channel.z
        pairs = (y + z, x + z, x + y)  # what anticommutes with X, with Y and with Z
        kx, ky, kz = (_positive(1 - 2 * pair) ** power for pair in pairs)
        # Back to probabilities: x = (1 + kx - ky - kz) / 4, as 1 - x - y - z is the rest.
        powered = ((1 + kx - ky - kz) / 4, (1 - kx + ky - kz) / 4, (1 - kx - ky + kz) / 4)
        return PauliChannel(*map(_no_rounding, powered))
    # All of a relaxation is exp(-t/T): the power is the time.
    if isinstance(channel, ThermalRelaxation):
        return ThermalRelaxation(channel.t1, channel.t2, channel.time * power)
    if isinstance(channel, CoherentRotation):
        return dataclasses.replace(channel, angle=channel.angle * power)
    if isinstance(channel, KrausChannel):
        return _kraus_power(channel, power)
    raise TypeError(
        f"no power of {type(channel).__name__} is known; use method='folding', or a channel of "
        "eqx_qdeq.noise."
    )


def scale_rates(noise: NoiseModel, scale: float | int) -> NoiseModel:
    """The noise model with every channel to the power `scale` ([`channel_power`]
    [eqx_qdeq.mitigation.channel_power]) and over-rotations that many times as large. Readout stays
    as it is.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        noise = qdeq.noise.NoiseModel.depolarizing(0.01)
        stronger = qdeq.mitigation.scale_rates(noise, 2)
        stronger.two_wire[0].probability  # 0.0199
        ```

    **Arguments:**

    - `noise`: the noise model.
    - `scale`: 0 for none, 1 for the same.

    **Returns:** a [`eqx_qdeq.noise.NoiseModel`][].

    **Raises:** as `channel_power`.
    """
    _check(scale)

    # Readout happens once, however long the circuit: it is a leaf, and stays.
    def scaled(node: Any) -> Any:
        if isinstance(node, AbstractChannel):
            return channel_power(node, scale)
        if isinstance(node, OverRotation):
            return OverRotation(node.relative * scale, node.absolute * scale)
        return node

    is_whole = lambda node: isinstance(node, AbstractChannel | OverRotation | ReadoutError)
    return jax.tree.map(scaled, noise, is_leaf=is_whole)


def fold(circuit: Circuit, scale: float | int) -> Circuit:
    r"""Replaces gates G by $G\,(G^\dagger G)^k$, so that there are `scale` times as many.

    All gates are folded equally often, and for a scale between odd numbers the first ones once
    more. The folded circuit has the same parameters. Noise is scaled as far as the inverse of a
    gate has the same noise as the gate.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        circuit = qdeq.Circuit(["H", "CX", "Rz"], [[0], [0, 1], [1]], [[], [], [0]])
        qdeq.mitigation.fold(circuit, 3)
        # <Circuit: 2 wires, 9 gates, 1 parameters, depth 9>
        ```

    **Arguments:**

    - `circuit`: the circuit.
    - `scale`: how many times as many gates, at least 1. Folding adds gates in pairs, so it is met
        to one gate; `len(folded) / len(circuit)` is what it became.

    **Returns:** an [`eqx_qdeq.Circuit`][].

    **Raises:** `ValueError` for a scale below 1.

    ??? cite "Reference"

        T. Giurgica-Tiron, Y. Hindy, R. LaRose, A. Mari and W. J. Zeng, "Digital zero noise
        extrapolation for quantum error mitigation", IEEE International Conference on Quantum
        Computing and Engineering (2020).
    """
    inverse, size = circuit.inverse(), len(circuit)
    # A folding adds two gates: `whole` foldings of each gate, and one more of the first `more`.
    whole, more = divmod(_foldings(scale, size), max(1, size))
    rows = []
    for g in range(size):
        # The inverse circuit undoes the last gate first: that of gate g is its gate size - 1 - g.
        folds = [(inverse, size - 1 - g), (circuit, g)] * (whole + (g < more))
        for source, at in [(circuit, g), *folds]:
            columns = source.gates, source.wires, source.params, source.scales, source.offsets
            rows.append([column[at] for column in columns])
    gates, wires, params, scales, offsets = zip(*rows, strict=True) if rows else ((),) * 5
    return Circuit(gates, wires, params, circuit.n_qubits, scales=scales, offsets=offsets)


def _foldings(scale: float | int, size: int) -> int:
    """How many pairs of gates bring `size` gates closest to `scale` times as many."""
    _check(scale)
    if not 1 <= scale < math.inf:
        raise ValueError(f"`scale` must be at least 1, since folding adds gates; got {scale}.")
    return round((scale - 1) * size / 2)


def _check(power: float | int) -> None:
    can_check("scale", power)
    if not power >= 0:
        raise ValueError(f"noise is scaled by at least 0; got {power}.")


def _positive(kept: Any) -> Any:
    # A negative number has no real power that is continuous from 1 at s = 0.
    if not eqx.is_array(kept) and kept < 0:
        raise ValueError(
            f"a channel with the factor {kept:.3g} on a Pauli operator has no continuous power; "
            "its error probability is beyond that of complete loss. Use a smaller one."
        )
    return kept


def _no_rounding(rate: Any) -> Any:
    """Without what rounding leaves below zero; larger negative rates are left to be refused."""
    if eqx.is_array(rate):
        return jnp.where((rate < 0) & (rate > -1e-6), 0, rate)
    return 0.0 if -1e-12 < rate < 0 else rate


def _kraus_power(channel: KrausChannel, power: float | int) -> KrausChannel:
    # vec(K ρ K†) = (K ⊗ K*) vec(ρ), row by row: Λ is a matrix S, the superoperator, and its power a
    # power of S. Is that a channel? The Choi matrix C_{(a,i),(b,j)} = S_{(a,b),(i,j)}, which is
    # Σ_k K_ai K*_bj, must have no negative eigenvalue; its eigenvectors, times the square roots of
    # the eigenvalues, are then Kraus operators.
    operators = np.asarray(channel.entries)
    dim = operators.shape[1]
    superoperator = sum(np.kron(k, k.conj()) for k in operators)
    # Here, as it takes as long to import as the rest of the package.
    import scipy.linalg

    powered = scipy.linalg.fractional_matrix_power(superoperator, power)
    choi = powered.reshape((dim,) * 4).transpose(0, 2, 1, 3).reshape(dim**2, dim**2)
    weights, vectors = np.linalg.eigh((choi + choi.conj().T) / 2)
    rest = np.abs(choi - choi.conj().T).max()
    if weights[0] < -1e-8 or rest > 1e-8:
        raise ValueError(
            f"the power {power} of a KrausChannel is no channel (its Choi matrix has the "
            f"eigenvalue {weights[0]:.2g}); use a whole number, or method='folding'."
        )
    kept = weights > 1e-14
    return KrausChannel((vectors[:, kept] * np.sqrt(weights[kept])).T.reshape(-1, dim, dim))
