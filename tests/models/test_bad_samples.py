"""A sample that does not count reaches no parameter of a classifier: neither through its stand-in,
nor through what else is read out, nor through the head or the penalty."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq

_X = jax.random.normal(jax.random.key(1), (3, 4))
_Y = jnp.array([0, 1, 0])


def _models():
    quantum = qdeq.QDEQClassifier(
        2, 4, 2, depth=1, readout="zz", injection="linear", key=jax.random.key(0)
    )
    return {
        "zz": quantum,
        "unrolled": quantum.unrolled(3),
        "classical": qdeq.ClassicalDEQClassifier(4, 3, 2, key=jax.random.key(0)),
    }


@pytest.mark.parametrize("name", ["zz", "unrolled", "classical"])
def test_a_sample_that_is_nan(name, tol):
    model = _models()[name]

    @eqx.filter_jit
    @eqx.filter_grad
    def gradient(model, x, y):
        logits, _, penalty = jax.vmap(model.solve_with_penalty)(x)
        return jnp.sum(optax.softmax_cross_entropy_with_integer_labels(logits, y) + penalty)

    clean = gradient(model, _X[:2], _Y[:2])
    spoilt = gradient(model, _X.at[2, 1].set(jnp.nan), _Y)
    assert jnp.max(jnp.abs(jax.tree.leaves(clean)[0])) > 1e-3
    for a, b in zip(jax.tree.leaves(spoilt), jax.tree.leaves(clean), strict=True):
        np.testing.assert_allclose(a, b, atol=tol)


def test_what_a_bound_cell_tells_more_is_cut_too(tol):
    """Of a solve that diverges, and of one that is not solved where those are dropped."""
    cell = _models()["zz"].deq.cell

    def gradient(x, **options):
        def read(cell):
            fn, last, _ = qdeq.DEQ(cell, **options).bind_and_solve(x)
            more = fn.measure(qdeq.z_and_zz(2), last), fn.probabilities(last), fn(last)
            return sum(jnp.sum(a**2) for a in more) + jnp.sum(jnp.abs(fn.state(last)) ** 4)

        return jnp.max(jnp.abs(eqx.filter_grad(read)(cell).layer.angles))

    assert gradient(_X[0]) > 1e-3
    assert gradient(_X[0].at[0].set(jnp.inf)) == 0
    few = {"solver": qdeq.Picard(1e-6, 1e-6), "max_steps": 2}
    assert gradient(_X[0], **few) > 1e-3
    assert gradient(_X[0], **few, drop_unsolved=True) == 0
