"""An equilibrium and a training step, measured by a Qiskit estimator.

    pip install ".[qiskit]"    # in a checkout
    python examples/hardware.py

The estimator is Aer's, with the noise of a real device and with shots. A device's own estimator
takes its place: everything else stays as it is.
"""

from typing import Annotated, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import tyro

import eqx_qdeq as qdeq


def make_estimator(precision: float) -> Any:
    """Aer's estimator, with the noise that was measured on one of IBM's devices."""
    from qiskit_aer.noise import NoiseModel
    from qiskit_aer.primitives import EstimatorV2
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    noise = NoiseModel.from_backend(FakeManilaV2())
    simulator = {"noise_model": noise, "seed_simulator": 0}
    return EstimatorV2(options={"default_precision": precision, "backend_options": simulator})


def main(
    *,
    samples: Annotated[int, tyro.conf.arg(help="images' worth of random features")] = 4,
    precision: Annotated[float, tyro.conf.arg(help="standard error of each value")] = 0.01,
    learning_rate: float = 0.1,
    smoke: Annotated[bool, tyro.conf.arg(help="one sample, in seconds")] = False,
) -> None:
    """An equilibrium and a training step, measured by a Qiskit estimator."""
    try:
        estimator = make_estimator(precision)
    except ImportError as error:
        print(f'skipped: needs Qiskit, pip install ".[qiskit]" in a checkout ({error})')
        return
    samples = 1 if smoke else samples
    keys = jax.random.split(jax.random.key(0), 3)
    layer = qdeq.QuantumLayer(
        qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
        qdeq.AmplitudeEncoding(),
        qdeq.PauliZ(),
        key=keys[0],
    )
    simulated = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=4)))
    # The same module, one argument more. No solve can be more accurate than its values.
    measured: Any = qdeq.hardware.on_estimator(simulated, estimator, tolerance=3 * precision)
    x = jax.random.normal(keys[1], (samples, 4))
    targets = jax.random.uniform(keys[2], (samples, 2), minval=-1, maxval=1)

    @eqx.filter_jit
    def value_and_grad(deq: qdeq.DEQ) -> Any:
        loss = lambda deq: jnp.mean((jax.vmap(deq)(x) - targets) ** 2)
        return eqx.filter_value_and_grad(loss)(deq)

    for name, deq in (("simulated", simulated), ("measured", measured)):
        print(f"{name} equilibrium of the first sample: {deq(x[0]).round(2)}")
        loss, gradient = value_and_grad(deq)
        updates = jax.tree.map(lambda g: -learning_rate * g, gradient)
        after, _ = value_and_grad(eqx.apply_updates(deq, updates))
        print(f"    loss {loss:.2f}, after one step {after:.2f}")
    print(f"{measured.cell.layer.device.n_jobs} jobs")


if __name__ == "__main__":
    tyro.cli(main)
