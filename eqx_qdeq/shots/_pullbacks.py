"""Vector-Jacobian products from sampled values at other angles."""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import jax.tree_util as jtu
import numpy as np
from jax import lax
from jaxtyping import Array

from .._precise import dot
from ._experiment import Experiment
from ._rules import ShiftRule

# Shifted states are computed side by side up to this many amplitudes.
_AMPLITUDES = 2**20


@eqx.filter_custom_vjp
def zero_with_pullback(variables, run, pullback, options):
    """Zeros; their cotangent goes to `pullback`."""
    del pullback
    angles, (_, key, *_) = variables[0], options
    # Depends on the sample and the key for `vmap`'s sake: the cotangent of what does not is summed
    # over the batch before it arrives.
    leaves = [*jtu.tree_leaves(variables), jax.random.key_data(key)]
    batched = sum(jnp.sum(leaf).astype(angles[0].dtype) for leaf in leaves)
    zeros = jnp.zeros(run.measurement.size(run.n_qubits), angles[0].dtype)
    return jnp.where(batched > 0, zeros, zeros)


@zero_with_pullback.def_fwd
def _zero_fwd(perturbed, variables, run, pullback, options):
    if pullback is shift_pullback and any(jtu.tree_leaves(perturbed[1])):
        raise ValueError(
            "amplitude-encoded inputs have no parameter-shift rule, and the derivative with "
            "respect to one was asked for (that of the features, or of feedback through them). "
            "Encode them as angles (AngleEncoding, AngleFeedback), or use ExactGradient() in "
            "simulation or SPSA()."
        )
    return zero_with_pullback(variables, run, pullback, options), None


@zero_with_pullback.def_bwd
def _zero_bwd(residuals, cotangent, perturbed, variables, run, pullback, options):
    del residuals
    if cotangent is None:
        return jtu.tree_map(lambda _: None, variables)
    return pullback(cotangent, perturbed, variables, run, *options)


def _map(fn: Callable, arguments: tuple[Array, ...], dim: int) -> Any:
    """`fn` on all slices, as many at a time as there is memory for."""
    size = max(1, _AMPLITUDES // dim)
    if arguments[0].shape[0] <= size:
        return jax.vmap(fn)(*arguments)
    return lax.map(lambda args: fn(*args), arguments, batch_size=size)


def shift_pullback(cotangent, perturbed, variables, run, sampling, key):
    blocks, constants = variables
    sizes = [block.size for block in blocks]
    starts = np.cumsum([0, *sizes])
    rules = rules_by_angle(run.rules, sizes, perturbed[0])
    angles = jnp.concatenate(blocks)
    gradient = jnp.zeros_like(angles)
    if rules:
        index, shifts, coefficients, weights = all_shifts(rules)

        def value(i, shift, weight, k):
            moved = tuple(jnp.split(angles.at[i].add(shift), starts[1:-1]))
            return Experiment(moved, constants, run).sample(sampling, k, weight).values

        number = lambda a: jnp.asarray(a, angles.dtype)
        keys = jax.random.split(key, len(index))
        arguments = (jnp.asarray(index), number(shifts), number(weights), keys)
        # The samples do not depend on the cotangent: under `vmap` over it they are drawn once.
        values = _map(value, arguments, 2**run.n_qubits)
        terms = number(coefficients) * dot(values, cotangent)
        gradient = gradient.at[index].add(terms)
    out = jnp.split(gradient, starts[1:-1])
    out = tuple(g if wanted else None for g, wanted in zip(out, perturbed[0], strict=True))
    return out, jtu.tree_map(lambda _: None, constants)


def rules_by_angle(
    rules: Callable[[int, int], Sequence[ShiftRule]], sizes: Sequence[int], wanted: Sequence[bool]
) -> dict[int, ShiftRule]:
    """The rules of the wanted blocks' angles, by their place among all angles."""
    starts = np.cumsum([0, *sizes])
    return {
        int(starts[b]) + i: rule
        for b, (size, want) in enumerate(zip(sizes, wanted, strict=True))
        if want
        for i, rule in enumerate(rules(b, size))
    }


def all_shifts(rules: dict[int, ShiftRule]) -> tuple[np.ndarray, ...]:
    """Angle, shift, coefficient and weight of every circuit."""
    index = np.repeat(list(rules), [2 * rule.n_frequencies for rule in rules.values()])
    columns = [(rule.shifts, rule.coefficients, rule.weights) for rule in rules.values()]
    return index, *(np.concatenate(column) for column in zip(*columns, strict=True))


def spsa_pullback(cotangent, perturbed, variables, run, sampling, key, step, directions):
    leaves, structure = jtu.tree_flatten(variables)
    wanted = jtu.tree_leaves(perturbed)

    def one(key):
        signs_key, value_key = jax.random.split(key)
        signs = [
            jax.random.rademacher(k, leaf.shape, leaf.dtype)
            for k, leaf in zip(jax.random.split(signs_key, len(leaves)), leaves, strict=True)
        ]

        def value(side, k):
            moved = [
                leaf + side * step * sign if want else leaf
                for leaf, sign, want in zip(leaves, signs, wanted, strict=True)
            ]
            angles, constants = jtu.tree_unflatten(structure, moved)
            return Experiment(angles, constants, run).sample(sampling, k).values

        sides = jnp.asarray([1, -1], cotangent.dtype)
        plus, minus = jax.vmap(value)(sides, jax.random.split(value_key))
        slope = jnp.dot(plus - minus, cotangent) / (2 * step)
        return [slope * sign for sign in signs]

    all_directions = _map(one, (jax.random.split(key, directions),), 2**run.n_qubits)
    means = [jnp.mean(each, axis=0) for each in all_directions]
    out = [mean if want else None for mean, want in zip(means, wanted, strict=True)]
    return jtu.tree_unflatten(structure, out)
