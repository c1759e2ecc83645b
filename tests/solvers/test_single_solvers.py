"""What single solvers promise beyond finding fixed points, and which mistakes they name."""

import itertools

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize

from eqx_qdeq import solvers as s
from tests.solvers._problems import PROBLEMS, with_spectrum
from tests.solvers._solvers import solvers_at

pytestmark = pytest.mark.portable

_T = 1e-4
_SOLVERS = solvers_at(_T, s.Ladder(s.Picard(_T, _T), s.Newton(_T, _T), budget=20))


def _solve(fn, solver, y0, args=None, *, throw=False, **kwargs):
    return optx.fixed_point(fn, solver, y0, args, throw=throw, **kwargs)


# --- Precisions and derivatives -----------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(_SOLVERS))
def test_a_float32_state_under_x64(name, x64):
    if not x64:
        pytest.skip("is about double precision being on")
    y0 = {"a": jnp.zeros(1, jnp.float32), "b": jnp.zeros((), jnp.float32)}
    fn = lambda y, _: jax.tree_util.tree_map(jnp.cos, y)
    found = _solve(fn, _SOLVERS[name], y0)
    assert found.result == optx.RESULTS.successful
    assert {x.dtype for x in jax.tree_util.tree_leaves(found.value)} == {jnp.dtype("float32")}
    np.testing.assert_allclose(found.value["b"], 0.739085, atol=10 * _T)


def test_leaves_of_two_precisions(x64):
    if not x64:
        pytest.skip("is about double precision being on")
    y0 = (jnp.zeros(2, jnp.float32), jnp.zeros(1, jnp.float64))
    fn = lambda y, _: jax.tree_util.tree_map(jnp.cos, y)
    for name in ("Anderson", "Newton"):
        # One vector of both is made in the wider one, which is a promotion.
        with jax.numpy_dtype_promotion("standard"):
            found = _solve(fn, _SOLVERS[name], y0)
        assert [x.dtype for x in found.value] == [jnp.float32, jnp.float64]
        np.testing.assert_allclose(found.value[1], 0.739085, atol=10 * _T)


@pytest.mark.parametrize(
    "solver", [s.Broyden(_T, _T, memory=8), s.Ladder(s.Picard(_T, _T, damp=0.1), budget=20)]
)
def test_unrolled_derivatives(solver):
    """Through the steps themselves, as `optimistix.RecursiveCheckpointAdjoint` asks for."""
    fn = lambda y, shift: jnp.tanh(y) / 2 + shift

    def value(shift, adjoint):
        found = _solve(fn, solver, jnp.zeros(2), shift, adjoint=adjoint, max_steps=20)
        return jnp.sum(found.value**2)

    shift = jnp.array([0.3, -1.0])
    gradient = jax.jit(jax.grad(lambda a: value(a, optx.RecursiveCheckpointAdjoint())))(shift)
    exact = jax.grad(lambda a: value(a, optx.ImplicitAdjoint()))(shift)
    np.testing.assert_allclose(gradient, exact, atol=0.05)


# --- In `root_find` ---


@pytest.mark.parametrize("name", sorted(_SOLVERS))
def test_root_find_finds_roots(name):
    """F(y) = 0, not F(y) = y: with the derivative that belongs to it."""
    fn = lambda y, a: {"z": a - jnp.arctan(y["z"]) - y["z"]}

    def find(a):
        y0 = {"z": jnp.zeros(2)}
        found = optx.root_find(fn, _SOLVERS[name], y0, a, throw=False)
        return found.value["z"], (found.result == optx.RESULTS.successful, found.stats)

    a = jnp.array([0.8, -2.0])
    value, slope, (success, stats) = jax.jvp(find, (a,), (jnp.ones(2),), has_aux=True)
    expected = [
        scipy.optimize.brentq(lambda y, b=b: b - np.arctan(y) - y, -9, 9) for b in (0.8, -2)
    ]
    assert success
    np.testing.assert_allclose(value, expected, atol=10 * _T)
    np.testing.assert_allclose(slope, 1 / (1 + 1 / (1 + np.square(expected))), atol=10 * _T)
    gap = np.linalg.norm(fn({"z": value}, a)["z"])
    assert stats["residual"] == pytest.approx(gap, rel=1e-2, abs=1e-6)


# --- Single solvers -----------------------------------------------------------------------------


