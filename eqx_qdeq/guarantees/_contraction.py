"""Proven upper bounds on the Jacobian of a quantum cell, and cells that are contractions by
construction."""

from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from .._checks import can_check, check_at_least
from ..cells import (
    AbstractCell,
    AbstractCompiledCell,
    AbstractLinearInjection,
    AngleFeedback,
    Graph,
    GraphCell,
    ImplicitGraphCell,
    QuantumCell,
    ShardedGraph,
)
from ..encodings import normalise
from ..layers import AbstractPrepared
from ..measurements import quadratic_forms
from ._boxes import Box, feedback_matrix, InputMap, over, spread_of, spreads_of_forms
from ._graphs import graph_bound
from ._lipschitz_amplitude import Reach
from ._lipschitz_angles import angle_slope, angle_slope_at, turns_wires


@eqx.filter_jit
def lipschitz_bound(cell: AbstractCell, x: PyTree[Array], *, rounds: int = 5) -> Float[Array, ""]:
    r"""A proven upper bound on $\|\partial f/\partial z\|_2$ for one sample and the cell's angles,
    at every z that a solve can come by.

    f maps everything into the box of possible measured values. If the bound is below 1, then f is
    a contraction there: there is exactly one equilibrium, and plain iteration converges to it with
    an error that shrinks at least by this factor in each step.

    *Amplitude encoding.* With $v = v_0 + R z$ and D the diameter of the set of possible vectors of
    measured values ($2\sqrt m$ for $\langle Z\rangle$ on m wires),

    $$\|J\| \leq \frac{D\,\|R\|}{\|v\|}, \qquad
    \|J(z)\| \leq \|J(z_c)\| + \frac{2 D\,\|R\|\,\|R (z - z_c)\|}{\min\|v\|^2} .$$

    All v lie in an (m+1)-dimensional space, and D is computed for the circuit's observables
    compressed to it. The same inequalities bound the values that f takes, hence a smaller box, and
    so on for some `rounds`. The result is the smaller of the two bounds on the last box.

    *Angle encoding, re-uploading, angle feedback.* $\|J\| \leq D \max_\delta \Delta H_\delta$ with
    the standard deviation of the generator of the turn by δ: for all z alike.

    *Graphs.* With angle encoding or re-uploading in a [`eqx_qdeq.GraphCell`][] or
    [`eqx_qdeq.ImplicitGraphCell`][], and the norm of all nodes' states together; the largest slope
    of a node counts, so the bound does not grow with the number of nodes.

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

    - `cell`: a quantum cell, one made by [`eqx_qdeq.contractive`][], or a cell on graphs.
    - `x`: one sample; for a cell on graphs, one graph.
    - `rounds`: the bound holds for all z that so many applications of f can lead to, from
        anywhere in the box of possible values; equilibria are among them. With 0 it holds in the
        whole box. Angle-encoded cells have the same bound everywhere.

    **Returns:**

    A scalar, differentiable in the angles, the injection and x, so that it can be a penalty; +inf
    where the input may vanish, which proves nothing (and has no derivative).

    **Raises:** `TypeError` for a cell that is not quantum, `ValueError` for negative `rounds`.
    """
    check_at_least("rounds", rounds, 0)
    if isinstance(cell, GraphCell | ImplicitGraphCell):
        bound = graph_bound(cell, x)
        return jnp.where(bound >= 0, bound, jnp.inf)  # not a number: nothing is known
    if isinstance(x, Graph | ShardedGraph):
        raise TypeError(
            "`x` is a graph, which only a GraphCell or an ImplicitGraphCell takes; got a "
            f"{type(cell).__name__}."
        )
    quantum = as_quantum_cell(cell, x.shape[0], "lipschitz_bound")
    # A sample that is no number must not spoil the gradient of a batch.
    usable = jnp.all(jnp.isfinite(x))
    x = jnp.where(usable, x, 0)
    if turns_wires(quantum):
        bound = angle_slope_at(quantum, x)
    else:
        _, bound = Reach.of(quantum, x).shrink(Box.of_values(quantum), rounds)
    return jnp.where(usable & (bound >= 0), bound, jnp.inf)


