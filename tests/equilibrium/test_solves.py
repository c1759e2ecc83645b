"""Solves inside a model are seen, under whatever transformation they stand."""

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P

import eqx_qdeq as qdeq


def _deq(max_steps: int = 256) -> qdeq.DEQ:
    cell = qdeq.FunctionCell(lambda z, x: 0.5 * jnp.cos(z) * x, jnp.zeros_like)
    return qdeq.DEQ(cell, qdeq.Picard(1e-5, 1e-5), max_steps=max_steps)


X = jnp.asarray([0.3, 0.6])
DEQ = _deq()


def _jit(x):
    return jax.jit(lambda x: DEQ(x))(x)


def _vmap(x):
    return jnp.sum(jax.vmap(DEQ)(x[None] * jnp.ones((3, 1))), axis=0)


def _scan(x):
    return jax.lax.scan(lambda c, k: (DEQ(x) + 0.1 * c, None), x, None, length=3)[0]


def _scanned_vmap(x):
    return jax.lax.scan(lambda c, k: (_vmap(x) + 0.1 * c, None), x, None, length=2)[0]


def _map(x):
    return jnp.sum(jax.lax.map(DEQ, x[None] * jnp.ones((3, 1))), axis=0)


def _checkpoint(x):
    return jax.checkpoint(DEQ)(x)


def _checkpointed_scan(x):
    step = eqx.filter_checkpoint(lambda c, k: (DEQ(x) + 0.1 * c, None))
    return jax.lax.scan(step, x, None, length=3)[0]


def _cond(x):
    return jax.lax.cond(x[0] > 0, lambda x: DEQ(DEQ(x)), lambda x: x, x)


def _not_taken(x):
    return jax.lax.cond(x[0] < 0, lambda x: DEQ(x), lambda x: x, x)


def _while(x):
    go_on, step = lambda s: s[0] < 3, lambda s: (s[0] + 1, DEQ(x) + 0.1 * s[1])
    return jax.lax.while_loop(go_on, step, (0, x))[1]


def _checkpointed_while(x):
    """As Diffrax and Optimistix loop."""
    go_on, step = lambda s: s[0] < 3, lambda s: (s[0] + 1, DEQ(x) + 0.1 * s[1])
    loop = eqxi.while_loop(go_on, step, (0, x), kind="checkpointed", max_steps=4)
    return loop[1]


@jax.custom_jvp
def _twice(x):
    return DEQ(x) + DEQ(2 * x)


@_twice.defjvp
def _twice_rule(primals, tangents):
    return _twice(*primals), 7 * tangents[0]


@jax.custom_vjp
def _clipped(x):
    return DEQ(x) + DEQ(2 * x)


_clipped.defvjp(lambda x: (DEQ(x) + DEQ(2 * x), x), lambda x, ct: (3 * ct * x,))


def _closed_over(x):
    """A function with its own derivative that depends on what it is not given."""

    @jax.custom_jvp
    def inner(y):
        return y + jax.lax.stop_gradient(DEQ(x))

    inner.defjvp(lambda p, t: (inner(*p), 2 * t[0]))
    return inner(x)


def _gradient(x):
    """A gradient is part of the model; the solve is made once."""
    return jax.jit(jax.grad(lambda x: jnp.sum(DEQ(x) ** 2)))(x)


def _jvp(x):
    return jax.jvp(DEQ, (x,), (x,))[1]


def _closure_converted(x):
    return eqx.filter_closure_convert(lambda y: DEQ(x) + y, x)(x)


def _twice_batched(x):
    both = jax.vmap(jax.vmap(lambda a, b: DEQ(a + b), (0, None)), (None, 0))
    return jnp.sum(both(x[None] * jnp.ones((2, 1)), x[None] * jnp.ones((3, 1))), axis=(0, 1))


CASES = {
    DEQ: 1, _jit: 1, _vmap: 3, _scan: 3, _scanned_vmap: 6, _map: 3, _checkpoint: 1,
    _checkpointed_scan: 3, _cond: 2, _not_taken: 0, _while: 3, _checkpointed_while: 3, _twice: 2,
    _clipped: 2, _closed_over: 1, _gradient: 1, _jvp: 1, _closure_converted: 1, _twice_batched: 6,
}  # fmt: skip
IDS = [getattr(case, "__name__", "bare") for case in CASES]


