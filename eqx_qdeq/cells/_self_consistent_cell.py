r"""SelfConsistentCell: mean fields and the angles of a variational circuit, as one equilibrium.

The state is $z = (\varphi, \theta)$, the fields and the angles; the energy of the circuit's state
depends on the fields, and the fields on what is measured:

$$f(\varphi, \theta) = \big(F(w(\theta)),\; \theta - \eta\,\partial_\theta E(\theta, \varphi)\big),
\qquad E = \langle\psi(\theta)|H(\varphi)|\psi(\theta)\rangle, \quad
w_q = \langle\psi(\theta)|O_q|\psi(\theta)\rangle.$$

At an equilibrium the state is a stationary point of the energy in the fields that it makes itself.
Two nested loops (minimize for given fields, measure, repeat) find the same points, but have to
finish the inner one each time, and only the joint equilibrium has one Jacobian: the implicit
function theorem then gives forces and susceptibilities at once,

$$\begin{pmatrix} 1 & -F'\,\partial_\theta w \\ \eta\,\partial_\varphi\partial_\theta E &
\eta\,\partial^2_\theta E \end{pmatrix}
\begin{pmatrix} d\varphi \\ d\theta \end{pmatrix} =
\begin{pmatrix} \partial_x F\,dx \\ -\eta\,\partial_x\partial_\theta E\,dx \end{pmatrix}.$$

**The metric.** In place of η stands η G⁻¹ with a positive definite matrix G(θ). It changes neither
the equilibria nor, as it multiplies what is zero there, any of their derivatives, of whatever
order: at an equilibrium ∂E/∂θ = 0 stays zero along with it, and dG⁻¹ meets nothing. So G is taken
without derivatives. With $G = 2 g$, $g_{ij} = \mathrm{Re}\,\langle\partial_i\psi|(1 -
|\psi\rangle\langle\psi|)|\partial_j\psi\rangle$, the flow is $\dot\psi = -P(H - E)\psi$ with the
projector P on what the angles can do: evolution in imaginary time, whose rates are gaps of H and
not those of the parametrization. A share ε of 1 keeps G regular; along flat directions ∂E/∂θ is
zero everywhere, and G⁻¹ mixes nothing into them.

**Which equilibria are wanted.** A saddle of the energy (an excited state) is an equilibrium, too.
The flow $\dot z = f(z) - z$ descends the energy at given fields,
$\dot\theta = -\eta\,G^{-1}\partial_\theta E$, while the fields relax to what is measured; saddles
repel it. So a solver that follows the flow is the default for this cell.

**Flat directions.** An angle that the state does not need can be moved along a curve on which the
state, and with it E and w, stays the same whatever the fields are. Let t be tangent to it. Then
$\partial_\theta w\,t = 0$, and as $t\cdot\partial_\theta E = 0$ holds for all fields and all x,
$\partial_\varphi(t\cdot\partial_\theta E) = 0$ and $\partial_x(t\cdot\partial_\theta E) = 0$; at an
equilibrium, where $\partial_\theta E = 0$, also $\partial^2_\theta E\,t = 0$. So with $n = (0, t)$

$$(I - J)\,n = 0 \quad\text{and}\quad n^\top (I - J) = 0:$$

null space and left null space are the same. The right side above is normal to n, and so is the
gradient of anything that is measured. Both linear systems, that of the tangents and that of the
adjoints, are consistent, and the component along n, which they leave open, does not matter to
what is measured: its derivatives exist and are exact, while those of the angles do not exist.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.scipy as jsp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array, Complex, Float, PyTree

from .._checks import check_instance, check_positive, describe
from .._inputs import arrays, numbers, precision, real_state
from .._precise import dot
from ..encodings import AmplitudeEncoding
from ..layers import AbstractPrepared, QuantumLayer
from ..measurements import AbstractMeasurement
from ._cell import AbstractCell


class SelfConsistentState(NamedTuple):
    """The state of a [`eqx_qdeq.SelfConsistentCell`][].

    **Attributes:**

    - `fields`: the mean fields, any pytree of real arrays.
    - `angles`: the circuit's angles in radians, shape `(n_params,)`.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        state = qdeq.SelfConsistentState(jnp.array([0.8]), jnp.array([0.1, 0.2]))
        state.fields.shape, state.angles.shape  # ((1,), (2,))
        ```
    """

    fields: PyTree[Array]
    angles: Float[Array, " n_params"]


class SelfConsistentCell(AbstractCell):
    r"""A variational ground state in the mean fields that it makes itself, as one equilibrium.

    $$f(\varphi, \theta) = \big(F(w(\theta), x),\;
    \theta - \eta\,G^{-1}\,\partial_\theta\,
    \langle\psi(\theta)|H(\varphi, x)|\psi(\theta)\rangle\big)$$

    with the metric of states $G = 2(g(\theta) + \varepsilon)$, $g$ that of Fubini and Study: so an
    angle moves the less, the more the state depends on it (natural gradients), and the flow
    $\dot z = f(z) - z$ is evolution in imaginary time. The state of the cell is a
    [`eqx_qdeq.SelfConsistentState`][]: the fields φ, and the angles θ of the layer's circuit. The
    layer's own angles are where the solve starts.

    [`eqx_qdeq.DEQ`][] solves it by following the flow to a minimum of the energy (others are
    equilibria, too), and differentiates it with steps and derivatives of least norm, as more angles
    than the state needs leave directions in which nothing changes. What is measured then has exact
    derivatives; those of such an angle do not exist, and are NaN in reverse mode.

    A start that is an equilibrium already is taken as found, stable or not: angles of a symmetric
    state, without fields, are one. `find_equilibria(...).lowest` starts from many angles, and takes
    the equilibrium of least energy.

    !!! example "Two spins of a square lattice, the other neighbors as a mean field"

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.Circuit(
            ["Ry", "Ry", "CX", "Ry", "Ry"],
            [[0], [1], [0, 1], [0], [1]],
            [[0], [1], [], [2], [3]],
        )
        m = qdeq.PauliSum({"Z0": 0.5, "Z1": 0.5})
        start = jnp.array([0.5, 0.3, 0.2, 0.1])
        layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), m, angles=start)


        def energy(m, h):
            field = -3 * m[0]  # three neighbors of each spin lie outside
            return qdeq.PauliSum(
                {"Z0 Z1": -1.0, "X0": -h, "X1": -h, "Z0": field, "Z1": field}
            )


        deq = qdeq.DEQ(qdeq.SelfConsistentCell(layer, energy))
        magnetization = deq(2.0).fields[0]  # 0.8624
        ```
    """

    layer: QuantumLayer
    energy: Callable[[PyTree[Array], PyTree[Array]], AbstractMeasurement]
    fields: Callable[[Float[Array, " m"], PyTree[Array]], PyTree[Array]] | None = None
    initial_fields: PyTree[Array] | Callable[[PyTree[Array]], PyTree[Array]] | None = None
    features: Callable[[PyTree[Array]], Float[Array, " d"]] | None = None
    step_size: float | Float[Array, ""] = 1.0
    metric_shift: float | Float[Array, ""] | None = 0.1

    def __check_init__(self) -> None:
        check_instance("layer", self.layer, QuantumLayer, "a QuantumLayer")
        for name, form in (
            ("energy", "lambda fields, x: PauliSum(...)"),
            ("fields", "lambda values, x: fields"),
            ("features", "lambda x: features"),
        ):
            given = getattr(self, name)
            if not callable(given) and (given is not None or name == "energy"):
                raise TypeError(
                    f"`SelfConsistentCell({name}=...)` must be a function, e.g. `{form}`; got "
                    f"{describe(given)}."
                )
        if self.features is None and not isinstance(self.layer.encoding, AmplitudeEncoding):
            raise TypeError(
                "`SelfConsistentCell(features=...)` is missing: what the layer's "
                f"{type(self.layer.encoding).__name__} encodes, e.g. `lambda x: x`. Only with "
                "AmplitudeEncoding() may it be left out; the circuit then begins in |0…0⟩."
            )
        if self.layer.circuit.n_params == 0:
            raise ValueError(
                "`layer` has a circuit without angles, so there is nothing to vary; use "
                "FunctionCell for a self-consistency without a variational state."
            )
        check_positive("SelfConsistentCell(step_size=...)", self.step_size)
        if self.metric_shift is not None:
            check_positive("SelfConsistentCell(metric_shift=...)", self.metric_shift)

    @property
    def follows_flow(self) -> bool:
        return True

    def accept(self, x: Any) -> PyTree[Array]:
        """The sample, its real numbers in the precision of the layer's angles."""
        dtype = precision(self.layer.angles)
        is_real = lambda v: jnp.issubdtype(v.dtype, jnp.floating)
        return jtu.tree_map(
            lambda v: numbers(v, dtype) if eqx.is_array(v) and is_real(v) else v, arrays(x)
        )

    def init(self, x: PyTree[Array]) -> SelfConsistentState:
        """The layer's own angles, and `initial_fields`; or, without them, the fields that these
        angles make."""
        angles = self.layer.angles
        if self.initial_fields is None:
            start = self.bind(x).fields_of(angles)
        elif callable(self.initial_fields):
            start = self.initial_fields(x)
        else:
            start = self.initial_fields
        cast = lambda leaf: numbers(leaf, angles.dtype, name="initial_fields")
        return SelfConsistentState(jtu.tree_map(cast, start), angles)

    def bind(self, x: PyTree[Array]) -> "SelfConsistentMap":
        layer, dtype = self.layer, self.layer.angles.dtype
        given = jnp.ones(1, dtype) if self.features is None else self.features(x)
        if layer.noise is None and layer.device is None and layer.engine == "auto":
            # The angles change with every step, so no matrix of the circuit is worth its cost.
            layer = layer.replace(engine="statevector", expected_batch=1)
        return SelfConsistentMap(self, layer, layer.accept(given), x)


