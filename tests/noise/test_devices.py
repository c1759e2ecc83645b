"""Models by one number and of real devices, against the calibrations they come from."""

import dataclasses

import jax
import numpy as np
import pytest

from eqx_qdeq import noise
from eqx_qdeq.noise import transfer_of_channels


def infidelity(channels, n_wires: int) -> float:
    """The average gate infidelity, by Nielsen's formula."""
    matrix, dim = np.asarray(transfer_of_channels(channels, n_wires), float), 2**n_wires
    return 1 - (np.trace(matrix) / dim + 1) / (dim + 1)


@pytest.mark.parametrize("name", noise.DEVICES)
def test_gates_have_the_published_infidelity(name: str, x64: bool):
    calibration, model = noise.DEVICES[name], noise.device_model(name)
    tolerance = 1e-9 if x64 else 2e-6
    assert infidelity(model.one_wire, 1) == pytest.approx(calibration.one_wire, abs=tolerance)
    assert infidelity(model.two_wire, 2) == pytest.approx(calibration.two_wire, abs=tolerance)
    assert model.after("Rz", (0,)) == ()
    assert len(model.idle) == (calibration.t2 is not None)
    assert all(isinstance(leaf, float) for leaf in jax.tree.leaves(model))  # nothing is trained
    assert noise.device_model(name, preparation=False).preparation is None


def of_qubits(data: dict, key: str) -> float:
    return np.median([e["value"] for qubit in data["qubits"] for e in qubit if e["name"] == key])


def of_gates(data: dict, names: list[str], key: str) -> float:
    entries = [e for gate in data["gates"] if gate["gate"] in names for e in gate["parameters"]]
    return np.median([e["value"] for e in entries if e["name"] == key])


def test_ibm_medians():
    """The table's numbers, computed anew from Qiskit's snapshots."""
    provider = pytest.importorskip(
        "qiskit_ibm_runtime.fake_provider", reason='pip install ".[qiskit]"'
    )
    for name in ("sherbrooke", "torino", "fez"):
        ours = noise.DEVICES[f"ibm_{name}"]
        data = getattr(provider, f"Fake{name.title()}")().properties().to_dict()
        if not str(data["last_update_date"]).startswith(ours.date):
            pytest.skip("another snapshot than that of the table")
        found = [
            of_gates(data, ["sx"], "gate_error"),
            of_gates(data, ["ecr", "cz"], "gate_error"),
            *(of_qubits(data, k) for k in ("prob_meas1_prep0", "prob_meas0_prep1", "T1", "T2")),
            of_gates(data, ["sx"], "gate_length") / 1000,
            of_gates(data, ["ecr", "cz"], "gate_length") / 1000,
        ]
        table = [ours.one_wire, ours.two_wire, ours.p01, ours.p10, ours.t1, ours.t2]
        table += [ours.one_wire_time, ours.two_wire_time]
        np.testing.assert_allclose(table, found, rtol=1e-3)


def test_google_medians():
    """The table's numbers, computed anew from Cirq's calibration."""
    engine = pytest.importorskip("cirq_google.engine", reason="pip install cirq-google")
    data, ours = engine.load_median_device_calibration("weber"), noise.DEVICES["google_weber"]
    keys = (
        "single_qubit_rb_average_error_per_gate",
        "two_qubit_parallel_sycamore_gate_xeb_average_error_per_cycle",
        "parallel_p00_error",
        "parallel_p11_error",
    )
    found = [np.median([value[0] for value in data[key].values()]) for key in keys]
    table = [ours.one_wire, ours.two_wire, ours.p01, ours.p10]
    np.testing.assert_allclose(table, found, rtol=1e-3)


def test_models_by_one_number():
    model = noise.NoiseModel.depolarizing(0.02, preparation=True)
    assert (model.one_wire[0].probability, model.two_wire[0].probability) == (0.002, 0.02)
    assert model.preparation is not None and model.preparation.two_wire == model.two_wire
    assert noise.NoiseModel.damping(0.02).two_wire[0].n_wires == 1
    assert noise.NoiseModel.readout_error(0.1).readout.p10 == 0.1


def test_bad_calibrations_are_refused():
    with pytest.raises(ValueError, match="ibm_sherbrooke"):
        noise.device_model("ibm_atlantis")
    slow = noise.Calibration("", "", 1e-4, 1e-3, 0.0, 0.0, 50.0, 50.0, 0.05, 1.0)
    with pytest.raises(ValueError, match="`one_wire` must be at least .* relaxation alone"):
        noise.device_model(slow)
    with pytest.raises(TypeError):
        noise.device_model(noise.NoiseModel())


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"one_wire": 0.6}, "`one_wire` must be from 0.0 to 0.5"),
        ({"two_wire": 0.8}, "`two_wire` must be from 0.0 to 0.75"),
        ({"two_wire": -1e-3}, "`two_wire` must be from 0.0"),
        ({"p01": 1.5}, "`p01` must be from 0.0 to 1.0"),
        ({"p10": float("nan")}, "`p10` must be from 0.0 to 1.0"),
        ({"t1": -5.0}, "`t1` must be from 0.0"),
        ({"t2": 0.0}, "`t2` must be positive"),
        ({"t2": 250.0}, "`t2` must be at most 2 * t1 = 200.0"),
        ({"t2": None}, "`t1` and `t2` come together"),
        ({"two_wire_time": -0.1}, "`two_wire_time` must be from 0.0"),
    ],
)
def test_numbers_out_of_range_are_named(changed: dict, message: str):
    good = noise.Calibration("", "", 1e-3, 1e-2, 0.01, 0.02, 100.0, 80.0, 0.03, 0.1)
    with pytest.raises(ValueError) as caught:
        dataclasses.replace(good, **changed)
    assert str(caught.value).startswith(message)
    with pytest.raises(TypeError):
        dataclasses.replace(good, **dict.fromkeys(changed, "0.1"))


def test_the_ends_of_the_ranges():
    """Fully mixed by every gate, and no relaxation at all."""
    mixed = noise.device_model(noise.Calibration("", "", 0.5, 0.75, 0.0, 1.0))
    one, two = (transfer_of_channels(c, k) for c, k in ((mixed.one_wire, 1), (mixed.two_wire, 2)))
    for matrix in (one, two):
        np.testing.assert_allclose(matrix, np.diag([1] + [0] * (len(matrix) - 1)), atol=1e-6)
    inf = float("inf")
    still = noise.device_model(noise.Calibration("", "", 0.0, 0.0, 0.0, 0.0, inf, inf, 0.1, 0.1))
    np.testing.assert_allclose(transfer_of_channels(still.two_wire, 2), np.eye(16), atol=1e-6)
