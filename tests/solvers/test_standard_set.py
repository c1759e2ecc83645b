"""The standard set by every solver. What is known to fail is listed, with the reason; anything else
must succeed, and no success may be wrong."""

import functools as ft

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from eqx_qdeq import solvers as s
from tests.solvers._standard import batch, MORE_GARBOW_HILLSTROM, NAMES, SYSTEMS

pytestmark = pytest.mark.float32

_X64 = jax.config.jax_enable_x64
_DTYPE = jnp.float64 if _X64 else jnp.float32
_T = 1e-8 if _X64 else 1e-5

_NEWTON = s.Newton(_T, _T)
_SOLVERS = {
    "FixedPointIteration": optx.FixedPointIteration(_T, _T),
    "Picard": s.Picard(_T, _T),
    "Anderson": s.Anderson(_T, _T),
    "Broyden": s.Broyden(_T, _T),
    "Newton": _NEWTON,
    "PseudoTransient": s.PseudoTransient(_T, _T),
    "SteadyState": s.SteadyState(_T, _T),
    "Ladder": s.Ladder(_NEWTON, optx.Dogleg(_T, _T), budget=300, restart=True),
}


# Known failures of 2026-11-30, with reasons. Some depend on the precision, and on the last digits.
_TRAP = "ends in a local minimum of the residual"
_VALLEY = "out of steps, in a narrow and curved valley of the residual"
_ILL = "differences in float32 do not resolve a Jacobian of condition 10⁵ and more"
_EXPANDS = "the map expands at the root, where its Jacobian has an eigenvalue beyond 1"
_UNSTABLE = "the root is unstable for the flow"
_STIFF = "the flow is stiff: out of steps"
_FAR = "diverges from its start, far from the root"
_EXPANDING = {
    *("Biggs", "Box", "Brown almost-linear", "Broyden banded", "Broyden tridiagonal"),
    *("Chebyquad 5", "Chebyquad 6", "Chebyquad 7", "Chebyquad 9", "Discrete boundary value"),
    *("F", "F3", "F4 Powell", "F5", "Freudenstein and Roth", "Gulf", "Helical valley"),
    *("Linear, full rank", "Powell badly scaled", "Rosenbrock", "Trigonometric"),
    *("Variably dimensioned", "Watson 6", "Watson 9", "Wood"),
}
_TURNING = {
    *("Biggs", "Box", "Chebyquad 5", "Chebyquad 6", "Chebyquad 7", "Chebyquad 9", "F4 Powell"),
    *("F5", "Gulf", "Linear, full rank", "Powell badly scaled", "Rosenbrock", "Trigonometric"),
}
_FAILS = {
    "FixedPointIteration": {_EXPANDS: _EXPANDING, _FAR: {"Powell singular", "F6"}},
    "Picard": {_EXPANDS: _EXPANDING, _FAR: {"Powell singular", "F6"}},
    "Anderson": {
        _TRAP: {"Freudenstein and Roth", "Biggs", "Chebyquad 7", "Chebyquad 9"},
        _VALLEY: {"Gulf", "Watson 9", "F4 Powell"},
        _ILL: set() if _X64 else {"Watson 6"},
    },
    "Broyden": {
        _TRAP: {"Brown almost-linear", "Freudenstein and Roth", "Biggs"},
        _VALLEY: {"Gulf", "Watson 9", "Chebyquad 7", "Chebyquad 9", "F4 Powell"},
    },
    "Newton": {_TRAP: {"Biggs", "Chebyquad 9"}, _VALLEY: {"Gulf"}},
    "PseudoTransient": {_UNSTABLE: _TURNING},
    "SteadyState": {
        _UNSTABLE: _TURNING,
        _STIFF: {
            *("Brown almost-linear", "Freudenstein and Roth", "Helical valley", "Powell singular"),
            *("Variably dimensioned", "Watson 6", "Watson 9", "Wood"),
        },
    },
    "Ladder": {_TRAP: {"Biggs"}},
}
# What is padded, Anderson's and Broyden's methods have to learn for nothing: less, in three groups.
_SIZES = {"Anderson": (4, 6, 10), "Broyden": (4, 6, 10)}


@ft.cache
def _solved(name):
    """Values, and whether they are claimed to be solutions."""
    values, success, smaller = {}, {}, 0
    for size in _SIZES.get(name, (10,)):
        names = [n for n in NAMES if smaller < len(SYSTEMS[n].start) <= size]
        fn, starts = batch(names, size, _DTYPE)

        @jax.jit
        @jax.vmap
        def solve(y, i, fn=fn):
            found = optx.fixed_point(fn, _SOLVERS[name], y, i, max_steps=600, throw=False)
            return found.value, found.result == optx.RESULTS.successful

        found, claimed = solve(starts, jnp.arange(len(names)))
        values |= dict(zip(names, np.asarray(found), strict=True))
        success |= dict(zip(names, np.asarray(claimed).tolist(), strict=True))
        smaller = size
    return values, success


@pytest.mark.parametrize("name", sorted(_SOLVERS))
def test_no_success_is_wrong(name):
    values, success = _solved(name)
    claimed = [system for system in NAMES if success[system]]
    assert "F2 lucky" in claimed  # solved from the start
    for system in claimed:
        y = values[system].astype(float)[: len(SYSTEMS[system].start)]
        r = SYSTEMS[system].function(np, y)
        image = np.linalg.norm(y + SYSTEMS[system].sign * r)
        # In float32 the terms of F are rounded: each derivative times what it multiplies.
        noise = 0 if _X64 else 4 * np.finfo(np.float32).eps * _terms(system, y)
        assert np.linalg.norm(r) <= 1.01 * _T * (1 + image) + noise, system


def _terms(system, y):
    fn, h = SYSTEMS[system].function, 1e-6
    columns = [fn(np, y + h * e) - fn(np, y - h * e) for e in np.eye(len(y))]
    return 1 + np.linalg.norm(np.stack(columns, 1) / (2 * h) * np.maximum(np.abs(y), 1))


@pytest.mark.parametrize("name", sorted(_SOLVERS))
def test_what_is_not_known_to_fail_succeeds(name):
    success = _solved(name)[1]
    unexpected = {system for system in NAMES if not success[system]} - _known(name)
    assert not unexpected


def _known(name):
    return {system for systems in _FAILS[name].values() for system in systems}


def test_how_many_are_solved():
    """Of the nineteen of Moré, Garbow and Hillstrom."""
    solved = {name: len(set(MORE_GARBOW_HILLSTROM) - _known(name)) for name in _FAILS}
    assert solved["Ladder"] >= 18
    assert solved["Newton"] >= 17
    assert min(solved["Anderson"], solved["Broyden"]) >= 15
    assert all(set(NAMES) >= _known(name) for name in _FAILS)
