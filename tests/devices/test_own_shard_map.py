"""Equilibria in a `shard_map` of one's own, `pmap` and on explicit meshes: those of `vmap`."""

import dataclasses
import functools as ft

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest
from jax.sharding import NamedSharding, PartitionSpec as P

import eqx_qdeq as qdeq
from eqx_qdeq import solvers as s

X64 = jax.config.jax_enable_x64
TOL = 1e-13 if X64 else 1e-6
FLOW = 1e-7 if X64 else 1e-5
CLOSE = {"rtol": 0 if X64 else 1e-6, "atol": 1e-12 if X64 else 1e-6}
DEQ = qdeq.QDEQ(2, 4, key=jax.random.key(0)).deq
# Of norms at which the cell contracts: nothing amplifies rounding.
X, WEIGHTS = (n * jax.random.normal(jax.random.key(i), (8, n)) for i, n in ((1, 4), (2, 2)))
METHODS = {
    "default": (None, qdeq.ImplicitAdjoint()),
    "Picard": (s.Picard(TOL, TOL), qdeq.NeumannAdjoint()),
    "Anderson": (s.Anderson(TOL, TOL), qdeq.PhantomAdjoint()),
    # (The inverse that it shares is no better known than its last update.)
    "Broyden": (s.Broyden(1e-3, 1e-3), qdeq.ShineAdjoint()),
    "Newton": (s.Newton(TOL, TOL), qdeq.UnrolledAdjoint()),
    "Newton with QR": (s.Newton(TOL, TOL, linear_solver=lx.QR()), qdeq.ImplicitAdjoint(lx.QR())),
    "pseudo-transient": (s.PseudoTransient(TOL, TOL), qdeq.ImplicitVJPAdjoint()),
    "flow": (s.SteadyState(FLOW, FLOW), qdeq.OneStepAdjoint()),
    "implicit flow": (
        s.SteadyState(FLOW, FLOW, ode_solver=diffrax.Kvaerno5()),
        qdeq.ImplicitAdjoint(qdeq.EarlyExitGMRES(TOL, TOL)),
    ),
    "ladder": (s.Ladder(s.Picard(TOL, TOL), s.Newton(TOL, TOL)), qdeq.ImplicitAdjoint()),
    "Optimistix's": (optx.Newton(TOL, TOL), optx.ImplicitAdjoint()),
    "Optimistix's, unrolled": (
        optx.FixedPointIteration(TOL, TOL),
        optx.RecursiveCheckpointAdjoint(),
    ),
    "Optimistix's, least squares": (
        optx.LevenbergMarquardt(TOL, TOL),
        qdeq.ImplicitAdjoint(),
    ),
}


def _deq(name):
    solver, adjoint = METHODS[name]
    return eqx.partition(dataclasses.replace(DEQ, solver=solver, adjoint=adjoint), eqx.is_array)


def _value_and_grad(static, arrays, x, weights):
    def loss(arrays, x):
        solution = jax.vmap(eqx.combine(arrays, static).solve)(x)
        return jnp.sum(solution.value * weights), (solution.value, solution.success)

    (_, aux), gradients = jax.value_and_grad(loss, (0, 1), has_aux=True)(arrays, x)
    return aux, *gradients


@ft.cache
def _by_vmap(name):
    arrays, static = _deq(name)
    found = jax.jit(ft.partial(_value_and_grad, static))(arrays, X, WEIGHTS)
    assert found[0][1].all()
    return found


def _assert_same(found, name):
    for one, other in zip(*map(jax.tree.leaves, (found, _by_vmap(name))), strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), **CLOSE)


def _sharded(name, mesh, check_vma, axis="batch"):
    arrays, static = _deq(name)

    def of(arrays, x, weights):
        aux, by_arrays, by_x = _value_and_grad(static, arrays, x, weights)
        # With its types, JAX knows that what does not vary has the sum for its derivative.
        return aux, by_arrays if check_vma else jax.lax.psum(by_arrays, axis), by_x

    parts = P(axis)
    specs = {"in_specs": (P(), parts, parts), "out_specs": (parts, P(), parts)}
    mapped = jax.jit(jax.shard_map(of, mesh=mesh, check_vma=check_vma, **specs))
    there = NamedSharding(mesh, parts)
    return mapped(
        jax.device_put(arrays, NamedSharding(mesh, P())), *jax.device_put((X, WEIGHTS), there)
    )


@pytest.mark.parametrize("name", METHODS)
def test_shard_map_with_types(name, automatic):
    _assert_same(_sharded(name, automatic, True), name)


@pytest.mark.parametrize("name", ["default", "Newton with QR", "Optimistix's", "flow"])
def test_shard_map_without_types(name, automatic):
    _assert_same(_sharded(name, automatic, False), name)


@pytest.mark.float32
@pytest.mark.parametrize("check_vma", [True, False])
def test_shard_map_of_an_explicit_mesh(check_vma, mesh):
    _assert_same(_sharded("default", mesh, check_vma), "default")


@pytest.mark.parametrize("name", ["default", "Newton with QR", "Optimistix's"])
def test_pmap(name):
    arrays, static = _deq(name)
    of = jax.pmap(ft.partial(_value_and_grad, static), in_axes=(None, 0, 0))
    aux, by_arrays, by_x = of(arrays, X[:, None], WEIGHTS[:, None])
    total = jax.tree.map(lambda a: a.sum(0), by_arrays)
    _assert_same((jax.tree.map(lambda a: a[:, 0], aux), total, by_x[:, 0]), name)


@pytest.mark.parametrize(
    ("name", "in_context"),
    [("default", False), *((name, True) for name in METHODS)],
)
def test_samples_on_an_explicit_mesh(name, in_context, mesh):
    arrays, static = _deq(name)
    samples = jax.device_put((X, WEIGHTS), NamedSharding(mesh, P("batch")))
    of = jax.jit(ft.partial(_value_and_grad, static))
    if in_context:
        with jax.set_mesh(mesh):
            found = of(jax.device_put(arrays, NamedSharding(mesh, P())), *samples)
    else:
        found = of(arrays, *samples)
    _assert_same(found, name)


@pytest.mark.parametrize("check_vma", [True, False])
def test_functions_that_close_over_shards(check_vma, automatic):
    """What a cell closes over has the types of where it was made."""
    mix = jnp.asarray([[0.2, 0.1], [-0.3, 0.1]])

    def loss(mix, x):
        cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(mix @ z + x), jnp.zeros_like)
        deq = qdeq.DEQ(cell, solver=s.Newton(TOL, TOL), adjoint=qdeq.UnrolledAdjoint())
        return jnp.sum(jax.vmap(deq)(x) ** 2)

    def of(mix, x):
        by_mix, by_x = jax.grad(loss, (0, 1))(mix, x)
        return jax.lax.psum(by_mix, "batch"), by_x

    specs = {"in_specs": (P(), P("batch")), "out_specs": (P(), P("batch"))}
    mapped = jax.jit(jax.shard_map(of, mesh=automatic, check_vma=check_vma, **specs))
    if check_vma:
        with pytest.raises(ValueError, match="closes over arrays from inside a `shard_map`"):
            mapped(mix, WEIGHTS)
        return
    expected = jax.jit(jax.grad(loss, (0, 1)))(mix, WEIGHTS)
    for one, other in zip(mapped(mix, WEIGHTS), expected, strict=True):
        np.testing.assert_allclose(np.asarray(one), np.asarray(other), **CLOSE)
