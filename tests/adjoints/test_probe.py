"""Backward solves that are watched and started from the last one."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqx_qdeq as qdeq


def _deq(adjoint):
    base = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
    return qdeq.DEQ(base.cell, adjoint=adjoint)


_X = jax.random.normal(jax.random.key(1), (5, 16))


def test_a_probe_reports_and_warms_up(x64):
    deq = _deq(qdeq.ImplicitVJPAdjoint())
    z = jax.vmap(deq)(_X)
    probe = jax.vmap(qdeq.AdjointProbe.like)(z)

    def loss(arguments):
        deq, probe = arguments
        return jnp.sum(jax.vmap(lambda x, p: deq(x, probe=p))(_X, probe) ** 2)

    gradient = eqx.filter_jit(eqx.filter_grad(loss))
    first, report = gradient((deq, probe))
    fresh = report.like(z[0])  # of the class or of a probe
    assert fresh.report.num_products == 0 and not np.any(fresh.guess)
    assert np.all(report.report.success == 1)
    assert np.all(report.report.num_products > 1)
    second, again = gradient((deq, report))
    np.testing.assert_array_equal(again.report.num_products, 1)
    np.testing.assert_allclose(
        second.cell.layer.angles, first.cell.layer.angles, rtol=1e-3, atol=1e-5
    )
    # The guess that is reported is the adjoint vector.
    slopes = jax.jit(jax.vmap(lambda x, z: qdeq.jacobian(deq.cell.bind(x), z)))(_X, z)
    for slope, zi, guess in zip(np.asarray(slopes, float), z, report.guess, strict=True):
        expected = np.linalg.solve(np.eye(4) - slope.T, 2 * np.asarray(zi, float))
        np.testing.assert_allclose(guess, expected, atol=1e-8 if x64 else 1e-3)


def test_a_callback_hears_of_every_sample():
    reports = []
    deq = _deq(qdeq.ImplicitVJPAdjoint(callback=reports.append))
    loss = lambda deq: jnp.sum(jax.vmap(deq)(_X) ** 2)
    jax.block_until_ready(eqx.filter_jit(eqx.filter_grad(loss))(deq))
    jax.effects_barrier()
    assert len(reports) == len(_X)
    assert all(isinstance(report, qdeq.BackwardReport) and report.success for report in reports)


def test_only_one_adjoint_takes_a_probe():
    deq = _deq(qdeq.ImplicitAdjoint())
    with pytest.raises(TypeError, match="adjoint=ImplicitVJPAdjoint"):
        deq(_X[0], probe=qdeq.AdjointProbe.like(jnp.zeros(4)))