class SelfConsistentMap(eqx.Module):
    """A [`eqx_qdeq.SelfConsistentCell`][] for one sample: the map, and what can be asked of a
    state. `cell.bind(x)` makes it.

    **Attributes:**

    - `cell`, `layer`: the cell, and its layer for a circuit whose angles change.
    - `features`: what the layer encodes, shape `(d,)`.
    - `x`: the sample.

    !!! example

        ```python
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        circuit = qdeq.Circuit(["Ry"], [[0]], [[0]])
        layer = qdeq.QuantumLayer(
            circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), angles=jnp.array([0.3])
        )
        energy = lambda m, h: qdeq.PauliSum({"X0": -h, "Z0": -2 * m[0]})
        cell = qdeq.SelfConsistentCell(layer, energy)
        ground = cell.bind(1.0)
        z = qdeq.DEQ(cell)(1.0)
        ground.energy(z).round(2)  # -2.0
        ```
    """

    cell: SelfConsistentCell
    layer: QuantumLayer
    features: Float[Array, " d"]
    x: PyTree[Array]

    def __call__(self, z: SelfConsistentState) -> SelfConsistentState:
        fields, angles = z
        observable = self.observable(fields)
        both = _Both(observable, self.layer.measurement)

        # One run of the circuit forwards for the energy and what is measured, and one backwards.
        def energy(angles: Array) -> tuple[Array, Array]:
            found = self._prepared(angles, both)(self.features)
            return found[0], found[1:]

        slope, values = jax.grad(energy, has_aux=True)(angles)
        step_size = jnp.asarray(self.cell.step_size, angles.dtype)
        if self.cell.metric_shift is not None:
            slope = self._natural(angles, slope)
        return SelfConsistentState(self._fields(values), angles - step_size * slope)

    def _natural(self, angles: Array, slope: Array) -> Array:
        """The slope in the metric of states, without derivatives of the metric."""
        # Only a pure state has one of this kind; under noise that without noise is as good.
        pure = self.layer.replace(noise=None, device=None, engine="statevector")

        def parts(angles: Array) -> tuple[Array, Array]:
            prepared = pure.replace(angles=angles).compile(self.features.shape[0])
            state = prepared.state(self.features)
            both = jnp.stack([state.real, state.imag])
            return both, both

        # Re⟨∂ᵢψ|∂ⱼψ⟩ - ⟨∂ᵢψ|ψ⟩⟨ψ|∂ⱼψ⟩, where the overlaps are imaginary as ‖ψ‖ = 1.
        (da, db), (a, b) = jax.jacfwd(parts, has_aux=True)(lax.stop_gradient(angles))
        overlap = dot(a, db) - dot(b, da)
        metric = dot(da.T, da) + dot(db.T, db) - overlap[:, None] * overlap[None, :]
        shift = jnp.asarray(self.cell.metric_shift, angles.dtype)
        shifted = metric + shift * jnp.eye(len(angles), dtype=angles.dtype)
        factor = lax.stop_gradient(jnp.linalg.cholesky(shifted))
        return 0.5 * jsp.linalg.cho_solve((factor, True), slope)

    def observable(self, fields: PyTree[Array]) -> AbstractMeasurement:
        """The Hamiltonian in these fields.

        **Raises:** `TypeError` and `ValueError` if `energy` gives no single observable.
        """
        observable = self.cell.energy(fields, self.x)
        check_instance(
            "energy(fields, x)", observable, AbstractMeasurement, "one observable, e.g. a PauliSum"
        )
        if (size := observable.size(self.layer.n_qubits)) != 1:
            raise ValueError(
                "`energy(fields, x)` must be one observable, as an energy is one number; got "
                f"{size}: {observable!r}. Add them up, e.g. in one PauliSum."
            )
        return observable

    def energy(self, z: SelfConsistentState) -> Float[Array, ""]:
        r"""$\langle\psi(\theta)|H(\varphi)|\psi(\theta)\rangle$. (Of most mean-field theories the
        total energy is less by half of the field's share.)"""
        return self.measure(self.observable(z[0]), z)[0]

    def variance(self, z: SelfConsistentState) -> Float[Array, ""]:
        r"""$\langle H^2\rangle - \langle H\rangle^2$, which is zero if and only if the state is an
        eigenstate of the Hamiltonian in its own fields. At an equilibrium it tells a local minimum
        of the circuit's energy, which is none, from an exact state. An eigenvalue is no further
        from the energy than its root.

        **Raises:** `ValueError` under noise, which leaves no pure state.
        """
        state = self.state(z)
        h = self.observable(z[0]).apply(state[:, None])[0, :, 0]
        share = jnp.vdot(state, h)
        return jnp.sum(jnp.abs(h - share * state) ** 2)

    def measure(
        self, measurement: AbstractMeasurement, z: SelfConsistentState
    ) -> Float[Array, " k"]:
        """Other observables of the state."""
        return self._prepared(z[1], measurement)(self.features)

    def state(self, z: SelfConsistentState) -> Complex[Array, " dim"]:
        """The state vector.

        **Raises:** `ValueError` under noise, which leaves no pure state.
        """
        return self._prepared(z[1], self.layer.measurement).state(self.features)

    def probabilities(self, z: SelfConsistentState) -> Float[Array, " dim"]:
        """The probabilities of the outcomes in the computational basis, shape `(2**n,)`."""
        return self._prepared(z[1], self.layer.measurement).probabilities(self.features)

    def fields_of(self, angles: Float[Array, " n_params"]) -> PyTree[Array]:
        """The fields that the state of these angles makes."""
        return self._fields(self._prepared(angles, self.layer.measurement)(self.features))

    def _fields(self, values: Float[Array, " m"]) -> PyTree[Array]:
        if self.cell.fields is None:
            return values
        return real_state(self.cell.fields(values, self.x))

    def _prepared(self, angles: Array, measurement: AbstractMeasurement) -> AbstractPrepared:
        layer = self.layer.replace(angles=angles, measurement=measurement)
        return layer.compile(self.features.shape[0])


