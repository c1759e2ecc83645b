"""Initial guesses from a network, from the last epoch, from the frame before."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.usefixtures("once")

_DEQ = qdeq.QDEQ(4, 16, key=jax.random.key(0)).deq
_X = 2 * jax.random.normal(jax.random.key(1), (64, 16))


_solve = eqx.filter_jit(lambda deq, x: jax.vmap(deq.solve)(x))


def _steps(deq, x):
    return np.asarray(_solve(deq, x).stats["num_steps"])


def test_a_learned_guess_saves_steps_and_changes_no_equilibrium(tol):
    cell = qdeq.GuessedCell(_DEQ.cell, eqx.nn.MLP(16, 4, 64, 2, key=jax.random.key(2)))
    solver = qdeq.Picard(1e-4, 1e-4)
    before, values = _steps(qdeq.DEQ(cell, solver), _X), jax.vmap(_DEQ)(_X)

    @eqx.filter_jit
    def step(guess, state):
        def loss(guess):
            trained = eqx.tree_at(lambda c: c.guess, cell, guess)
            return jnp.mean(jax.vmap(qdeq.guess_loss, (None, 0, 0))(trained, _X, values))

        gradient = eqx.filter_grad(loss)(guess)
        with jax.numpy_dtype_promotion("standard"):  # Optax mixes counts and rates
            updates, state = optimizer.update(gradient, state)
        return eqx.apply_updates(guess, updates), state

    optimizer = optax.adam(1e-2)
    guess, state = cell.guess, optimizer.init(eqx.filter(cell.guess, eqx.is_inexact_array))
    for _ in range(300):
        guess, state = step(guess, state)
    trained = qdeq.DEQ(qdeq.GuessedCell(_DEQ.cell, guess))
    after = _steps(qdeq.DEQ(trained.cell, solver), _X)
    assert np.mean(after) < 0.8 * np.mean(before)
    np.testing.assert_allclose(jax.vmap(trained)(_X), values, atol=20 * max(tol, 1e-5))


def test_the_guess_has_no_gradient_from_the_task_and_the_equilibrium_none_from_the_guess():
    cell = qdeq.GuessedCell(_DEQ.cell, eqx.nn.Linear(16, 4, key=jax.random.key(2)))
    task_loss = lambda cell: jnp.sum(qdeq.DEQ(cell)(_X[0]))
    own_loss = lambda cell: qdeq.guess_loss(cell, _X[0], qdeq.DEQ(cell)(_X[0]))
    both = lambda cell: [eqx.filter_grad(loss)(cell) for loss in (task_loss, own_loss)]
    task, guess = eqx.filter_jit(both)(cell)
    assert not np.any(task.guess.weight) and np.any(task.cell.layer.angles)
    assert np.any(guess.guess.weight) and not np.any(guess.cell.layer.angles)


def test_memory_of_a_data_set():
    memory = qdeq.EquilibriumMemory.like(jnp.zeros(4), n_samples=64)
    solve = jax.jit(jax.vmap(lambda x, z0: _DEQ.solve(x, z0=z0)))
    for batch in np.arange(64).reshape(4, 16):
        memory = memory.write(batch, solve(_X[batch], memory.read(batch)))
    for batch in np.random.default_rng(0).permutation(64).reshape(4, 16):
        again = solve(_X[batch], memory.read(batch))
        np.testing.assert_array_equal(again.stats["num_steps"], 1)
    # What failed starts afresh.
    batch = np.arange(16)
    spoilt = solve(_X[:16].at[1].set(jnp.nan), memory.read(batch))
    memory = memory.write(batch, spoilt)
    np.testing.assert_array_equal(memory.read(np.array([1])), np.zeros((1, 4)))
    np.testing.assert_array_equal(memory.read(np.array([0]))[0], spoilt.value[0])
    with pytest.raises(ValueError, match="at least 1; got 0"):
        qdeq.EquilibriumMemory.like(jnp.zeros(4), n_samples=0)


def test_a_sequence_is_solved_from_frame_to_frame(tol):
    frames = _X[:1] * jnp.linspace(1, 1.2, 12)[:, None] + 0.01 * _X[:12]
    deq = qdeq.DEQ(_DEQ.cell, qdeq.Picard(0.1 * tol, 0.1 * tol))

    # Each frame's gradient is that of its own equilibrium.
    @jax.jit
    def both(frames):
        def loss(frames, solve):
            solution = solve(frames)
            return jnp.sum(solution.value**2), solution

        of = jax.grad(loss, has_aux=True)
        return of(frames, lambda f: qdeq.solve_sequence(deq, f)), of(frames, jax.vmap(deq.solve))

    (found, warm), (expected, cold) = both(frames)
    np.testing.assert_allclose(warm.value, cold.value, atol=10 * tol)
    steps = [int(solved.stats["num_steps"].sum()) for solved in (warm, cold)]
    assert steps[0] < 0.92 * steps[1]
    np.testing.assert_allclose(found, expected, atol=100 * tol)
