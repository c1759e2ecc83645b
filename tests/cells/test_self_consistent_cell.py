"""Mean fields and angles as one equilibrium, against exact diagonalization in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np

import eqx_qdeq as qdeq
from eqx_qdeq import Circuit, PauliSum

PAULIS = {"I": np.eye(2), "X": np.array([[0.0, 1], [1, 0]]), "Z": np.diag([1.0, -1])}


def operator(n: int, letters: dict[int, str]) -> np.ndarray:
    out = np.eye(1)
    for wire in range(n):
        out = np.kron(out, PAULIS[letters.get(wire, "I")])
    return out


class Cluster:
    """Sites of the square lattice in a transverse field: exact inside, mean field outside."""

    def __init__(self, n: int, bonds: list[tuple[int, int]]):
        self.n, self.bonds = n, bonds
        self.outside = 4 - 2 * len(bonds) // n
        self.total = sum(operator(n, {i: "Z"}) for i in range(n))
        self.coupling = -sum((operator(n, {a: "Z", b: "Z"}) for a, b in bonds), np.zeros(2**n))
        self.transverse = -sum(operator(n, {i: "X"}) for i in range(n))

    def measured(self, m: float, h: float) -> float:
        """The magnetization of the ground state in the field of m."""
        hamiltonian = self.coupling + h * self.transverse - self.outside * m * self.total
        ground = np.linalg.eigh(hamiltonian)[1][:, 0]
        return ground @ self.total @ ground / self.n

    def magnetization(self, h: float) -> float:
        """The self-consistent one above zero, by bisection."""
        low, high = 1e-6, 1.0
        for _ in range(60):
            middle = (low + high) / 2
            low, high = (middle, high) if self.measured(middle, h) > middle else (low, middle)
        return (low + high) / 2

    def susceptibility(self, h: float) -> float:
        """dm/dh = ∂_h w / (1 - ∂_m w), by central differences of the ground state."""
        m, d = self.magnetization(h), 1e-5
        by_h = (self.measured(m, h + d) - self.measured(m, h - d)) / (2 * d)
        by_m = (self.measured(m + d, h) - self.measured(m - d, h)) / (2 * d)
        return by_h / (1 - by_m)

    def energy(self, m, h):
        field = -self.outside * m[0]
        strings = {f"Z{a} Z{b}": -1.0 for a, b in self.bonds}
        strings |= {f"X{i}": -h for i in range(self.n)} | {f"Z{i}": field for i in range(self.n)}
        return PauliSum(strings)

    def cell(self, circuit: Circuit, angles, **options) -> qdeq.SelfConsistentCell:
        measured = PauliSum({f"Z{i}": 1 / self.n for i in range(self.n)})
        layer = qdeq.QuantumLayer(circuit, qdeq.AmplitudeEncoding(), measured, angles=angles)
        return qdeq.SelfConsistentCell(layer, self.energy, **options)


ONE, PAIR = Cluster(1, []), Cluster(2, [(0, 1)])
# All real states that are the same from both sides: by Schmidt, cos |00⟩ + sin |11⟩ turned twice
# alike. The last angle does what the one before does: the state needs only their sum.
ANSATZ = Circuit(
    ["Ry", "CX", "Ry", "Ry", "Ry", "Ry"],
    [[0], [0, 1], [0], [1], [0], [1]],
    [[0], [], [1], [1], [2], [2]],
)
START = jnp.array([0.5, 0.3, 0.1])


def tight(cell, **options):
    solver = qdeq.PseudoTransient(0.0, 1e-11, avoids_saddles=True)
    return qdeq.DEQ(cell, solver=solver, **options)


def test_one_site_is_the_closed_form():
    # m = √(1 - (h/4)²), and dm/dh = -h / (16 m).
    cell = ONE.cell(Circuit(["Ry"], [[0]], [[0]]), jnp.array([0.5]))
    m = jax.jit(jax.value_and_grad(lambda h: tight(cell)(h).fields[0]))
    for h in (0.5, 2.0, 3.9):
        value, slope = m(h)
        expected = np.sqrt(1 - (h / 4) ** 2)
        np.testing.assert_allclose(value, expected, atol=1e-10)
        np.testing.assert_allclose(slope, -h / (16 * expected), rtol=1e-7)


def test_the_pair_its_susceptibility_and_what_is_flat():
    deq = tight(PAIR.cell(ANSATZ, START))

    @jax.jit
    def solve(h):
        value, slope = jax.value_and_grad(lambda h: deq(h).fields[0])(h)
        tangent = jax.jvp(lambda h: deq(h).fields[0], (h,), (jnp.ones(()),))[1]
        return deq.solve(h), value, slope, tangent

    known = {1.0: 0.968027, 2.0: 0.862356, 3.0: 0.639053, 3.7: None, 3.84: 0.086522}
    slopes = {}
    for h, m in known.items():
        solution, value, slope, tangent = solve(h)
        assert solution.success
        assert solution.stats["num_steps"] <= 60
        sign = np.sign(float(value))
        np.testing.assert_allclose(sign * value, PAIR.magnetization(h), atol=1e-9)
        if m is not None:
            np.testing.assert_allclose(sign * value, m, atol=1e-6)
        np.testing.assert_allclose(sign * slope, PAIR.susceptibility(h), rtol=1e-5)
        np.testing.assert_allclose(tangent, slope, rtol=1e-6)
        slopes[h] = sign * slope
    np.testing.assert_allclose(slopes[3.7], -0.911, atol=1e-3)
    np.testing.assert_allclose(slopes[3.84], -3.151, atol=1e-3)

    # An angle more than the state needs: its own derivative does not exist, and says so.
    both = jax.jit(jax.jacrev(lambda h: (deq(h).angles[1], jnp.sum(deq(h).angles[1:]))))
    alone, together = both(3.0)
    assert np.isnan(alone)
    assert np.isfinite(together)

    # By vector-Jacobian products alone, with the same meaning.
    by_products = tight(deq.cell, adjoint=qdeq.ImplicitVJPAdjoint())
    slope = jax.jit(jax.grad(lambda h: by_products(h).fields[0]))(3.0)
    np.testing.assert_allclose(
        slope, slopes[3.0] * np.sign(slope) * np.sign(slopes[3.0]), rtol=1e-6
    )

    # Other observables at the equilibrium, and second derivatives.
    def transverse(h):
        fn, z, _ = deq.bind_and_solve(h)
        return fn.measure(qdeq.PauliStrings(["X0"]), z)[0]

    value, slope, second = jax.jit(
        lambda h: (transverse(h), jax.grad(transverse)(h), jax.hessian(transverse)(h))
    )(3.0)

    def exact(h: float) -> float:
        m = PAIR.magnetization(h)
        matrix = PAIR.coupling + h * PAIR.transverse - PAIR.outside * m * PAIR.total
        ground = np.linalg.eigh(matrix)[1][:, 0]
        return -ground @ PAIR.transverse @ ground / 2

    d = 1e-3
    low, here, high = exact(3 - d), exact(3.0), exact(3 + d)
    np.testing.assert_allclose(value, here, atol=1e-9)
    np.testing.assert_allclose(slope, (high - low) / (2 * d), rtol=1e-5)
    np.testing.assert_allclose(second, (high - 2 * here + low) / d**2, rtol=1e-3)


def test_the_default_leaves_saddles_and_newton_is_labelled():
    # At m = 0 the site points along the transverse field: an equilibrium, but no stable one.
    cell = ONE.cell(Circuit(["Ry"], [[0]], [[0]]), jnp.array([np.pi / 2 - 0.01]))
    diagnoses = {}
    for name, solver in (("default", None), ("Newton", qdeq.Newton(1e-9, 1e-9))):
        deq = qdeq.DEQ(cell, solver=solver)
        found = deq.diagnose(2.0, n_steps=2)
        assert found.success, name
        diagnoses[name] = (float(deq(2.0).fields[0]), bool(found.is_saddle), str(found))
    m, is_saddle, text = diagnoses["default"]
    np.testing.assert_allclose(m, np.sqrt(0.75), atol=1e-4)
    assert not is_saddle
    assert "saddle" not in text
    m, is_saddle, text = diagnoses["Newton"]
    np.testing.assert_allclose(m, 0, atol=1e-6)
    assert is_saddle
    assert "it is a saddle" in text


def test_the_mott_transition_in_the_gutzwiller_approximation():
    # Two spins' worth of one correlated site and its bath: c and f of spin up on wires 0 and 1.
    rows = [("H", [0], []), ("Ry", [2], [0]), ("CX", [0, 2], [])]
    rows += [("CX", [0, 1], []), ("X", [1], []), ("CX", [2, 3], []), ("X", [3], [])]
    gates, wires, params = zip(*rows, strict=True)
    hopping = ["X0 X1", "Y0 Y1", "X2 X3", "Y2 Y3"]
    kappa = 4 / (3 * np.pi)
    layer = qdeq.QuantumLayer(
        Circuit(gates, wires, params),
        qdeq.AmplitudeEncoding(),
        PauliSum(hopping, [0.25] * 4),
        angles=jnp.array([0.5]),
    )

    def energy(r, u):
        return PauliSum({"Z0 Z2": u / 4} | dict.fromkeys(hopping, -kappa * r[0] / 2))

    deq = tight(qdeq.SelfConsistentCell(layer, energy))
    weight = jax.jit(jax.value_and_grad(lambda u: deq(u).fields[0] ** 2))
    critical = 32 / (3 * np.pi)
    for share in (0.1, 0.5, 0.9, 0.98):
        value, slope = weight(share * critical)
        np.testing.assert_allclose(value, 1 - share**2, atol=1e-6)
        np.testing.assert_allclose(slope, -2 * share / critical, rtol=1e-6)


def test_the_variance_tells_what_the_circuit_cannot_represent():
    # A pair whose spins cannot be entangled, against ⟨H²⟩ - ⟨H⟩² of matrices.
    cell = PAIR.cell(Circuit(["Ry", "Ry"], [[0], [1]], [[0], [0]]), jnp.array([0.5]))
    fn, m, angle = cell.bind(jnp.array(2.0)), 0.7, 0.9
    z = qdeq.SelfConsistentState(jnp.array([m]), jnp.array([angle]))
    one = np.array([np.cos(angle / 2), np.sin(angle / 2)])
    state = np.kron(one, one)
    matrix = PAIR.coupling + 2.0 * PAIR.transverse - PAIR.outside * m * PAIR.total
    expected = state @ matrix @ matrix @ state - (state @ matrix @ state) ** 2
    np.testing.assert_allclose(fn.variance(z), expected, rtol=1e-10)
    # The pair of all states of its kind is exact.
    exact = tight(PAIR.cell(ANSATZ, START))
    z = exact(2.0)
    np.testing.assert_allclose(exact.cell.bind(jnp.array(2.0)).variance(z), 0, atol=1e-12)


def test_a_branch_through_the_transition_with_an_angle_too_many():
    deq = tight(PAIR.cell(ANSATZ, START, initial_fields=jnp.ones(1)))
    branch = qdeq.trace_branch(
        deq.cell, lambda h: h, deq(3.5), start=3.5, stop=4.2, max_points=32, max_special=2
    )
    n = int(branch.count)
    assert int(branch.flat) == 1 and np.all(branch.flow_stable[:n])
    assert branch.kinds == ("pitchfork",)
    assert branch.end == "came back to the path's beginning"  # with the other sign of m
    np.testing.assert_allclose(branch.special_parameters[0], 3.8537, atol=1e-4)
    # Where the slope of the measured mean is 1, on paper.
    h, d = float(branch.special_parameters[0]), 1e-4
    slope = (PAIR.measured(d, h) - PAIR.measured(-d, h)) / (2 * d)
    np.testing.assert_allclose(slope, 1, atol=1e-6)
    for h, m in zip(branch.parameters[:n], branch.values.fields[:n, 0], strict=True):
        np.testing.assert_allclose(PAIR.measured(float(m), float(h)), m, atol=1e-9)


def test_fields_initial_fields_and_features_are_the_users():
    # One site whose fields are named, whose start is given and whose angle is shifted by x.
    layer = qdeq.QuantumLayer(
        Circuit(["Ry"], [[0]], [[0]]),
        qdeq.AngleEncoding("Y"),
        qdeq.PauliZ(),
        angles=jnp.array([0.3]),
    )
    cell = qdeq.SelfConsistentCell(
        layer,
        energy=lambda fields, x: PauliSum({"X0": -x["h"], "Z0": -4.0 * fields["up"]}),
        fields=lambda values, x: {"up": values[0]},
        initial_fields=lambda x: {"up": -0.5},
        features=lambda x: x["turn"],
    )
    x = {"h": jnp.array(2.0), "turn": jnp.array([0.2])}
    fn, z, solution = tight(cell).bind_and_solve(x)
    assert solution.success
    np.testing.assert_allclose(z.fields["up"], -np.sqrt(0.75), atol=1e-9)
    bound = cell.bind(x)
    np.testing.assert_allclose(bound.energy(z), -np.hypot(2.0, 4 * np.sqrt(0.75)), atol=1e-9)
    np.testing.assert_allclose(np.sum(bound.probabilities(z)), 1, atol=1e-12)
    np.testing.assert_allclose(np.linalg.norm(fn.state(z)), 1, atol=1e-12)


def test_what_does_not_depend_on_the_angles_leaves_no_derivative():
    # No gap at all: every angle is an equilibrium, and each has another magnetization.
    layer = qdeq.QuantumLayer(
        Circuit(["Ry"], [[0]], [[0]]),
        qdeq.AmplitudeEncoding(),
        qdeq.PauliZ(),
        angles=jnp.array([0.3]),
    )
    deq = tight(qdeq.SelfConsistentCell(layer, lambda fields, x: PauliSum({"I": x})))
    solution = deq.solve(2.0)
    assert solution.success
    np.testing.assert_allclose(solution.value.angles, 0.3)
    assert np.isnan(jax.grad(lambda h: deq(h).fields[0])(2.0))


def test_noise_shrinks_the_order():
    # Depolarizing after the one gate leaves w = s cos θ with s < 1: the field at which m ends falls
    # to 4 s.
    circuit, p = Circuit(["Ry"], [[0]], [[0]]), 0.03
    cell = ONE.cell(circuit, jnp.array([0.5]))
    noisy = qdeq.with_noise(cell, qdeq.noise.NoiseModel.depolarizing(p))
    shrunk = float(noisy.layer(jnp.ones(1))[0] / np.cos(0.5))
    m = tight(noisy)(2.0).fields[0]
    # The state is still along (h, 4 m): m = s · 4m / √(h² + 16 m²).
    np.testing.assert_allclose(m, np.sqrt(shrunk**2 - (2.0 / 4) ** 2), atol=1e-9)
