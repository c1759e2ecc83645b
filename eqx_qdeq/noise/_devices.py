"""Noise models of real devices, from published calibrations."""

import dataclasses
import math
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from .._checks import check_positive, check_within
from ._channels import Depolarizing, probability_from_parameter, ThermalRelaxation
from ._model import Channels, GateNoise, NoiseModel, PreparationNoise
from ._readout import ReadoutError


@dataclasses.dataclass(frozen=True)
class Calibration:
    """What a device was measured to do at a date.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        mine = qdeq.noise.Calibration(
            date="2026-01-31",
            source="our device",
            one_wire=3e-4,
            two_wire=5e-3,
            p01=0.01,
            p10=0.02,
        )
        model = qdeq.noise.device_model(mine)
        ```

    **Attributes:**

    - `date`, `source`: of the calibration; the numbers are medians over the device unless `source`
        says otherwise.
    - `one_wire`, `two_wire`: average gate infidelities 1 - F̄.
    - `p01`, `p10`: the probabilities to read 1 in |0⟩ and 0 in |1⟩.
    - `t1`, `t2`, `one_wire_time`, `two_wire_time`: in microseconds; `None` where not published.

    **Raises:** `ValueError` or `TypeError` for a number out of range; it names the field and the
    limit.
    """

    date: str
    source: str
    one_wire: float
    two_wire: float
    p01: float
    p10: float
    t1: float | None = None
    t2: float | None = None
    one_wire_time: float | None = None
    two_wire_time: float | None = None

    def __post_init__(self) -> None:
        # A gate that leaves its wires fully mixed has the average fidelity 1/d.
        check_within("one_wire", self.one_wire, 0.0, 1 / 2, "which leaves a wire fully mixed")
        check_within("two_wire", self.two_wire, 0.0, 3 / 4, "which leaves two wires fully mixed")
        check_within("p01", self.p01, 0.0, 1.0, "a probability")
        check_within("p10", self.p10, 0.0, 1.0, "a probability")
        for name in ("t1", "t2", "one_wire_time", "two_wire_time"):
            if (value := getattr(self, name)) is not None:
                check_within(name, value, 0.0, math.inf, "a time in microseconds")
        if (self.t1 is None) != (self.t2 is None):
            raise ValueError(
                f"`t1` and `t2` come together, as waiting needs both; got t1 = {self.t1} and "
                f"t2 = {self.t2}. Leave both out where one is not published."
            )
        if self.t1 is not None and self.t2 is not None:
            check_positive("t1", self.t1)
            check_positive("t2", self.t2)
            if self.t2 > 2 * self.t1 * (1 + 1e-6):  # and some rounding
                raise ValueError(
                    f"`t2` must be at most 2 * t1 = {2 * self.t1}, as relaxation alone takes the "
                    f"phase in that time; got {self.t2}. Of measured values beyond it take 2 * t1."
                )


def _ibm(date: str, processor: str, *numbers: float) -> Calibration:
    source = f"IBM Quantum, {processor}; snapshot in qiskit-ibm-runtime 0.51.0, fake_provider"
    return Calibration(date, source, *numbers)


_GOOGLE = (
    "Google Quantum AI, Sycamore processor; cirq-google 1.7.0, load_median_device_calibration; "
    "simultaneous gates and readout, the two-wire error is that of a cycle with its one-wire gates"
)

DEVICES: Mapping[str, Calibration] = MappingProxyType(
    {
        "ibm_sherbrooke": _ibm(
            "2025-02-26", "Eagle r3, gates SX and ECR",
            2.362e-4, 7.788e-3, 0.02051, 0.01367, 278.4, 170.0, 0.05689, 0.5333,
        ),
        "ibm_torino": _ibm(
            "2025-02-26", "Heron r1, gates SX and CZ",
            2.711e-4, 4.190e-3, 0.02002, 0.02295, 185.0, 140.9, 0.032, 0.068,
        ),
        "ibm_fez": _ibm(
            "2025-02-26", "Heron r2, gates SX and CZ",
            2.287e-4, 3.903e-3, 0.003906, 0.01147, 144.9, 87.95, 0.024, 0.084,
        ),
        "google_weber": Calibration("2021-11-03", _GOOGLE, 1.624e-3, 1.495e-2, 0.01095, 0.05476),
    }
)  # fmt: skip
"""Devices by name."""

# Gates about the z axis are changes of a reference phase: they take no time and have no error.
_VIRTUAL = ("Z", "S", "Sdg", "T", "Tdg", "Rz", "U1")