@pytest.mark.parametrize(("model", "count"), CASES.items(), ids=IDS)
def test_every_solve_is_counted(model, count, tol):
    @jax.jit
    def batch(x):
        return jax.vmap(lambda x: (model(x), qdeq.solves(model, x)))(x)

    plain, (out, found) = batch(jnp.stack([X, 0.5 * X]))
    np.testing.assert_allclose(out, plain, rtol=10 * tol)
    assert found.count.tolist() == [count, count] == found.num_converged.tolist()
    assert found.unseen == () and found.success.all()
    assert np.all((found.num_steps >= 3 * found.count) & (found.num_steps <= 30 * found.count))


# JAX has no reverse mode for the one, nor derivatives for what the other closes over.
DIFFERENTIABLE = [case for case in CASES if case not in (_while, _closed_over)]


@pytest.mark.parametrize("model", DIFFERENTIABLE)
def test_the_derivative_is_the_models_own(model, tol):
    @jax.jit
    def both(x):
        loss = lambda x: jnp.sum(model(x) ** 2)
        seen = lambda x: (lambda out, found: (jnp.sum(out**2), found))(*qdeq.solves(model, x))
        each = lambda x: (jax.grad(loss)(x), jax.grad(seen, has_aux=True)(x))
        return jax.vmap(each)(x)

    plain, (gradient, found) = both(jnp.stack([X, 0.5 * X]))
    np.testing.assert_allclose(gradient, plain, rtol=100 * tol, atol=100 * tol)
    assert found.count.tolist() == [CASES[model]] * 2


def test_the_numbers_are_those_of_the_solves(tol):
    short = _deq(3)

    class Model(eqx.Module):
        parts: list

        def __call__(self, x):
            return self.parts[0](x) + jnp.mean(jax.vmap(self.parts[1])(jnp.stack([x, 2 * x])))

    _, found = qdeq.solves(Model([DEQ, short]), X)
    alone = [DEQ.solve(X), short.solve(X), short.solve(2 * X)]
    assert found.count == 3
    assert found.num_converged == sum(int(s.success) for s in alone) == 1 and not found.success
    assert found.num_steps == sum(int(s.stats["num_steps"]) for s in alone)
    residuals = [float(s.stats["residual"]) for s in alone]
    np.testing.assert_allclose(found.residual, sum(residuals), rtol=10 * tol)
    np.testing.assert_allclose(found.residual_max, max(residuals), rtol=10 * tol)
    assert "num_converged=1" in repr(found)


def test_an_equilibrium_inside_a_cell(tol):
    inside = qdeq.FunctionCell(lambda z, x: 0.3 * DEQ(x + z), jnp.zeros_like)
    model = qdeq.DEQ(inside, qdeq.Picard(1e-5, 1e-5))
    loss = lambda x: jnp.sum(model(x) ** 2)
    seen = lambda x: (lambda out, found: (jnp.sum(out**2), found))(*qdeq.solves(model, x))
    gradient, found = jax.jit(jax.grad(seen, has_aux=True))(X)
    np.testing.assert_allclose(gradient, jax.jit(jax.grad(loss))(X), rtol=100 * tol)
    # Those of each step of the outer one.
    assert found.count > 3 and found.success


def test_unrolled_modules_count_only_where_nothing_is_solved():
    unrolled = qdeq.Unrolled(DEQ.cell, 2)
    _, alone = qdeq.solves(unrolled, X)
    assert (alone.sought, alone.count, alone.num_steps) == (False, 1, 2)
    _, both = qdeq.solves(lambda x: DEQ(unrolled(x)), X)
    assert both.sought and both.count == 1
    _, none = qdeq.solves(jnp.sin, X)
    assert none.count == 0 == none.num_steps and none.success


def test_what_cannot_be_looked_into_is_said():
    mesh = jax.make_mesh((1,), ("devices",))
    hidden = jax.shard_map(DEQ, mesh=mesh, in_specs=P(), out_specs=P(), check_vma=False)
    out, found = qdeq.solves(lambda x: hidden(x) + DEQ(x), X)
    np.testing.assert_allclose(out, 2 * DEQ(X), rtol=1e-6)
    assert found.count == 1 and found.unseen == ("shard_map",)
    assert "shard_map" in repr(found)
