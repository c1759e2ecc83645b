"""NoiseModel: which channels follow which gates, and what else goes wrong."""

from typing import Any

import equinox as eqx

from .._checks import check_at_least, check_choice, check_instance, optional_wires
from .._deprecated import warn_renamed
from ..circuits import GATES
from ._channel import AbstractChannel, Rate, rate
from ._channels import AmplitudeDamping, Depolarizing
from ._readout import ReadoutError

Channels = tuple[AbstractChannel, ...]
"""Channels that act one after the other, the first one first; `()` for none."""


class OverRotation(eqx.Module):
    r"""Every rotation turns by too much: by $(1+r)\,\alpha+a$ instead of α.

    It concerns gates that rotate by an angle of their own (Rx, CRz, ZZPhase and the like; of U3,
    PhasedX and CU3 the angle of the rotation, not that of its axis). Gates without an angle, U2
    and functions stay as they are: give them a [`eqx_qdeq.noise.CoherentRotation`][].

    !!! example

        ```python
        import eqx_qdeq as qdeq

        # All rotations turn by 2 % too much.
        too_far = qdeq.noise.OverRotation(relative=0.02)
        model = qdeq.noise.NoiseModel(over_rotation=too_far)
        ```
    """

    # Not a channel: it belongs to the gate, whose angle it must know, and turns with its sign.
    relative: Rate = eqx.field(converter=rate("relative"), default=0.0)
    absolute: Rate = eqx.field(converter=rate("absolute"), default=0.0)


OverRotation.__init__.__doc__ = """**Arguments:**

- `relative`: r, without unit.
- `absolute`: a in radians.
"""


class GateNoise(eqx.Module):
    """The channels after some gates, in place of those that a model has for all gates.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        weak, strong = (qdeq.noise.Depolarizing(p, n_wires=2) for p in (0.01, 0.05))
        model = qdeq.noise.NoiseModel(
            two_wire=(weak,),
            overrides=(qdeq.noise.GateNoise((strong,), gate="CX", wires=(0, 1)),),
        )
        model.after("CX", (0, 1)) == (strong,)  # True
        model.after("CX", (1, 2)) == (weak,)  # True
        ```
    """

    channels: Channels
    gate: str | None = eqx.field(static=True, default=None)
    wires: tuple[int, ...] | None = eqx.field(static=True, converter=optional_wires, default=None)

    def __check_init__(self) -> None:
        if self.gate is None and self.wires is None:
            raise ValueError("`GateNoise` names neither a `gate` nor `wires`; name at least one.")
        # A name that no gate has would match nothing, and the noise be missing.
        if isinstance(self.gate, str):
            check_choice("GateNoise(gate=...)", self.gate, tuple(GATES))
        for wire in self.wires or ():
            check_at_least("GateNoise(wires=...)", wire, 0)
        _check_channels(self.channels, "GateNoise(channels=...)")

    def matches(self, gate: object, wires: tuple[int, ...]) -> bool:
        """Whether the channels follow this gate."""
        return self.gate in (None, gate) and self.wires in (None, wires)


GateNoise.__init__.__doc__ = """**Arguments:**

- `channels`: what follows the gates; `()` for gates without noise.
- `gate`: the name of the gates, e.g. `"CX"`; all gates if left out.
- `wires`: the wires of the gates, in the gate's own order, e.g. `(0, 1)`; all wires if left out.

**Raises:** `ValueError` if neither is given.
"""


