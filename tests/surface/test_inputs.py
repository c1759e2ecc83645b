"""What comes in: numbers of any kind are taken by one rule, what is no sample is refused by name.

The right values are NumPy's: two wires that each turn by an angle of their own."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import noise, simulate, training

pytestmark = pytest.mark.float32

KEY = jax.random.key(0)
ANGLES, GAIN = (0.3, -0.8), 0.5
CIRCUIT = qdeq.Circuit(["Ry", "Ry"], [(0,), (1,)], [(0,), (1,)])

# The same four numbers, which every kind of number holds exactly.
KINDS = {
    "list": [1, 0, 1, 1],
    "tuple": (1.0, 0.0, 1.0, 1.0),
    "Booleans": [True, False, True, True],
    "numbers of JAX": [jnp.asarray(1.0), 0, np.float32(1), 1.0],
    "NumPy, double": np.array([1.0, 0, 1, 1]),
    "NumPy, single": np.array([1, 0, 1, 1], np.float32),
    "NumPy, wide integers": np.array([1, 0, 1, 1], np.int64),
    "unsigned": jnp.array([1, 0, 1, 1], jnp.uint8),
    "integers": jnp.array([1, 0, 1, 1]),
    "flags": jnp.array([True, False, True, True]),
    "half": jnp.array([1, 0, 1, 1], jnp.float16),
    "brain": jnp.array([1, 0, 1, 1], jnp.bfloat16),
    "single": jnp.array([1, 0, 1, 1], jnp.float32),
    "default": jnp.array([1.0, 0, 1, 1]),
}
X = np.array([1.0, 0, 1, 1])


def of_amplitudes(v: np.ndarray) -> np.ndarray:
    """⟨Z⟩ on both wires after amplitude encoding."""
    turn = lambda a: np.array([[np.cos(a / 2), -np.sin(a / 2)], [np.sin(a / 2), np.cos(a / 2)]])
    largest = np.abs(v).max()
    state = np.kron(*map(turn, ANGLES)) @ (v / largest)
    p = state**2 / np.sum(state**2)
    return np.array([p[0] + p[1] - p[2] - p[3], p[0] - p[1] + p[2] - p[3]])


def of_angles(x: np.ndarray) -> np.ndarray:
    """The same after rotations about Y by features i and i + 2 on wire i."""
    return np.cos(x[:2] + x[2:] + np.array(ANGLES))


def equilibrium(x: np.ndarray) -> np.ndarray:
    w = np.zeros(2)
    for _ in range(400):
        w = of_amplitudes(x + GAIN * np.repeat(w, 2))
    return w


def layer(
    encoding: qdeq.AbstractEncoding, dtype: type | None = None, **options
) -> qdeq.QuantumLayer:
    angles = jnp.asarray(ANGLES, dtype)
    return qdeq.QuantumLayer(CIRCUIT, encoding, qdeq.PauliZ(), angles=angles, **options)


def cell(dtype: type | None = None, **options) -> qdeq.QuantumCell:
    return qdeq.QuantumCell(
        layer(qdeq.AmplitudeEncoding(), dtype, **options), qdeq.AddInjection(4, GAIN)
    )


# What is the identity, but goes another way than a layer without noise.
SILENT = {"noise": noise.NoiseModel()}
ENGINES = {
    "state vectors": ("amplitudes", {"engine": "statevector"}),
    "operator": ("amplitudes", {"engine": "operator"}),
    "heisenberg": ("amplitudes", {"engine": "heisenberg"}),
    "noisy heisenberg": ("amplitudes", SILENT),
    "density": ("amplitudes", {"engine": "density", **SILENT}),
    "trajectories": ("amplitudes", {"engine": "trajectories", "n_trajectories": 2, **SILENT}),
    "complex": ("complex", {}),
    "angles": ("angles", {}),
    "noisy angles": ("angles", SILENT),
    "re-uploading": ("uploads", {}),
    "noisy re-uploading": ("uploads", SILENT),
}
ENCODINGS = {
    "amplitudes": qdeq.AmplitudeEncoding(),
    "complex": qdeq.ComplexAmplitudeEncoding(),
    "angles": qdeq.AngleEncoding("Y"),
    "uploads": qdeq.DataReuploading(qdeq.AngleEncoding("Y"), 1),
}


def of_engine(name: str, dtype: type | None = None):
    encoding, options = ENGINES[name]
    return layer(ENCODINGS[encoding], dtype, **options)


def right(name: str, x: np.ndarray) -> np.ndarray:
    return of_amplitudes(x) if ENGINES[name][0] in ("amplitudes", "complex") else of_angles(x)


@pytest.mark.parametrize("engine", ENGINES)
def test_layers(engine: str, tol: float) -> None:
    of, expected = of_engine(engine), right(engine, X)
    for kind, x in KINDS.items():
        out = of(x)
        assert out.dtype == of.angles.dtype, kind
        np.testing.assert_allclose(out, expected, atol=tol, err_msg=kind)
    compiled = of.compile(4)
    for kind in ("list", "integers", "NumPy, double"):
        np.testing.assert_allclose(compiled(KINDS[kind]), expected, atol=tol, err_msg=kind)
    for wrong in (np.ones((3, 2)), jnp.ones((3, 4))):
        for function in (of, compiled, compiled.probabilities):
            with pytest.raises(ValueError, match=r"shape \(3, .\). Batch with `jax.vmap`"):
                function(wrong)
    with pytest.raises(TypeError, match="complex.*ComplexAmplitudeEncoding.*real parts first"):
        of(np.array([1, 1j, 0, 1]))
    with pytest.raises(ValueError, match="`x` has no entries"):
        of(jnp.zeros(0))


CALLABLES = {
    "a cell": (lambda x: cell().bind(x)([0.2, -0.4]), None),
    "a noisy cell": (lambda x: cell(**SILENT).bind(x)(np.array([0.2, -0.4])), None),
    "an equilibrium": (lambda x: qdeq.DEQ(cell())(x), equilibrium(X)),
    "with a guess": (lambda x: qdeq.DEQ(cell())(x, z0=[0, 0]), equilibrium(X)),
    "a contraction": (lambda x: qdeq.DEQ(qdeq.contractive(cell(), 0.99))(x), None),
    "unrolled": (lambda x: qdeq.Unrolled(cell(), 400)(x), equilibrium(X)),
    "a sampled layer": (
        lambda x: qdeq.shots.SampledLayer(layer(qdeq.AmplitudeEncoding()), None)(x, key=KEY),
        of_amplitudes(X),
    ),
    "a classifier": (lambda x: qdeq.QDEQClassifier(2, 4, 3, key=KEY)(x), None),
    "a classical one": (lambda x: qdeq.ClassicalDEQClassifier(4, 2, 3, key=KEY)(x), None),
    "an injection": (
        lambda x: qdeq.LinearInjection(4, 2, 4, key=KEY)([1, 0], x),
        None,
    ),
}


@pytest.mark.parametrize("name", CALLABLES)
def test_numbers_of_any_kind(name: str, x64: bool) -> None:
    function, expected = CALLABLES[name]
    # Where there is no closed form, the value of the usual kind: one rule is the same for all.
    expected = function(KINDS["default"]) if expected is None else expected
    some = ("list", "Booleans", "NumPy, double", "unsigned", "brain", "single")
    for kind in some:
        out = function(KINDS[kind])
        assert out.dtype == (jnp.float64 if x64 else jnp.float32), kind
        np.testing.assert_allclose(out, expected, atol=1e-4, err_msg=kind)
    with pytest.raises(TypeError, match="ComplexAmplitudeEncoding"):
        function(np.array([1, 1j, 0, 1]))
    with pytest.raises(ValueError, match="`jax.vmap`"):
        function(jnp.ones((3, 4)))


def test_the_encodings_and_measurements(tol: float) -> None:
    encoding = qdeq.AmplitudeEncoding()
    for x in ([3, 4], np.array([3, 4]), (3.0, 4.0)):
        np.testing.assert_allclose(encoding.state(x, 1), [0.6, 0.8], atol=tol)
    for state in ([0.6, 0.8], np.array([0.6, 0.8j]), jnp.array([0.6, 0.8])):
        np.testing.assert_allclose(qdeq.PauliZ().values(state), [-0.28], atol=tol)
        np.testing.assert_allclose(qdeq.Probabilities([0]).values(state), [0.36, 0.64], atol=tol)
    for function in (encoding.state, encoding.amplitudes, qdeq.AngleEncoding().state):
        with pytest.raises(ValueError, match="`jax.vmap`"):
            function(jnp.ones((3, 2)), 1)
    matrix = qdeq.Hermitian(np.eye(2), [0])
    for measurement in (qdeq.PauliZ(), qdeq.PauliStrings(["X0"]), qdeq.Probabilities(), matrix):
        for wrong in (jnp.ones((3, 4)), jnp.ones(3), 1.0):
            with pytest.raises(ValueError, match="`state` must be one state vector"):
                measurement.values(wrong)


def test_parameters_of_single_precision_keep_it(x64: bool) -> None:
    x = np.array([1.1, 2.0, -3.0, 4.0])
    out = qdeq.DEQ(cell(jnp.float32))(x)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, equilibrium(x), atol=1e-4)
    batch = jnp.stack([jnp.asarray(x)] * 2)
    assert jax.vmap(layer(qdeq.AmplitudeEncoding(), jnp.float32))(batch).dtype == jnp.float32
    mapped = layer(qdeq.AmplitudeEncoding(), jnp.float32).map(batch)
    np.testing.assert_allclose(mapped, [of_amplitudes(x)] * 2, atol=1e-5)


def test_the_state_of_a_function_takes_the_precision_of_its_parameters(tol: float) -> None:
    weight = jnp.asarray([[0.5, 0.0], [0.0, 0.25]])
    deq = qdeq.DEQ(qdeq.FunctionCell(lambda z, x: weight @ z + x, jnp.zeros_like))
    for x in (jnp.array([1, 3]), jnp.array([1, 3], jnp.float32), [1, 3], np.array([1.0, 3.0])):
        np.testing.assert_allclose(deq(x), [2, 4], atol=1e-4)
        assert deq(x).dtype == weight.dtype
    # Integers that are looked up stay integers.
    table = qdeq.FunctionCell(lambda z, i: 0.5 * z + weight[i], lambda i: jnp.zeros(2))
    np.testing.assert_allclose(qdeq.DEQ(table)(1), [0, 0.5], atol=1e-4)
    with pytest.raises(TypeError, match="Split a complex state"):
        deq(jnp.array([1j, 3]))


def test_a_list_is_not_compiled_for_its_numbers() -> None:
    traced = []

    def fn(z, x):
        traced.append(x)
        return 0.5 * z + x

    deq = qdeq.DEQ(qdeq.FunctionCell(fn, jnp.zeros_like))
    deq([1.0, 2.0])
    first = len(traced)
    deq([3.0, 4.0])
    deq(np.array([5.0, 6.0], np.float32))
    assert len(traced) <= first + (first if jax.config.jax_enable_x64 else 0)


HUGE = np.array([3e38, -1e38, 2e38, 3.4e38], np.float32)


@pytest.mark.parametrize("engine", ENGINES)
def test_huge_and_tiny_features_keep_their_direction(engine: str) -> None:
    of = of_engine(engine, jnp.float32)
    if ENGINES[engine][0] in ("angles", "uploads"):
        # Their size is their meaning, and no digit of an angle of 1e38 is left.
        assert not np.any(np.abs(of(HUGE)) > 1 + 1e-5)
        return
    for x in (HUGE, HUGE / 8, HUGE / np.float32(1e38)):
        np.testing.assert_allclose(of(x), of_amplitudes(x.astype(float)), atol=1e-5)
    smallest = np.array([1.2e-38, 2.4e-38, 0, -1.2e-38], np.float32)
    np.testing.assert_allclose(of(smallest), of_amplitudes(smallest.astype(float)), atol=1e-5)


@pytest.mark.parametrize("options", [{}, SILENT, {"engine": "density", **SILENT}], ids=str)
def test_an_equilibrium_of_huge_features(options: dict) -> None:
    deq = qdeq.DEQ(cell(jnp.float32, **options))
    for x in (HUGE, HUGE / 8):
        solution = deq.solve(x)
        assert solution.success
        np.testing.assert_allclose(solution.value, of_amplitudes(x.astype(float)), atol=1e-4)
        np.testing.assert_allclose(deq.cell.bind(x).probabilities(jnp.zeros(2)).sum(), 1, atol=1e-5)
    gradient = eqx.filter_grad(lambda deq: jnp.sum(deq(HUGE)))(deq)
    assert jnp.all(jnp.isfinite(gradient.cell.layer.angles))


def test_a_learned_injection_of_huge_features() -> None:
    injection = qdeq.LinearInjection(4, 2, 4, key=KEY)
    injection = jax.tree.map(lambda a: a.astype(jnp.float32), injection)
    linear = qdeq.QuantumCell(layer(qdeq.AmplitudeEncoding(), jnp.float32), injection)
    direction = np.asarray(injection.input_weight, float) @ HUGE.astype(float)
    solution = qdeq.DEQ(linear).solve(HUGE)
    assert solution.success
    np.testing.assert_allclose(solution.value, of_amplitudes(direction), atol=1e-4)
    # Nor is a state that is no number taken for one.
    assert jnp.all(jnp.isnan(linear.bind(HUGE)([np.nan, 0])))


def test_what_single_precision_cannot_hold_is_refused_or_marked(x64: bool) -> None:
    x = np.array([1e300, 1.0, 0.0, 0.0])
    deq = qdeq.DEQ(cell(jnp.float32))
    for function in (deq, deq.cell.layer, deq.cell.bind, qdeq.Unrolled(deq.cell, 2)):
        with pytest.raises(ValueError, match=r"size 1e\+300, beyond the range of float32"):
            function(x)
    with pytest.raises(ValueError, match="beyond the range of float32"):
        deq.cell.layer.map(np.stack([x, x]))
    # Under a transformation nothing can be raised: the sample is not finite, as any other such.
    x[0] = x[0] if x64 else np.inf
    solution = jax.vmap(deq.solve)(jnp.asarray(np.stack([x, X])))
    assert solution.success.tolist() == [False, True]
    np.testing.assert_allclose(solution.value[1], equilibrium(X), atol=1e-4)


def test_double_precision_holds_more(x64: bool) -> None:
    if not x64:
        pytest.skip("needs double precision")
    x = np.array([1e300, 1.0, 0.0, 1e300])
    np.testing.assert_allclose(qdeq.DEQ(cell())(x), of_amplitudes(x), atol=1e-6)


FUNCTION = qdeq.FunctionCell(lambda z, x: 0.5 * z + x, jnp.zeros_like)
LINEAR = qdeq.LinearInjection(4, 2, 4, key=KEY)
GRAPH = qdeq.GraphCell(
    layer(qdeq.AngleEncoding()), in_size=3, layer_in_size=2, n_relations=1, key=KEY
)
IMPLICIT = qdeq.ImplicitGraphCell(in_size=3, size=2, key=KEY)


def traced(z0=(0.0,), **options):
    return qdeq.trace_branch(FUNCTION, lambda p: p[None], z0, **options)


MESH = jax.make_mesh((1,), ("batch",))
FEATURES, ADJACENCY = jnp.ones((5, 3)), jnp.eye(5)[None]


@pytest.mark.parametrize(
    "make, error, message",
    [
        # A class for its instance, a name for what it names, arguments that were swapped.
        (lambda: qdeq.DEQ(FUNCTION, qdeq.Picard), TypeError, "`solver`.*the class Picard itself"),
        (lambda: qdeq.DEQ(FUNCTION, "newton"), TypeError, "`solver` must be an Opt.*got 'newton'"),
        (lambda: qdeq.DEQ(FUNCTION, qdeq.ImplicitAdjoint()), TypeError, "`solver`.*ImplicitAdj"),
        (lambda: qdeq.DEQ(FUNCTION, adjoint="implicit"), TypeError, "`adjoint`.*got 'implicit'"),
        (lambda: qdeq.DEQ(FUNCTION, adjoint=None), TypeError, "`adjoint`.*got None"),
        (
            lambda: qdeq.DEQ(FUNCTION, adjoint=qdeq.OneStepAdjoint),
            TypeError,
            "`adjoint`.*the class OneStepAdjoint itself",
        ),
        (lambda: qdeq.DEQ(qdeq.Picard(1e-3, 1e-3), FUNCTION), TypeError, "`cell`.*got Picard"),
        (lambda: qdeq.DEQ(FUNCTION, max_steps="256"), TypeError, "`max_steps`.*integer; got '256'"),
        (lambda: qdeq.DEQ(FUNCTION, max_steps=2.5), TypeError, "`max_steps`.*integer; got 2.5"),
        (lambda: qdeq.Unrolled(FUNCTION, 2.5), TypeError, "`n_layers` must be an integer"),
        (lambda: layer(qdeq.AmplitudeEncoding), TypeError, "`encoding`.*the class Amplitude"),
        (lambda: layer("amplitude"), TypeError, "`encoding`.*got 'amplitude'"),
        (lambda: layer(qdeq.PauliZ()), TypeError, "`encoding`.*got PauliZ"),
        (
            lambda: qdeq.QuantumLayer(qdeq.AngleEncoding(), CIRCUIT, qdeq.PauliZ(), key=KEY),
            TypeError,
            "`circuit` must be a Circuit.*got AngleEncoding",
        ),
        (
            lambda: qdeq.QuantumLayer(CIRCUIT, qdeq.AngleEncoding(), qdeq.PauliZ, key=KEY),
            TypeError,
            "`measurement`.*the class PauliZ itself",
        ),
        (
            lambda: qdeq.QuantumLayer(CIRCUIT, qdeq.AngleEncoding(), qdeq.PauliZ(), key=0),
            TypeError,
            r"`key` must be a key, e.g. `jax.random.key\(0\)`; got 0",
        ),
        (lambda: layer(qdeq.AngleEncoding(), engine=None), ValueError, "`engine` must be one of"),
        (
            lambda: qdeq.QuantumLayer(
                CIRCUIT, qdeq.AngleEncoding(), qdeq.PauliZ(), angles=jnp.ones(3)
            ),
            ValueError,
            r"`angles` must have shape \(2,\).*got \(3,\)",
        ),
        (
            lambda: layer(qdeq.AngleEncoding()).with_noise(0.02),
            TypeError,
            r"`noise` must be.*NoiseModel.depolarizing\(0.02\)`; got 0.02",
        ),
        (
            lambda: qdeq.QDEQClassifier(2, 4, 2, key=KEY).with_noise(noise.Depolarizing(0.1)),
            TypeError,
            "`noise`.*got Depolarizing",
        ),
        (
            lambda: noise.NoiseModel(noise.Depolarizing(0.1)),
            TypeError,
            "`one_wire` must be a tuple of channels.*got Depolarizing",
        ),
        (
            lambda: noise.NoiseModel(readout=0.02),
            TypeError,
            r"`readout` must be e.g. `ReadoutError\(0.01, 0.02\)`; got 0.02",
        ),
        (
            lambda: qdeq.QuantumCell(qdeq.AddInjection(4), layer(qdeq.AmplitudeEncoding())),
            TypeError,
            "`layer` must be a QuantumLayer; got AddInjection",
        ),
        (
            lambda: qdeq.QuantumCell(layer(qdeq.AmplitudeEncoding()), qdeq.AddInjection),
            TypeError,
            "`injection`.*the class AddInjection itself",
        ),
        (lambda: qdeq.AddInjection(0.5, 16), TypeError, "`in_size` must be an integer; got 0.5"),
        (lambda: qdeq.AddInjection(True), TypeError, "`in_size` must be an integer; got True"),
        (lambda: qdeq.AngleEncoding(2.0), TypeError, "`axes` must be a string.*got 2.0"),
        (lambda: qdeq.AngleEncoding(scale="2"), TypeError, "`scale` must be a finite"),
        (lambda: qdeq.AngleEncoding(layout=["Y0"]), TypeError, "`layout` must be a list of"),
        (
            lambda: qdeq.DataReuploading(qdeq.AmplitudeEncoding(), 2),
            TypeError,
            "`encoding` must be an AngleEncoding.*got AmplitudeEncoding",
        ),
        (lambda: qdeq.PauliZ(0), TypeError, r"`wires` must be a list of integers.*got 0"),
        (lambda: qdeq.Probabilities("01"), TypeError, "`wires` must be a list of.*got '01'"),
        (lambda: qdeq.Hermitian(np.eye(2), 0), TypeError, "`wires` must be a list of.*got 0"),
        (lambda: qdeq.QDEQ(2, 4, circuit="paper", key=KEY), TypeError, "`circuit`.*got 'paper'"),
        (lambda: qdeq.QDEQ(2, 4, encoding="angle", key=KEY), TypeError, "`encoding`.*got 'angle'"),
        (lambda: qdeq.QDEQ(2, 4, key=0), TypeError, "`key` must be a key"),
        (
            lambda: qdeq.shots.SampledLayer(cell(), 100),
            TypeError,
            "`layer` must be a QuantumLayer; got QuantumCell",
        ),
        (
            lambda: qdeq.shots.SampledLayer(layer(qdeq.AngleEncoding()), 9, qdeq.shots.SPSA),
            TypeError,
            "`gradient`.*the class SPSA itself",
        ),
        (lambda: qdeq.SampledDEQ(cell(), 9, "picard"), TypeError, "`solver`.*got 'picard'"),
        (lambda: simulate.Block((0, 1), ()), ValueError, "`gates` is empty for a block on wires"),
        # Numbers that are no angles, bounds, limits or flags.
        (
            lambda: noise.noisy_circuit(CIRCUIT, jnp.ones(2) + 1j),
            TypeError,
            "`angles` must be real; got an array of complex[0-9]* of shape",
        ),
        (lambda: noise.noisy_circuit(CIRCUIT, jnp.ones(3)), ValueError, r"`angles`.*\(2,\)"),
        (lambda: noise.noisy_circuit(CIRCUIT, jnp.ones(2), 0.1), TypeError, "`noise`.*got 0.1"),
        (
            lambda: simulate.plan_columns(simulate.make_plan(CIRCUIT), jnp.ones(2, int), 4),
            TypeError,
            "`angles` must be a JAX array of real floating-point numbers.*got an array of int",
        ),
        (
            lambda: qdeq.certify(FUNCTION, jnp.ones(1), jnp.ones(1), curvature=-1.0),
            ValueError,
            r"`certify\(curvature=...\)` is a bound on a size, 0 or more; got -1.0",
        ),
        (
            lambda: qdeq.certify(FUNCTION, jnp.ones(1), jnp.ones(1), curvature=1, lipschitz=-0.1),
            ValueError,
            r"`certify\(lipschitz=...\)` is a bound",
        ),
        (lambda: qdeq.Newton(1e-3, 1e-3, limits=5), TypeError, r"`Newton\(limits=...\)`.*got 5"),
        (lambda: qdeq.Picard(1e-3, 1e-3, seed=1.5), TypeError, "seed.*an integer; got 1.5"),
        (lambda: qdeq.Picard(1e-3, jnp.ones(2)), TypeError, r"`Picard\(atol=...\)`.*a number"),
        (
            lambda: qdeq.Ladder(qdeq.Picard(1e-3, 1e-3), budget=2.5),
            TypeError,
            "budget.*list of integers",
        ),
        (
            lambda: qdeq.Ladder(qdeq.Picard(1e-3, 1e-3), key=jax.random.split(KEY)),
            ValueError,
            r"`Ladder\(key=...\)` must be one key",
        ),
        (
            lambda: qdeq.PseudoTransient(1e-3, 1e-3, avoids_saddles="no"),
            TypeError,
            "avoids_saddles.*True or False; got 'no'",
        ),
        (lambda: qdeq.ImplicitAdjoint(least_norm="yes"), TypeError, "least_norm.*got 'yes'"),
        (
            lambda: qdeq.DEQ(
                FUNCTION,
                qdeq.Picard(1e-3, 1e-3, limits=qdeq.SolverLimits(min_steps=50)),
                max_steps=20,
            ),
            ValueError,
            "`max_steps` must be at least the solver's `min_steps`, 50.*got 20",
        ),
        (
            lambda: qdeq.map_batch(FUNCTION, jnp.ones((2, 3)), mesh=MESH, key=0),
            TypeError,
            "`key` must be a key",
        ),
        (lambda: qdeq.PauliSum({"Z40": 1.0}).matrix(41), ValueError, "`n_qubits` must be at most"),
        (lambda: qdeq.PauliSum("Z0"), TypeError, "`coefficients` is missing.*got 'Z0' alone"),
        (
            lambda: qdeq.PauliSum({"X0": jnp.ones(4), "Z0": jnp.array(1.0)}),
            ValueError,
            r"`coefficients` must be of one shape; got \[\(\), \(4,\)\].*jax.vmap",
        ),
        (
            lambda: qdeq.PauliSum(["Z0"], jnp.array([1j])),
            TypeError,
            "`coefficients` must be real; got an array of complex[0-9]* of shape .1,..$",
        ),
        (
            lambda: traced(stop=float("inf")),
            ValueError,
            r"`trace_branch\(stop=...\)` must be finite",
        ),
        (lambda: traced(begin=2.0), ValueError, "begin.* must be from 0.0 to 1.0.*got 2.0"),
        (lambda: traced(tangent=jnp.ones(2)), TypeError, "tangent.* must be a pair"),
        (lambda: traced(tangent=(0.0, jnp.zeros(1))), ValueError, "tangent.* not zero"),
        (lambda: traced(z0=jnp.ones(2)), ValueError, r"`z0` must be like.*\(1,\); got \(2,\)"),
        (lambda: traced(curvature=-1.0), ValueError, r"`trace_branch\(curvature=...\)` is a bound"),
        (lambda: traced(step_size=1.0), ValueError, "`step_size` must be from"),
        (
            lambda: qdeq.find_equilibria(FUNCTION, jnp.ones(1), KEY, starts=jnp.ones(1)),
            ValueError,
            "`starts` must be like.*with a leading axis",
        ),
        # A gain, a guess, a depth that does not fit, or that nobody would look at.
        (
            lambda: qdeq.QuantumCell(
                layer(qdeq.AmplitudeEncoding()), qdeq.AddInjection(4, jnp.ones(3))
            ),
            ValueError,
            r"`gain` must be one number.*of shape \(2,\); got the shape \(3,\)",
        ),
        (
            lambda: qdeq.QuantumCell(
                layer(qdeq.AmplitudeEncoding()), qdeq.AngleFeedback(gain=[1, 2, 3])
            ),
            ValueError,
            r"`gain` must be one number.*got the shape \(3,\)",
        ),
        (lambda: qdeq.ConcatInjection(jnp.ones((2, 2))), ValueError, "`gain` must be one number"),
        (lambda: qdeq.AddInjection(4, "1"), TypeError, "`gain` must be real numbers; got '1'"),
        (
            lambda: qdeq.QuantumCell(
                layer(qdeq.AmplitudeEncoding()), qdeq.LinearInjection(4, 3, 4, key=KEY)
            ),
            ValueError,
            "made for state_size=3 values, but the layer measures 2",
        ),
        (
            lambda: qdeq.QDEQClassifier(2, 4, 2, circuit=CIRCUIT, depth=3, key=KEY),
            ValueError,
            "`depth` is of the templates.*got depth=3",
        ),
        (
            lambda: qdeq.QDEQClassifier(4, 16, 2, circuit="paper", depth=3, key=KEY),
            ValueError,
            "`depth` is of the templates.*Leave it out",
        ),
        (
            lambda: qdeq.QDEQClassifier(2, 4, 2, injection="linear", gain=0.5, key=KEY),
            ValueError,
            "`gain` and `train_gain` are of injections with a fixed pattern",
        ),
        (
            lambda: qdeq.DEQ(cell())(jnp.ones(4), z0=jnp.ones(3)),
            ValueError,
            r"`z0` must be like.*of shape \(2,\); got \(3,\)",
        ),
        (lambda: qdeq.DEQ(cell()).solve(X, z0=0.0), ValueError, r"`z0` must.*got \(\)"),
        (lambda: qdeq.Unrolled(cell(), 2)(X, z0=jnp.ones((5, 2))), ValueError, "`z0`.*jax.vmap"),
        (
            lambda: qdeq.DEQ(FUNCTION)(jnp.ones(4), z0=jnp.ones(3)),
            ValueError,
            r"`z0` must be like.*of shape \(4,\); got \(3,\)",
        ),
        (
            lambda: qdeq.DEQ(cell(), max_steps=None).trajectory(X),
            ValueError,
            "with `max_steps=None`, give `n_steps`",
        ),
        # A graph is one sample of two parts.
        (
            lambda: qdeq.DEQ(GRAPH)(FEATURES, ADJACENCY),
            TypeError,
            r"one sample; got 2 arguments.*`deq\(\(features, adjacency\)\)`",
        ),
        (lambda: qdeq.DEQ(GRAPH)(FEATURES), TypeError, r"a graph is given as `Graph\(features"),
        (lambda: qdeq.DEQ(IMPLICIT)((FEATURES, ADJACENCY)), TypeError, "`x` must be a Graph"),
        (lambda: qdeq.bucket_graphs([(FEATURES, ADJACENCY)]), TypeError, r"`graphs\[0\]` must be"),
        (
            lambda: qdeq.ImplicitGraphCell(3, 2, layer="circuit", layer_in_size=1, key=KEY),
            TypeError,
            "`layer` must be a QuantumLayer or another module; got 'circuit'",
        ),
        (
            lambda: qdeq.lipschitz_bound(cell(), qdeq.Graph.from_dense(FEATURES, ADJACENCY)),
            TypeError,
            "`x` is a graph, which only a GraphCell",
        ),
        (lambda: qdeq.DEQ(GRAPH)((FEATURES, FEATURES)), ValueError, "adjacency must have shape"),
        (lambda: qdeq.DEQ(GRAPH)((ADJACENCY, ADJACENCY)), ValueError, "features of shape"),
        # Data and how to train.
        (lambda: training.Split([[1, 1j]], [0]), TypeError, "x` must be real; got.*complex"),
        (lambda: training.Split(["a"], [0]), TypeError, "x` must be real numbers"),
        (lambda: training.evaluate(FUNCTION, (X, 1)), TypeError, "`split` must be a Split"),
        (
            lambda: training.fit(FUNCTION, X, optimizer=optax.adam(1e-3), epochs=1),
            TypeError,
            "`dataset` must be a Dataset",
        ),
        (
            lambda: training.fit(FUNCTION, (X, 1), optimizer=optax.adam(1e-3), epochs=1),
            ValueError,
            r"labels must have shape \(n,\); got \(\)",
        ),
        (
            lambda: training.Options(optimizer="adam", epochs=1),
            TypeError,
            "`optimizer` must be an Optax optimizer.*got 'adam'",
        ),
        (lambda: qdeq.Newton("1e-5", 1e-5), TypeError, r"`Newton\(rtol=...\)` must.*'1e-5'"),
        (lambda: qdeq.Newton(1e-5, None), TypeError, r"`Newton\(atol=...\)` must.*None"),
        (lambda: qdeq.Picard(1e-5, 1e-5, damp=True), TypeError, "must be a number; got True"),
        (lambda: qdeq.AveragedPicard(atol="a"), TypeError, "must be a number; got 'a'"),
        (lambda: qdeq.PauliStrings([0]), TypeError, "string 0 must be text.*got 0"),
        (
            lambda: qdeq.QDEQClassifier(2, 4, 2, dropout=-0.5, key=KEY),
            ValueError,
            "`dropout` must be at least 0, which drops nothing, and below 1; got -0.5",
        ),
        (
            lambda: qdeq.ClassicalDEQClassifier(4, 3, 2, dropout=1.0, key=KEY),
            ValueError,
            "`dropout` must.*got 1.0",
        ),
        (lambda: qdeq.DEQ(cell())(X, z0="a"), ValueError, "`z0` must be like.*got a"),
        (lambda: qdeq.DEQ(cell(), throw="no"), TypeError, "`throw` must be True or False"),
        (
            lambda: training.Options(epochs=1.5, optimizer=optax.sgd(1)),
            TypeError,
            "`epochs` must be an integer; got 1.5",
        ),
        (
            lambda: noise.GateNoise((noise.Depolarizing(0.1),), gate="ry"),
            ValueError,
            r"`GateNoise\(gate=...\)` must be one of.*got 'ry'",
        ),
        (
            lambda: noise.GateNoise((noise.Depolarizing(0.1),), wires=(-1,)),
            ValueError,
            "wires.*at least 0; got -1",
        ),
        (
            lambda: noise.NoiseModel(overrides=noise.GateNoise((), gate="CX")),
            TypeError,
            "`overrides` must be a tuple",
        ),
        (
            lambda: training.fit(
                qdeq.QDEQClassifier,
                training.load_dataset("digits"),
                epochs=1,
                optimizer=optax.sgd(1),
            ),
            TypeError,
            "`model` must be an Equinox module.*class QDEQClassifier",
        ),
    ],
)
def test_mistakes_are_named(make, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=f"(?s){message}"):
        make()


def test_what_may_be_given_is_taken() -> None:
    assert qdeq.PauliZ([1]).wires == (1,)
    assert qdeq.Probabilities(np.array([1, 0])).wires == (1, 0)
    assert qdeq.AngleEncoding(layout=[["Y", 0]]).layout == (("Y", 0),)
    assert qdeq.AngleFeedback(wires=[0, 1]).wires == (0, 1)
    # A number is fixed, whatever it is written as; the rest is trained.
    assert isinstance(qdeq.AddInjection(4, np.float32(0.5)).gain, float)
    assert eqx.is_inexact_array(qdeq.AddInjection(4, [1, 2]).gain)
    listed = qdeq.QuantumLayer(CIRCUIT, qdeq.AngleEncoding(), qdeq.PauliZ(), angles=[1, 2])
    assert eqx.is_inexact_array(listed.angles)
    without = qdeq.DEQ(FUNCTION, optx.FixedPointIteration(1e-5, 1e-5), max_steps=None)
    np.testing.assert_allclose(without([1.0, 2.0]), [2, 4], atol=1e-3)
    graph = (np.ones((5, 3), np.float32).tolist(), np.eye(5, dtype=int)[None])
    picard = qdeq.Picard(1e-4, 1e-4)
    np.testing.assert_allclose(
        qdeq.DEQ(GRAPH, picard)(graph), qdeq.DEQ(GRAPH, picard)((FEATURES, ADJACENCY)), atol=1e-3
    )
    model = qdeq.QDEQClassifier(2, 4, 2, depth=3, key=KEY)
    again = qdeq.classifier_from_config(model.config | {"depth": 4}, key=KEY)
    assert again.config == model.config


def test_gate_noise_takes_a_list_of_wires() -> None:
    with_wires = lambda wires: qdeq.QuantumLayer(
        qdeq.Circuit(["Ry"], [[0]], [[0]]),
        qdeq.AngleEncoding(),
        qdeq.PauliZ(),
        angles=jnp.array([0.4]),
        noise=noise.NoiseModel(
            overrides=(noise.GateNoise((noise.Depolarizing(0.5),), wires=wires),)
        ),
    )
    # Depolarizing with p = 1/2 leaves 1 - 4p/3 = 1/3 of every Pauli's value.
    expected = np.cos(0.7) / 3
    np.testing.assert_allclose(with_wires([0])([0.3]), [expected], rtol=1e-5)
    np.testing.assert_allclose(with_wires((0,))([0.3]), [expected], rtol=1e-5)


def test_tiny_features_without_feedback() -> None:
    x = jnp.arange(1, 5.0) - 2.5
    layer = qdeq.QuantumLayer(CIRCUIT, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=KEY)
    for gain in (0.0, 1e-20):
        deq = qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(4, gain=gain)))
        found = deq.solve(x * 1e-15)
        assert found.success
        np.testing.assert_allclose(found.value, layer(x), atol=1e-4)


def test_spectra_of_any_size() -> None:
    for size in (1e13, 1e-13):
        matrix = size * jnp.array([[1.0, 0.0], [1.0, -2.0]])
        fn, z = lambda z: matrix @ z, jnp.zeros(2)  # noqa: B023
        np.testing.assert_allclose(qdeq.spectral_radius(fn, z), 2 * size, rtol=1e-5)
        np.testing.assert_allclose(qdeq.spectral_abscissa(fn, z), size, rtol=1e-5)


@pytest.mark.skipif(jax.config.jax_enable_x64, reason="what overflows is single precision")
def test_classifiers_refuse_what_would_overflow() -> None:
    model = qdeq.QDEQClassifier(2, 4, 2, key=KEY)
    for call in (model, model.solve, model.unrolled(2)):
        with pytest.raises(ValueError, match="beyond the range of float32"):
            call(np.full(4, 1e200))


def test_a_sample_that_is_nan_has_no_residual() -> None:
    found = qdeq.QDEQ(2, 4, key=KEY).deq.solve(jnp.full(4, jnp.nan))
    assert not found.success and found.stats["residual"] == np.inf
    assert np.all(np.isfinite(found.value))
