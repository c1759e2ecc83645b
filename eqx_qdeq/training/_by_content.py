"""Functions known by what they compute, so that a new one like it is not compiled anew.

An Optax optimizer is a pair of closures. One that is made a second time, or with another learning
rate, is another function to `jit`, which compiles the training step again: seconds and some 30 MB.
Traced, an optimizer is a program and the numbers in it (rates, momenta, lengths of schedules).
Here the program stands for the function, compared by its text, and the numbers are leaves.
"""

from collections.abc import Callable, Iterator
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, jaxpr_as_fun, Literal, Var
from jaxtyping import Array, PyTree

from ..cells import AddInjection, AngleFeedback, ConcatInjection
from ..mitigation import ZeroNoise, ZeroNoiseCell
from ..noise import AbstractChannel, OverRotation, ReadoutError


class _Program:
    """A jaxpr without constants, which equals those that do the same."""

    def __init__(self, jaxpr: Jaxpr):
        self.jaxpr = jaxpr
        # Arrays that were closed over further inside are not in the text.
        self._key = str(jaxpr), tuple(np.asarray(c).tobytes() for c in _inner_constants(jaxpr))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Program) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


def _inner_constants(jaxpr: Jaxpr) -> Iterator[Any]:
    for inner in jtu.tree_leaves([list(eqn.params.values()) for eqn in jaxpr.eqns]):
        if isinstance(inner, ClosedJaxpr):
            yield from inner.consts
            yield from _inner_constants(inner.jaxpr)
        elif isinstance(inner, Jaxpr):
            yield from _inner_constants(inner)


class ByContent(eqx.Module):
    """A function that was traced, as a program and its numbers."""

    numbers: tuple[Array, ...]
    program: _Program = eqx.field(static=True)
    structure: Any = eqx.field(static=True)  # of the arrays that come out
    rest: PyTree  # what comes out and is no array

    def __call__(self, *args: PyTree) -> PyTree:
        leaves = jtu.tree_leaves(eqx.filter(args, eqx.is_array))
        out = jaxpr_as_fun(ClosedJaxpr(self.program.jaxpr, []))(*self.numbers, *leaves)
        return eqx.combine(jtu.tree_unflatten(self.structure, out), self.rest)


def by_content(function: Callable[..., PyTree], *args: PyTree) -> ByContent:
    """`function`, to be called on trees of the same structure, shapes and dtypes as `args`."""
    closed, arrays, rest = eqx.filter_make_jaxpr(function)(*args)
    jaxpr, values, variables = closed.jaxpr, list(closed.consts), list(closed.jaxpr.constvars)

    # Numbers with a point only: counts and axes say what is done, and stay in the text.
    def lift(atom: Any) -> Any:
        aval: Any = atom.aval
        if not isinstance(atom, Literal) or not jnp.issubdtype(aval.dtype, jnp.inexact):
            return atom
        values.append(jnp.asarray(atom.val, aval.dtype))
        variables.append(Var(jax.typeof(values[-1])))
        return variables[-1]

    eqns = [eqn.replace(invars=[lift(atom) for atom in eqn.invars]) for eqn in jaxpr.eqns]
    outvars = [lift(atom) for atom in jaxpr.outvars]
    open_ = jaxpr.replace(
        constvars=[], invars=[*variables, *jaxpr.invars], outvars=outvars, eqns=eqns
    )
    numbers = tuple(jnp.asarray(value) for value in values)
    return ByContent(numbers, _Program(open_), jtu.tree_structure(arrays), rest)


@eqx.filter_jit
def call(function: ByContent, *args: PyTree) -> PyTree:
    """Calls it compiled, once for all that compute the same."""
    return function(*args)


def numbers_as_arrays(model: PyTree) -> PyTree:
    """The model with the fixed gains of its injections and the fixed rates of its noise as arrays:
    a Python number would be part of what is compiled, and could not be stacked with another."""
    array = lambda n: jnp.asarray(n, jnp.result_type(float)) if isinstance(n, float) else n

    def lifted(tree: PyTree, kinds: tuple[type, ...]) -> PyTree:
        def of(node: Any) -> Any:
            # What extrapolates compares rates, of a gate's noise with its inverse's: as numbers.
            if isinstance(node, _MITIGATED):
                parts, structure = jtu.tree_flatten(node, is_leaf=lambda n: n is not node)
                return jtu.tree_unflatten(structure, [lifted(part, _INJECTIONS) for part in parts])
            return jtu.tree_map(array, node) if isinstance(node, kinds) else node

        return jtu.tree_map(of, tree, is_leaf=lambda n: isinstance(n, kinds + _MITIGATED))

    return lifted(model, _INJECTIONS + _NOISE)


_INJECTIONS = (AddInjection, AngleFeedback, ConcatInjection)
_MITIGATED = (ZeroNoise, ZeroNoiseCell)
_NOISE = (AbstractChannel, OverRotation, ReadoutError)
