"""Powers of channels: the same noise for a longer time."""

import dataclasses
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import scipy.linalg

from ..noise import (
    AbstractChannel,
    AmplitudeDamping,
    BitFlip,
    CoherentRotation,
    Depolarising,
    depolarising_parameter,
    KrausChannel,
    NoiseModel,
    OverRotation,
    PauliChannel,
    PhaseDamping,
    PhaseFlip,
    PreparationNoise,
    probability_from_parameter,
    Reset,
    ThermalRelaxation,
)


def channel_power(channel: AbstractChannel, power: float | int) -> AbstractChannel:
    r"""$\Lambda^s$: the channel applied s times, for any $s\geq0$. Its Pauli transfer matrix is the
    power of the channel's. Rates that are numbers stay numbers, and arrays arrays.

    **Arguments:**

    - `channel`: the channel.
    - `power`: s.

    **Returns:** a channel of the same kind.

    **Raises:** `ValueError` if the power is negative or no channel (a fractional power need not be
    one), `TypeError` for a channel of an unknown kind.
    """
    _check(power)
    if isinstance(channel, AmplitudeDamping | PhaseDamping | Reset):
        return type(channel)(1 - (1 - channel.probability) ** power)
    if isinstance(channel, BitFlip | PhaseFlip):
        return type(channel)(0.5 - 0.5 * _positive(1 - 2 * channel.probability) ** power)
    if isinstance(channel, Depolarising):
        kept = _positive(1 - depolarising_parameter(channel.probability, channel.n_wires))
        probability = probability_from_parameter(1 - kept**power, channel.n_wires)
        return Depolarising(probability=probability, n_wires=channel.n_wires)
    if isinstance(channel, PauliChannel):
        x, y, z = channel.x, channel.y, channel.z
        pairs = (y + z, x + z, x + y)
        kx, ky, kz = (_positive(1 - 2 * pair) ** power for pair in pairs)
        powered = ((1 + kx - ky - kz) / 4, (1 - kx + ky - kz) / 4, (1 - kx - ky + kz) / 4)
        return PauliChannel(*map(_no_rounding, powered))
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

    **Arguments:**

    - `noise`: the noise model.
    - `scale`: 0 for none, 1 for the same.

    **Returns:** a [`eqx_qdeq.noise.NoiseModel`][].

    **Raises:** as `channel_power`.
    """
    _check(scale)
    powers = lambda channels: tuple(channel_power(channel, scale) for channel in channels)
    preparation, turned = noise.preparation, noise.over_rotation
    return NoiseModel(
        one_wire=powers(noise.one_wire),
        two_wire=powers(noise.two_wire),
        overrides=tuple(
            dataclasses.replace(each, channels=powers(each.channels)) for each in noise.overrides
        ),
        idle=powers(noise.idle),
        over_rotation=None
        if turned is None
        else OverRotation(turned.relative * scale, turned.absolute * scale),
        preparation=None
        if preparation is None
        else PreparationNoise(
            powers(preparation.one_wire), powers(preparation.two_wire), preparation.n_gates
        ),
        readout=noise.readout,
    )


def _check(power: float | int) -> None:
    if not power >= 0:
        raise ValueError(f"noise is scaled by at least 0; got {power}.")


def _positive(kept: Any) -> Any:
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
    operators = np.asarray(channel.entries)
    dim = operators.shape[1]
    superoperator = sum(np.kron(k, k.conj()) for k in operators)
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
