"""All observables between columns of states: by halves of the wires, in pieces where the states are
wide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.measurements import quadratic_forms
from eqx_qdeq.simulate import to_complex

_WIRES = 12
_MEASUREMENTS = {
    "Z of every wire": qdeq.PauliZ(),
    "Z of some, in any order": qdeq.PauliZ([3, 11, 0]),
    "across the halves": qdeq.PauliStrings(["Z0", "Z0 Z11", "Z7 Z8"]),
    "not diagonal": qdeq.PauliStrings(["X0", "Y1 Z11", "Z7 Z8"]),
    "projectors": qdeq.Probabilities([0, 11]),
}


@pytest.mark.parametrize("wires", [7, 8, 10])
def test_values_by_halves_are_those_of_the_probabilities(wires, tol):
    """Against all signs times the probabilities, in NumPy; an odd number of wires has no middle."""
    last = wires - 1
    measurements = [
        qdeq.PauliZ(),
        qdeq.PauliZ([last, 0, wires // 2]),
        qdeq.PauliStrings(["Z0", f"Z0 Z{last}", f"Z{last}", "Z0 Z1"]),
        qdeq.Probabilities([last, 0]),
        qdeq.Probabilities([0, 1]),
    ]
    parts = jax.random.normal(jax.random.key(0), (3, 2, 2 ** (wires // 2), 2 ** -(-wires // 2)))
    parts = parts / 2 ** (wires / 2)

    @jax.jit
    @jax.vmap
    def found(parts):
        return [measurement.values_of_parts(parts) for measurement in measurements]

    states = np.asarray(parts).reshape(3, 2, -1)
    for measurement, values in zip(measurements, found(parts), strict=True):
        expected = np.sum(states**2, axis=1) @ measurement.diagonals(wires).T
        np.testing.assert_allclose(values, expected, atol=tol)


@pytest.mark.parametrize("name", _MEASUREMENTS)
def test_in_pieces_they_are_those_of_the_operators(name, tol):
    _compare(_MEASUREMENTS[name], _WIRES, tol)


def test_by_halves_they_are_those_of_the_operators(tol):
    _compare(qdeq.PauliStrings(["Z6", "Z0 Z6", "Z1"]), 7, tol)


def _compare(measurement, wires, tol):
    """Values and both gradients, against the observables applied and multiplied out."""
    kl, kr, kc = jax.random.split(jax.random.key(0), 3)
    left = jax.random.normal(kl, (2, 2**wires, 2)) / 2 ** (wires / 2)
    right = jax.random.normal(kr, (2, 2**wires, 3)) / 2 ** (wires / 2)

    def literal(left, right):
        applied = measurement.apply(to_complex(left))
        return jnp.einsum("mia,ib->mab", applied.conj(), to_complex(right)).real

    @jax.jit
    def found(left, right):
        forms = [quadratic_forms(measurement, *pair) for pair in ((left, right), (right, left))]
        return *forms, quadratic_forms(measurement, left, left)

    weights = [jax.random.normal(kc, f.shape) for f in jax.eval_shape(found, left, right)]
    expected = lambda l, r: (literal(l, r), literal(l, r).swapaxes(1, 2), literal(l, l))
    total = lambda of: (
        lambda *sides: sum(
            jnp.sum(weight * form) for weight, form in zip(weights, of(*sides), strict=True)
        )
    )
    for form, right_one in zip(found(left, right), expected(left, right), strict=True):
        np.testing.assert_allclose(form, right_one, atol=tol)
    gradients = jax.jit(jax.grad(total(found), (0, 1)))(left, right)
    for mine, theirs in zip(gradients, jax.grad(total(expected), (0, 1))(left, right), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=10 * tol)
