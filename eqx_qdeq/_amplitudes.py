"""One state vector over several devices: the axis of a mesh on which its amplitudes lie, and the
way there and back.

What all devices of this axis have alike (parameters, samples, the state of a solver) is computed by
each of them, as on one device. Of a state vector each has a part, and does what is its own with it.
`enter` stands where a computation turns from the one to the other, and `leave`, the sum over these
devices, where it turns back. With f = leave ∘ g ∘ enter and g each device's own,

    f(x) = Σ_i g_i(x),    fᵀ(y) = Σ_i g_iᵀ(y):

transposed, `enter` is the sum, and `leave` does nothing. So a cotangent of what all have alike is
alike and complete, and whatever is outside of the two, a solver or its adjoint, a loss or an
optimizer, needs to know of no devices. (JAX's own `psum`, where types do not tell what varies, is
its own transpose: that belongs to the sum of all devices' losses, as many times the loss.)
"""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree

from ._local import axes_of
from ._mesh import AMPLITUDES, packed

_T = TypeVar("_T")

_enter_p, _leave_p = Primitive("enter_amplitudes"), Primitive("leave_amplitudes")

_lowered: dict[Primitive, Callable[[Array], Array]] = {
    _enter_p: lambda x: x,
    _leave_p: lambda x: jax.lax.psum(x, AMPLITUDES),
}
for _p, _inverse in ((_enter_p, _leave_p), (_leave_p, _enter_p)):
    _p.def_impl(_lowered[_p])
    _p.def_abstract_eval(lambda aval: aval)
    ad.deflinear2(_p, lambda ct, x, *, to=_inverse: [to.bind(ct)])
    batching.defvectorized(_p)
    mlir.register_lowering(_p, mlir.lower_fun(_lowered[_p], multiple_results=False))


def n_parts() -> int:
    """Among how many devices a state is divided here: those of the axis `"amplitudes"` of a
    `shard_map`; 1 where there is none.

    **Raises:** `ValueError` where types tell along which axes arrays vary: a part of a state does,
    and what is computed from it cannot be told not to.
    """
    try:
        size = jax.lax.axis_size(AMPLITUDES)
    except NameError:
        return 1
    exchange = lambda: jax.lax.all_to_all(jnp.zeros(size), AMPLITUDES, 0, 0)
    try:
        is_typed = len(axes_of(my_part())) > 0 or jax.eval_shape(exchange) is None
    except AssertionError:  # JAX's own: they are hidden, within `local`
        is_typed = True
    if size > 1 and is_typed:
        raise ValueError(
            f"in a `shard_map` with an axis {AMPLITUDES!r}, over which states lie, `check_vma` "
            "must be False; or use `map_batch`."
        )
    return size


def my_part() -> Array:
    """Which of these this device is."""
    return jax.lax.axis_index(AMPLITUDES)


def enter(tree: _T) -> _T:
    """What all devices have alike, for each to compute with by itself."""
    of = lambda x: _enter_p.bind(x) if eqx.is_inexact_array(x) else x
    return jtu.tree_map(of, tree)


def leave(tree: PyTree[Array]) -> PyTree[Array]:
    """The sums over the devices, which all have alike."""
    # At once: small sums take as long as it takes to begin one.
    flats, unpack = packed(tree)
    return unpack([_leave_p.bind(flat) for flat in flats])


def own_rows(array: Array, rows: int) -> Array:
    """This device's part of so many rows; those that `array` does not have are zero."""
    size = rows // n_parts()
    filled = max(size, rows if len(array) > size else 0)
    array = jnp.pad(array, [(0, filled - len(array)), *[(0, 0)] * (array.ndim - 1)])
    if filled == size:
        return jnp.where(my_part() == 0, array, 0)
    return jax.lax.dynamic_slice_in_dim(array, my_part() * size, size)