class _Both(AbstractMeasurement):
    """The energy, and behind it what is measured for the fields: one state serves both."""

    energy: AbstractMeasurement
    measured: AbstractMeasurement

    def size(self, n_qubits: int) -> int:
        return self.energy.size(n_qubits) + self.measured.size(n_qubits)

    def values(self, state: Complex[Array, " dim"]) -> Float[Array, " m"]:
        return jnp.concatenate([self.energy.values(state), self.measured.values(state)])

    def apply(self, states: Complex[Array, "dim cols"]) -> Complex[Array, "m dim cols"]:
        return jnp.concatenate([self.energy.apply(states), self.measured.apply(states)])

    def norms(self, n_qubits: int) -> np.ndarray:
        return np.concatenate([self.energy.norms(n_qubits), self.measured.norms(n_qubits)])


SelfConsistentCell.__init__.__doc__ = """**Arguments:**

- `layer`: the circuit, what it measures for the fields, and the angles from which a solve starts.
- `energy`: `(fields, x) -> observable`, the Hamiltonian in these fields: a
    [`eqx_qdeq.PauliSum`][] of one sum, say, whose coefficients are made of both.
- `fields`: `(values, x) -> fields`, from the m measured values to the fields; the values
    themselves if left out.
- `initial_fields`: the fields from which a solve starts, or `x -> fields`; those that the initial
    angles make if left out. Where a symmetry may be broken they choose the side.
- `features`: `x -> features`, what the layer's encoding is given. Left out, the circuit begins in
    |0…0⟩.
- `step_size`: η, how far the angles move while the fields are renewed once: the time of imaginary
    time evolution, in units of one over energy. The equilibria and their derivatives do not depend
    on it.
- `metric_shift`: ε, above zero. With `None` the metric is 1 and the angles follow the bare
    gradient, which costs less for many angles, as the state's derivatives are not needed, and leads
    less straight. Neither do equilibria and derivatives depend on this.

**Raises:** `TypeError` for what is no layer or no function; `ValueError` for a circuit without
angles or a step size that is not positive. When it is applied: `TypeError` or `ValueError` if
`energy` gives no observable, several, or one on wires that the circuit does not have.
"""
