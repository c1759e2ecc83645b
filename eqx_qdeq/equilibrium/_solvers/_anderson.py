"""Anderson acceleration."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PyTree, Scalar

from ._base import AbstractResidualSolver, finite_or, observe, Record, start_record

_HIGHEST = lax.Precision.HIGHEST


class _AndersonState(eqx.Module):
    record: Record
    y: Float[Array, " n"]
    r: Float[Array, " n"]
    best_r: Float[Array, " n"]
    dy: Float[Array, "history n"]
    dr: Float[Array, "history n"]
    count: Int[Array, ""]
    has_previous: Bool[Array, ""]
    retreat: Float[Array, ""]


def weights(dr, r, ridge):
    size = jnp.sqrt(jnp.sum(dr**2, axis=1))
    scale = jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0)
    q = dr * scale[:, None]
    gram = jnp.dot(q, q.T, precision=_HIGHEST)
    eye = jnp.eye(dr.shape[0], dtype=dr.dtype)
    damped = gram + (ridge * jnp.trace(gram) + jnp.finfo(dr.dtype).tiny) * eye
    factor = jax.scipy.linalg.cho_factor(damped)
    solve = lambda b: jax.scipy.linalg.cho_solve(factor, b)
    first = solve(jnp.dot(q, r, precision=_HIGHEST))
    left = r - jnp.dot(first, q, precision=_HIGHEST)
    second = solve(jnp.dot(q, left, precision=_HIGHEST))
    return scale * (first + second)

def weights_qr(dr, r, ridge):
    q_, r_ = jnp.linalg.qr(dr.T)
    d=jnp.diagonal(r_); 
    import lineax as lx
    return jnp.linalg.lstsq(dr.T, r, rcond=None)[0]


class Anderson(AbstractResidualSolver):
    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = optx.two_norm
    history: int = 5
    mixing: float = 1.0
    ridge: float | None = None
    safeguard: float = 10.0
    divergence_factor: float = 1e3
    patience: int = 50
    qr: bool = False

    def record(self, state: _AndersonState) -> Record:
        return state.record

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _AndersonState:
        flat, _ = ravel_pytree(y)
        zero = jnp.zeros_like(flat)
        buffer = jnp.zeros((self.history, flat.size), flat.dtype)
        return _AndersonState(
            start_record(y, aux_struct), zero, zero, zero, buffer, buffer, jnp.array(0),
            jnp.array(False), jnp.array(1, flat.dtype),
        )

    def step(self, fn, y, args, options, state, tags):
        f, aux = fn(y, args)
        record = observe(self, state.record, y, f, aux, steps_back=True)
        flat, unravel = ravel_pytree(y)
        r = ravel_pytree(f)[0] - flat
        ok = record.is_first | (record.error <= self.safeguard * record.best_error)
        keep = ok & state.has_previous
        slot = state.count % self.history
        dy = state.dy.at[slot].set(jnp.where(keep, flat - state.y, state.dy[slot]))
        dr = state.dr.at[slot].set(jnp.where(keep, r - state.r, state.dr[slot]))
        dy = jnp.where(ok, dy, 0)
        dr = jnp.where(ok, dr, 0)
        ridge = self.ridge if self.ridge is not None else 10 * jnp.finfo(flat.dtype).eps
        gamma = (weights_qr if self.qr else weights)(dr, r, ridge)
        picard = flat + self.mixing * r
        new = finite_or(picard - jnp.dot(gamma, dy + self.mixing * dr, precision=_HIGHEST), picard)
        best = ravel_pytree(record.best)[0]
        best_r = jnp.where(record.improved, r, state.best_r)
        retreat = jnp.where(ok, 1, 0.5 * state.retreat)
        new = jnp.where(ok, new, best + retreat * self.mixing * best_r)
        state = _AndersonState(
            record,
            jnp.where(ok, flat, best),
            jnp.where(ok, r, best_r),
            best_r, dy, dr,
            jnp.where(ok, state.count + keep, 0),
            jnp.array(True),
            retreat,
        )
        return unravel(finite_or(new, flat)), state, aux
