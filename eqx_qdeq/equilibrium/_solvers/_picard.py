"""Picard iteration."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree, Scalar

from ._base import AbstractResidualSolver, finite_or, observe, Record, start_record


class _PicardState(eqx.Module):
    record: Record


class Picard(AbstractResidualSolver):
    rtol: float
    atol: float
    norm: Callable[[PyTree], Scalar] = optx.two_norm
    damping: float = 1.0
    divergence_factor: float = 1e3
    patience: int = 50

    def record(self, state: _PicardState) -> Record:
        return state.record

    def init(self, fn, y, args, options, f_struct, aux_struct, tags) -> _PicardState:
        return _PicardState(start_record(y, aux_struct))

    def step(self, fn, y, args, options, state, tags):
        f, aux = fn(y, args)
        record = observe(self, state.record, y, f, aux, steps_back=False)
        flat_y, unravel = ravel_pytree(y)
        new = flat_y + self.damping * (ravel_pytree(f)[0] - flat_y)
        return unravel(finite_or(new, flat_y)), _PicardState(record), aux
