"""`equinox.filter_jit` for programs of our own, with what makes XLA compile faster."""

import functools as ft
import os
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

# XLA's newer emitters for CPUs take twice as long to compile the loops over solver steps, for
# programs that are no faster (`python -m benchmarks.start`, with and without).
_FLAG = "xla_cpu_use_fusion_emitters"


@ft.cache
def _options() -> dict[str, Any]:
    """None if the user has decided, or if this XLA does not know the flag."""
    if jax.default_backend() != "cpu" or _FLAG in os.environ.get("XLA_FLAGS", ""):
        return {}
    try:
        jax.jit(lambda: 0, compiler_options={_FLAG: False}).lower().compile()
    except Exception:  # of a type that depends on the version
        return {}
    return {"compiler_options": {_FLAG: False}}


def quick_jit(*, donate: Any = "none") -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Decorates a function that is never called inside of another `jit`, which options of the
    compiler do not allow."""

    def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
        # At the first call: at import, no back end may be started.
        make = ft.cache(lambda: eqx.filter_jit(function, donate=donate, **_options()))

        @ft.wraps(function)
        def call(*args: Any) -> Any:
            return make()(*args)

        return call

    return decorate
