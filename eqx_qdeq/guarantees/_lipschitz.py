"""Proven upper bounds on the Jacobian of a quantum cell."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._checks import check_at_least
from ..cells import AbstractCell, AngleFeedback, Feedback, QuantumCell
from ..encodings import AmplitudeEncoding
from ._boxes import box_of_values
from ._contractive import ContractiveCell
from ._lipschitz_amplitude import bound_for_norm, subspace
from ._lipschitz_angles import angle_slope, feedback_slope


@eqx.filter_jit
def lipschitz_bound(
    cell: AbstractCell, x: Float[Array, " d"], *, rounds: int = 5
) -> Float[Array, ""]:
    r"""A proven upper bound on $\|\partial f/\partial w\|_2$ for one sample and the cell's angles,
    at every w that a solve can come by.

    f maps everything into the box of possible measured values. If the bound is below 1, then f is
    a contraction there: there is exactly one equilibrium, and plain iteration converges to it with
    an error that shrinks at least by this factor in each step.

    *Amplitude encoding.* With $v = v_0 + R w$ and D the diameter of the set of possible vectors of
    measured values ($2\sqrt m$ for $\langle Z\rangle$ on m wires),

    $$\|J\| \leq \frac{D\,\|R\|}{\|v\|}, \qquad
    \|J(w)\| \leq \|J(w_c)\| + \frac{2 D\,\|R\|\,\|R (w - w_c)\|}{\min\|v\|^2} .$$

    All v lie in an (m+1)-dimensional space, and D is computed for the circuit's observables
    compressed to it. The same inequalities bound the values that f takes, hence a smaller box, and
    so on for some `rounds`. The result is the smaller of the two bounds on the last box.

    *Angle encoding, re-uploading, angle feedback.* $\|J\| \leq D \max_\delta \Delta H_\delta$ with
    the standard deviation of the generator of the turn by δ: for all w alike.

    The result is evaluated in floating point; [`eqx_qdeq.certify`][] accounts for rounding.

    !!! example

        Over a set of samples the worst is what counts:

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(4, 16, gain=0.3, key=jax.random.key(0)).deq.cell
        x = 4 * jax.random.normal(jax.random.key(1), (100, 16))
        print(jnp.max(jax.vmap(lambda x: qdeq.lipschitz_bound(cell, x))(x)))
        ```

    **Arguments:**

    - `cell`: a quantum cell, or one made by [`eqx_qdeq.contractive`][].
    - `x`: one sample.
    - `rounds`: the bound holds for all w that so many applications of f can lead to, from
        anywhere in the box of possible values; equilibria are among them. With 0 it holds in the
        whole box. Angle-encoded cells have the same bound everywhere.

    **Returns:**

    A scalar, differentiable in the angles, the injection and x, so that it can be a penalty; +inf
    where the input may vanish, which proves nothing (and has no derivative).

    **Raises:** `TypeError` for a cell that is not quantum, `ValueError` for negative `rounds`.
    """
    check_at_least("rounds", rounds, 0)
    quantum = as_quantum_cell(cell, x.shape[0], "lipschitz_bound")
    # A sample that is no number must not spoil the gradient of a batch.
    usable = jnp.all(jnp.isfinite(x))
    bound = _bound(quantum, jnp.where(usable, x, 0), rounds)
    return jnp.where(usable & (bound >= 0), bound, jnp.inf)


def _bound(cell: QuantumCell, x: Float[Array, " d"], rounds: int) -> Float[Array, ""]:
    if isinstance(cell.injection, AngleFeedback):
        bound = cell.bind(x)
        assert isinstance(bound, Feedback)
        return feedback_slope(cell, bound.before)
    if not isinstance(cell.layer.encoding, AmplitudeEncoding):
        return angle_slope(cell, x.shape[0])
    reach = subspace(cell, x.shape[0]).reach(x)
    return reach.shrink(box_of_values(cell), rounds)[1]


@eqx.filter_jit
def lipschitz_bound_for_norm(
    cell: AbstractCell,
    in_size: int,
    norm: float | Float[Array, ""] = 0.0,
    *,
    forms_up_to: int = 128,
) -> Float[Array, ""]:
    r"""A proven upper bound on $\|\partial f/\partial w\|_2$ for *every* sample whose encoded
    offset has at least the given norm, $\|b(x)\| \geq$ `norm`: $\|x\|$ for
    [`eqx_qdeq.AddInjection`][].

    With amplitude encoding it is $D\,\|R\| / (\mathrm{norm} - \max_w \|R w\|)$, the maximum over
    all possible measured values. Other encodings need no norm.

    **Arguments:**

    - `cell`: a quantum cell, or one made by [`eqx_qdeq.contractive`][].
    - `in_size`: the number of features of a sample.
    - `norm`: the least norm of the offset.
    - `forms_up_to`: up to so many amplitudes, D and the maximum are those of the circuit; above,
        those of the measurement, which needs no matrix of the circuit.

    **Returns:**

    A scalar, differentiable in the angles and the injection; +inf if the norm is too small.

    **Raises:** `TypeError` for a cell that is not quantum.
    """
    if isinstance(cell, ContractiveCell):
        # Scaled inputs are at least as long as the factor needs, whatever the sample.
        own = jnp.asarray(cell.factor, cell.cell.layer.angles.dtype)
        return jnp.minimum(
            own, lipschitz_bound_for_norm(cell.cell, in_size, norm, forms_up_to=forms_up_to)
        )
    quantum = as_quantum_cell(cell, in_size, "lipschitz_bound_for_norm")
    is_amplitude = isinstance(quantum.layer.encoding, AmplitudeEncoding)
    if isinstance(quantum.injection, AngleFeedback) or not is_amplitude:
        return _or_infinity(angle_slope(quantum, in_size))
    least = jnp.asarray(norm, quantum.layer.angles.dtype)
    return _or_infinity(bound_for_norm(quantum, in_size, least, forms_up_to=forms_up_to))


def as_quantum_cell(cell: AbstractCell, in_size: int, caller: str) -> QuantumCell:
    """The quantum cell that a cell stands for."""
    if isinstance(cell, ContractiveCell):
        cell = cell.quantum_cell(in_size)
    if isinstance(cell, QuantumCell):
        if cell.layer.noise is not None:
            raise ValueError(
                f"`{caller}(cell=...)` knows the bounds of noiseless circuits; this cell's layer "
                "has noise. Wrap the cell as FunctionCell(lambda w, x: cell.bind(x)(w), "
                "cell.init): `certify` then takes a `curvature` of yours."
            )
        return cell
    raise TypeError(
        f"`{caller}(cell=...)` needs to know the circuit: a QuantumCell, or a cell made by "
        f"`contractive`; got {type(cell).__name__}. Use `spectral_norm` for the Jacobian of any "
        "cell at one place."
    )


def _or_infinity(bound: Float[Array, ""]) -> Float[Array, ""]:
    return jnp.where(bound >= 0, bound, jnp.inf)  # not a number: nothing is known
