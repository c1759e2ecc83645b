"""How much memory there is, and what cannot fit refused before it is computed.

The sizes of arrays are known when a function is traced, once for each compilation. Where states and
matrices of a circuit are made, `within_memory` says what they need at least; the number of samples
is added by `vmap`, and what reverse mode keeps where it is transposed. Nothing of it remains in
what is compiled.
"""

import contextlib
import math
import os
from collections.abc import Iterator
from pathlib import Path

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array

from ._checks import is_number

# Part of the key of JAX's caches, so that nothing is taken from where another limit was. It is
# `inf` while a plan is made, which tells what would be refused.
_limit = jax.make_user_context(default_value="here")


@contextlib.contextmanager
def memory_limit(bytes: int | float | None) -> Iterator[None]:
    """What is run inside may need so much memory, and no more. (What was compiled under another
    limit is compiled again.)

    Without it the limit is what the machine has: all memory of the accelerators, or of the
    processor, with what its operating system swaps and within what a container may use. Only what
    surely needs more is refused.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        with qdeq.memory_limit(2**20):
            try:
                qdeq.AmplitudeEncoding().state(jnp.ones(4), 20)
            except MemoryError as error:
                print(error)
        ```

    **Arguments:**

    - `bytes`: the limit; `None` refuses nothing, for those who know better.

    **Returns:** a context manager.

    **Raises:** `ValueError` if it is not positive.
    """
    if bytes is not None and (isinstance(bytes, bool) or not is_number(bytes) or bytes <= 0):
        raise ValueError(f"`bytes` must be a positive number, or None; got {bytes!r}.")
    with _limit(bytes):
        yield


def available_bytes() -> int | None:
    """The memory that this process may use, all its devices together; `None` if nobody says."""
    device = jax.devices()[0]
    if device.platform != "cpu":
        # A state may lie on all of them, in whatever parts.
        limit = (device.memory_stats() or {}).get("bytes_limit")
        return None if limit is None else limit * jax.device_count()
    found = _of_the_machine()
    return None if found is None else found * jax.process_count()


def _of_the_machine() -> int | None:
    try:
        physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, OSError, ValueError):
        return None
    if physical <= 0:
        return None
    # Of a container, in both versions of control groups; the first says "max" where there is none.
    groups = ("memory.max", "memory/memory.limit_in_bytes")
    texts = [_read(f"/sys/fs/cgroup/{group}").strip() for group in groups]
    limits = [int(text) for text in texts if text.isdigit()]
    swap = [line.split()[1] for line in _read("/proc/meminfo").splitlines() if "SwapTotal" in line]
    return min([physical, *limits]) + 1024 * sum(map(int, swap))


def _read(path: str) -> str:
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def in_units(bytes: int | float) -> str:
    """A number of bytes as it is said."""
    units = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")
    power = min(len(units) - 1, int(math.log2(max(bytes, 1)) // 10))
    number = bytes / 2 ** (10 * power)
    return f"{number:,.0f} {units[power]}" if number >= 100 else f"{number:.3g} {units[power]}"


def check_memory(bytes: int | float, what: str, remedy: str, *, on_host: bool = False) -> None:
    """Refuses what surely needs more than there is.

    **Arguments:**

    - `what`: what needs it, e.g. "a state vector of 40 wires".
    - `remedy`: what to do instead.
    - `on_host`: whether NumPy makes it, at once, and not a program that may never be run.

    **Raises:** `MemoryError`.
    """
    set_to = _limit.value
    if on_host and set_to == math.inf:
        limit = _of_the_machine()
    elif set_to == "here":
        # To look for the limit takes longer than to make a small array.
        limit = available_bytes() if bytes > 2**24 else None
    else:
        limit: float | None = set_to
    if limit is None or bytes <= limit:
        return
    raise MemoryError(
        f"{what}: at least {in_units(bytes)} are needed, and there are {in_units(limit)}. {remedy} "
        "(`with eqx_qdeq.memory_limit(None):` lets you try.)"
    )


# --- For one sample here, for a batch under `vmap` -----------------------------------------------

_within_p = Primitive("within_memory")


def within_memory(
    x: Array,
    parameters: Array,
    what: str,
    remedy: str,
    *,
    bytes: int | float,
    kept: int | float = 0,
) -> Array:
    """`x`, unless what led to it cannot fit.

    **Arguments:**

    - `x`: an array with all the axes of samples that `vmap` adds.
    - `parameters`: for their gradient more is kept.
    - `what`, `remedy`: as for `check_memory`.
    - `bytes`: what is needed at a time for one sample.
    - `kept`: the bytes that reverse mode keeps until it comes back.

    **Raises:** `MemoryError`, also later where `x` is batched or differentiated.
    """
    check_memory(bytes, what, remedy)
    more = {"bytes": float(bytes), "kept": float(kept), "samples": 1}
    return _within_p.bind(x, parameters, what=what, remedy=remedy, **more)


def _check(bytes: int | float, what: str, remedy: str, samples: int, how: str) -> None:
    many = f" for {samples:,} samples at a time" if samples > 1 else ""
    check_memory(bytes, f"{what}{many}{how}", remedy)


def _differentiated(primals, tangents, *, kept, **rest):
    out, (tangent, *of_parameters) = _within_p.bind(*primals, kept=kept, **rest), tangents
    if type(tangent) is ad.Zero:
        return out, tangent
    # States are kept for the gradient of the angles; that of the features needs none.
    kept = kept if any(type(t) is not ad.Zero for t in of_parameters) else 0.0
    return out, _within_p.bind(tangent, kept=kept, **rest)


def _transposed(ct, x, *, bytes, kept, what, remedy, samples):
    _check(bytes + kept, what, remedy, samples, ", with what its gradient keeps")
    return [ct]


def _batched(args, axes, *, bytes, kept, what, remedy, samples):
    size = next(x.shape[axis] for x, axis in zip(args, axes, strict=True) if axis is not None)
    _check(size * bytes, what, remedy, size * samples, "")
    more = {"bytes": size * bytes, "kept": size * kept, "samples": size * samples}
    return _within_p.bind(*args, what=what, remedy=remedy, **more), axes[0]


_within_p.def_impl(lambda x, *_, **params: x)
_within_p.def_abstract_eval(lambda x, *_, **params: x)
ad.primitive_jvps[_within_p] = _differentiated
ad.primitive_transposes[_within_p] = _transposed
batching.primitive_batchers[_within_p] = _batched
mlir.register_lowering(_within_p, lambda context, x, *_, **params: [x])
