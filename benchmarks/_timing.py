"""Fair timing: all contestants in one run, in turn, after a check that they agree."""

import contextlib
import dataclasses
import statistics
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np

_CALLS = 4  # that count, each time it is a contestant's turn


@dataclasses.dataclass(frozen=True)
class Timing:
    """Milliseconds a call."""

    median: float
    best: float


@dataclasses.dataclass(frozen=True)
class Program:
    """A function compiled for its arguments, and what XLA says about it."""

    compiled: Any
    args: tuple[Any, ...]
    trace_s: float  # tracing and lowering
    compile_s: float

    def __call__(self) -> Any:
        return self.compiled(*self.args)

    @property
    def flops(self) -> float | None:
        """Floating-point operations of a call; the body of a while loop counts once. `None`
        where the back end does not say."""
        analysis = self.compiled.cost_analysis()
        flops = None if analysis is None else analysis.get("flops")
        return flops if flops is not None and flops > 0 else None

    @property
    def temporary_mib(self) -> float | None:
        """Memory besides arguments and results. `None` where the back end does not say."""
        analysis = self.compiled.memory_analysis()
        return None if analysis is None else analysis.temp_size_in_bytes / 2**20


@contextlib.contextmanager
def quiet_peers() -> Iterator[None]:
    """Some peers name complex128 in single precision too, where JAX takes complex64 and warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore",
            message=r"Explicitly requested dtype .*(complex128|float64)",
            category=UserWarning,
        )
        yield


def build(function: Callable[..., Any], *args: Any) -> Program:
    """Traces and compiles `function`, each of which is timed."""
    with quiet_peers():
        start = time.perf_counter()
        # A fresh function, or JAX would remember the traces of this one.
        lowered = jax.jit(lambda *args: function(*args)).trace(*args).lower()
        traced = time.perf_counter()
        compiled = lowered.compile()
        return Program(compiled, args, traced - start, time.perf_counter() - traced)


def time_in_turn(
    contestants: Mapping[str, Callable[[], Any]], *, seconds: float, min_rounds: int = 3
) -> dict[str, Timing]:
    """Calls every contestant a few times a round, for about `seconds` in all.

    A machine that slows down meanwhile slows all of them. Each call is waited for. The first one
    of a turn is not counted: it finds the caches and the allocator as another contestant left
    them, which no training loop does.
    """
    for call in contestants.values():
        jax.block_until_ready(call())
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end, rounds = time.perf_counter() + seconds, 0
    while time.perf_counter() < end or rounds < min_rounds:
        rounds += 1
        for name, call in contestants.items():
            jax.block_until_ready(call())
            for _ in range(_CALLS):
                start = time.perf_counter()
                jax.block_until_ready(call())
                times[name].append(1000 * (time.perf_counter() - start))
    return {name: Timing(statistics.median(ts), min(ts)) for name, ts in times.items()}


def check_agreement(values: Mapping[str, Any], *, reference: str, atol: float) -> float:
    """Raises unless all contestants compute the same; returns the largest difference."""
    expected = _flat(values[reference])
    largest = 0.0
    for name, value in values.items():
        gap = float(np.max(np.abs(_flat(value) - expected)))
        if not gap <= atol:
            raise AssertionError(f"{name} differs from {reference} by {gap:.2e} (> {atol:.0e})")
        largest = max(largest, gap)
    return largest


def _flat(value: Any) -> np.ndarray:
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(value)])
