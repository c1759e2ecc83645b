"""Certificates: what is proven about the equilibrium near a solver's result."""

from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Bool, Float, PyTree

from ..cells import AbstractCell, AngleFeedback, QuantumCell
from ..encodings import AmplitudeEncoding
from ..jacobians import jacobian
from ._boxes import box_of_values
from ._contractive import ContractiveCell
from ._kantorovich import newton_kantorovich, Rounding, rounding_errors
from ._lipschitz import as_quantum_cell, lipschitz_bound
from ._lipschitz_amplitude import subspace
from ._lipschitz_angles import angle_curvature


class Certificate(eqx.Module):
    r"""What [`eqx_qdeq.certify`][] has proven about a sample and a vector z; printing it tells.

    Under `vmap` all attributes are batched.

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
        error, factor = float(self.error), float(self.lipschitz)
        near = f"an equilibrium within {error:.2g} of z" if np.isfinite(error) else "not proven"
        if bool(self.unique):
            only = "no other one anywhere"
        elif float(self.unique_radius) > 0:
            only = f"no other one within {float(self.unique_radius):.2g} of z"
        else:
            only = "not proven"
        if bool(self.contracts):
            how = f"by a factor of {factor:.3g} or less in each step"
        else:
            how = f"not proven (bound {factor:.3g})"
        return "\n".join(
            [
                f"near          {near}",
                f"existence     {'proven' if bool(self.exists) else 'not proven'}",
                f"uniqueness    {only}",
                f"contraction   {how}",
                f"residual      {float(self.residual):.2g}, rounding at most "
                f"{float(self.rounding):.2g}",
                f"Kantorovich   h = {float(self.h):.2g} (1/2 or less is a proof), "
                f"‖(I - J)⁻¹‖ ≤ {float(self.inverse_norm):.3g}",
            ]
        )

    def _summary(self) -> str:
        count = np.size(self.residual)
        share = lambda flags: f"{int(np.sum(flags))} of {count} samples"
        errors = np.asarray(self.error)
        errors = errors[np.isfinite(errors)]
        lines = [
            f"near          {share(self.certified)}",
            f"existence     {share(self.exists)}",
            f"uniqueness    {share(self.unique)}",
            f"contraction   {share(self.contracts)}",
        ]
        if len(errors):
            lines.append(
                f"error         at most {np.median(errors):.2g} (median), {errors.max():.2g} "
                "(largest, where proven)"
            )
        lines.append(f"residual      {np.max(self.residual):.2g} (largest)")
        return "\n".join(lines)


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

    For quantum cells K is known. With amplitude encoding and the input $v = v_0 + R w$ it is
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

    **Raises:** `TypeError` if `curvature` is missing.

    ??? cite "Reference"

        L. V. Kantorovich, "Functional analysis and applied mathematics", Uspekhi Mat. Nauk 3
        (1948), 89-185; J. M. Ortega, "The Newton-Kantorovich theorem", American Mathematical
        Monthly 75 (1968), 658-660.
    """
    fn = cell.bind(x)
    flat, _ = ravel_pytree(z)
    value, slopes = ravel_pytree(fn(z))[0], jacobian(fn, z)
    if isinstance(cell, QuantumCell | ContractiveCell):
        known = _quantum(as_quantum_cell(cell, x.shape[0], "certify"), x, flat, rounds)
    else:
        known = _other(value, flat, slopes, curvature)
    errors, bend, factor, nearby_factor, continuous, farthest = known
    if curvature is not None:
        bend = _constant(jnp.asarray(curvature, flat.dtype))
    if lipschitz is not None:
        factor = jnp.minimum(factor, lipschitz)
        nearby_factor = jnp.minimum(nearby_factor, lipschitz)
    value_error = errors.value if rounding is None else jnp.asarray(rounding, flat.dtype)

    found = newton_kantorovich(
        value - flat, slopes, bend, value_error=value_error, jacobian_error=errors.jacobian
    )
    residual = jnp.linalg.norm(value - flat)
    contracts = nearby_factor < 1
    gap = jnp.where(contracts, 1 - nearby_factor, 1)
    return Certificate(
        residual=residual,
        rounding=value_error,
        inverse_norm=found.inverse_norm,
        newton_step=found.newton_step,
        h=found.h,
        radius=found.radius,
        unique_radius=found.unique_radius,
        lipschitz=factor,
        contraction_error=jnp.where(contracts, (residual + value_error) / gap, jnp.inf),
        continuous=continuous,
        farthest=farthest,
    )


Known = tuple[
    Rounding,
    Callable[[Array], Array],  # radius ↦ K
    Array,  # a bound on the factor of contraction
    Array,  # ... and one that holds on the way from z to the equilibrium too
    Array,  # whether Brouwer's theorem applies
    Array,  # how far an equilibrium may be from z
]


def _constant(value: Array) -> Callable[[Array], Array]:
    return lambda radius: jnp.broadcast_to(value, jnp.shape(radius))


def _quantum(cell: QuantumCell, x: Array, w: Array, rounds: int) -> Known:
    errors, box = rounding_errors(cell, x, w), box_of_values(cell)
    # The error of J as computed, on top of the relative error of the observables.
    inflate = lambda bound: bound * (1 + errors.relative) + errors.jacobian
    farthest = box.farthest(w)
    rotates = isinstance(cell.injection, AngleFeedback)
    if rotates or not isinstance(cell.layer.encoding, AmplitudeEncoding):
        bend = _constant(angle_curvature(cell, x.shape[0]) * (1 + errors.relative))
        factor = inflate(lipschitz_bound(cell, x))
        return errors, bend, factor, factor, jnp.array(True), farthest
    reach = subspace(cell, x.shape[0]).reach(x)
    continuous = reach.inputs.least_norm(box) > 0
    box, factor = reach.shrink(box, rounds)
    # Equilibria lie in the last box; so has the line from z to one of them.
    nearby = jnp.maximum(factor, reach.bound(box.join(w)))
    bend = lambda radius: reach.curvature(w, radius) * (1 + errors.relative)
    return errors, bend, inflate(factor), inflate(nearby), continuous, farthest


def _other(value: Array, z: Array, slopes: Array, curvature: float | Array | None) -> Known:
    if curvature is None:
        raise TypeError(
            "`certify(curvature=...)` is needed for a cell that is not quantum: a Lipschitz "
            "constant of its Jacobian near z; got None. For z -> tanh(W z + x) it is 0.77 * ‖W‖₂²."
        )
    guess = 16 * jnp.finfo(z.dtype).eps * z.size**0.5
    size = jnp.linalg.norm(value) + jnp.linalg.norm(z)
    errors = Rounding(guess * size, guess * jnp.linalg.norm(slopes), jnp.asarray(guess, z.dtype))
    unknown = jnp.full_like(errors.value, jnp.inf)
    bend = _constant(jnp.asarray(curvature, z.dtype))
    return errors, bend, unknown, unknown, jnp.array(False), unknown
