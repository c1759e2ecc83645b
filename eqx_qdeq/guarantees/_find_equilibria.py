"""All equilibria that a search from many starts can find."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from .._checks import check_at_least, check_positive
from .._inputs import check_state
from .._trees import nan_on_purpose
from ..adjoints import ImplicitAdjoint
from ..cells import AbstractCell, QuantumCell, SelfConsistentCell, SelfConsistentState
from ..equilibrium import solve_map, Solver, solver_for
from ..jacobians import jacobian
from ._boxes import Box
from ._contraction import ContractiveCell

# Numbers of a state that the table shows.
_SHOWN = 6
# By how many residuals an eigenvalue may miss 1 next to a curve of equilibria.
_CURVATURE = 30


class Equilibria(eqx.Module):
    r"""What [`eqx_qdeq.find_equilibria`][] found; printing it gives a table.

    Under `vmap` all attributes are batched. Their shapes are fixed: there is room for as many
    equilibria as there were starts. The first `count` entries are equilibria, the most often
    found first; the others are NaN, 0 and false.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        # A magnet colder than it orders: up, down, and an unstable one between.
        cell = qdeq.FunctionCell(lambda m, x: jnp.tanh(2 * m), lambda x: jnp.zeros(1))
        found = qdeq.find_equilibria(cell, jnp.zeros(1), jax.random.key(0))
        int(found.count), int(found.stable.sum())  # (3, 2)
        ```

    **Attributes:**

    - `values`: the equilibria, a pytree with leaves of shape `(n_starts, ...)`.
    - `count`: how many distinct ones.
    - `hits`: how many starts led to each, shape `(n_starts,)`.
    - `spectral_radius`: ρ(J) at each.
    - `stable`: whether plain iteration converges from nearby, ρ(J) < 1.
    - `flow_stable`: whether the flow ż = f(z) - z does, Re λ < 1 for all eigenvalues λ of J.
    - `flat`: how many eigenvalues of J are 1, but for rounding and the residual. Along these
        directions an equilibrium is one of a curve, or it stands at a transition; `stable` and
        `flow_stable` are about the others.
    - `energies`, `variances`: of a [`eqx_qdeq.SelfConsistentCell`][], ⟨H⟩ in the equilibrium's own
        fields and ⟨H²⟩ - ⟨H⟩², which is zero for eigenstates of H alone: elsewhere the circuit's
        energy has a local minimum. NaN for other cells, and `variances` under noise.
    - `failed`: how many starts led nowhere.
    """

    values: PyTree[Array]
    count: Int[Array, "..."]
    hits: Int[Array, "... n_starts"]
    spectral_radius: Float[Array, "... n_starts"]
    stable: Bool[Array, "... n_starts"]
    flow_stable: Bool[Array, "... n_starts"]
    flat: Int[Array, "... n_starts"]
    energies: Float[Array, "... n_starts"]
    variances: Float[Array, "... n_starts"]
    failed: Int[Array, "..."]

    @property
    def lowest(self) -> PyTree[Array]:
        """The equilibrium with the least energy, of a [`eqx_qdeq.SelfConsistentCell`][]: a guess
        `z0` for [`eqx_qdeq.DEQ`][], which has its derivatives. NaN if none was found."""
        best = jnp.argmin(jnp.where(jnp.isnan(self.energies), jnp.inf, self.energies), axis=-1)

        def take(leaf: Array) -> Array:
            at = best.reshape(best.shape + (1,) * (leaf.ndim - best.ndim))
            return jnp.take_along_axis(leaf, at, axis=best.ndim).squeeze(best.ndim)

        return jax.tree.map(take, self.values)

    def __str__(self) -> str:
        n_starts = self.hits.shape[-1]
        if jnp.ndim(self.count) > 0:
            return self._summary(n_starts)
        count = int(self.count)
        has_energy = bool(np.isfinite(self.energies).any())
        lines = [
            f"{count} equilibri{'um' if count == 1 else 'a'} from {n_starts} starts "
            f"({int(self.failed)} failed)",
            "hits   ρ(J)   iteration  flow      "
            + ("energy     variance  " * has_energy)
            + "value",
        ]
        word = lambda flag: "stable" if flag else "unstable"
        for i in range(count):
            flat = ravel_pytree(jax.tree.map(lambda leaf, i=i: leaf[i], self.values))[0]
            numbers = " ".join(f"{v:.4g}" for v in np.asarray(flat[:_SHOWN]))
            more = " …" if flat.size > _SHOWN else ""
            energy = f"{self.energies[i]:9.6g}  {self.variances[i]:8.1e}  " if has_energy else ""
            flat = f"  ({self.flat[i]} flat)" if self.flat[i] else ""
            lines.append(
                f"{self.hits[i]:4d}  {self.spectral_radius[i]:6.3g}  {word(self.stable[i]):9s}  "
                f"{word(self.flow_stable[i]):8s}  {energy}{numbers}{more}{flat}"
            )
        return "\n".join(lines)

    def _summary(self, n_starts: int) -> str:
        counts, stable = np.asarray(self.count), np.sum(np.asarray(self.stable), axis=-1)
        lines = [
            f"{counts.size} samples, {n_starts} starts each "
            f"({100 * np.mean(self.failed) / n_starts:.1f} % failed)",
            "equilibria  samples  stable ones (mean)",
        ]
        for count in np.unique(counts):
            same = counts == count
            lines.append(f"{count:10d}  {np.sum(same):7d}  {np.mean(stable[same]):18.2f}")
        return "\n".join(lines)


@nan_on_purpose
@eqx.filter_jit
def find_equilibria(
    cell: AbstractCell,
    x: PyTree[Array],
    key: PRNGKeyArray,
    *,
    n_starts: int = 64,
    solver: Solver | None = None,
    max_steps: int = 256,
    tolerance: float = 1e-3,
    spread: float = 2.0,
    starts: PyTree[Array] | None = None,
) -> Equilibria:
    r"""Looks for equilibria from many starts.

    The cell's own initial guess is the first start. The others are uniform in the box of possible
    measured values for quantum cells, where all equilibria lie; for other cells, they are that
    guess plus independent Gaussian numbers of standard deviation `spread`; for a
    [`eqx_qdeq.SelfConsistentCell`][], its initial fields with angles uniform between -π and π.
    Small angles are a bad place to start: there circuits are close to doing nothing, and many
    angles to doing the same.

    A search proves nothing about what it did not find; [`eqx_qdeq.certify`][] proves that an
    equilibrium is the only one near, or anywhere.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq.cell
        x = 0.5 * jax.random.normal(jax.random.key(1), (16,))
        print(qdeq.find_equilibria(cell, x, jax.random.key(2)))
        ```

    **The ground state.** The energy of a variational circuit has local minima, which are
    equilibria, too. So several starts, and the one of least energy, with its derivatives:
    `deq(x, z0=find_equilibria(deq.cell, x, key, n_starts=8).lowest)`.

    **Arguments:**

    - `cell`: any cell.
    - `x`: one sample; batch with `jax.vmap`.
    - `key`: for the starts.
    - `n_starts`: how many.
    - `solver`: as for [`eqx_qdeq.DEQ`][]. Newton's method, the default for small states, finds
        unstable equilibria as well; the default for a [`eqx_qdeq.SelfConsistentCell`][] does not.
    - `max_steps`: the solver's steps at most.
    - `tolerance`: equilibria closer than this, in the Euclidean norm, count as one. To be well
        above the solver's error. Those of a [`eqx_qdeq.SelfConsistentCell`][] are compared by their
        fields and energies, as many angles may make one state.
    - `spread`: of the starts, for cells that are not quantum.
    - `starts`: states to start from besides, with a leading axis, e.g. the `values` of a
        [`eqx_qdeq.Branch`][]. Those that are not finite count as failed.

    **Returns:**

    [`eqx_qdeq.Equilibria`][], without derivatives. Dense Jacobians are taken at `n_starts` places,
    so the state should be small.

    **Raises:** `ValueError` for a number that is not positive.
    """
    check_at_least("find_equilibria(n_starts=...)", n_starts, 1)
    for name, number in (("tolerance", tolerance), ("spread", spread)):
        check_positive(f"find_equilibria({name}=...)", number)
    fn = cell.bind(x)
    first, unravel = ravel_pytree(cell.init(x))
    shape = (n_starts - 1, first.size)
    quantum = cell.cell if isinstance(cell, ContractiveCell) else cell
    if isinstance(quantum, QuantumCell):
        box = Box.of_values(quantum)
        share = jax.random.uniform(key, shape, first.dtype, minval=-1, maxval=1)
        others = (box.centre[None] + share * box.half[None]).astype(first.dtype)
    elif isinstance(cell, SelfConsistentCell):
        start = unravel(first)
        turn = lambda key: jax.random.uniform(
            key, start.angles.shape, first.dtype, minval=-jnp.pi, maxval=jnp.pi
        )
        angles = jax.vmap(turn)(jax.random.split(key, n_starts - 1))
        flatten = lambda angles: ravel_pytree(SelfConsistentState(start.fields, angles))[0]
        others = jax.vmap(flatten)(angles)
    else:
        others = first[None] + spread * jax.random.normal(key, shape, first.dtype)
    solver = solver_for(solver, unravel(first), cell)

    def solve(v: Array) -> tuple[Array, Array, Array]:
        solution = solve_map(fn, unravel(v), solver, ImplicitAdjoint(), max_steps=max_steps)
        return ravel_pytree(solution.value)[0], solution.success, solution.stats["residual"]

    points = [first[None], others]
    if starts is not None:
        check_state("starts", starts, unravel(first), batched=True)
        points.append(jax.vmap(lambda z: ravel_pytree(z)[0])(starts).astype(first.dtype))
    solved = jax.vmap(solve)(jnp.concatenate(points))
    points, success, residual = lax.stop_gradient(solved)
    # The best solved one stands for its neighbors.
    order = jnp.argsort(jnp.where(success, residual, jnp.inf))
    points, success, residual = points[order], success[order], residual[order]
    energies, variances, seen = lax.stop_gradient(_energies(cell, fn, jax.vmap(unravel)(points)))
    hits = _merge(points if seen is None else seen, success, tolerance)
    order = jnp.argsort(-hits)
    points, hits, residual = points[order], hits[order], residual[order]
    found = hits > 0
    hide = lambda x: jnp.where(found, x, jnp.nan)

    # f(z + δ) ≈ z + J δ: iteration shrinks δ if ρ(J) < 1, and the flow δ̇ = (J - I) δ if all
    # eigenvalues of J - I have negative real parts. Next to a curve of equilibria, or to a
    # transition, one is of the size of the residual.
    matrices = lax.stop_gradient(jax.vmap(lambda v: jacobian(fn, unravel(v)))(points))
    spectra = jnp.linalg.eigvals(matrices)
    unsure = _CURVATURE * residual + jnp.finfo(first.dtype).eps ** 0.5
    flat = jnp.abs(spectra - 1) <= unsure[:, None]
    others = jnp.where(flat, 0, spectra)
    return Equilibria(
        values=jax.vmap(unravel)(jnp.where(found[:, None], points, jnp.nan)),
        count=jnp.sum(found),
        hits=hits,
        spectral_radius=hide(jnp.max(jnp.abs(spectra), axis=1)),
        stable=found & (jnp.max(jnp.abs(others), axis=1) < 1),
        flow_stable=found & (jnp.max(others.real, axis=1) < 1),
        flat=jnp.where(found, jnp.sum(flat, axis=1), 0),
        energies=hide(energies[order]),
        variances=hide(variances[order]),
        failed=jnp.sum(~success),
    )


def _energies(
    cell: AbstractCell, fn: Callable, states: PyTree[Array]
) -> tuple[Float[Array, " k"], Float[Array, " k"], Float[Array, "k m"] | None]:
    """Energies and variances of states, and what tells these apart if they do not by themselves."""
    nothing = jnp.full(len(jax.tree.leaves(states)[0]), jnp.nan)
    if not isinstance(cell, SelfConsistentCell):
        return nothing, nothing, None
    energies = jax.vmap(fn.energy)(states)
    fields = jax.vmap(lambda z: ravel_pytree(z.fields)[0])(states)
    is_pure = cell.layer.noise is None and cell.layer.device is None
    variances = jax.vmap(fn.variance)(states) if is_pure else nothing
    return energies, variances, jnp.concatenate([fields, energies[:, None]], axis=1)


def _merge(
    points: Float[Array, "k n"], success: Bool[Array, " k"], tolerance: float
) -> Int[Array, " k"]:
    """How many points each stands for: 0 for one that an earlier one stands for, or that failed."""

    def place(i: Array, hits: Array) -> Array:
        # One after the other, as who stands for whom depends on those before. A point stands for
        # itself where no earlier one is near.
        distance = jnp.linalg.norm(points - points[i][None], axis=1)
        distance = jnp.where(hits > 0, distance, jnp.inf)
        nearest = jnp.argmin(distance)
        owner = jnp.where(distance[nearest] <= tolerance, nearest, i)
        return hits.at[owner].add(jnp.where(success[i], 1, 0))

    return lax.fori_loop(0, len(points), place, jnp.zeros(len(points), int))
