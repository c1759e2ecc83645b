"""Certificates: what is proven about the equilibrium near a solver's result."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from .._checks import can_check
from ..cells import AbstractCell, QuantumCell
from ..jacobians import jacobian
from ._boxes import Box, over
from ._contraction import as_quantum_cell, ContractiveCell, lipschitz_bound
from ._kantorovich import newton_kantorovich, Rounding, rounding_errors
from ._lipschitz_amplitude import Reach
from ._lipschitz_angles import angle_curvature, turns_wires


class Certificate(eqx.Module):
    r"""What [`eqx_qdeq.certify`][] has proven about a sample and a vector z; printing it tells.

    Under `vmap` all attributes are batched.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(2, 4, gain=0.3, key=jax.random.key(0)).deq
        x = jax.numpy.ones(4)
        certificate = qdeq.certify(deq.cell, x, deq(x))
        bool(certificate.certified), bool(certificate.contracts)  # (True, True)
        ```

    **Attributes:** scalars, in the units of z:

    - `residual`: the computed ‖f(z) - z‖.
    - `rounding`: the bound on the error of f that is added to it.
    - `inverse_norm`: β ≥ ‖(I - J)⁻¹‖; +inf if I - J may be singular.
    - `newton_step`: η ≥ ‖(I - J)⁻¹ (f(z) - z)‖.
    - `h`: βKη with the Lipschitz constant K of J nearby. At most 1/2 is a proof.
    - `radius`: an equilibrium lies this close to z; +inf if that is not proven.
    - `unique_radius`: there is no other one this close; 0 if that is not proven.
    - `lipschitz`: an upper bound on the contraction factor ([`eqx_qdeq.lipschitz_bound`][]);
        +inf if unknown.
    - `contraction_error`: (‖f(z) - z‖ + rounding) / (1 - factor), a bound on the distance to the
        only equilibrium; +inf if f is not known to contract.
    - `continuous`: whether f is known to map a box continuously into itself, so that an
        equilibrium exists by Brouwer's theorem.
    - `farthest`: how far from z an equilibrium can lie at most.
    """

    residual: Float[Array, "..."]
    rounding: Float[Array, "..."]
    inverse_norm: Float[Array, "..."]
    newton_step: Float[Array, "..."]
    h: Float[Array, "..."]
    radius: Float[Array, "..."]
    unique_radius: Float[Array, "..."]
    lipschitz: Float[Array, "..."]
    contraction_error: Float[Array, "..."]
    continuous: Bool[Array, "..."]
    farthest: Float[Array, "..."]

    @property
    def error(self) -> Float[Array, "..."]:
        """The smallest proven bound on the distance from z to an equilibrium; +inf if none."""
        return jnp.minimum(self.radius, self.contraction_error)

    @property
    def certified(self) -> Bool[Array, "..."]:
        """Whether an equilibrium is proven to lie near z, within `error`."""
        return jnp.isfinite(self.error)

    @property
    def contracts(self) -> Bool[Array, "..."]:
        """Whether f is proven to be a contraction: plain iteration converges from anywhere."""
        return self.lipschitz < 1

    @property
    def exists(self) -> Bool[Array, "..."]:
        """Whether an equilibrium is proven to exist, near z or not."""
        return self.certified | self.continuous | self.contracts

    @property
    def unique(self) -> Bool[Array, "..."]:
        """Whether there is proven to be one equilibrium and no other, near z or not."""
        alone = jnp.isfinite(self.radius) & (self.unique_radius > self.farthest)
        return self.contracts | alone

    def __str__(self) -> str:
        if jnp.ndim(self.residual) > 0:
            return self._summary()
        say = lambda proven, text: text if proven else "not proven"
        where = "anywhere" if self.unique else f"within {self.unique_radius:.2g} of z"
        how = f"by a factor of {self.lipschitz:.3g} or less in each step"
        how = how if self.contracts else f"not proven (bound {self.lipschitz:.3g})"
        return _table(
            {
                "near": say(self.certified, f"an equilibrium within {self.error:.2g} of z"),
                "existence": say(self.exists, "proven"),
                "uniqueness": say(self.unique or self.unique_radius > 0, f"no other one {where}"),
                "contraction": how,
                "residual": f"{self.residual:.2g}, rounding at most {self.rounding:.2g}",
                "Kantorovich": f"h = {self.h:.2g} (1/2 or less is a proof), "
                f"‖(I - J)⁻¹‖ ≤ {self.inverse_norm:.3g}",
            }
        )

    def _summary(self) -> str:
        share = lambda flags: f"{int(np.sum(flags))} of {np.size(flags)} samples"
        rows = {
            "near": share(self.certified),
            "existence": share(self.exists),
            "uniqueness": share(self.unique),
            "contraction": share(self.contracts),
        }
        errors = np.asarray(self.error)[np.asarray(self.certified)]
        if len(errors):
            typical, largest = np.median(errors), errors.max()
            rows["error"] = f"at most {typical:.2g} (median), {largest:.2g} (largest, where proven)"
        return _table({**rows, "residual": f"{np.max(self.residual):.2g} (largest)"})


def _table(rows: Mapping[str, str]) -> str:
    return "\n".join(f"{name:<14}{text}" for name, text in rows.items())


@eqx.filter_jit
def certify(
    cell: AbstractCell,
    x: PyTree[Array],
    z: PyTree[Array],
    *,
    curvature: float | Float[Array, ""] | None = None,
    lipschitz: float | Float[Array, ""] | None = None,
    rounding: float | Float[Array, ""] | None = None,
    rounds: int = 5,
) -> Certificate:
    r"""Proves that an equilibrium lies near z, how near, and that no other one does.

    By the Newton-Kantorovich theorem: with $\beta \geq \|(I - J)^{-1}\|$,
    $\eta \geq \|(I - J)^{-1} (f(z) - z)\|$ and a Lipschitz constant K of J on a large enough ball
    about z, $h = \beta K \eta \leq 1/2$ implies an equilibrium within
    $r_- = 2\eta/(1 + \sqrt{1 - 2h})$ of z, and no other one within
    $r_+ = (1 + \sqrt{1 - 2h})/(\beta K)$.

    For quantum cells K is known. With amplitude encoding and the input $v = v_0 + R z$ it is
    $2 D \|R\|^2/(\|v(z)\| - \|R\|\,\rho)^2$ on a ball of radius ρ, with the same D as in
    [`eqx_qdeq.lipschitz_bound`][]. For rotations by angles it is $\tfrac12 D\,\Omega^2$, with f's
    highest frequency Ω along unit directions (Bernstein's inequality). Existence by Brouwer's
    theorem and uniqueness by contraction are tried too.

    All of it accounts for rounding in the precision at hand, by a generous bound on the error of
    f and J in the standard model of floating-point arithmetic. In float32 that bound, not the
    solver, usually decides how close is proven; use `jax.enable_x64` for sharp statements.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
        x = 4 * jax.random.normal(jax.random.key(1), (16,))
        print(qdeq.certify(deq.cell, x, deq(x)))
        ```

    **Arguments:**

    - `cell`: any cell.
    - `x`: one sample.
    - `z`: where an equilibrium is thought to be, e.g. what a `DEQ` returned.
    - `curvature`: a Lipschitz constant of J in the spectral norm near z. Must be given for cells
        that are not quantum.
    - `lipschitz`: a Lipschitz constant of f everywhere, if you know one.
    - `rounding`: a bound on the error of f in the Euclidean norm. If left out, our own for quantum
        cells; for others 16 ε √n (‖f(z)‖ + ‖z‖), a guess.
    - `rounds`: as for [`eqx_qdeq.lipschitz_bound`][].

    **Returns:**

    A [`eqx_qdeq.Certificate`][] of arrays: works under `jit` and `vmap`.

    **Raises:** `TypeError` if `curvature` is missing; `ValueError` for a bound below zero.

    ??? cite "Reference"

        L. V. Kantorovich, "Functional analysis and applied mathematics", Uspekhi Mat. Nauk 3
        (1948), 89-185; J. M. Ortega, "The Newton-Kantorovich theorem", American Mathematical
        Monthly 75 (1968), 658-660.
    """
    fn = cell.bind(x)
    flat, _ = ravel_pytree(z)
    value, slopes = ravel_pytree(fn(z))[0], jacobian(fn, z)
    if isinstance(cell, QuantumCell | ContractiveCell):
        known = _of_a_circuit(as_quantum_cell(cell, x.shape[0], "certify"), x, flat, rounds)
    elif curvature is not None:
        known = _of_any_map(value, flat, slopes)
    else:
        raise TypeError(
            "`certify(curvature=...)` is needed for a cell that is not quantum: a Lipschitz "
            "constant of its Jacobian near z; got None. For z -> tanh(W z + x) it is 0.77 * ‖W‖₂²."
        )
    errors, bend, factor, nearby, continuous, farthest = known
    if curvature is not None:
        constant = own_bound("certify(curvature=...)", curvature, flat.dtype)
        bend = lambda _: constant
    if lipschitz is not None:
        own = own_bound("certify(lipschitz=...)", lipschitz, flat.dtype)
        factor, nearby = jnp.minimum(factor, own), jnp.minimum(nearby, own)
    value_error = (
        errors.value
        if rounding is None
        else own_bound("certify(rounding=...)", rounding, flat.dtype)
    )

    found = newton_kantorovich(
        value - flat, slopes, bend, value_error=value_error, jacobian_error=errors.jacobian
    )
    residual = jnp.linalg.norm(value - flat)
    return Certificate(
        residual=residual,
        rounding=value_error,
        **found._asdict(),
        lipschitz=factor,
        # Banach: ‖z - z*‖ ≤ ‖z - f(z)‖ + ‖f(z) - f(z*)‖ ≤ ‖z - f(z)‖ + κ ‖z - z*‖.
        contraction_error=over(residual + value_error, 1 - nearby),
        continuous=continuous,
        farthest=farthest,
    )


def own_bound(name: str, value: Any, dtype: np.dtype) -> Float[Array, ""]:
    """A bound that somebody knows. None is below zero, or NaN: where that cannot be refused, as it
    is traced, it bounds nothing.

    **Raises:** `ValueError` for one that can.
    """
    if can_check(name, value) and not value >= 0:
        raise ValueError(f"`{name}` is a bound on a size, 0 or more; got {value}.")
    bound = jnp.asarray(value, dtype)
    return jnp.where(bound >= 0, bound, jnp.inf)


class _Known(NamedTuple):
    """What is known of a map beside its value and slopes at z."""

    errors: Rounding
    curvature: Callable[[Array], Array]  # radius ↦ K
    factor: Array  # a bound on the factor of contraction
    nearby: Array  # ... and one that holds on the way from z to the equilibrium too
    continuous: Array  # whether Brouwer's theorem applies
    farthest: Array  # how far an equilibrium may be from z


def _of_a_circuit(cell: QuantumCell, x: Array, z: Array, rounds: int) -> _Known:
    errors, box = rounding_errors(cell, x, z), Box.of_values(cell)
    # The error of J as computed, on top of the relative error of the observables.
    inflate = lambda bound: bound * (1 + errors.relative) + errors.jacobian
    if turns_wires(cell):
        # f is analytic, and maps the box of possible values into itself.
        bend = angle_curvature(cell, x.shape[0]) * (1 + errors.relative)
        factor = inflate(lipschitz_bound(cell, x))
        return _Known(errors, lambda _: bend, factor, factor, jnp.array(True), box.farthest(z))
    # So it is here, if no input of the box vanishes.
    reach = Reach.of(cell, x)
    continuous, farthest = reach.inputs.least_norm(box) > 0, box.farthest(z)
    box, factor = reach.shrink(box, rounds)
    # Equilibria lie in the last box; so has the line from z to one of them.
    nearby = jnp.maximum(factor, reach.bound(box.join(z)))
    bend = lambda radius: reach.curvature(z, radius) * (1 + errors.relative)
    return _Known(errors, bend, inflate(factor), inflate(nearby), continuous, farthest)


def _of_any_map(value: Array, z: Array, slopes: Array) -> _Known:
    guess = 16 * jnp.finfo(z.dtype).eps * z.size**0.5
    size = jnp.linalg.norm(value) + jnp.linalg.norm(z)
    errors = Rounding(guess * size, guess * jnp.linalg.norm(slopes), jnp.asarray(guess, z.dtype))
    unknown = jnp.full_like(errors.value, jnp.inf)
    return _Known(errors, lambda _: unknown, unknown, unknown, jnp.array(False), unknown)