@pytest.mark.parametrize(("mixing", "n_evals"), [(1.0, 9), (0.5, 12)])
def test_anderson_takes_the_steps_of_least_squares(mixing, n_evals):
    """The textbook's, with all differences in one least-squares problem, on a nonlinear map."""
    rng = np.random.default_rng(0)
    matrix, shift = 0.4 * rng.standard_normal((12, 12)) / 2, rng.standard_normal(12)

    def textbook():
        ys, rs = [np.zeros(12)], []
        for _ in range(n_evals):
            rs.append(np.tanh(matrix @ ys[-1] + shift) - ys[-1])
            new = ys[-1] + mixing * rs[-1]
            if len(rs) > 1:
                dy, dr = np.diff(ys, axis=0).T, np.diff(rs, axis=0).T
                new = new - (dy + mixing * dr) @ np.linalg.lstsq(dr, rs[-1])[0]
            ys.append(new)
        return ys[n_evals - 1]

    fn = lambda y, _: jnp.tanh(jnp.asarray(matrix, float) @ y + jnp.asarray(shift, float))
    solver = s.Anderson(0.0, 0.0, mixing=mixing)
    found = _solve(fn, solver, jnp.zeros(12), max_steps=n_evals)
    assert found.stats["best_step"] == n_evals - 1
    x64 = found.value.dtype == jnp.float64
    np.testing.assert_allclose(found.value, textbook(), atol=1e-9 if x64 else 1e-5)


def test_anderson_in_few_dimensions():
    """Once three differences span the space a fourth is a combination of them, up to rounding.
    Kept as if it were new, it cost some of these samples over a hundred evaluations."""
    rng = np.random.default_rng(1)
    matrix, shifts = (
        jnp.asarray(rng.standard_normal(shape), float) for shape in ((3, 3), (256, 3))
    )
    fn = lambda y, shift: jnp.tanh(y @ matrix / np.sqrt(3) + shift)
    solver = s.Anderson(0.0, 1e-5)
    solve = lambda shift: _solve(fn, solver, jnp.zeros(3), shift, max_steps=200)
    found = jax.jit(jax.vmap(solve))(shifts)
    assert np.all(found.result == optx.RESULTS.successful)
    assert int(jnp.max(found.stats["num_evals"])) <= 15
    assert found.state.memory.q.shape == (256, 3, 3)  # there are no more orthonormal columns


def test_anderson_forgets_what_it_learnt_elsewhere():
    """All but the newest column, after a residual that more than doubled, and at a certain age."""
    matrix = jnp.asarray(np.random.default_rng(3).standard_normal((12, 12)), float)
    fn = lambda y, _: (jnp.tanh(2 * matrix @ y + 1.0) - y, None)
    solver, y = s.Anderson(0.0, 0.0, memory=3, safeguard=float("inf")), jnp.zeros(12)
    empty = frozenset()
    state = solver.init(fn, y, None, {}, jax.eval_shape(lambda: y), None, empty)
    step = jax.jit(lambda y, state: solver.step(fn, y, None, {}, state, empty)[:2])
    sizes, columns = [], []
    for _ in range(16):
        y, state = step(y, state)
        sizes.append(float(jnp.linalg.norm(state.memory.r)))
        products = np.asarray(state.memory.q @ state.memory.q.T)
        columns.append(round(np.trace(products)))
        np.testing.assert_allclose(products, np.diag(np.diag(products)), atol=1e-3)
    expected, made = [0], 0
    for old, new in itertools.pairwise(sizes):
        made = 1 if new > 2 * old or made == 6 else made + 1
        expected.append(min(made, 3))
    assert columns == expected
    jumps = [k for k in range(1, 16) if sizes[k] > 2 * sizes[k - 1] and columns[k - 1] > 1]
    assert jumps


def test_the_flow_never_exceeds_its_cap():
    """A limit cycle, with no bound on the number of steps from outside."""
    fn = lambda y, _: y + jnp.array([-y[1], y[0]]) + y * (1 - jnp.sum(y**2))
    solver = s.SteadyState(0.0, 1e-6, max_ode_steps=37)
    found = _solve(fn, solver, jnp.array([0.1, 0.0]), max_steps=None)
    assert found.result == optx.RESULTS.nonlinear_max_steps_reached
    assert int(found.stats["num_steps"]) == 37
    assert int(found.stats["num_evals"]) == 37 * 7  # Tsit5: six stages, and one for the residual
    assert np.all(np.isfinite(found.value))


