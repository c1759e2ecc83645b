"""The standard set: systems F(x) = 0 that solvers have been tried on since 1981.

Written for NumPy and JAX alike, from the formulas in

- J. J. Moré, B. S. Garbow and K. E. Hillstrom, "Testing unconstrained optimization software", ACM
  Transactions on Mathematical Software 7 (1981), 17-41, and "Algorithm 566", ibid., 136-140. Their
  fourteen systems of nonlinear equations, in which Wood's, Watson's and the variably dimensioned
  problem are gradients; and the five of their least-squares problems that are square, have a root
  and do not repeat one of the systems in more dimensions. Nineteen in all.
- `scipy/optimize/tests/test_nonlin.py` of SciPy 1.17: seven functions.

Systems of different sizes are padded, so that one compiled function solves many as a batch.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class System(NamedTuple):
    function: Callable  # (xp, x) -> F(x)
    start: tuple[float, ...]
    # The map is y + sign F(y): the sign whose flow, and with it Picard's iteration, is the more
    # stable one at the root.
    sign: int = -1


# --- Moré, Garbow and Hillstrom: systems ---------------------------------------------------------


def _rosenbrock(xp, x):
    return xp.stack([1 - x[0], 10 * (x[1] - x[0] ** 2)])


def _powell_singular(xp, x):
    return xp.stack(
        [
            x[0] + 10 * x[1],
            5**0.5 * (x[2] - x[3]),
            (x[1] - 2 * x[2]) ** 2,
            10**0.5 * (x[0] - x[3]) ** 2,
        ]
    )


def _powell_badly_scaled(xp, x):
    return xp.stack([1e4 * x[0] * x[1] - 1, xp.exp(-x[0]) + xp.exp(-x[1]) - 1.0001])


def _wood(xp, x):
    a, b = x[1] - x[0] ** 2, x[3] - x[2] ** 2
    return xp.stack(
        [
            -200 * x[0] * a - (1 - x[0]),
            200 * a + 20.2 * (x[1] - 1) + 19.8 * (x[3] - 1),
            -180 * x[2] * b - (1 - x[2]),
            180 * b + 20.2 * (x[3] - 1) + 19.8 * (x[1] - 1),
        ]
    )


def _helical_valley(xp, x):
    turns = 0.25 + xp.arctan2(-x[0], x[1]) / (2 * np.pi)  # the cut is where x[0] = 0 > x[1]
    radius = xp.sqrt(x[0] ** 2 + x[1] ** 2)
    return xp.stack([10 * (x[2] - 10 * turns), 10 * (radius - 1), x[2]])


def _watson(xp, x):
    n = len(x)
    cast = lambda a: xp.asarray(a, x.dtype)
    t = np.arange(1, 30)[:, None] / 29
    j = np.arange(n)
    powers = t**j
    slopes = np.where(j > 0, j * t ** np.maximum(j - 1, 0), 0)
    value = cast(powers) @ x
    gap = cast(slopes) @ x - value**2 - 1
    first = x[1] - x[0] ** 2 - 1
    gradient = gap @ (cast(slopes) - 2 * value[:, None] * cast(powers))
    head = xp.stack([x[0] * (1 - 2 * first), first])
    return gradient + xp.concatenate([head, xp.zeros(n - 2, x.dtype)])


def _chebyquad(xp, x):
    last, now = xp.ones_like(x), 2 * x - 1
    rows = []
    for i in range(1, len(x) + 1):
        rows.append(xp.mean(now) + (0 if i % 2 else 1 / (i**2 - 1)))
        last, now = now, 2 * (2 * x - 1) * now - last
    return xp.stack(rows)


def _brown_almost_linear(xp, x):
    return xp.concatenate([x[:-1] + xp.sum(x) - (len(x) + 1), xp.prod(x)[None] - 1])


def _grid(xp, x):
    n = len(x)
    return 1 / (n + 1), xp.asarray(np.arange(1, n + 1) / (n + 1), x.dtype)


def _discrete_boundary_value(xp, x):
    h, t = _grid(xp, x)
    zero = xp.zeros(1, x.dtype)
    before, after = xp.concatenate([zero, x[:-1]]), xp.concatenate([x[1:], zero])
    return 2 * x - before - after + h**2 * (x + t + 1) ** 3 / 2


def _discrete_integral(xp, x):
    h, t = _grid(xp, x)
    cube = (x + t + 1) ** 3
    below, above = xp.cumsum(t * cube), xp.cumsum((1 - t) * cube)
    return x + h / 2 * ((1 - t) * below + t * (above[-1] - above))


def _trigonometric(xp, x):
    i = xp.asarray(np.arange(1, len(x) + 1), x.dtype)
    return len(x) - xp.sum(xp.cos(x)) + i * (1 - xp.cos(x)) - xp.sin(x)


def _variably_dimensioned(xp, x):
    i = xp.asarray(np.arange(1, len(x) + 1), x.dtype)
    total = xp.sum(i * (x - 1))
    return x - 1 + i * total * (1 + 2 * total**2)


def _broyden_tridiagonal(xp, x):
    zero = xp.zeros(1, x.dtype)
    before, after = xp.concatenate([zero, x[:-1]]), xp.concatenate([x[1:], zero])
    return (3 - 2 * x) * x - before - 2 * after + 1


def _broyden_banded(xp, x):
    i, j = np.arange(len(x))[:, None], np.arange(len(x))
    band = xp.asarray((j != i) & (j >= i - 5) & (j <= i + 1), x.dtype)
    return x * (2 + 5 * x**2) + 1 - band @ (x * (1 + x))


# --- Moré, Garbow and Hillstrom: least squares with as many residuals as unknowns ----------------


def _freudenstein_roth(xp, x):
    return xp.stack(
        [
            -13 + x[0] + ((5 - x[1]) * x[1] - 2) * x[1],
            -29 + x[0] + ((x[1] + 1) * x[1] - 14) * x[1],
        ]
    )


def _gulf(xp, x):
    t = np.arange(1, 4) / 100
    y = xp.asarray(25 + (-50 * np.log(t)) ** (2 / 3), x.dtype)
    return xp.exp(-(xp.abs(y - x[1]) ** x[2]) / x[0]) - xp.asarray(t, x.dtype)


def _box(xp, x):
    t = np.arange(1, 4) / 10
    s = xp.asarray(t, x.dtype)
    right = xp.asarray(np.exp(-t) - np.exp(-10 * t), x.dtype)
    return xp.exp(-s * x[0]) - xp.exp(-s * x[1]) - x[2] * right


def _biggs(xp, x):
    t = np.arange(1, 7) / 10
    s = xp.asarray(t, x.dtype)
    y = xp.asarray(np.exp(-t) - 5 * np.exp(-10 * t) + 3 * np.exp(-4 * t), x.dtype)
    return x[2] * xp.exp(-s * x[0]) - x[3] * xp.exp(-s * x[1]) + x[5] * xp.exp(-s * x[4]) - y


def _linear_full_rank(xp, x):
    return x - 2 / len(x) * xp.sum(x) - 1


# --- SciPy ---------------------------------------------------------------------------------------


def _scipy_1(xp, x):
    return -xp.asarray([3, 2, 1.5, 1, 0.5], x.dtype) * x - 0.01 * xp.sum(x**2) * x


def _identity(xp, x):
    return x


def _scipy_3(xp, x):
    a = xp.asarray([[-2, 1, 0], [1, -2, 1], [0, 1, -2]], x.dtype)
    return a @ x - xp.asarray([1, 2, 3], x.dtype)


def _pressure_network(xp, x):
    # Flows through four parallel pipes: equal pressures, and the total.
    pressure = 0.5 * x**2
    return xp.concatenate([pressure[1:] - pressure[0], xp.sum(x)[None] - 4])


def _scipy_6(xp, x):
    inverse = np.linalg.inv([[-4.256, 14.7], [0.8394989, 0.59964207]])
    v = xp.stack(
        [(x[0] + 3) * (x[1] ** 5 - 7) + 18, xp.sin(x[1] * xp.exp(x[0]) - 1)],
    )
    return -xp.asarray(inverse, x.dtype) @ v


_t = np.arange(1, 11) / 11

MORE_GARBOW_HILLSTROM = {
    "Rosenbrock": System(_rosenbrock, (-1.2, 1.0)),
    "Powell singular": System(_powell_singular, (3.0, -1.0, 0.0, 1.0)),
    "Powell badly scaled": System(_powell_badly_scaled, (0.0, 1.0)),
    "Wood": System(_wood, (-3.0, -1.0, -3.0, -1.0)),
    "Helical valley": System(_helical_valley, (-1.0, 0.0, 0.0)),
    "Watson 6": System(_watson, (0.0,) * 6),
    "Chebyquad 5": System(_chebyquad, tuple(np.arange(1, 6) / 6)),
    "Brown almost-linear": System(_brown_almost_linear, (0.5,) * 10),
    "Discrete boundary value": System(_discrete_boundary_value, tuple(_t * (_t - 1))),
    "Discrete integral": System(_discrete_integral, tuple(_t * (_t - 1))),
    "Trigonometric": System(_trigonometric, (0.1,) * 10),
    "Variably dimensioned": System(_variably_dimensioned, tuple(1 - np.arange(1, 11) / 10)),
    "Broyden tridiagonal": System(_broyden_tridiagonal, (-1.0,) * 10),
    "Broyden banded": System(_broyden_banded, (-1.0,) * 10),
    "Freudenstein and Roth": System(_freudenstein_roth, (0.5, -2.0)),
    "Gulf": System(_gulf, (5.0, 2.5, 0.15)),
    "Box": System(_box, (0.0, 10.0, 20.0)),
    "Biggs": System(_biggs, (1.0, 2.0, 1.0, 1.0, 1.0, 1.0)),
    "Linear, full rank": System(_linear_full_rank, (1.0,) * 10),
}
# The same systems in other sizes.
SIZES = {
    "Watson 9": System(_watson, (0.0,) * 9),
    "Chebyquad 6": System(_chebyquad, tuple(np.arange(1, 7) / 7)),
    "Chebyquad 7": System(_chebyquad, tuple(np.arange(1, 8) / 8)),
    "Chebyquad 9": System(_chebyquad, tuple(np.arange(1, 10) / 10)),
}
SCIPY = {
    "F": System(_scipy_1, (1.0,) * 5, 1),
    "F2": System(_identity, (1.0, 2.0, 3.0, 4.0, 5.0, 6.0)),
    "F2 lucky": System(_identity, (0.0,) * 6),
    "F3": System(_scipy_3, (1.0, 2.0, 3.0), 1),
    "F4 Powell": System(_powell_badly_scaled, (-1.0, -2.0)),
    "F5": System(_pressure_network, (2.0, 0.0, 2.0, 0.0)),
    "F6": System(_scipy_6, (-0.5, 1.4), 1),
}
SYSTEMS = MORE_GARBOW_HILLSTROM | SIZES | SCIPY
NAMES = tuple(SYSTEMS)


def fixed_point_map(xp, system):
    """y ↦ y + sign F(y)."""
    return lambda y: y + system.sign * system.function(xp, y)


def batch(names, size, dtype):
    """The map of several systems at once, `f(y, i)`, and where they start. Each has `size` numbers:
    those that it does not need are zero, and solved from the start."""

    def padded(system):
        n, fn = len(system.start), fixed_point_map(jnp, system)
        return lambda y: jnp.concatenate([fn(y[:n]), jnp.zeros(size - n, y.dtype)])

    systems = [SYSTEMS[name] for name in names]
    branches = [padded(system) for system in systems]
    rows = [np.pad(np.asarray(s.start, float), (0, size - len(s.start))) for s in systems]
    return lambda y, i: jax.lax.switch(i, branches, y), jnp.asarray(np.stack(rows), dtype)
