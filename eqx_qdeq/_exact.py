"""The way back from noise, shots and estimators."""

from typing import Any, TypeVar

import jax

from .hardware import EstimatorCell, EstimatorLayer
from .layers import map_layers, QuantumLayer, without_noise
from .shots import SampledDEQ, SampledLayer

_T = TypeVar("_T")


def exact(model: _T) -> _T:
    """A model with all its quantum layers evaluated exactly: without noise, shots or estimator,
    with the parameters as they are now. It undoes [`eqx_qdeq.with_noise`][],
    [`eqx_qdeq.with_shots`][] and [`eqx_qdeq.hardware.on_estimator`][], in any order.

    !!! example

        ```python
        import equinox as eqx
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(4, 16, 3, key=jax.random.key(0))
        noisy = qdeq.with_noise(model, qdeq.noise.NoiseModel.depolarizing(0.01))
        assert eqx.tree_equal(qdeq.exact(qdeq.with_shots(noisy, 1000)), model)
        ```

    **Arguments:**

    - `model`: any pytree with [`eqx_qdeq.QuantumLayer`][]s in it.

    **Returns:** the model.

    **Raises:** as [`eqx_qdeq.map_layers`][], and `TypeError` if something in the model was made to
    be measured: a [`eqx_qdeq.SampledDEQ`][], say, has no exact self.
    """
    is_made = lambda node: isinstance(
        node, SampledLayer | SampledDEQ | EstimatorLayer | EstimatorCell
    )
    for node in jax.tree.leaves(model, is_leaf=is_made):
        if is_made(node):
            raise TypeError(
                f"`model` holds a {type(node).__name__}, which was made to be measured; take the "
                "layer or the cell of which it was made, or use `with_shots` and `on_estimator`, "
                "which can be undone."
            )
    return map_layers(_exactly, model)


def _exactly(layer: QuantumLayer) -> Any:
    return without_noise(layer.replace(device=None))