def test_the_flow_can_take_constant_steps():
    solver = s.SteadyState(
        0.0, _T, ode_solver=diffrax.Euler(), controller=diffrax.ConstantStepSize(), dt0=1.0
    )
    euler = _solve(lambda y, _: jnp.cos(y), solver, jnp.zeros(1))
    picard = _solve(lambda y, _: jnp.cos(y), s.Picard(0.0, _T), jnp.zeros(1))
    # Steps of length 1 by Euler's method are Picard's iteration.
    assert int(euler.stats["num_steps"]) == int(picard.stats["num_steps"])
    np.testing.assert_allclose(euler.value, picard.value, rtol=1e-5)


def test_an_implicit_flow_gets_down_to_rounding():
    """As far as float32 allows, however stiff the flow is; and it says so if that is not enough."""
    sizes = (60, 600, 6000, 60)
    matrices = np.stack([with_spectrum([-size, -10, -3, 0.5, 0.2, 0], seed=3) for size in sizes])
    # An entry of y is known to eps / 2 of itself, so f(y) - y to eps / 2 * ‖J‖ ‖y‖. The vectors'
    # lengths make this the same for three problems, and make the last one's tolerance 1e-4 of it.
    vectors = np.array([[1], [0.1], [0.01], [2e5]]) * PROBLEMS["stiff"].vector
    size = np.linalg.norm(np.linalg.solve(np.eye(6) - matrices[0], vectors[0]))
    rounding = float(np.finfo(np.float32).eps) / 2 * 60 * float(size)
    solver = s.SteadyState(0.0, 20 * rounding, ode_solver=diffrax.Kvaerno5())

    @jax.jit
    @jax.vmap
    def solve(matrix, vector):
        found = _solve(
            lambda y, m: m @ y + vector, solver, jnp.zeros_like(vector), matrix, max_steps=None
        )
        return found.result == optx.RESULTS.successful, found.stats["num_steps"]

    success, num_steps = solve(*(jnp.asarray(x, jnp.float32) for x in (matrices, vectors)))
    np.testing.assert_array_equal(success, [True, True, True, False])
    # A flow whose steps are rejected for rounding goes on to 1000.
    assert np.all(num_steps[:3] < 300), num_steps


def test_a_ladder_stops_at_the_rung_that_succeeds():
    fn = lambda y, _: jnp.cos(y)
    newton, picard = s.Newton(_T, _T), s.Picard(_T, _T)
    alone = _solve(fn, newton, jnp.zeros(1))
    found = _solve(fn, s.Ladder(newton, picard), jnp.zeros(1), max_steps=1)
    for key in ("num_steps", "num_evals", "num_jvps", "best_step"):
        assert found.stats[key] == alone.stats[key]
    np.testing.assert_array_equal(found.value, alone.value)


def test_a_ladder_goes_on_from_the_best_iterate():
    fn = lambda y, _: jnp.cos(y)
    first, second = s.Picard(0.0, _T), s.Newton(0.0, _T)
    part = _solve(fn, first, jnp.zeros(1), max_steps=6)
    rest = _solve(fn, second, part.value)
    found = _solve(fn, s.Ladder(first, second, budget=(6, 50)), jnp.zeros(1))
    assert found.result == optx.RESULTS.successful
    np.testing.assert_allclose(found.value, rest.value, rtol=1e-6)
    assert found.stats["num_steps"] == 6 + rest.stats["num_steps"]
    assert found.stats["num_evals"] == 6 + rest.stats["num_evals"]


def test_a_ladder_can_start_anew():
    fn = lambda y, _: jnp.cos(y)
    first, second = s.Picard(0.0, _T), s.Newton(0.0, _T)
    alone = _solve(fn, second, jnp.zeros(1))
    ladder = s.Ladder(first, second, budget=(6, 50), restart=True)
    found = _solve(fn, ladder, jnp.zeros(1))
    np.testing.assert_allclose(found.value, alone.value, rtol=1e-6)
    assert found.stats["num_steps"] == 6 + alone.stats["num_steps"]


def test_a_ladder_takes_solvers_that_report_no_residual():
    fn = lambda y, _: jnp.cos(y)
    theirs = optx.FixedPointIteration(_T, _T)
    found = _solve(fn, s.Ladder(theirs, s.Newton(_T, _T), budget=(3, 9)), jnp.zeros(1))
    assert found.result == optx.RESULTS.successful
    gap = float(jnp.abs(fn(found.value, None) - found.value)[0])
    assert found.stats["residual"] == pytest.approx(gap, abs=1e-6)
    # Three steps, one evaluation to learn the residual, then Newton's.
    assert found.stats["num_evals"] == 4 + found.stats["num_steps"] - 3


