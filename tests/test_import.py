"""What importing the package does, in processes of their own: nothing that a user has to wait for,
or that decides something for them."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.usefixtures("once")


def _run(code: str, **environment: str) -> str:
    env = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")} | environment
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# Wanted by few programs, and slow to import or not installed everywhere.
HEAVY = "matplotlib optax pennylane qiskit qujax scipy.linalg sklearn torch tqdm tyro".split()


def test_no_backend_and_nothing_heavy() -> None:
    """In one process: no backend is started, so its settings are still free and it may fork."""
    code = f"""
import os, sys
import diffrax, equinox, jax, jaxtyping, lineax, optimistix
before = set(sys.modules)
import eqx_qdeq
from jax._src import xla_bridge
assert not xla_bridge.backends_are_initialized()
heavy = [name for name in {HEAVY!r} if name in sys.modules and name not in before]
assert not heavy, heavy
jax.config.update("jax_num_cpu_devices", 3)
child = os.fork()
if child == 0:
    os._exit(0 if float(eqx_qdeq.z_and_zz(2).size(2)) == 3 and len(jax.devices()) == 3 else 1)
assert os.waitpid(child, 0)[1] == 0
assert len(jax.devices()) == 3
"""
    _run(code)


def test_training_starts_no_backend_either() -> None:
    _run(
        "import eqx_qdeq.training, eqx_qdeq.plotting\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()"
    )


def test_a_cluster_may_be_joined_after_the_import() -> None:
    code = """
import socket
import eqx_qdeq, jax
with socket.socket() as found:
    found.bind(("127.0.0.1", 0))
    address = f"127.0.0.1:{found.getsockname()[1]}"
jax.distributed.initialize(address, num_processes=1, process_id=0)
assert jax.process_count() == 1
jax.distributed.shutdown()
"""
    _run(code)


@pytest.mark.parametrize("x64", ["0", "1"])
def test_gates_under_strict_promotion_from_the_start(x64: str) -> None:
    """qujax mixes dtypes and ranks, in its definitions too; what is used of it must not care."""
    code = """
import eqx_qdeq as qdeq, jax, jax.numpy as jnp
circuit = qdeq.circuits.strongly_entangling(2, 1)
layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(0))
print(layer(jnp.ones(4)).dtype)
"""
    strict = {"JAX_NUMPY_DTYPE_PROMOTION": "strict", "JAX_NUMPY_RANK_PROMOTION": "raise"}
    assert _run(code, **strict, JAX_ENABLE_X64=x64).strip() == f"float{32 << int(x64)}"
