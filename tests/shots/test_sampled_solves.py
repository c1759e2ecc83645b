"""Solves of sampled cells: values, batches, counts and what has no shift rule."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.shots import ParameterShift, SPSA
from tests.shots._cells import (
    exact_gradient,
    exact_gradients,
    make_cell,
    sampled_gradients,
    TIGHT,
    WEIGHTS,
)

pytestmark = pytest.mark.usefixtures("once")


def test_solves_in_a_batch_with_counts(getkey):
    measurement = qdeq.PauliStrings(["Z0", "X0"])
    cell, in_size = make_cell("feedback", getkey(), measurement)
    x = jax.random.normal(getkey(), (4, in_size)).at[2, 1].set(jnp.nan)
    keys = jax.random.split(getkey(), 4)

    @eqx.filter_jit
    def run(cell, n_shots, x, keys):
        def loss(cell):
            deq = qdeq.SampledDEQ(cell, n_shots, gradient=ParameterShift())
            solution = jax.vmap(lambda x, k: deq.solve(x, key=k))(x, keys)
            return jnp.sum(solution.value @ WEIGHTS), solution

        return eqx.filter_value_and_grad(loss, has_aux=True)(cell)

    good = np.array([0, 1, 3])
    expected, exact = (np.asarray(a, float) for a in exact_gradients(cell, x[good]))
    for n_shots in (100, 10**6):
        (_, solution), gradient = run(cell, jnp.array(n_shots), x, keys)
        assert np.array_equal(solution.success, [True, True, False, True])
        assert jnp.all(jnp.isfinite(solution.value))
        assert np.abs(np.asarray(solution.value)[good] - exact).max() < 6 / np.sqrt(n_shots)
        stats = solution.stats
        assert jnp.all(stats["residual"][good] <= 1.001 * stats["floor"][good])
        # Two bases, each sampled in every step.
        assert jnp.all(stats["num_circuits"] == 2 * stats["num_steps"])
        assert jnp.allclose(stats["num_shots"], 2 * stats["num_steps"] * n_shots)
        assert jnp.all(stats["floor"][good] <= np.sqrt(2 / n_shots))
    # With so many shots the gradient is nearly exact, and without the sample that is not finite.
    leaves = jax.tree_util.tree_leaves(gradient)
    found = jnp.concatenate([jnp.ravel(leaf) for leaf in leaves])
    assert np.allclose(found, expected.sum(axis=0), atol=0.05)


def test_counts_of_a_training_step(getkey):
    cell, in_size = make_cell("feedback", getkey(), qdeq.PauliStrings(["Z0", "X0"]))
    deq = qdeq.SampledDEQ(cell, 100, gradient=ParameterShift(), backward=qdeq.NeumannBackward(6))
    groups, steps = 2, 7
    forward = deq.shot_count(in_size, steps)
    assert (forward.circuits, forward.shots) == (groups * steps, groups * steps * 100)
    both = deq.shot_count(in_size, steps, gradient=True)
    # Each of six products shifts two fed-back values twice. Then Ry, Rz, Ry and Rx, whose angles
    # take two circuits each (though the first and the last share theirs), and CRy with four.
    backward = 6 * 2 * 2
    angles = 4 * 2 + 4
    assert both.circuits == groups * (steps + backward + angles)
    shots = (steps + backward + 4 * 2) * 100 + 2 * (170 + 29)
    assert both.shots == groups * shots
    exact_forward = qdeq.SampledDEQ(cell, 100, TIGHT, SPSA(directions=2), qdeq.JacobianBackward())
    count = exact_forward.shot_count(in_size, steps, gradient=True)
    assert (count.circuits, count.shots) == (groups * (4 + 4), groups * 800)
    half = qdeq.SampledDEQ(cell, 100, per_group=False).shot_count(in_size, jnp.array([1, 3]))
    assert np.array_equal(half.shots, [100, 300]) and np.array_equal(half.circuits, [2, 6])


def test_errors(getkey):
    cell, in_size = make_cell("feedback", getkey())
    with pytest.raises(ValueError, match="key"):
        qdeq.SampledDEQ(cell, 10)(jnp.ones(in_size))
    with pytest.raises(ValueError, match="max_steps"):
        qdeq.SampledDEQ(cell, 10, max_steps=0)
    with pytest.raises(ValueError, match="n_shots"):
        qdeq.SampledDEQ(cell, 0)
    with pytest.raises(ValueError, match="steps"):
        qdeq.NeumannBackward(0)
    function = qdeq.FunctionCell(lambda z, x: z, jnp.zeros_like)
    with pytest.raises(TypeError, match="cell"):
        qdeq.SampledDEQ(function, 10)  # pyright: ignore[reportArgumentType]
    deq = qdeq.SampledDEQ(cell, 10, max_steps=1)
    solution = eqx.filter_jit(deq.solve)(jnp.ones(in_size), key=getkey())
    assert not solution.success
    assert solution.result == optx.RESULTS.nonlinear_max_steps_reached


def test_is_a_module_among_others(getkey):
    """In a Sequential, with keys from outside; and a guess near the equilibrium saves steps."""
    cell, in_size = make_cell("feedback", getkey())
    deq = qdeq.SampledDEQ(cell, 10**6)
    model = eqx.nn.Sequential([deq, eqx.nn.Linear(2, 3, key=getkey())])
    x, key = jax.random.normal(getkey(), (in_size,)), getkey()
    assert eqx.filter_jit(model)(x, key=key).shape == (3,)
    solve = eqx.filter_jit(deq.solve)
    cold = solve(x, key=key, z0=jnp.zeros(2))  # given, so that both are one compilation
    warm = solve(x, key=key, z0=cold.value)
    assert warm.success and warm.stats["num_steps"] < cold.stats["num_steps"]
    assert jnp.allclose(warm.value, cold.value, atol=0.01)


def test_amplitudes_have_no_shifts_but_other_gradients(getkey):
    cell, in_size = make_cell("amplitudes", getkey())
    x = jax.random.normal(getkey(), (in_size,))
    exact = exact_gradient(cell, x)
    keys = jax.random.split(getkey(), 500)
    with pytest.raises(ValueError, match=r"amplitude-encoded inputs.*AngleFeedback.*SPSA"):
        sampled_gradients(cell, x, keys, jnp.array(20), ParameterShift(), None)
    deq = qdeq.SampledDEQ(cell, 100, gradient=ParameterShift())
    with pytest.raises(ValueError, match=r"fed back into amplitudes.*AngleFeedback"):
        deq.shot_count(in_size, 5, gradient=True)
    way, backward = SPSA(0.05, directions=8), qdeq.JacobianBackward()
    found = sampled_gradients(cell, x, keys, jnp.array(10**5), way, backward)
    found = np.asarray(found, float)
    error = found.std(axis=0) / np.sqrt(500)
    # The inverse of a noisy Jacobian and the step's square leave a bias of a few per cent.
    bias = 0.1 * np.abs(exact).max()
    assert np.all(np.abs(found.mean(axis=0) - exact) <= 3 * error + bias)