def test_a_ladder_takes_least_squares():
    """But does not take a local minimum for a root."""
    solver = s.Ladder(s.Picard(0.0, _T), optx.Dogleg(_T, _T), budget=(2, 50))

    def solve(rise):
        fn = lambda y, rise: y + jnp.exp(y) - 2 + rise * (1 + y**2)
        found = _solve(fn, solver, jnp.ones(1), rise)
        return found.result == optx.RESULTS.successful, found.value, found.stats["residual"]

    success, value, residual = jax.jit(jax.vmap(solve))(jnp.array([0.0, 10.0]))
    np.testing.assert_array_equal(success, [True, False])
    np.testing.assert_allclose(value[0], np.log(2), atol=10 * _T)
    assert residual[1] > 1


def test_broydens_inverse(tol):
    """Exact for a single number after one step; and the transpose is the transpose."""
    number = _solve(lambda y, _: 0.3 * y + 1, s.Broyden(0.1 * tol, 0.1 * tol), jnp.zeros(1))
    applied = s.broyden_inverse(number.state.memory, jnp.ones(1))
    np.testing.assert_allclose(applied, 1 / (1 - 0.3), rtol=10 * tol)

    matrix = jnp.array([[0.3, 0.2], [-0.4, 0.1]])
    for method in ("good", "bad"):
        solver = s.Broyden(0.1 * tol, 0.1 * tol, method=method)
        found = _solve(lambda y, m: m @ y + 1, solver, jnp.zeros(2), matrix)
        columns = [s.broyden_inverse(found.state.memory, e) for e in jnp.eye(2)]
        rows = [s.broyden_inverse(found.state.memory, e, transpose=True) for e in jnp.eye(2)]
        np.testing.assert_allclose(jnp.stack(columns, 1), jnp.stack(rows, 0), atol=10 * tol)
        # Better than the identity, from which it started.
        exact = jnp.linalg.inv(jnp.eye(2) - matrix)
        error = jnp.linalg.norm(jnp.stack(columns, 1) - exact)
        assert error < 0.5 * jnp.linalg.norm(jnp.eye(2) - exact)


@pytest.mark.parametrize(("n", "seed"), [(25, 2), (6, 9)], ids=["large", "small"])
@pytest.mark.parametrize("method", ["good", "bad"])
def test_broyden_takes_broydens_steps(method, n, seed, tol):
    """As written down with matrices: B += (s - B w) aᵀ / (a·w), a = Bᵀ s or w. In a large state,
    where nothing is learned by differences, and in a small one where nothing needs to be, though
    the residual rises once."""
    rng = np.random.default_rng(seed)
    matrix, vector = 0.7 * rng.standard_normal((n, n)) / np.sqrt(n), rng.standard_normal(n)
    y, inverse, steps = np.zeros(n), np.eye(n), 0
    r = vector
    while np.linalg.norm(r) > 1e-4:
        new = y + inverse @ r
        new_r = matrix @ new + vector - new
        s_, w = new - y, r - new_r
        a = inverse.T @ s_ if method == "good" else w
        inverse += np.outer(s_ - inverse @ w, a) / (a @ w)
        y, r, steps = new, new_r, steps + 1
    solver = s.Broyden(0.0, 1e-4, norm=optx.two_norm, method=method)
    args = jnp.asarray(matrix, float), jnp.asarray(vector, float)
    found = _solve(lambda y, a: a[0] @ y + a[1], solver, jnp.zeros(n), args)
    assert found.result == optx.RESULTS.successful
    assert int(found.stats["num_steps"]) == steps + 1
    np.testing.assert_allclose(found.value, y, atol=100 * tol)


def test_broyden_learns_nothing_from_rounding(tol):
    """Where the residual changes at right angles to the step (I - J is skew) its slope along it is
    rounding, by which an update would divide."""
    half = np.random.default_rng(4).standard_normal((25, 25)) / 10
    args = jnp.eye(25) - jnp.asarray(half - half.T, float), jnp.ones(25)
    found = _solve(
        lambda y, a: a[0] @ y + a[1], s.Broyden(0.0, tol), jnp.zeros(25), args, max_steps=2
    )
    np.testing.assert_array_equal(found.state.memory.u, 0)
    assert found.state.memory.count == 0


