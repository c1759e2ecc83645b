"""Zero-noise extrapolation of layers, cells and equilibria."""

from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from ..cells import AbstractCell
from ..encodings import DataReuploading
from ..layers import QuantumLayer
from ._extrapolation import AbstractExtrapolation, Polynomial
from ._fold import fold
from ._power import scale_rates

Method = Literal["rates", "folding"]


def scale_noise(module: PyTree, scale: float | int, method: str = "rates") -> PyTree:
    """A module with all its quantum layers under stronger noise: a layer, a cell, an equilibrium,
    a classifier.

    **Arguments:**

    - `module`: any pytree with [`eqx_qdeq.QuantumLayer`][]s in it.
    - `scale`: how many times as strong; at least 1 for folding.
    - `method`: `"rates"` scales the noise model ([`eqx_qdeq.mitigation.scale_rates`][]),
        `"folding"` lengthens the circuit ([`eqx_qdeq.mitigation.fold`][]), as one can on hardware.

    **Returns:** the module, with the same angles.

    **Raises:** `ValueError` if nothing in it has noise, for another method, a scale that cannot
    be, or for folding under data re-uploading.
    """
    _check_method(method)
    is_layer = lambda node: isinstance(node, QuantumLayer)
    nodes, structure = jax.tree.flatten(module, is_leaf=is_layer)
    if not any(is_layer(node) and node.noise is not None for node in nodes):
        raise ValueError(
            "`module` holds no QuantumLayer with noise to scale; use `layer.with_noise(...)`."
        )
    scaled = [_scale_layer(node, scale, method) if is_layer(node) else node for node in nodes]
    return jax.tree.unflatten(structure, scaled)


def _scale_layer(layer: QuantumLayer, scale: float | int, method: str) -> QuantumLayer:
    if layer.noise is None:
        return layer
    if method == "rates":
        return eqx.tree_at(lambda l: l.noise, layer, scale_rates(layer.noise, scale))
    if isinstance(layer.encoding, DataReuploading):
        raise ValueError(
            "folding would move the places at which data are uploaded again; use method='rates'."
        )
    return layer.replace(circuit=fold(layer.circuit, scale))


class ZeroNoise(eqx.Module):
    """A module's values extrapolated to zero noise: of a layer, or of an equilibrium after its
    solve. For mitigation inside the solve see [`eqx_qdeq.mitigation.ZeroNoiseCell`][].

    Every noise scale costs an evaluation of the module.
    """

    module: Callable[..., Float[Array, " m"]]
    scales: tuple[float | int, ...] = eqx.field(static=True, default=(1.0, 2.0, 3.0))
    extrapolation: AbstractExtrapolation = Polynomial()
    method: str = eqx.field(static=True, default="rates")

    def __check_init__(self) -> None:
        _check_method(self.method)
        self.extrapolation.check(self.scales)

    def __call__(self, x: PyTree[Array], **kwargs: Any) -> Float[Array, " m"]:
        """**Arguments:** those of the module, for each scale the same.

        **Returns:** the extrapolated values, shape `(m,)`.
        """
        modules = [scale_noise(self.module, scale, self.method) for scale in self.scales]
        values = jnp.stack([module(x, **kwargs) for module in modules])
        return self.extrapolation(self.scales, values)


class ZeroNoiseCell(AbstractCell):
    """A cell whose map is extrapolated to zero noise: mitigation inside the solve. The equilibrium
    is that of the mitigated map."""

    cell: AbstractCell
    scales: tuple[float | int, ...] = eqx.field(static=True, default=(1.0, 2.0, 3.0))
    extrapolation: AbstractExtrapolation = Polynomial()
    method: str = eqx.field(static=True, default="rates")

    def __check_init__(self) -> None:
        _check_method(self.method)
        self.extrapolation.check(self.scales)

    def init(self, x: PyTree[Array]) -> PyTree[Array]:
        return self.cell.init(x)

    def bind(self, x: PyTree[Array]) -> Callable[[Float[Array, " m"]], Float[Array, " m"]]:
        maps = [scale_noise(self.cell, scale, self.method).bind(x) for scale in self.scales]
        return lambda z: self.extrapolation(self.scales, jnp.stack([fn(z) for fn in maps]))


_ARGUMENTS = """
- `scales`: the noise scales, different from one another; at least 1 for folding.
- `extrapolation`: [`eqx_qdeq.mitigation.Polynomial`][] or
    [`eqx_qdeq.mitigation.Exponential`][]; Richardson's if left out.
- `method`: `"rates"` or `"folding"`, see [`eqx_qdeq.mitigation.scale_noise`][].

**Raises:** `ValueError` for too few scales, or another method.
"""
ZeroNoise.__init__.__doc__ = f"""**Arguments:**

- `module`: what is evaluated; it holds quantum layers with noise.
{_ARGUMENTS.lstrip()}"""
ZeroNoiseCell.__init__.__doc__ = f"""**Arguments:**

- `cell`: the cell; its state is one vector.
{_ARGUMENTS.lstrip()}"""


def _check_method(method: str) -> None:
    if method not in ("rates", "folding"):
        raise ValueError(f"`method` must be 'rates' or 'folding'; got {method!r}.")
