"""Solves of maps that are only known with noise: forward by averaging, and the backward solve where
products with the Jacobian have noise as well."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from .._checks import check_at_least, check_damp, check_positive, check_share
from .._deprecated import renamed_arguments
from .._trees import tree_where
from ..adjoints import answer, solve_dense_safely
from ._sampling import Estimate


class NoisySolution(eqx.Module):
    """What a solve with noise found.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        fn = lambda z, key: qdeq.shots.Estimate(jnp.cos(z), jnp.zeros_like(z))
        found = qdeq.AveragedPicard(atol=1e-3).solve(
            fn, jnp.zeros(1), key=jax.random.key(0)
        )
        found.value.round(2)  # [0.74]
        bool(found.residual <= 1e-3)  # True
        ```

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
    # The means of the iterates, their residuals and these residuals' variances; before averaging,
    # what the last evaluation says.
    means: tuple[Float[Array, " m"], Float[Array, " m"], Float[Array, ""]]
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

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq


        def fn(z, key):  # cos(z), known to a standard error of 0.1
            error = jnp.full_like(z, 0.1)
            return qdeq.shots.Estimate(jnp.cos(z) + 0.1 * jax.random.normal(key), error)


        solver, key = qdeq.AveragedPicard(atol=0.02), jax.random.key(0)
        found = solver.solve(fn, jnp.zeros(1), key=key)
        abs(found.value - 0.7391) < 0.05  # [True]
        ```

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
        if self.atol is not None:
            check_positive("AveragedPicard(atol=...)", self.atol)
        check_damp("AveragedPicard(damp=...)", self.damp)
        check_share("AveragedPicard(decay=...)", self.decay, "which are steps that stay")
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
        far, means = zero + jnp.inf, (z0, jnp.zeros_like(z0), zero)
        start = _State(z0, far, none, none, none, means, far, jnp.array(False), jnp.array(True))
        end = jax.lax.while_loop(
            lambda s: ~s.done & s.finite & (s.step < max_steps),
            lambda s: self._step(fn, s, jax.random.fold_in(key, s.step)),
            start,
        )
        results = optx.RESULTS
        result = results.where(end.done, results.successful, results.nonlinear_max_steps_reached)
        result = results.where(end.finite, result, results.nonfinite)
        value, _, variance = end.means
        return NoisySolution(value, result, end.error, jnp.sqrt(variance), end.step, end.count)

    def _step(self, fn: Callable, s: _State, key: PRNGKeyArray) -> _State:
        estimate = fn(s.z, key)
        residual = estimate.values - s.z
        size = jnp.linalg.norm(residual)
        variance = jnp.sum(estimate.standard_errors**2)
        finite = jnp.isfinite(size) & jnp.isfinite(variance)
        # Rounding is noise, too, for a map without any other.
        rounding = 10 * jnp.finfo(s.z.dtype).eps * (1 + jnp.linalg.norm(s.z))
        stale = jnp.where(size < s.best, 0, s.stale + 1)
        # Residuals of nothing but noise have the mean square `variance`; twice its root is rarely
        # exceeded. If f's own residual stays above it (an eigenvalue below -1), no progress tells.
        at_floor = (size <= 2 * jnp.sqrt(variance) + rounding) | (stale >= self.patience)
        averaging = (s.count > 0) | at_floor

        # Weights 1, 2, 3, … soon forget where the averaging began. After k of them the new value
        # has the share k / Σw = 2 / (k + 1), and errors of equal variance have that of a mean over
        # (Σw)² / Σw² = 3 k (k + 1) / (4 k + 2) of them: three quarters of k. Before averaging, k is
        # one, and steps have their full length.
        now, k = (s.z, residual, variance), (s.count + 1).astype(s.z.dtype)
        means = jax.tree.map(lambda mean, new: mean + 2 / (k + 1) * (new - mean), s.means, now)
        _, mean_residual, mean_variance = means
        worth = 3 * k * (k + 1) / (4 * k + 2)
        # E‖r̄‖² = ‖f(z̄) - z̄‖² + Var: what is seen may by chance be less than the noise in it, so
        # both are counted, not their difference.
        error = jnp.sqrt(jnp.sum(mean_residual**2) + mean_variance / worth)
        tolerance = jnp.sqrt(mean_variance) if self.atol is None else self.atol
        step = (1 - self.damp) * k**-self.decay
        new = _State(
            z=s.z + step.astype(s.z.dtype) * residual,
            best=jnp.minimum(s.best, size),
            stale=stale,
            step=s.step + 1,
            count=jnp.where(averaging, s.count + 1, 0),
            means=tree_where(averaging, means, now),
            error=jnp.where(averaging, error, size),
            done=averaging & (error <= tolerance + rounding),
            finite=finite,
        )
        # Nothing of an estimate that is not finite gets into the state.
        kept = tree_where(finite, new, s)
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


