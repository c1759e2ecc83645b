"""`compare_adjoints` on a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.usefixtures("once")


class _Scaled(qdeq.AbstractCell):
    """z ← ρ z + θ x, for which all is known: (1 - ρ)⁻¹ and its series."""

    theta: jax.Array
    rho: float

    def init(self, x):
        return jnp.zeros_like(x)

    def bind(self, x):
        return lambda z: self.rho * z + self.theta * x


def test_against_the_series(tol):
    rho = 0.5
    deq = qdeq.DEQ(_Scaled(jnp.array([1.0, 2.0]), rho))
    x = jnp.asarray(np.random.default_rng(0).standard_normal((6, 2)))
    found = qdeq.compare_adjoints(deq, x, lambda deq, x: jnp.sum(jax.vmap(deq)(x) ** 2))
    error = dict(zip(found.names, found.relative_error, strict=True))
    assert error["implicit"] == 0
    for name in ("implicit, VJPs", "unrolled"):
        assert error[name] < 1e-4
    assert error["one step (JFB)"] == pytest.approx(rho, abs=1e-4)
    assert error["Neumann, 2 terms"] == pytest.approx(rho**2, abs=1e-4)
    assert error["Neumann, 5 terms"] == pytest.approx(rho**5, abs=1e-4)
    assert error["phantom, 5 steps"] == pytest.approx(0.75**5, abs=1e-4)
    np.testing.assert_allclose(found.cosine, 1, atol=1e-4)  # all along θ
    cost = dict(zip(found.names, found.backward, strict=True))
    assert cost["one step (JFB)"] == 2 < cost["Neumann, 5 terms"] == 6
    assert cost["implicit"] == 4 and cost["phantom, 5 steps"] == 15
    assert 3 <= cost["implicit, VJPs"] <= 6
    text = str(found).splitlines()
    assert len(text) == 1 + len(found.names)
    assert "cosine" in text[0] and text[1].startswith("implicit ")


def test_own_adjoints_and_a_readout_with_labels(once):
    deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
    x = jax.random.normal(jax.random.key(1), (8, 16))
    labels = jnp.arange(8) % 4

    def loss(deq, x):
        logits = jax.vmap(deq)(x)
        return -jnp.mean(jax.nn.log_softmax(logits)[jnp.arange(8), labels])

    adjoints = {f"K = {k}": qdeq.NeumannAdjoint(k) for k in (1, 3, 12)}
    found = qdeq.compare_adjoints(deq, x, loss, adjoints=adjoints)
    assert found.names == tuple(adjoints)
    assert found.relative_error[2] < found.relative_error[1] < found.relative_error[0]
    assert found.cosine[2] > 0.99
    assert np.all(found.forward > 1)


def test_nothing_to_compare_with():
    deq = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
    with pytest.raises(ValueError, match="has norm 0"):
        qdeq.compare_adjoints(deq, jnp.ones((2, 16)), lambda deq, x: jnp.sum(x))
