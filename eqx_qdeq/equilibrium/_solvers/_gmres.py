"""GMRES that stops within a cycle."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PyTree

_HIGHEST = lax.Precision.HIGHEST


class EarlyExitGMRES(lx.AbstractLinearSolver[lx.AbstractLinearOperator]):
    rtol: float = 1e-6
    atol: float = 0.0
    restart: int = 30
    max_steps: int | None = None

    def init(self, operator, options):
        return lx.linearise(operator)

    def compute(self, state, vector, options):
        b, unravel = ravel_pytree(vector)
        flat = lambda x: ravel_pytree(state.mv(unravel(x)))[0]
        limit = 10 * b.size if self.max_steps is None else self.max_steps
        target = self.atol + options.get("rtol", self.rtol) * jnp.linalg.norm(b)
        target = jnp.asarray(target, b.dtype)
        memory = min(self.restart, b.size)

        def cycle(carry):
            x, r, steps, _ = carry
            dx, used, stuck = _arnoldi(flat, r, memory, target, limit - steps)
            x = x + dx
            new_r = b - flat(x)
            stuck = stuck | ~(jnp.linalg.norm(new_r) < 0.999 * jnp.linalg.norm(r))
            return x, new_r, steps + used, stuck

        def unfinished(carry):
            _, r, steps, stuck = carry
            return (jnp.linalg.norm(r) > target) & (steps < limit) & ~stuck

        x, r, steps, _ = lax.while_loop(
            unfinished, cycle, (jnp.zeros_like(b), b, jnp.array(0), jnp.array(False))
        )
        reached = jnp.linalg.norm(r) <= target
        result = lx.RESULTS.where(reached, lx.RESULTS.successful, lx.RESULTS.stagnation)
        return unravel(x), result, {"num_steps": steps, "max_steps": self.max_steps}

    def transpose(self, state, options):
        return state.transpose(), options

    def conj(self, state, options):
        return lx.conj(state), options

    def assume_full_rank(self):
        return True


def _arnoldi(matvec, r, memory, target, limit):
    n, dtype = r.size, r.dtype
    beta = jnp.linalg.norm(r)
    basis = jnp.zeros((memory + 1, n), dtype).at[0].set(r / jnp.where(beta > 0, beta, 1))
    triangle = jnp.eye(memory, dtype=dtype)
    rotations = jnp.zeros((memory, 2), dtype)
    rhs = jnp.zeros(memory + 1, dtype).at[0].set(beta)

    def extend(carry):
        k, basis, triangle, rotations, rhs, _, _ = carry
        w = matvec(basis[k])
        scale = jnp.linalg.norm(w)
        h = jnp.dot(basis, w, precision=_HIGHEST)
        w = w - jnp.dot(h, basis, precision=_HIGHEST)
        again = jnp.dot(basis, w, precision=_HIGHEST)
        w = w - jnp.dot(again, basis, precision=_HIGHEST)
        h = h + again
        height = jnp.linalg.norm(w)
        broken = height <= jnp.finfo(dtype).eps * scale
        height = jnp.where(broken, 0, height)
        basis = basis.at[k + 1].set(jnp.where(broken, 0, w / jnp.where(broken, 1, height)))

        def rotate(i, h):
            c, s = rotations[i]
            a, b = h[i], h[i + 1]
            use = i < k
            h = h.at[i].set(jnp.where(use, c * a + s * b, a))
            return h.at[i + 1].set(jnp.where(use, c * b - s * a, b))

        h = lax.fori_loop(0, memory, rotate, h)
        a = h[k]
        length = jnp.hypot(a, height)
        safe = jnp.where(length > 0, length, 1)
        c, s = jnp.where(length > 0, a / safe, 1), height / safe
        rotations = rotations.at[k].set(jnp.stack([c, s]))
        column = jnp.where(jnp.arange(memory) < k, h[:memory], 0).at[k].set(length)
        triangle = triangle.at[:, k].set(column)
        rhs = rhs.at[k + 1].set(-s * rhs[k]).at[k].set(c * rhs[k])
        return k + 1, basis, triangle, rotations, rhs, jnp.abs(rhs[k + 1]), broken

    def unfinished(carry):
        k, _, _, _, _, residual, broken = carry
        return (k < memory) & (k < limit) & (residual > target) & ~broken

    k, basis, triangle, _, rhs, _, broken = lax.while_loop(
        unfinished,
        extend,
        (jnp.array(0), basis, triangle, rotations, rhs, beta, jnp.array(False)),
    )
    used = jnp.arange(memory) < k
    y = jax.scipy.linalg.solve_triangular(triangle, jnp.where(used, rhs[:memory], 0))
    return jnp.dot(jnp.where(used, y, 0), basis[:memory], precision=_HIGHEST), k, broken
