from collections.abc import Callable

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import lineax as lx
import optimistix as optx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree, Scalar

from ._base import AbstractResidualSolver, finite_or, observe, Record, start_record
from ._linear import solve_shifted


class _NewtonState(eqx.Module):
    record: Record
    base: Float[Array, " n"]
    base_r: Float[Array, " n"]
    base_error: Float[Array, ""]
    direction: Float[Array, " n"]
    step_size: Float[Array, ""]
    is_picard: Bool[Array, ""]
    forcing: Float[Array, ""]


class Newton(AbstractResidualSolver):
    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = optx.two_norm
    linear_solver: lx.AbstractLinearSolver | None = None
    armijo: float = 1e-4
    shortest: float = 1/64
    divergence_factor: float = 1e3
    patience: int = 20
    lazy: bool = True

    def record(self, state: _NewtonState) -> Record:
        return state.record

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _NewtonState:
        flat, _ = ravel_pytree(y)
        zero = jnp.zeros_like(flat)
        one = jnp.array(1, flat.dtype)
        return _NewtonState(
            start_record(y, aux_struct), flat, zero, jnp.array(jnp.inf, flat.dtype), zero, one,
            jnp.array(False), 0.9*one,
        )

    def step(self, fn, y, args, options, state, tags):
        flat, unravel = ravel_pytree(y)
        def flat_fn(x):
            f, aux = fn(unravel(x), args)
            return ravel_pytree(f)[0], (f, aux)
        if self.lazy:
            flat_f, (f, aux) = flat_fn(flat)
        else:
            flat_f, lin_fn, (f, aux) = jax.linearize(flat_fn, flat, has_aux=True)
        record = observe(self, state.record, y, f, aux, steps_back=True)
        r = flat_f - flat
        error = record.error
        ok = jnp.isfinite(error) & (
            (error <= (1 - self.armijo * state.step_size) * state.base_error)
        )
        need = ok & ~record.converged
        ratio = error / jnp.where(jnp.isfinite(state.base_error), state.base_error, 1)
        eta = 0.9 * ratio**2
        guard = 0.9 * state.forcing**2
        eta = jnp.where(guard > 0.1, jnp.maximum(eta, guard), eta)
        fscale = self.atol + self.rtol * self.norm(f)
        eta = jnp.maximum(eta, 0.5 * fscale / jnp.where(error > 0, error, 1))
        eta = jnp.where(record.num_steps == 1, 0.1, jnp.clip(eta, 1e-6, 0.1)).astype(r.dtype)
        rhs = jnp.where(need, r, 0)
        if self.lazy:
            def solve():
                _, lin, _ = jax.linearize(flat_fn, flat, has_aux=True)
                d, n = solve_shifted(lin, rhs, 0.0, self.linear_solver, eta)
                return d, jnp.asarray(n)
            d, n = lax.cond(eqxi.unvmap_any(need), solve, lambda: (jnp.zeros_like(r), jnp.array(0)))
            record = eqx.tree_at(lambda q: (q.num_evals,q.num_jvps), record, (record.num_evals + need, record.num_jvps + jnp.where(need, n, 0)))
        else:
            d, n = solve_shifted(lin_fn, rhs, 0.0, self.linear_solver, eta)
            record = eqx.tree_at(lambda q: q.num_jvps, record, record.num_jvps + n)
        usable = jnp.all(jnp.isfinite(d))
        direction = jnp.where(ok, jnp.where(usable, d, r), state.direction)
        t = jnp.where(ok, 1, 0.5 * state.step_size)
        is_picard = jnp.where(ok, ~usable, state.is_picard)
        base = jnp.where(ok, flat, state.base)
        base_r = jnp.where(ok, r, state.base_r)
        give_up = ~ok & ~is_picard & (t < self.shortest)
        direction = jnp.where(give_up, base_r, direction)
        t = jnp.where(give_up, 1, t)
        state = _NewtonState(record, base, base_r, jnp.where(ok, error, state.base_error), direction, t, is_picard | give_up, jnp.where(ok, eta, state.forcing))
        return unravel(finite_or(base + t * direction, base)), state, aux
