"""Where a layer is run, if not by exact simulation: the slot that shots and estimators fill."""

import abc
from typing import Any

import equinox as eqx
import jax
from jaxtyping import Array, Complex, Float, PRNGKeyArray, PyTree

from ..measurements import AbstractMeasurement
from ._compiled import AbstractPrepared

# A device is a field of the layer and not a wrapper around it: so all paths of a tree stay as they
# are, and whatever looks at a layer (its wires, its angles, its noise) still finds one.


class AbstractDevice(eqx.Module):
    """The abstract base class of what runs a layer in place of exact simulation:
    [`eqx_qdeq.shots.SamplingDevice`][] or [`eqx_qdeq.hardware.EstimatorDevice`][].

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
        isinstance(layer.device, qdeq.AbstractDevice)  # True
        qdeq.exact(layer).device is None  # True
        ```
    """

    # Whether it runs circuits with noise of its own, and not with the layer's.
    has_own_noise: eqx.AbstractClassVar[bool]

    @abc.abstractmethod
    def with_key(self, key: PRNGKeyArray) -> "AbstractDevice":
        """The same device, which draws from this key."""

    @abc.abstractmethod
    def check(self, layer: eqx.Module) -> None:
        """Raises a `ValueError` for a layer that it cannot run."""

    @abc.abstractmethod
    def values(self, layer: eqx.Module, x: Float[Array, " d"]) -> Float[Array, " m"]:
        """The measured values of a layer, itself without a device, at its features."""

    @abc.abstractmethod
    def bind_feedback(self, cell: eqx.Module, x: Float[Array, " d"]) -> AbstractPrepared:
        """A cell whose values turn wires of its circuit, at a sample."""

    @abc.abstractmethod
    def solve(
        self, deq: eqx.Module, x: PyTree[Array], z0: PyTree[Array] | None, probe: Any
    ) -> tuple[Any, PyTree[Array], Any]:
        """What `bind_and_solve` of an equilibrium gives, found by a solver that suits the
        device."""


class DeviceLayer(AbstractPrepared):
    """A layer that its device runs anew in each call: nothing can be prepared."""

    layer: eqx.Module
    device: AbstractDevice

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " m"]:
        layer: Any = self.layer
        return self.device.values(layer, layer.accept(x))

    def state(self, x: Float[Array, " d"]) -> Complex[Array, " dim"]:
        raise ValueError(
            f"{type(self.device).__name__} measures values and has no state to look at; use "
            "`eqx_qdeq.exact(model)`."
        )

    def measure(
        self, measurement: AbstractMeasurement, x: Float[Array, " d"]
    ) -> Float[Array, " k"]:
        layer: Any = self.layer
        return self.device.values(layer.replace(measurement=measurement), layer.accept(x))

    def probabilities(self, x: Float[Array, " d"]) -> Float[Array, " dim"]:
        raise ValueError(
            f"{type(self.device).__name__} does not know the probabilities of outcomes; use "
            "`eqx_qdeq.exact(model)`."
        )


_is_device = lambda node: isinstance(node, AbstractDevice)


def device_in(tree: PyTree) -> AbstractDevice | None:
    """The first device of the layers in a tree."""
    return next(filter(_is_device, jax.tree.leaves(tree, is_leaf=_is_device)), None)


def keyed(tree: PyTree, key: PRNGKeyArray | None) -> PyTree:
    """The tree with all its devices drawing from this key, if there is one."""
    if key is None:
        return tree
    change = lambda node: node.with_key(key) if _is_device(node) else node
    return jax.tree.map(change, tree, is_leaf=_is_device)
