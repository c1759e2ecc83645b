"""Fair timing: all contestants in one run, in turn, medians and ratios."""

import dataclasses
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds a call, and seconds of the first one (tracing and compiling)."""

    median: float
    best: float
    first: float


def time_in_turn(
    contestants: Mapping[str, Callable[[], Any]], *, seconds: float, min_rounds: int = 7
) -> dict[str, Timing]:
    """Calls every contestant once a round, for about `seconds` in all.

    A machine that slows down meanwhile slows all of them. Each call is waited for.
    """
    first = {}
    for name, call in contestants.items():
        start = time.perf_counter()
        jax.block_until_ready(call())
        first[name] = time.perf_counter() - start
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(next(iter(times.values()))) < min_rounds:
        for name, call in contestants.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            times[name].append(1000 * (time.perf_counter() - start))
    return {name: Timing(statistics.median(ts), min(ts), first[name]) for name, ts in times.items()}


def check_agreement(values: Mapping[str, Any], *, reference: str, atol: float) -> float:
    """Raises unless all contestants compute the same; returns the largest difference."""
    expected = np.concatenate([np.ravel(v) for v in jax.tree.leaves(values[reference])])
    largest = 0.0
    for name, value in values.items():
        flat = np.concatenate([np.ravel(v) for v in jax.tree.leaves(value)])
        gap = float(np.max(np.abs(flat - expected)))
        if not gap <= atol:
            raise AssertionError(f"{name} differs from {reference} by {gap:.2e} (> {atol:.0e})")
        largest = max(largest, gap)
    return largest


def sgemm_rate(size: int = 1024, repeats: int = 10) -> float:
    """The measured GFLOP/s of a float32 matrix product, the roof for what is made of them."""
    a = jax.random.normal(jax.random.key(0), (size, size), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    timing = time_in_turn({"gemm": lambda: product(a)}, seconds=0.5, min_rounds=repeats)["gemm"]
    return 2 * size**3 / (1e6 * timing.best)


def environment() -> dict[str, Any]:
    """The machine and the versions."""
    packages = ("jax", "equinox", "optimistix", "lineax", "qujax", "pennylane", "tensorcircuit-ng")
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except ModuleNotFoundError:
            versions[package] = None
    return {
        "machine": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
        "versions": versions,
        "sgemm_gflops": round(sgemm_rate(), 1),
    }
