"""The noise models of the sweeps. All rates are arrays, so that one compiled function serves all
of a structure; nothing is trained with them."""

import jax
import jax.numpy as jnp

from eqx_qdeq import noise


def sweep_noise(kind: str, rate: float) -> noise.NoiseModel:
    """What is wrong at one point of a sweep: see `grid.SWEEPS`."""
    rates = dict.fromkeys(("depolarising", "damping", "dephasing", "preparation", "readout"), 0.0)
    names = {"two_qubit": ("depolarising",), "two_qubit_prepared": ("depolarising", "preparation")}
    for name in names.get(kind, (kind,)):
        rates[name] = rate
    return mixed_noise(**rates)


def mixed_noise(
    depolarising: float = 0.0,
    damping: float = 0.0,
    dephasing: float = 0.0,
    preparation: float = 0.0,
    readout: float = 0.0,
) -> noise.NoiseModel:
    """Everything at once, always in the same structure."""
    model = noise.NoiseModel(
        two_wire=(
            noise.Depolarizing(probability=depolarising, n_wires=2),
            noise.AmplitudeDamping(damping),
            noise.PhaseDamping(dephasing),
        ),
        preparation=noise.PreparationNoise(
            two_wire=(noise.Depolarizing(probability=preparation, n_wires=2),)
        ),
        readout=noise.ReadoutError(readout, readout),
    )
    return _as_arrays(model)


def device_noise(name: str, *, preparation: bool) -> noise.NoiseModel:
    """A device by name."""
    return _as_arrays(noise.device_model(name, preparation=preparation))


def _as_arrays(model: noise.NoiseModel) -> noise.NoiseModel:
    return jax.tree.map(lambda rate: jnp.asarray(rate, jnp.result_type(float)), model)