def device_model(device: str | Calibration, *, preparation: bool = True) -> NoiseModel:
    r"""The noise of a real device, from the medians of a published calibration.

    - A gate relaxes its wires for its time, and depolarizes them as much as it takes for the whole
      to have the published average gate infidelity. Every gate has the error of the device's own
      gate on as many wires, except those about the z axis, which are free.
    - Waiting wires relax for the time of a two-wire gate in each moment.
    - Where the times are not published, gates depolarize alone and waiting is free.
    - Any two wires may interact: gates that move qubits together are not counted.

    The devices are `"ibm_sherbrooke"`, `"ibm_torino"`, `"ibm_fez"` and `"google_weber"`;
    `eqx_qdeq.noise.DEVICES` holds their calibrations with date and source. Devices drift and
    improve: for the state of a day, write a [`eqx_qdeq.noise.Calibration`][].

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        noisy = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            noise=qdeq.noise.device_model("ibm_torino"),
            key=jax.random.key(0),
        )
        noisy([0.1, 0.2]) / qdeq.exact(noisy)([0.1, 0.2])  # [0.948 0.953]
        ```

    **Arguments:**

    - `device`: a name, or a calibration of your own.
    - `preparation`: whether the gates that prepare the encoded state have errors too.

    **Returns:** a [`eqx_qdeq.noise.NoiseModel`][] with fixed rates.

    **Raises:** `ValueError` for an unknown device, or infidelities below what relaxation causes;
    `TypeError` for neither a name nor a calibration.

    ??? cite "Reference"

        M. A. Nielsen, "A simple formula for the average gate fidelity of a quantum dynamical
        operation", Phys. Lett. A 303, 249 (2002).
    """
    if isinstance(device, str):
        if device not in DEVICES:
            raise ValueError(f"`device` must be one of {', '.join(DEVICES)}; got {device!r}.")
        device = DEVICES[device]
    if not isinstance(device, Calibration):
        raise TypeError(
            f"`device` must be a name or a Calibration; got {type(device)}. Models of Qiskit Aer "
            "are read by from_aer."
        )
    one = _gate_channels(device, device.one_wire, device.one_wire_time, 1)
    two = _gate_channels(device, device.two_wire, device.two_wire_time, 2)
    return NoiseModel(
        one_wire=one,
        two_wire=two,
        overrides=tuple(GateNoise((), gate) for gate in _VIRTUAL),
        idle=_relaxation(device, device.two_wire_time),
        preparation=PreparationNoise(one, two) if preparation else None,
        readout=ReadoutError(device.p01, device.p10),
    )


def _relaxation(device: Calibration, time: float | None) -> tuple[ThermalRelaxation, ...]:
    if device.t1 is None or device.t2 is None or time is None:
        return ()
    return (ThermalRelaxation(device.t1, device.t2, time),)


def _gate_channels(
    device: Calibration, infidelity: float, time: float | None, n_wires: int
) -> Channels:
    # The fidelity of the whole is to be the published one: what relaxation leaves of it, the
    # depolarizing channel takes away. The process fidelity of a channel is F = Tr R / 4^k, for the
    # relaxation of one wire (1 + 2 exp(-t/T2) + exp(-t/T1)) / 4; those of several wires multiply.
    # By Nielsen, F̄ = (d F + 1) / (d + 1).
    dim, relaxation = 2**n_wires, _relaxation(device, time)
    decay = phase = 1.0
    for channel in relaxation:
        decay, phase = np.exp(-channel.time / channel.t1), np.exp(-channel.time / channel.t2)
    process = ((1 + decay + 2 * phase) / 4) ** n_wires
    kept = (dim * process + 1) / (dim + 1)
    # By Aer's λ, a mixture with 1/d, whose fidelity with any state is 1/d:
    # 1 - infidelity = (1 - λ) kept + λ / d.
    parameter = (kept - (1 - infidelity)) / (kept - 1 / dim)
    if parameter < 0:
        name = "one_wire" if n_wires == 1 else "two_wire"
        raise ValueError(
            f"`{name}` must be at least {1 - kept:.3g}, the average infidelity of relaxation alone "
            f"in the time `{name}_time` = {time}; got {infidelity:.3g}. Check `t1`, `t2` and the "
            "times."
        )
    probability = float(probability_from_parameter(parameter, n_wires))
    return (Depolarizing(probability=probability, n_wires=n_wires), *relaxation)
