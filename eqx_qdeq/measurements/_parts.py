"""Observables of states that lie on several devices, from what each device has.

A state's wires stand in some order: the first k are those of the 2ᵏ devices, whose bits are the
device's number; the others are local. Of a Pauli string the part on local wires is a string of each
device's own. The Zs on wires of devices are a sign of each device; for an X or a Y there, devices
are paired, and send each other what they have:

    (P ψ)_i = (-i)^{#Y} (-1)^{z·i} P_local ψ_{i ⊕ x},

with the bits x of Xs and Ys on the devices' wires, and z of Ys and Zs. Other observables are of few
wires, which become local ones by one exchange.
"""

from collections.abc import Sequence

import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from .._amplitudes import my_part
from .._checks import describe
from .._mesh import AMPLITUDES
from .._precise import tensordot
from ..simulate import exchange, exchanged
from ._diagonal import PauliZ, Probabilities
from ._forms import quadratic_forms
from ._hermitian import Hermitian
from ._measurement import AbstractMeasurement
from ._pauli_strings import PauliStrings, show
from ._pauli_sum import PauliSum
from ._rows import String


def parts_of_forms(
    measurement: AbstractMeasurement,
    left: Float[Array, "2 part a"],
    right: Float[Array, "2 part b"],
    order: Sequence[int],
) -> Float[Array, "m a b"]:
    """What this device adds to the `quadratic_forms` of columns whose wires stand in this order.

    **Raises:** `ValueError` for observables on more wires than can be local, `TypeError` for those
    of a class of one's own.
    """
    n = len(order)
    measurement.size(n)
    if isinstance(measurement, PauliZ):
        wires = range(n) if measurement.wires is None else measurement.wires
        return _of_strings([((wire, "Z"),) for wire in wires], left, right, order)
    if isinstance(measurement, PauliStrings):
        return _of_strings(measurement.strings, left, right, order)
    if isinstance(measurement, PauliSum):
        forms = parts_of_forms(measurement.strings, left, right, order)
        return tensordot(jnp.asarray(measurement.coefficients, forms.dtype), forms, 1)
    if not isinstance(measurement, Hermitian | Probabilities):
        raise TypeError(
            "states over several devices are measured by PauliZ, PauliStrings, PauliSum, Hermitian "
            f"and Probabilities; got {describe(measurement)}. Use a mesh without an axis "
            f"{AMPLITUDES!r}."
        )
    wires = range(n) if measurement.wires is None else measurement.wires
    local = left.shape[1].bit_length() - 1
    k = n - local
    if not set(wires) <= set(order[k:]):
        # Others are given away in their stead.
        others = [place for place in range(local) if order[k + place] not in wires]
        if len(others) < k:
            raise ValueError(
                f"{type(measurement).__name__} looks at {len(wires)} wires at once; of {n} wires "
                f"on {2**k} devices it may look at {n - k}, if {k} others are local. Measure "
                "fewer, e.g. by `wires`, or use fewer devices."
            )
        same, order = left is right, exchanged(order, others[:k])
        right = exchange(right, others[:k], AMPLITUDES, 2**k)
        left = right if same else exchange(left, others[:k], AMPLITUDES, 2**k)
    places = [order[k:].index(wire) for wire in wires]
    if isinstance(measurement, Hermitian):
        return quadratic_forms(Hermitian(measurement.matrices, places), left, right)
    return quadratic_forms(Probabilities(places), left, right)


def _of_strings(
    strings: Sequence[String],
    left: Float[Array, "2 part a"],
    right: Float[Array, "2 part b"],
    order: Sequence[int],
) -> Float[Array, "m a b"]:
    local = left.shape[1].bit_length() - 1
    k = len(order) - local
    bit = {wire: 1 << (k - 1 - i) for i, wire in enumerate(order[:k])}
    place = {wire: i for i, wire in enumerate(order[k:])}
    # Strings with the same flip of devices share what is sent.
    groups: dict[tuple[int, int, bool], list[tuple[int, int, str]]] = {}
    for q, string in enumerate(strings):
        there = [(bit[wire], letter) for wire, letter in string if wire in bit]
        flip = sum(b for b, letter in there if letter in "XY")
        sign = sum(b for b, letter in there if letter in "YZ")
        n_y = sum(letter == "Y" for _, letter in there) % 4
        here = tuple(sorted((place[wire], letter) for wire, letter in string if wire in place))
        is_diagonal = all(letter == "Z" for _, letter in here)
        groups.setdefault((flip, n_y, is_diagonal), []).append((q, sign, show(here)))
    parts, positions, me = [], [], my_part().astype(jnp.uint32)
    for (flip, n_y, _), members in groups.items():
        other = right
        if flip:
            other = lax.ppermute(right, AMPLITUDES, [(i, i ^ flip) for i in range(2**k)])
        for _ in range(n_y):
            other = jnp.stack([other[1], -other[0]])  # times -i
        names = list(dict.fromkeys(name for *_, name in members))
        forms = quadratic_forms(PauliStrings(names), left, other)
        odd = lax.population_count(np.array([s for _, s, _ in members], np.uint32) & me) & 1
        signs = 1 - 2 * odd.astype(forms.dtype)
        chosen = forms[np.array([names.index(name) for *_, name in members])]
        parts.append(signs[:, None, None] * chosen)
        positions += [q for q, *_ in members]
    return jnp.concatenate(parts)[np.argsort(positions)]
