"""The machine: what it is, which versions it runs, and how fast it can be."""

import datetime
import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

import eqx_qdeq

from ._timing import time_in_turn

_PACKAGES = (
    *("jax", "jaxlib", "equinox", "optimistix", "lineax", "optax"),
    *("qujax", "pennylane", "tensorcircuit-ng", "jaxopt", "torchdeq", "torch"),
)


def sgemm_rate(size: int = 1024) -> float:
    """The measured GFLOP/s of a float32 matrix product, the roof for what is made of them."""
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    product = jax.jit(lambda a: jnp.dot(a, a, precision=jax.lax.Precision.HIGHEST))
    timing = time_in_turn({"": lambda: product(a)}, seconds=0.5, min_rounds=10)[""]
    return 2 * size**3 / (1e6 * timing.best)


def copy_bandwidth(mebibytes: int = 64) -> float:
    """The measured GB/s of reading and writing an array too large for the caches.

    In place: into fresh memory, most of the time would go to the operating system.
    """
    increment = jax.jit(lambda x: x + 1, donate_argnums=0)
    x = [jnp.zeros(mebibytes * 2**18, jnp.float32)]

    def call() -> jax.Array:
        x[0] = increment(x[0])
        return x[0]

    timing = time_in_turn({"": call}, seconds=0.5, min_rounds=10)[""]
    return 2 * mebibytes * 2**20 / (1e6 * timing.best)


def environment() -> dict[str, Any]:
    """The machine, the versions and the measured rates."""
    versions: dict[str, str | None] = {"eqx-qdeq": eqx_qdeq.__version__}
    for package in _PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            versions[package] = None
    return {
        "date": datetime.date.today().isoformat(),
        "machine": _processor(),
        "cpus": os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "precision": "float64" if jax.config.jax_enable_x64 else "float32",  # pyright: ignore
        "versions": versions,
        "sgemm_gflops": round(sgemm_rate(), 1),
        "copy_gbytes": round(copy_bandwidth(), 1),
    }


def _processor() -> str:
    """The processor's name; Linux does not tell it through `platform`."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
