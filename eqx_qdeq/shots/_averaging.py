"""Averaged Picard iteration, for maps that are only known with noise."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._checks import check_at_least, check_damp, is_number
from .._deprecated import renamed_arguments
from ._sampling import Estimate


class NoisySolution(eqx.Module):
    """What a solve with noise found.

    **Attributes:**

    - `value`: the equilibrium: the mean of the averaged iterates, or the last one where none was;
        always finite.
    - `result`: an `optimistix.RESULTS` item.
    - `residual`: an estimate of ‖f(z) - z‖ at `value`: what was seen, and what noise hides.
    - `floor`: the residual that the noise of a single evaluation makes.
    - `num_steps`: evaluations of f, one for each step.
    - `num_averaged`: the steps over which was averaged.
    """

    value: Float[Array, " m"]
    result: optx.RESULTS
    residual: Float[Array, ""]
    floor: Float[Array, ""]
    num_steps: Int[Array, ""]
    num_averaged: Int[Array, ""]


class _State(eqx.Module):
    z: Float[Array, " m"]  # where f is evaluated next
    best: Float[Array, ""]  # the smallest residual seen
    stale: Int[Array, ""]  # ... and the steps since then
    step: Int[Array, ""]
    count: Int[Array, ""]  # averaged steps
    weight: Float[Array, ""]  # the sum of their weights,
    squares: Float[Array, ""]  # ... and of these weights' squares
    mean_z: Float[Array, " m"]
    mean_residual: Float[Array, " m"]
    mean_variance: Float[Array, ""]
    error: Float[Array, ""]
    done: Bool[Array, ""]
    finite: Bool[Array, ""]


@renamed_arguments(
    damping="`damp`, as in Optimistix: damp=0 is no damping, damp=1-b what damping=b was"
)
class AveragedPicard(eqx.Module):
    r"""Damped Picard iteration with noise: steps that shrink, and the mean of the iterates.

    $$z_{k+1} = z_k + a_k\,(\hat f_k(z_k) - z_k)$$

    Each step draws a new estimate $\hat f_k$ of the map. While its residual is above the floor
    $\sqrt{\sum_q \mathrm{Var}_q/S}$ that shot noise alone makes, $a_k = 1 - d$. Once it is not
    (twice the floor, or no new smallest residual in `patience` steps), the steps shrink as
    $a_j = (1 - d)\,j^{-\alpha}$ and the iterates are averaged, later ones with more weight. The
    error of the mean falls like $1/\sqrt{\text{steps} \cdot S}$, and the shrinking steps also tame
    maps whose Jacobian has eigenvalues below -1, since all that is needed in the end is real parts
    below 1.

    It stops with success where the residual of the mean is estimated to be at most `atol`:
    $\sqrt{\|\bar r\|^2 + \overline{\mathrm{Var}}/K}$ with the mean residual $\bar r$ and the K
    evaluations that the mean is worth. Left out, `atol` is the floor of a single evaluation, so
    that the solve ends as soon as no evaluation says any more; a smaller one asks for averaging.

    ??? cite "Reference"

        H. Robbins and S. Monro, "A stochastic approximation method", Annals of Mathematical
        Statistics 22, 400 (1951); B. T. Polyak and A. B. Juditsky, "Acceleration of stochastic
        approximation by averaging", SIAM Journal on Control and Optimization 30, 838 (1992).
    """

    atol: float | None = None
    damp: float = 0.0
    decay: float = 0.6
    patience: int = eqx.field(static=True, default=10)

    def __check_init__(self) -> None:
        if is_number(self.atol) and not self.atol > 0:  # pyright: ignore[reportOptionalOperand]
            raise ValueError(
                f"`AveragedPicard(atol=...)` must be positive; got {self.atol}. Leave it out for "
                "the floor that the shots set."
            )
        check_damp("AveragedPicard(damp=...)", self.damp)
        if is_number(self.decay) and not 0 <= self.decay < 1:
            raise ValueError(
                f"`AveragedPicard(decay=...)` must be at least 0 and below 1; got {self.decay}."
            )
        check_at_least("AveragedPicard(patience=...)", self.patience, 1)

    def solve(
        self,
        fn: Callable[[Float[Array, " m"], PRNGKeyArray], Estimate],
        z0: Float[Array, " m"],
        *,
        key: PRNGKeyArray,
        max_steps: int | Int[Array, ""] = 256,
    ) -> NoisySolution:
        """Solves z = E f(z) for a map that is estimated anew in each step.

        **Arguments:**

        - `fn`: `(z, key) -> estimate` of the map, with standard errors.
        - `z0`: the initial guess, shape `(m,)`; must be finite.
        - `key`: for all estimates.
        - `max_steps`: the most steps; one evaluation each.

        **Returns:** a [`eqx_qdeq.NoisySolution`][].
        """
        zero, none = jnp.zeros((), z0.dtype), jnp.array(0)
        start = _State(
            z=z0,
            best=zero + jnp.inf,
            stale=none,
            step=none,
            count=none,
            weight=zero,
            squares=zero,
            mean_z=z0,
            mean_residual=jnp.zeros_like(z0),
            mean_variance=zero,
            error=zero + jnp.inf,
            done=jnp.array(False),
            finite=jnp.array(True),
        )
        end = jax.lax.while_loop(
            lambda s: ~s.done & s.finite & (s.step < max_steps),
            lambda s: self._step(fn, s, jax.random.fold_in(key, s.step)),
            start,
        )
        results = optx.RESULTS
        result = results.where(end.done, results.successful, results.nonlinear_max_steps_reached)
        result = results.where(end.finite, result, results.nonfinite)
        return NoisySolution(
            value=end.mean_z,
            result=result,
            residual=end.error,
            floor=jnp.sqrt(end.mean_variance),
            num_steps=end.step,
            num_averaged=end.count,
        )

    def _step(self, fn: Callable, s: _State, key: PRNGKeyArray) -> _State:
        estimate = fn(s.z, key)
        residual = estimate.values - s.z
        size = jnp.linalg.norm(residual)
        variance = jnp.sum(estimate.standard_errors**2)
        finite = jnp.isfinite(size) & jnp.isfinite(variance)
        # Rounding is noise, too, for a map without any other.
        rounding = 10 * jnp.finfo(s.z.dtype).eps * (1 + jnp.linalg.norm(s.z))
        stale = jnp.where(size < s.best, 0, s.stale + 1)
        at_floor = (size <= 2 * jnp.sqrt(variance) + rounding) | (stale >= self.patience)
        averaging = (s.count > 0) | at_floor

        # Weights 1, 2, 3, … soon forget where the averaging began.
        w = (s.count + 1).astype(s.z.dtype)
        weight, squares = s.weight + w, s.squares + w**2
        towards = lambda mean, new: mean + w / weight * (new - mean)
        mean_residual = towards(s.mean_residual, residual)
        mean_variance = towards(s.mean_variance, variance)
        worth = weight**2 / squares
        error = jnp.sqrt(jnp.sum(mean_residual**2) + mean_variance / worth)
        floor = jnp.sqrt(mean_variance)
        tolerance = floor if self.atol is None else self.atol
        done = averaging & (error <= tolerance + rounding)

        step = (1 - self.damp) * jnp.where(averaging, w**-self.decay, 1)
        pick = lambda new, old: jnp.where(averaging, new, old)
        new = _State(
            z=s.z + step.astype(s.z.dtype) * residual,
            best=jnp.minimum(s.best, size),
            stale=stale,
            step=s.step + 1,
            count=pick(s.count + 1, 0),
            weight=pick(weight, 0),
            squares=pick(squares, 0),
            # Before averaging, these are what the last evaluation says.
            mean_z=pick(towards(s.mean_z, s.z), s.z),
            mean_residual=pick(mean_residual, residual),
            mean_variance=pick(mean_variance, variance),
            error=pick(error, size),
            done=done,
            finite=finite,
        )
        # Nothing of an estimate that is not finite gets into the state.
        kept = jax.tree_util.tree_map(lambda a, b: jnp.where(finite, a, b), new, s)
        return eqx.tree_at(lambda k: (k.finite, k.step), kept, (finite, s.step + 1))


AveragedPicard.__init__.__doc__ = """**Arguments:**

- `atol`: the Euclidean norm of the residual of the mean at which to stop; the floor of a single
    evaluation if left out.
- `damp`: the damping d in [0, 1); 0 is none.
- `decay`: the exponent α of the shrinking steps, from 0 (steps that stay; the mean then keeps a
    bias of order 1/S) to below 1.
- `patience`: steps without a new smallest residual after which averaging begins anyway.

**Raises:** `ValueError` for a value out of range.
"""