@eqx.filter_jit
def lipschitz_bound_for_norm(
    cell: AbstractCell,
    in_size: int,
    norm: float | Float[Array, ""] = 0.0,
    *,
    forms_up_to: int = 128,
) -> Float[Array, ""]:
    r"""A proven upper bound on $\|\partial f/\partial z\|_2$ for *every* sample whose encoded
    offset has at least the given norm, $\|b(x)\| \geq$ `norm`: $\|x\|$ for
    [`eqx_qdeq.AddInjection`][].

    With amplitude encoding it is $D\,\|R\| / (\mathrm{norm} - \max_z \|R z\|)$, the maximum over
    all possible measured values. Other encodings need no norm.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        cell = qdeq.QDEQ(2, 4, gain=0.3, key=jax.random.key(0)).deq.cell
        bound = qdeq.lipschitz_bound_for_norm(cell, in_size=4, norm=2.0)
        bound < 1  # True
        ```

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
        bound = lipschitz_bound_for_norm(cell.cell, in_size, norm, forms_up_to=forms_up_to)
        return jnp.minimum(own, bound)
    quantum = as_quantum_cell(cell, in_size, "lipschitz_bound_for_norm")
    if turns_wires(quantum):
        bound = angle_slope(quantum, in_size)
    else:
        steepest, largest = _feedback(quantum, in_size, forms_up_to)
        # ‖b(x) + R z‖ ≥ ‖b(x)‖ - max‖R z‖.
        bound = over(steepest, jnp.asarray(norm, largest.dtype) - largest)
    return jnp.where(bound >= 0, bound, jnp.inf)  # not a number: nothing is known


def _feedback(
    cell: QuantumCell, in_size: int, forms_up_to: int
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """D ‖R‖, and a bound on ‖R z‖ over all values that can be measured."""
    layer, matrix = cell.layer, feedback_matrix(cell, in_size)
    box, spread = Box.of_values(cell), jnp.asarray(spread_of(cell), matrix.dtype)
    if len(matrix) <= forms_up_to:
        # The observables pulled back through the circuit, on the amplitudes that are used.
        columns = layer.propagator(len(matrix))(jnp.eye(len(matrix), dtype=matrix.dtype))
        low, high, own = spreads_of_forms(quadratic_forms(layer.measurement, columns, columns))
        box, spread = box.meet(low, high), jnp.minimum(spread, own)
    norm = jnp.linalg.norm(matrix, 2)
    feedback = InputMap(jnp.zeros(len(matrix), matrix.dtype), matrix, norm)
    return spread * norm, feedback.greatest_norm(box)


def as_quantum_cell(cell: AbstractCell, in_size: int, caller: str) -> QuantumCell:
    """The quantum cell that a cell stands for."""
    if isinstance(cell, ContractiveCell):
        cell = cell.quantum_cell(in_size)
    if not isinstance(cell, QuantumCell):
        raise TypeError(
            f"`{caller}(cell=...)` needs to know the circuit: a QuantumCell, or a cell made by "
            f"`contractive`; got {type(cell).__name__}. Use `spectral_norm` for the Jacobian of "
            "any cell at one place."
        )
    if cell.layer.noise is not None:
        raise ValueError(
            f"`{caller}(cell=...)` knows the bounds of noiseless circuits; this cell's layer "
            "has noise. Wrap the cell as FunctionCell(lambda z, x: cell.bind(x)(z), "
            "cell.init): `certify` then takes a `curvature` of yours."
        )
    return cell


class ContractiveCell(AbstractCell):
    r"""A quantum cell whose feedback is bounded such that f is a contraction for every sample.

    Made by [`eqx_qdeq.contractive`][], which says how.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        cell = qdeq.contractive(qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq.cell, 0.5)
        isinstance(cell, qdeq.ContractiveCell)  # True
        qdeq.lipschitz_bound(cell, jax.numpy.ones(4)) <= 0.5 + 1e-6  # True
        ```
    """

    cell: QuantumCell
    factor: float | Float[Array, ""] = 0.9

    always_finite: ClassVar[bool] = True

    def __check_init__(self) -> None:
        if not isinstance(self.cell, QuantumCell):
            raise TypeError(
                "`contractive(cell=...)` must be a QuantumCell, whose circuit bounds the feedback; "
                f"got {type(self.cell).__name__}. Use `jacobian_penalty` or `spectral_norm` as a "
                "penalty for other cells."
            )
        if can_check("contractive(factor=...)", self.factor) and not 0 < self.factor < 1:
            raise ValueError(
                "`contractive(factor=...)` must be above 0 and below 1, the factor by which an "
                f"error shrinks in each step; got {self.factor}."
            )

    def accept(self, x: Any) -> Float[Array, " d"]:
        return self.cell.accept(x)

    def init(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The zero vector."""
        return self.cell.init(x)

    def quantum_cell(self, in_size: int) -> QuantumCell:
        """The quantum cell with the bounded feedback, for samples of `in_size` features.

        **Raises:** `ValueError` for noise that the bound does not cover.
        """
        cell, injection = self.cell, self.cell.injection
        _check_noise(cell)
        if not turns_wires(cell):
            # ‖J‖ ≤ D ‖R‖ / min‖v‖ and min‖v‖ ≥ ‖b(x)‖ - max‖R z‖, solved for ‖b(x)‖.
            steepest, largest = _feedback(cell, in_size, forms_up_to=0)
            least = steepest / self.factor + largest
            shrink = jnp.ones_like(least)
        else:
            # The bound is proportional to the feedback.
            shrink = jnp.minimum(over(self.factor, angle_slope(cell, in_size)), 1)
            least = jnp.zeros_like(shrink)
        if isinstance(injection, AngleFeedback):
            bounded = eqx.tree_at(lambda i: i.gain, injection, injection.gain * shrink)
        else:
            assert isinstance(injection, AbstractLinearInjection)
            bounded = _BoundedInjection(injection, shrink, least)
        return QuantumCell(cell.layer, bounded)

    def compile(self, in_size: int) -> AbstractCompiledCell:
        """As [`eqx_qdeq.QuantumCell.compile`][]; the bound is computed here, once for a batch."""
        return self.quantum_cell(in_size).compile(in_size)

    def bind(self, x: Float[Array, " d"]) -> AbstractPrepared:
        x = self.accept(x)
        return self.compile(x.shape[0]).bind(x)


ContractiveCell.__init__.__doc__ = """**Arguments:** as for [`eqx_qdeq.contractive`][].

**Raises:** as `contractive`.
"""


def contractive(cell: QuantumCell, factor: float | Float[Array, ""] = 0.9) -> ContractiveCell:
    r"""Bounds a cell's feedback such that $\|\partial f/\partial z\|_2 \leq$ `factor` for every
    sample, every z that can be measured, and all angles.

    There is then exactly one equilibrium, and plain iteration converges to it by at least this
    factor in each step. A cell that obeys the bound already is left as it is. It is trained as
    before: gradients flow through the bound.

    - Amplitude encoding, $v = b(x) + R z$: the slopes are at most $D\,\|R\|/\|v\|$ (see
      [`eqx_qdeq.lipschitz_bound`][]), and only the direction of v is encoded. So an offset b(x)
      that is too short is scaled up to the norm

    $$\frac{D\,\|R\|}{\mathrm{factor}} + \max_z \|R z\| ,$$

      the maximum over all possible measured values. An offset of zero has no direction; it becomes
      that multiple of the first basis vector, which is what the encoding makes of it too.
    - Angle encoding and re-uploading: R is scaled down to the bound. Angle feedback: the gain.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        qlayer = qdeq.QDEQ(4, 16, key=jax.random.key(0))
        cell = qdeq.contractive(qlayer.deq.cell, factor=0.9)
        deq = qdeq.DEQ(cell, qdeq.Picard(1e-5, 1e-5))
        z = deq(0.01 * jax.random.normal(jax.random.key(1), (16,)))
        ```

    **Arguments:**

    - `cell`: a quantum cell.
    - `factor`: the bound, above 0 and below 1. A float is fixed, a JAX array trained (nothing then
        keeps it in that range).

    **Returns:**

    A [`eqx_qdeq.ContractiveCell`][].

    **Raises:** `TypeError` for another kind of cell, `ValueError` for a factor out of range.
    """
    return ContractiveCell(cell, factor)


def _check_noise(cell: QuantumCell) -> None:
    """Observables pulled back through a channel have no larger spread, so the bound for amplitudes
    holds under noise; not for estimates, nor for products that are read one by one."""
    layer, noise = cell.layer, cell.layer.noise
    if noise is None:
        return
    read_jointly = noise.readout is None or layer.measurement.diagonals(layer.n_qubits) is not None
    if turns_wires(cell) or not read_jointly or layer.engine == "trajectories":
        raise ValueError(
            "`contractive` bounds noisy cells with AmplitudeEncoding, a linear injection and no "
            "trajectories, with readout error only if the observables are diagonal; this layer's "
            "noise does not fit. Make the noiseless cell contractive, `layer.with_noise(None)`."
        )


class _BoundedInjection(AbstractLinearInjection):
    """An injection with its matrix scaled, and its offset brought to a least norm."""

    injection: AbstractLinearInjection
    scale: Float[Array, ""]
    least_norm: Float[Array, ""]

    def offset(self, x: Float[Array, " d_in"], n_values: int) -> Float[Array, " d"]:
        v = self.injection.offset(x, n_values)
        direction = normalise(v)  # the first basis vector where v = 0
        least = jnp.asarray(self.least_norm, v.dtype)
        # Along the direction, as squares of huge or tiny entries would lose the norm.
        short = jnp.sum(direction * v) < least
        return jnp.where(short, least * direction, v)

    def matrix(self, in_size: int, n_values: int, dtype: jnp.dtype) -> Float[Array, "d m"]:
        return self.injection.matrix(in_size, n_values, dtype) * self.scale.astype(dtype)
