"""python -m eqx_qdeq info: what is installed, where it runs, and whether it computes what it
should. Plain text, for a bug report."""

import argparse
import importlib.metadata
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

_CORE = "jax jaxlib equinox optimistix lineax diffrax qujax jaxtyping numpy scipy".split()
# By extra, as in `pip install ".[...]"`; the last ones belong to none.
_EXTRAS = {
    "train": "optax scikit-learn tqdm tyro",
    "plot": "matplotlib",
    "vision": "torchvision",
    "qiskit": "qiskit qiskit-aer qiskit-ibm-runtime",
    "others": "pennylane optuna tensorboardX wandb",
}


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _self_test() -> dict[str, float]:
    """Errors of a circuit, of an equilibrium and of its gradient, against closed forms."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import eqx_qdeq as qdeq

    # One wire, turned by x and then by θ: ⟨Z⟩ = cos(x + θ), and depolarizing noise with the
    # probability p after the gate shrinks it by 1 - 4p/3.
    circuit, encoding = qdeq.Circuit(["Ry"], [[0]], [[0]]), qdeq.AngleEncoding("Y")
    x, theta = 0.4, 0.3
    make = lambda **options: qdeq.QuantumLayer(
        circuit, encoding, qdeq.PauliZ(), angles=jnp.array([theta]), **options
    )
    noise = qdeq.noise.NoiseModel.depolarizing(0.1, one_wire=0.1)
    engines: dict[str, dict[str, Any]] = {
        "statevector": {},
        "operator": {},
        "heisenberg": {},
        "noisy heisenberg": {"noise": noise},
        "noisy density": {"noise": noise},
    }
    errors = {}
    for name, options in engines.items():
        value = make(engine=name.split()[-1], **options)(jnp.array([x]))[0]
        shrunk = 1 - 4 * 0.1 / 3 if options else 1.0
        errors[name] = abs(float(value) - shrunk * np.cos(x + theta))
    # With its value fed back, z = cos(x + θ + z) at x = -θ: the Dottie number, whose derivative by
    # x is -s / (1 + s) with s = sin z.
    deq = qdeq.DEQ(qdeq.QuantumCell(make(), qdeq.AddInjection(1)))
    value, slope = jax.value_and_grad(lambda x: deq(x[None])[0])(jnp.array(-theta))
    z = 0.7390851332151607
    errors["equilibrium"] = abs(float(value) - z)
    errors["its gradient"] = abs(float(slope) + np.sin(z) / (1 + np.sin(z)))
    return {name: float(error) for name, error in errors.items()}


def info() -> dict[str, Any]:
    """What `python -m eqx_qdeq info` tells."""
    import jax

    import eqx_qdeq as qdeq

    started = time.perf_counter()
    precision = str(jax.numpy.result_type(float))
    # Of the equilibrium no more than the default tolerance of a solve may be asked.
    tolerance = 1e-8 if precision == "float64" else 1e-5
    try:
        devices = [f"{d.platform}: {d.device_kind}" for d in jax.devices()]
        errors = _self_test()
        bad = [name for name, error in errors.items() if not error < tolerance]
        largest = max(errors.values())
        test = f"FAILED: {', '.join(bad)}" if bad else "passed"
    # A report of a broken installation is the one that is wanted.
    except Exception as error:
        devices, largest, test = [], None, f"FAILED: {type(error).__name__}: {error}"
    return {
        "eqx_qdeq": qdeq.__version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in _CORE},
        "devices": devices,
        "precision": precision,
        "matmul_precision": str(getattr(jax.config, "jax_default_matmul_precision", None)),
        "extras": {
            extra: {name: _version(name) for name in names.split()}
            for extra, names in _EXTRAS.items()
        },
        "self_test": test,
        "largest_error": largest,
        "seconds": round(time.perf_counter() - started, 1),
    }


def _as_text(found: dict[str, Any]) -> str:
    versions = lambda names: ", ".join(f"{n} {v}" if v else f"no {n}" for n, v in names.items())
    lines = {
        "eqx-qdeq": f"{found['eqx_qdeq']}, Python {found['python']}, {found['platform']}",
        "core": versions(found["versions"]),
        "devices": ", ".join(found["devices"]) or "none",
        "precision": f"{found['precision']}, matmul {found['matmul_precision']}",
        **{extra: versions(names) for extra, names in found["extras"].items()},
        "self-test": f"{found['self_test']} (largest error {found['largest_error']}, "
        f"{found['seconds']} s)",
    }
    return "\n".join(f"{name:<10} {text}" for name, text in lines.items())


def main(arguments: list[str] | None = None, write: Callable[[str], Any] = print) -> int:
    """The command; its exit status is 1 if the self-test failed."""
    parser = argparse.ArgumentParser(prog="python -m eqx_qdeq", description="eqx-qdeq")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    about = commands.add_parser("info", help="versions, devices, extras and a self-test")
    about.add_argument("--json", action="store_true", help="as JSON")
    asked = parser.parse_args(arguments)
    report = info()
    write(json.dumps(report, indent=2) if asked.json else _as_text(report))
    return 0 if report["self_test"] == "passed" else 1


if __name__ == "__main__":
    sys.exit(main())
