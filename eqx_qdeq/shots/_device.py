"""SamplingDevice: finitely many shots in a layer's own place; and a model on shots."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, PRNGKeyArray, PyTree, UInt32

from .._checks import check_instance, check_positive
from .._inputs import check_key
from .._trees import constant
from ..adjoints import ImplicitVJPAdjoint
from ..cells import QuantumCell
from ..equilibrium import BoundMap, counts, DEQ, guard, Solution, solve_by
from ..layers import (
    AbstractDevice,
    AbstractPrepared,
    DeviceLayer,
    layers_of,
    map_layers,
    QuantumLayer,
)
from ..measurements import AbstractMeasurement
from ..solvers import Picard
from ._bases import group_observables
from ._experiment import cell_experiment, Experiment, layer_experiment
from ._gradients import AbstractShotGradient, check_gradient, ExactGradient
from ._layer import SampledLayer
from ._sampled_deq import SampledDEQ
from ._sampling import check_shots, estimate, Sampling, Shots
from ._solves import AbstractSampledBackward, AveragedPicard

_T = TypeVar("_T")


class SamplingDevice(AbstractDevice):
    """Reads a layer out with finitely many shots, as [`eqx_qdeq.shots.SampledLayer`][] does, but
    from within: as the layer's `device`, which [`eqx_qdeq.with_shots`][] puts there.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        layer = qdeq.QuantumLayer(
            qdeq.circuits.hardware_efficient(n_qubits=2, depth=1),
            qdeq.AngleEncoding(),
            qdeq.PauliZ(),
            device=qdeq.shots.SamplingDevice(1000),
            key=jax.random.key(0),
        )
        layer.device.n_shots  # 1000
        ```
    """

    n_shots: Shots | None
    gradient: AbstractShotGradient
    per_group: bool = eqx.field(static=True)
    solver: AveragedPicard
    backward: AbstractSampledBackward | None
    tolerance: float | None
    key: UInt32[Array, "..."]

    has_own_noise: ClassVar[bool] = False

    def __init__(
        self,
        n_shots: Shots | None,
        gradient: AbstractShotGradient | None = None,
        *,
        per_group: bool = True,
        solver: AveragedPicard | None = None,
        backward: AbstractSampledBackward | None = None,
        tolerance: float | None = None,
        key: PRNGKeyArray | None = None,
    ):
        check_shots(n_shots)
        self.n_shots = n_shots
        self.gradient = ExactGradient() if gradient is None else gradient
        check_gradient(self.gradient)
        self.per_group = per_group
        self.solver = AveragedPicard() if solver is None else solver
        wanted = "an AveragedPicard, e.g. `AveragedPicard(atol=0.01)`"
        check_instance("solver", self.solver, AveragedPicard, wanted)
        wanted = "NeumannBackward() or JacobianBackward()"
        check_instance("backward", backward, AbstractSampledBackward | None, wanted)
        self.backward = backward
        if tolerance is not None:
            check_positive("tolerance", tolerance)
        self.tolerance = tolerance
        if key is not None:
            check_key("key", key)
        # As plain numbers, which can be saved and compared like other leaves.
        self.key = jax.random.key_data(jax.random.key(0) if key is None else key)

    def with_key(self, key: PRNGKeyArray) -> "SamplingDevice":
        return eqx.tree_at(lambda d: d.key, self, jax.random.key_data(key))

    def check(self, layer: eqx.Module) -> None:
        assert isinstance(layer, QuantumLayer)
        group_observables(layer.measurement, layer.n_qubits)

    def values(self, layer: eqx.Module, x: Float[Array, " d"]) -> Float[Array, " m"]:
        assert isinstance(layer, QuantumLayer)
        prepared = constant(layer.compile(x.shape[0]))
        here = lax.stop_gradient(x)
        return self.measured(prepared, here, layer_experiment(layer, x), self.key_at(x))

    def bind_feedback(self, cell: eqx.Module, x: Float[Array, " d"]) -> AbstractPrepared:
        assert isinstance(cell, QuantumCell)
        return _SampledFeedback(cell, constant(cell).bind(lax.stop_gradient(x)), x, self)

    def key_at(self, *inputs: Array) -> PRNGKeyArray:
        """A key for these inputs, the same for the same ones: samples of a batch and steps of a
        solve have shots of their own, whoever shares the device's key."""
        key = jax.random.wrap_key_data(self.key)
        for x in inputs:
            bits = lax.bitcast_convert_type(lax.stop_gradient(x).astype(jnp.float32), jnp.uint32)
            # Odd factors, modulo 2³²: no bit of an entry is lost, and entries are told apart.
            odd = (2 * np.arange(x.size, dtype=np.uint64) + 1) * 0x9E3779B1 % 2**32
            mixed = bits.reshape(-1) * jnp.asarray(odd.astype(np.uint32))
            key = jax.random.fold_in(key, jnp.sum(mixed, dtype=jnp.uint32))
        return key

    def measured(
        self, prepared: AbstractPrepared, x: Array, experiment: Experiment, key: PRNGKeyArray
    ) -> Float[Array, " m"]:
        """Sampled values, with the derivative as `gradient` says."""
        sampling = Sampling(self.n_shots, self.per_group)
        # As in a `SampledLayer`, the shots of a derivative are others than those of the value.
        value_key, gradient_key = jax.random.split(key)
        found = estimate(experiment.run.groups, prepared, x, sampling, value_key)
        zero = self.gradient.zero(experiment, sampling, gradient_key)
        return lax.stop_gradient(found.values) + zero

    def solve(
        self, deq: eqx.Module, x: PyTree[Array], z0: PyTree[Array] | None, probe: Any
    ) -> tuple[BoundMap, PyTree[Array], Solution]:
        assert isinstance(deq, DEQ)
        cell = deq.cell
        if not isinstance(cell, QuantumCell):
            tolerance: Any = self._floor(cell) if self.tolerance is None else self.tolerance
            solver = Picard(rtol=0.0, atol=tolerance)
            return solve_by(deq, solver, ImplicitVJPAdjoint(), x, z0, probe)
        if probe is not None:
            raise TypeError(
                "`probe` reports on the backward solve of ImplicitVJPAdjoint, and from shots it is "
                "another one; leave it out."
            )
        sampled = SampledDEQ(
            QuantumCell(cell.layer.replace(device=None), cell.injection),
            self.n_shots,
            self.solver,
            self.gradient,
            self.backward,
            np.iinfo(np.int32).max if deq.max_steps is None else deq.max_steps,
            self.per_group,
            deq.drop_unsolved,
        )
        solution = sampled.solve(x, key=self.key_at(x), z0=z0)
        if deq.throw:
            value = eqx.error_if(
                solution.value,
                ~solution.success,
                "the equilibrium was not found from shots; take more of them or more `max_steps`, "
                "or throw=False to have such samples marked as failed.",
            )
            solution = dataclasses.replace(solution, value=value)
        fn = cell.bind(guard(cell, x, z0)[0])
        return BoundMap(fn, counts(solution.result, deq.drop_unsolved)), solution.value, solution

    def _floor(self, cell: PyTree) -> float | Float[Array, ""]:
        # A step's residual is a difference of two evaluations, each with at most √(m/S) for m
        # observables between -1 and 1; √2 times that, and a margin.
        if self.n_shots is None:
            return 1e-5
        size = sum(layer.out_size for layer in layers_of(cell) if layer.device is not None)
        return 2 * (size / self.n_shots) ** 0.5


SamplingDevice.__init__.__doc__ = """**Arguments:** as for [`eqx_qdeq.with_shots`][].

**Raises:** as `with_shots`.
"""


class _SampledFeedback(AbstractPrepared):
    cell: QuantumCell
    prepared: AbstractPrepared  # the same at this sample, without derivatives
    x: Float[Array, " d"]
    device: SamplingDevice

    def __call__(self, x: Float[Array, " m"]) -> Float[Array, " m"]:
        return self.measure(self.cell.layer.measurement, x)

    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " m"]
    ) -> Float[Array, " k"]:
        experiment = cell_experiment(self.cell, self.x, x).reading(measurement)
        key = self.device.key_at(self.x, x)
        return self.device.measured(self.prepared, lax.stop_gradient(x), experiment, key)

    def state(self, x: Float[Array, " m"]) -> Array:
        return DeviceLayer(self.cell.layer, self.device).state(x)

    def probabilities(self, x: Float[Array, " m"]) -> Array:
        return DeviceLayer(self.cell.layer, self.device).probabilities(x)


def with_shots(
    model: _T,
    n_shots: Shots | None,
    gradient: AbstractShotGradient | None = None,
    *,
    per_group: bool = True,
    solver: AveragedPicard | None = None,
    backward: AbstractSampledBackward | None = None,
    tolerance: float | None = None,
    key: PRNGKeyArray | None = None,
) -> _T:
    """A model with all its quantum layers read out with finitely many shots. It stays a model of
    the same parameters, at the same paths, and of the same kind; [`eqx_qdeq.exact`][] takes the
    shots away again.

    A layer is then what [`eqx_qdeq.shots.SampledLayer`][] is, and the equilibrium of a quantum cell
    what [`eqx_qdeq.SampledDEQ`][] is. The equilibrium of any other cell with such layers in it is
    found by [`eqx_qdeq.Picard`][] iteration with new shots in each step and differentiated by
    [`eqx_qdeq.ImplicitVJPAdjoint`][].

    A call with a `key` draws from it, one without from the model's own, each input with shots of
    its own: other inputs other shots, and the same input the same.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(4, 16, 3, readout="zz", key=jax.random.key(0))
        sampled = qdeq.with_shots(model, 1000)
        x = jax.random.normal(jax.random.key(1), (8, 16))
        logits = jax.vmap(sampled)(x)
        again = jax.vmap(lambda x: sampled(x, key=jax.random.key(2)))(
            x
        )  # with other shots
        ```

    **Arguments:**

    - `model`: any pytree with [`eqx_qdeq.QuantumLayer`][]s in it, with noise or without.
    - `n_shots`: the shots of one evaluation; `None` for exact values, e.g. to see a shift rule.
    - `gradient`: how derivatives are estimated, as for `SampledLayer`; exact ones if left out.
    - `per_group`: whether every group of commuting observables gets `n_shots` shots.
    - `solver`, `backward`: of the equilibria of quantum cells, as for `SampledDEQ`.
    - `tolerance`: of the residual of other equilibria; if left out, $2\\sqrt{m/S}$ with the m
        values that their layers measure, which is what shots make of it.
    - `key`: for the shots of calls that are given no key, other ones in each layer.

    **Returns:** the model.

    **Raises:** as [`eqx_qdeq.map_layers`][], for arguments as `SampledDEQ`, and `TypeError` if
    something in the model is sampled in another way.
    """
    for node in jax.tree.leaves(model, is_leaf=_is_sampled):
        if _is_sampled(node):
            raise TypeError(
                f"`model` holds a {type(node).__name__}, which has shots of its own; give the "
                "layer or the equilibrium of which it was made."
            )
    device = SamplingDevice(
        n_shots,
        gradient,
        per_group=per_group,
        solver=solver,
        backward=backward,
        tolerance=tolerance,
        key=key,
    )
    own = _keys(jax.random.wrap_key_data(device.key))
    return map_layers(lambda layer: layer.replace(device=device.with_key(own())), model)


def _keys(key: PRNGKeyArray) -> Callable[[], PRNGKeyArray]:
    number = iter(range(2**32))
    return lambda: jax.random.fold_in(key, next(number))


def _is_sampled(node: Any) -> bool:
    return isinstance(node, SampledLayer | SampledDEQ)
