"""Bitstrings and the estimates from them, against exact probabilities and PennyLane's groups."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pennylane as qml
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq.shots import group_observables, SampledLayer

STRINGS = ["Z0", "Z0 Z1", "X2 Y1", "X0", "Y0 Z2", "I", "Z2 X0"]


def make_layer(measurement, key):
    circuit = qdeq.circuits.hardware_efficient(n_qubits=3, depth=2)
    return qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), measurement, key=key)


def test_counts_are_multinomial(getkey):
    p = jnp.array([0.0, 0.3, 0.05, 0.0, 0.15, 0.4, 0.1, 0.0])
    n, repeats = 37, 4000
    draw = jax.jit(jax.vmap(lambda k, n: qdeq.shots.sample_counts(p, n, key=k), (0, None)))
    counts = np.asarray(draw(jax.random.split(getkey(), repeats), n), float)
    assert np.all(counts == np.round(counts)) and np.all(counts >= 0)
    assert np.all(counts.sum(axis=1) == n)
    p = np.asarray(p, float)
    assert np.all(counts[:, p == 0] == 0)
    covariance = n * (np.diag(p) - np.outer(p, p))
    error = np.sqrt(np.diag(covariance) / repeats)
    assert np.all(np.abs(counts.mean(axis=0) - n * p) <= 3 * error)
    # The standard error of a sample covariance is about √((C_ii C_jj + C_ij²) / repeats).
    diagonal = np.diag(covariance)
    error = np.sqrt((np.outer(diagonal, diagonal) + covariance**2) / repeats)
    assert np.all(np.abs(np.cov(counts.T) - covariance) <= 4 * error + 1e-12)


def test_estimates_have_the_right_mean_and_covariance(getkey):
    n_shots, repeats = 50, 4000
    measurement = qdeq.PauliStrings(STRINGS)
    layer = make_layer(measurement, getkey())
    sampled = SampledLayer(layer, n_shots)
    x = jax.random.normal(getkey(), (8,))
    keys = jax.random.split(getkey(), repeats)

    @eqx.filter_jit
    def run(sampled, x, keys):
        found = jax.vmap(lambda k: sampled.estimate(x, key=k))(keys)
        matrices = measurement.apply(jnp.eye(8, dtype=complex))
        floors = sampled.residual_floor(x), sampled.residual_floor()
        return found, sampled.layer.compile(8).state(x), matrices, floors

    found, state, matrices, (floor, highest) = run(sampled, x, keys)
    values = np.asarray(found.values, float)
    state, matrices = np.asarray(state, complex), np.asarray(matrices, complex)
    state = state / np.linalg.norm(state)
    mean = np.einsum("a,qab,b->q", state.conj(), matrices, state).real
    products = np.einsum("pab,qbc->pqac", matrices, matrices)
    covariance = np.einsum("a,pqab,b->pq", state.conj(), products, state).real
    covariance = (covariance - np.outer(mean, mean)) / n_shots
    group_of = {i: g for g, members in enumerate(sampled.groups) for i in members}
    same = np.array([[group_of[i] == group_of[j] for j in range(7)] for i in range(7)])
    covariance = np.where(same, covariance, 0)
    diagonal = np.maximum(np.diag(covariance), 1e-12)
    assert np.all(np.abs(values.mean(axis=0) - mean) <= 3 * np.sqrt(diagonal / repeats) + 1e-6)
    error = np.sqrt((np.outer(diagonal, diagonal) + covariance**2) / repeats)
    assert np.all(np.abs(np.cov(values.T) - covariance) <= 4 * error + 1e-8)
    # What the shots say of their own spread is unbiased, too.
    variances = np.asarray(found.standard_errors, float) ** 2
    error = variances.std(axis=0) / np.sqrt(repeats)
    assert np.all(np.abs(variances.mean(axis=0) - np.diag(covariance)) <= 3 * error + 1e-9)
    assert np.isclose(floor, np.sqrt(np.trace(covariance)), rtol=1e-4)
    # The identity has no variance.
    assert np.isclose(highest, np.sqrt(6 / n_shots))


def test_groups_commute_on_each_wire_and_are_as_few_as_pennylanes():
    rng = np.random.default_rng(0)
    pauli = {"X": qml.X, "Y": qml.Y, "Z": qml.Z}
    for _ in range(10):
        words = {
            " ".join(f"{'XYZ'[rng.integers(3)]}{w}" for w in sorted(rng.permutation(4)[:k]))
            for k in rng.integers(1, 4, size=12)
        }
        strings = sorted(words)
        groups = group_observables(qdeq.PauliStrings(strings), 4)
        assert sorted(i for group in groups for i in group.members) == list(range(len(strings)))
        for group in groups:
            letters: dict[str, str] = {}
            for i in group.members:
                for factor in strings[i].split():
                    assert letters.setdefault(factor[1:], factor[0]) == factor[0]
        operators = [
            qml.prod(*(pauli[f[0]](int(f[1:])) for f in string.split())) for string in strings
        ]
        theirs = qml.pauli.group_observables(operators, grouping_type="qwc", method="lf")
        assert len(groups) <= len(theirs)


@pytest.mark.parametrize("kind", ["strings", "hermitian", "probabilities"])
def test_bases_reproduce_the_expectation_values(kind, getkey, tol):
    rng = np.random.default_rng(1)
    vectors = np.linalg.qr(rng.normal(size=(4, 4)) + 1j * rng.normal(size=(4, 4)))[0]
    commuting = [vectors @ np.diag(d) @ vectors.conj().T for d in ([1, 2, 3, -4], [0, 1, 5, 2])]
    other = np.diag([1.0, 2.0, 0.0, 1.0])
    measurement = {
        "strings": qdeq.PauliStrings(STRINGS),
        "hermitian": qdeq.Hermitian(np.stack([commuting[0], other, commuting[1]]), (2, 0)),
        "probabilities": qdeq.Probabilities((2, 0)),
    }[kind]
    layer = make_layer(measurement, getkey())
    # Without a number of shots, the values are those of the bases' exact probabilities.
    sampled = SampledLayer(layer, None)
    bases = [group.basis for group in group_observables(measurement, 3)]
    assert len(sampled.groups) == {"strings": 4, "hermitian": 2, "probabilities": 1}[kind]

    @eqx.filter_jit
    def run(sampled, x, key):
        state = sampled.layer.compile(8).state(x)
        applied = [(b.apply(state[:, None])[:, :, 0] @ state.conj()).real for b in bases]
        values = [basis.values(state) for basis in bases]
        return sampled(x, key=key), sampled.layer(x), jnp.stack(applied), jnp.stack(values)

    found, exact, applied, values = run(sampled, jax.random.normal(getkey(), (8,)), getkey())
    assert jnp.allclose(found, exact, atol=10 * tol)
    # A basis is a measurement like any other: `apply` gives what `values` gives.
    assert jnp.allclose(applied, values, atol=tol)


def test_traced_shots_compile_once_and_batch(getkey):
    layer = make_layer(qdeq.PauliZ(), getkey())
    traces = []

    @jax.jit
    def run(n_shots, x, keys):
        traces.append(None)
        sampled = SampledLayer(layer, n_shots)
        return jax.vmap(lambda x, k: (sampled.estimate(x, key=k), layer(x)))(x, keys)

    x, keys = jax.random.normal(getkey(), (3, 8)), jax.random.split(getkey(), 3)
    x = x.at[1, 0].set(jnp.nan)
    for n_shots in (10, 100000):
        found, exact = run(n_shots, x, keys)
        good = jnp.array([0, 2])
        assert jnp.allclose(found.values[good], exact[good], atol=6 / np.sqrt(n_shots))
        assert not jnp.any(jnp.isfinite(found.values[1]))
        # Means over so many shots are whole numbers of them.
        ones = (found.values[good] + 1) / 2 * n_shots
        assert jnp.allclose(ones, jnp.round(ones), atol=1e-2)
    assert len(traces) == 1


def test_one_shot_reports_the_largest_error(getkey):
    sampled = SampledLayer(make_layer(qdeq.PauliZ(), getkey()), 1)
    found = sampled.estimate(jnp.ones(8), key=getkey())
    assert set(np.asarray(found.values).tolist()) <= {-1.0, 1.0}
    assert jnp.all(found.standard_errors == 1)


def test_errors(getkey, x64):
    layer = make_layer(qdeq.PauliStrings(["X0", "Z0", "Y0"]), getkey())
    for wrong, error in ((0, ValueError), (2.5, TypeError), (True, TypeError)):
        with pytest.raises(error, match="n_shots"):
            SampledLayer(layer, wrong)
    with pytest.raises(ValueError, match="key"):
        SampledLayer(layer, 10)(jnp.ones(8))
    with pytest.raises(ValueError, match="shared by 3 groups"):
        SampledLayer(layer, 2, per_group=False)(jnp.ones(8), key=getkey())
    with pytest.raises(TypeError, match="gradient"):
        SampledLayer(layer, 2, "exact")  # pyright: ignore[reportArgumentType]
    if not x64:
        with pytest.raises(ValueError, match="x64"):
            SampledLayer(layer, 2**25)(jnp.ones(8), key=getkey())

    class Custom(qdeq.AbstractMeasurement):
        size = lambda self, n_qubits: 1
        values = lambda self, state: jnp.zeros(1)
        apply = lambda self, states: states[None]
        norms = lambda self, n_qubits: np.ones(1)

    with pytest.raises(ValueError, match="no basis is known in which to sample Custom"):
        SampledLayer(make_layer(Custom(), getkey()), 10)


def test_counts_of_one_estimate(getkey):
    layer = make_layer(qdeq.PauliStrings(["X0", "Z0", "Y0"]), getkey())
    each = SampledLayer(layer, 100).shot_count(8)
    assert (each.circuits, each.shots) == (3, 300)
    shared = SampledLayer(layer, 100, per_group=False).shot_count(8)
    assert (shared.circuits, shared.shots) == (3, 100)
    both = each + 2 * shared
    assert (both.circuits, both.shots) == (9, 500)
    floors = [SampledLayer(layer, 300, per_group=p).residual_floor() for p in (True, False)]
    assert np.allclose(floors, np.sqrt([3 / 300, 3 / 100]))