class PreparationNoise(eqx.Module):
    r"""The noise of the gates that prepare the encoded state.

    - *Amplitude encodings.* An arbitrary state on n wires costs $2^n-2$ CX gates (and as many
      rotations, which are not counted): so many times do `two_wire` channels act, spread evenly
      over the pairs of neighboring wires in a ring. They act on the prepared state: what an early
      error does to the gates after it is left out.
    - *Angle encodings and re-uploading.* Every feature is a rotation, which `one_wire` channels
      follow.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        channels = (qdeq.noise.Depolarizing(0.01, n_wires=2),)
        noise = qdeq.noise.PreparationNoise(two_wire=channels)
        noise.pairs(3)  # {(0, 1): 2, (1, 2): 2, (2, 0): 2}
        ```

    ??? cite "Reference"

        V. Bergholm, J. J. Vartiainen, M. Möttönen and M. M. Salomaa, "Quantum circuits with
        uniformly controlled one-qubit gates", Phys. Rev. A 71, 052330 (2005).
    """

    one_wire: Channels = ()
    two_wire: Channels = ()
    n_gates: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        _check_one_wire(self.one_wire, "one_wire")
        _check_channels(self.two_wire, "two_wire")
        if self.n_gates is not None and self.n_gates < 0:
            raise ValueError(f"`n_gates` must be at least 0; got {self.n_gates}.")

    def pairs(self, n_qubits: int) -> dict[tuple[int, int], int]:
        """How many two-wire gates of an amplitude encoding act on which wires.

        **Raises:** `ValueError` for two-wire gates on one wire.
        """
        count = 2**n_qubits - 2 if self.n_gates is None else self.n_gates
        # Two wires are one pair, not a ring of two.
        ring = [(w, (w + 1) % n_qubits) for w in range(n_qubits if n_qubits > 2 else n_qubits - 1)]
        if count and not ring:
            raise ValueError(f"one wire has no two-wire gates, but `n_gates` is {count}; use 0.")
        # The first `count % len(ring)` pairs have one gate more than the others.
        each = {pair: (count + len(ring) - 1 - i) // len(ring) for i, pair in enumerate(ring)}
        return {pair: times for pair, times in each.items() if times}


PreparationNoise.__init__.__doc__ = """**Arguments:**

- `one_wire`: channels after each rotation of an angle encoding.
- `two_wire`: channels after each two-wire gate of an amplitude encoding.
- `n_gates`: the two-wire gates of an amplitude encoding; 2ⁿ - 2 if left out.

**Raises:** `ValueError` for a negative number, or a channel on two wires given as `one_wire`.
"""


class NoiseModel(eqx.Module):
    """What goes wrong in a circuit. A model without arguments is the noiseless circuit.

    A channel on one wire acts on each wire of the gate that it follows, one on two wires on both.
    Channels act in the order given.

    Numbers are fixed and JAX arrays can be trained, as everywhere here: give rates as numbers
    unless you mean to learn them.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        model = qdeq.noise.NoiseModel(
            one_wire=(qdeq.noise.AmplitudeDamping(0.001),),
            two_wire=(qdeq.noise.Depolarizing(0.01, n_wires=2),),
            readout=qdeq.noise.ReadoutError(0.01, 0.02),
        )
        learned = qdeq.noise.NoiseModel.depolarizing(jnp.array(0.01))  # a rate to train
        ```
    """

    one_wire: Channels = ()
    two_wire: Channels = ()
    overrides: tuple[GateNoise, ...] = ()
    idle: Channels = ()
    over_rotation: OverRotation | None = None
    preparation: PreparationNoise | None = None
    readout: ReadoutError | None = None

    def __check_init__(self) -> None:
        _check_one_wire(self.one_wire, "one_wire")
        _check_one_wire(self.idle, "idle")
        _check_channels(self.two_wire, "two_wire")
        for name, wanted in (
            ("over_rotation", "an OverRotation"),
            ("preparation", "a PreparationNoise"),
            ("readout", "e.g. `ReadoutError(0.01, 0.02)`"),
        ):
            check_instance(name, getattr(self, name), eqx.Module | None, wanted)
        check_instance(
            "overrides", self.overrides, tuple, "a tuple, e.g. `(GateNoise(channels, 'CX'),)`"
        )
        for each in self.overrides:
            check_instance("overrides", each, GateNoise, "a tuple of GateNoise")

    def after(self, gate: object, wires: tuple[int, ...]) -> Channels:
        """The channels that follow a gate.

        **Raises:** `ValueError` if it acts on three wires or more and there is noise on two, or if
        a channel does not fit its wires.
        """
        named = [each.channels for each in self.overrides if each.matches(gate, wires)]
        channels = named[0] if named else self.one_wire if len(wires) == 1 else self.two_wire
        # Errors on pairs say nothing about three wires; to guess would be silently wrong.
        if channels and not named and len(wires) > 2:
            raise ValueError(
                f"no noise is defined for a gate on {len(wires)} wires; write it as gates on one "
                "and two wires, or name it in `overrides`."
            )
        for channel in channels:
            if channel.n_wires not in (1, len(wires)):
                raise ValueError(
                    f"{type(channel).__name__} on {channel.n_wires} wires cannot follow a gate on "
                    f"wires {wires}; use channels on one wire, or on as many as the gate has."
                )
        return channels

    def check(self, n_qubits: int) -> None:
        """Raises a `ValueError` if the model names wires that a circuit on `n_qubits` wires does
        not have, or rates of other wires."""
        if self.readout is not None:
            self.readout.check(n_qubits)
        # It would match no gate, and its noise be missing.
        for each in self.overrides:
            if any(wire >= n_qubits for wire in each.wires or ()):
                raise ValueError(
                    f"the noise model has noise of gates on wires {each.wires}, and the circuit "
                    f"has {n_qubits} wires; choose the qubits for it, e.g. with "
                    "`from_aer(..., qubits=...)`."
                )

    @staticmethod
    def depolarizing(
        probability: Rate, *, one_wire: Rate | None = None, preparation: bool = False
    ) -> "NoiseModel":
        """Depolarizing noise after every gate, by one number.

        **Arguments:**

        - `probability`: of an error after a gate on two wires. A number is fixed, an array trained.
        - `one_wire`: of an error after a gate on one wire; a tenth of it if left out.
        - `preparation`: whether the gates that prepare the encoded state have the same errors.
        """
        # A tenth: what separates the two kinds of gates on superconducting devices, roughly.
        two = Depolarizing(probability=probability, n_wires=2)
        one = Depolarizing(probability=0.1 * two.probability if one_wire is None else one_wire)
        return _everywhere((one,), (two,), preparation)

    @staticmethod
    def depolarising(*args: Any, **kwargs: Any) -> "NoiseModel":
        # The old name, for one more release.
        warn_renamed("NoiseModel.depolarising", "NoiseModel.depolarizing")
        return NoiseModel.depolarizing(*args, **kwargs)

    @staticmethod
    def damping(probability: Rate, *, preparation: bool = False) -> "NoiseModel":
        """Amplitude damping on every wire of every gate on two wires, by one number; a tenth of it
        after gates on one wire. Arguments as for `depolarizing`."""
        two = AmplitudeDamping(probability)
        one = AmplitudeDamping(0.1 * two.probability)
        return _everywhere((one,), (two,), preparation)

    @staticmethod
    def readout_error(probability: Rate) -> "NoiseModel":
        """Perfect gates, and every measured bit flipped with this probability."""
        return NoiseModel(readout=ReadoutError(probability, probability))


NoiseModel.__init__.__doc__ = """**Arguments:**

- `one_wire`: channels after each gate on one wire.
- `two_wire`: channels after each gate on two wires.
- `overrides`: [`eqx_qdeq.noise.GateNoise`][] for some gates; the first that matches replaces
    `one_wire` or `two_wire`.
- `idle`: channels on a wire in each moment in which it waits. Gates are scheduled as early as
    possible, in moments that all last equally long. Encoding and circuit are scheduled apart, and
    so are the sections between which features or values are put in.
- `over_rotation`: rotations turn by too much.
- `preparation`: noise of the gates that prepare the encoded state.
- `readout`: confusion of the measured bits.

**Raises:** `ValueError` if a channel on two wires is given for gates on one.
"""


def _everywhere(one_wire: Channels, two_wire: Channels, preparation: bool) -> NoiseModel:
    noise = PreparationNoise(one_wire, two_wire) if preparation else None
    return NoiseModel(one_wire, two_wire, preparation=noise)


def _check_channels(channels: Channels, name: str) -> None:
    wanted = "a tuple of channels, e.g. `(Depolarizing(0.01),)`"
    check_instance(name, channels, tuple | list, wanted)
    for channel in channels:
        check_instance(name, channel, AbstractChannel, wanted)


def _check_one_wire(channels: Channels, name: str) -> None:
    _check_channels(channels, name)
    for channel in channels:
        if channel.n_wires != 1:
            raise ValueError(
                f"`{name}` takes channels on one wire; got {type(channel).__name__} on "
                f"{channel.n_wires}. Give it as `two_wire`."
            )
