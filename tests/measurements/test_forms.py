"""All observables between columns of states, in pieces where the states are wide."""

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


@pytest.mark.parametrize("name", _MEASUREMENTS)
def test_in_pieces_they_are_those_of_the_operators(name, tol):
    """Values and both gradients, against the observables applied and multiplied out."""
    measurement = _MEASUREMENTS[name]
    kl, kr, kc = jax.random.split(jax.random.key(0), 3)
    left = jax.random.normal(kl, (2, 2**_WIRES, 2)) / 64
    right = jax.random.normal(kr, (2, 2**_WIRES, 3)) / 64

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