@pytest.mark.parametrize(("size", "learns"), [(20, True), (21, False)])
def test_jacobians_are_learned_by_differences_up_to_twenty_numbers(size, learns):
    for solver in (s.Broyden(1e-3, 1e-3), s.Anderson(1e-3, 1e-3)):
        found = _solve(lambda y, _: 0.5 * jnp.cos(y), solver, jnp.zeros(size))
        assert (found.state.memory.probe is not None) == learns


def test_the_default_depends_on_the_size():
    assert isinstance(s.default_solver(64), s.Newton)
    assert isinstance(s.default_solver(65), s.Anderson)
    solver = s.default_solver(3, rtol=1e-3, atol=1e-2)
    assert (solver.rtol, solver.atol) == (1e-3, 1e-2)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: s.Picard(-1.0, _T), ValueError, r"`Picard\(rtol=...\)` must not be negative"),
        (lambda: s.Newton(_T, -1.0), ValueError, r"`Newton\(atol=...\)` must not be negative"),
        (lambda: s.Picard(_T, _T, damp=1.0), ValueError, r"damp=.*at least 0.*below 1; got 1"),
        (lambda: s.Anderson(_T, _T, mixing=1.5), ValueError, r"mixing=.*got 1.5"),
        (lambda: s.Anderson(_T, _T, memory=0), ValueError, r"memory=.*at least 1; got 0"),
        (lambda: s.Anderson(_T, _T, safeguard=0.5), ValueError, r"Anderson\(safeguard=.*got 0.5"),
        (lambda: s.Broyden(_T, _T, safeguard=0.5), ValueError, r"Broyden\(safeguard=.*got 0.5"),
        (lambda: s.Broyden(_T, _T, memory=0), ValueError, r"memory=.*at least 1"),
        (lambda: s.Newton(_T, _T, backtracks=-1), ValueError, r"backtracks=.*at least 0"),
        (lambda: s.Newton(_T, _T, armijo=1.0), ValueError, r"armijo=.*below 1"),
        (lambda: s.Newton(_T, _T, time_step=0.0), ValueError, r"Newton\(time_step=.*above 0"),
        (lambda: s.PseudoTransient(_T, _T, time_step=-1.0), ValueError, r"time_step=.*got -1.0"),
        (lambda: s.PseudoTransient(_T, _T, growth=0.5), ValueError, r"growth=.*at least 1"),
        (
            lambda: s.SolverLimits(stagnation=0),
            ValueError,
            r"Limits\(stagnation=.*at least 1; got 0",
        ),
        (
            lambda: s.SolverLimits(divergence=1.0),
            ValueError,
            r"Limits\(divergence=.*above 1",
        ),
        (lambda: s.SteadyState(_T, _T, dt0=0.0), ValueError, r"dt0=.*above 0; got 0.0"),
        (lambda: s.SteadyState(_T, _T, max_ode_steps=0), ValueError, r"max_ode_steps=.*at least 1"),
        (
            lambda: s.SteadyState(
                1e-6, 1e-7, controller=diffrax.PIDController(rtol=1e-3, atol=1e-4)
            ),
            ValueError,
            r"rtol=1e-06, atol=1e-07 with a step size controller of .*rtol=0.001, atol=0.0001",
        ),
        (lambda: s.Ladder(), ValueError, "at least one solver"),
        (lambda: s.Ladder(optx.Newton(_T, _T)), TypeError, "Newton"),
        (lambda: s.Ladder(s.Picard(_T, _T), budget=(1, 2)), ValueError, r"budget=.*got \(1, 2\)"),
        (lambda: s.Ladder(s.Picard(_T, _T), budget=0), ValueError, r"budget=.*at least 1; got 0"),
        (lambda: s.default_solver(-1), ValueError, r"size=.*at least 0; got -1"),
    ],
)
def test_mistakes_are_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_an_implicit_flow_needs_tolerances():
    solver = s.SteadyState(
        _T, _T, ode_solver=diffrax.Kvaerno3(), controller=diffrax.ConstantStepSize()
    )
    with pytest.raises(ValueError, match=r"root finder of Kvaerno3 .*; got ConstantStepSize"):
        _solve(lambda y, _: jnp.cos(y), solver, jnp.zeros(1))


def test_an_unknown_update_is_named():
    # (Under the run-time type checks of the test suite, already the type is wrong.)
    with pytest.raises(Exception, match=r"method|ugly"):
        s.Broyden(_T, _T, method="ugly")  # pyright: ignore[reportArgumentType]