# --- The backward solve. ---

Product = Callable[[Float[Array, " m"], PRNGKeyArray], Float[Array, " m"]]
"""A sampled product: from u and a random key to an estimate of $J^\\top u$, a fresh one for each
key."""


class AbstractSampledBackward(eqx.Module):
    r"""The abstract base class of ways to solve $(I - J^\top)\,u = v$ with sampled products.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        for backward in (qdeq.NeumannBackward(steps=8), qdeq.JacobianBackward()):
            assert isinstance(backward, qdeq.AbstractSampledBackward)
        ```
    """

    @property
    @abc.abstractmethod
    def n_products(self) -> int:
        """How many samples of the Jacobian are drawn."""

    @abc.abstractmethod
    def solve(
        self, product: Product, v: Float[Array, " m"], usable: Bool[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        r"""The adjoint vector u; zero if not `usable`. `product(u, key)` estimates
        $J^\top u$."""


class NeumannBackward(AbstractSampledBackward):
    r"""Picard iteration with a fresh sample of the Jacobian in each step, averaged.

    $$u_{k+1} = v + \hat J_k^\top u_k$$

    and the mean of the second half of K steps. Because every $\hat J_k$ is drawn on its own, the
    mean is unbiased but for the steps that are left out: about $\rho^{K/2}$ at spectral radius
    ρ < 1, and useless above, where [`eqx_qdeq.JacobianBackward`][] still works.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        device = qdeq.shots.SamplingDevice(1000, backward=qdeq.NeumannBackward(steps=8))
        device.backward.n_products  # 8
        ```
    """

    steps: int = eqx.field(static=True, default=16)

    def __check_init__(self) -> None:
        check_at_least("NeumannBackward(steps=...)", self.steps, 1)

    @property
    def n_products(self) -> int:
        return self.steps

    def solve(
        self, product: Product, v: Float[Array, " m"], usable: Bool[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        v = jnp.where(usable, v, 0)

        def step(u: Float[Array, " m"], k: PRNGKeyArray) -> tuple[Array, Array]:
            # E u_{k+1} = v + Jᵀ E u_k, as this step's sample knows nothing of u_k; the fixed point
            # of the means is (I - Jᵀ)⁻¹ v. With one sample for all steps it would be that of the
            # sample, whose mean over samples is another.
            new = v + product(u, k)
            # Where ρ > 1 the terms may overflow.
            new = jnp.where(jnp.all(jnp.isfinite(new)), new, jnp.zeros_like(v))
            return new, new

        _, terms = jax.lax.scan(step, v, jax.random.split(key, self.steps))
        return answer(jnp.where(usable, jnp.mean(terms[self.steps // 2 :], axis=0), 0), v)


NeumannBackward.__init__.__doc__ = """**Arguments:**

- `steps`: the number K of steps, and of samples of the Jacobian.

**Raises:** `ValueError` for fewer than one step.
"""


class JacobianBackward(AbstractSampledBackward):
    r"""One sample of the Jacobian, and the m×m system with it.

    The cheapest way, and the one for spectral radii near or above 1. The inverse of a mean is not
    the mean of inverses: a bias of order 1/S remains. With exact products (`ExactGradient`), the
    exact implicit gradient. A system that is singular to rounding gives zero.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        device = qdeq.shots.SamplingDevice(1000, backward=qdeq.JacobianBackward())
        ```
    """

    @property
    def n_products(self) -> int:
        return 1

    def solve(
        self, product: Product, v: Float[Array, " m"], usable: Bool[Array, ""], key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        eye = jnp.eye(v.shape[0], dtype=v.dtype)
        # All with one key: a sample of the Jacobian gives its product with any vector.
        jacobian = jax.vmap(lambda row: product(row, key))(eye)
        return solve_dense_safely(eye - jacobian.T, v, usable, None)


JacobianBackward.__init__.__doc__ = """**Arguments:** none."""
