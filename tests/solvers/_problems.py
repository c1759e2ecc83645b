"""Fixed-point problems of one shape, so that one compiled function solves them all as a batch.

Each is y = f(y) for six numbers, given by (kind, matrix, vector). The formulas are written for
NumPy and JAX alike: SciPy solves them in double precision, our solvers in the precision of the
run. For our solvers the state is a pytree.
"""

import functools as ft
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import scipy.optimize

SIZE = 6
_RNG = np.random.default_rng(7)
_ORTHOGONAL, _ = np.linalg.qr(_RNG.standard_normal((8, 8)))
_FEEDBACK = 0.5 * _RNG.standard_normal((8, SIZE))
_BITS = 1 - 2 * ((np.arange(8)[:, None] >> np.arange(3)) & 1)
# Z and ZZ on three qubits: signs of the eight amplitudes.
_SIGNS = np.concatenate([_BITS.T, (_BITS * np.roll(_BITS, 1, axis=1)).T])


def _linear(xp, matrix, vector, y):
    return matrix @ y + vector


def _tanh(xp, matrix, vector, y):
    return xp.tanh(matrix @ y + vector)


def _quantum(xp, matrix, vector, y):
    """Measured values of a real orthogonal circuit on an amplitude-encoded vector."""
    del matrix
    cast = lambda constant: xp.asarray(constant, y.dtype)
    features = xp.concatenate([vector, vector[:2]])
    state = cast(_ORTHOGONAL) @ (features + cast(_FEEDBACK) @ y)
    return cast(_SIGNS) @ state**2 / xp.sum(state**2)


def _translation(xp, matrix, vector, y):
    """Has no fixed point."""
    return y + vector


def _cubic(xp, matrix, vector, y):
    """Overflows within a few Picard steps, and has a fixed point elsewhere."""
    return 10 * y**3 + vector


_KINDS = (_linear, _tanh, _quantum, _translation, _cubic)


class Problem(NamedTuple):
    kind: int
    matrix: np.ndarray
    vector: np.ndarray


def with_spectrum(eigenvalues, seed):
    """A matrix with these eigenvalues; a complex one stands for itself and its conjugate."""
    rng = np.random.default_rng(seed)
    blocks = []
    for value in eigenvalues:
        re, im = np.real(value), np.imag(value)
        blocks.append(np.array([[re, im], [-im, re]]) if im else np.array([[re]]))
    size = sum(len(block) for block in blocks)
    normal = np.zeros((size, size))
    at = 0
    for block in blocks:
        normal[at : at + len(block), at : at + len(block)] = block
        at += len(block)
    basis, _ = np.linalg.qr(rng.standard_normal((size, size)))
    return basis @ normal @ basis.T


def _make():
    vector = np.random.default_rng(3).standard_normal(SIZE)
    unit = vector / np.linalg.norm(vector)
    none = np.zeros((SIZE, SIZE))
    kind = {function: i for i, function in enumerate(_KINDS)}
    return {
        "real spectrum": Problem(
            kind[_linear], with_spectrum([0.9, 0.6, 0.3, 0, -0.5, -0.9], 0), vector
        ),
        "complex pairs": Problem(
            kind[_linear], with_spectrum([0.2 + 0.85j, -0.6 + 0.3j, 0.5 + 0.1j], 1), vector
        ),
        # Picard's iteration moves away from these two, the flow towards them.
        "expanding": Problem(
            kind[_linear], with_spectrum([-1.4, -1.1, 0.3 + 1.5j, 0.5, 0.1], 2), vector
        ),
        "stiff": Problem(kind[_linear], with_spectrum([-60, -10, -3, 0.5, 0.2, 0], 3), vector),
        "tanh network": Problem(
            kind[_tanh], with_spectrum([0.95, 0.4 + 0.7j, -0.8, 0.2, 0.1], 4), 0.3 * vector
        ),
        "quantum": Problem(kind[_quantum], none, 3 * unit),
        "quantum, small input": Problem(kind[_quantum], none, 1.2 * unit),
        "translation": Problem(kind[_translation], none, np.ones(SIZE)),
        "cubic": Problem(kind[_cubic], none, np.ones(SIZE)),
        "not a number": Problem(kind[_linear], none, np.full(SIZE, np.nan)),
    }


PROBLEMS = _make()
NAMES = tuple(PROBLEMS)
SOLVABLE = NAMES[:7]


def numpy_map(problem):
    return lambda y: _KINDS[problem.kind](np, problem.matrix, problem.vector, y)


@ft.cache
def solution(name):
    """SciPy's fixed point, and its derivative along `direction` by finite differences."""
    problem = PROBLEMS[name]
    value = _scipy_root(problem, np.zeros(SIZE))
    h = 1e-5
    ahead, behind = (
        _scipy_root(problem._replace(vector=problem.vector + s * h * direction()), value)
        for s in (1, -1)
    )
    return value, (ahead - behind) / (2 * h)


def direction():
    return np.random.default_rng(5).standard_normal(SIZE)


def _scipy_root(problem, start):
    fn = numpy_map(problem)
    found = scipy.optimize.root(lambda y: fn(y) - y, start, tol=1e-13)
    assert np.linalg.norm(found.fun) < 1e-11
    return found.x


def to_tree(flat):
    return {"a": flat[:2], "b": (flat[2:].reshape(2, 2),)}


def to_flat(tree):
    return jnp.concatenate([tree["a"], tree["b"][0].reshape(-1)])


def tree_map(state, args):
    kind, matrix, vector = args
    y = to_flat(state)
    branches = [ft.partial(function, jnp, matrix, vector) for function in _KINDS]
    return to_tree(jax.lax.switch(kind, branches, y))


def stack(problems, dtype):
    """Problems as one batch."""
    kinds, matrices, vectors = zip(*problems, strict=True)
    cast = lambda arrays: jnp.asarray(np.stack(arrays), dtype)
    return jnp.array(kinds), cast(matrices), cast(vectors)


def make_solve(solver, adjoint, max_steps=600):
    """The batch of all solves, with their derivatives along `direction`, as one function."""

    def one(kind, matrix, vector):
        def solve(vector):
            found = optx.fixed_point(
                tree_map,
                solver,
                to_tree(jnp.zeros_like(vector)),
                (kind, matrix, vector),
                max_steps=max_steps,
                adjoint=adjoint,
                throw=False,
            )
            code = {
                "success": found.result == optx.RESULTS.successful,
                "diverged": found.result == optx.RESULTS.nonlinear_divergence,
                "gave up": found.result == optx.RESULTS.nonlinear_max_steps_reached,
            }
            stats = {k: v for k, v in found.stats.items() if k != "max_steps"}
            return to_flat(found.value), (code, stats)

        along = jnp.asarray(direction(), vector.dtype)
        value, tangent, (code, stats) = jax.jvp(solve, (vector,), (along,), has_aux=True)
        state = to_tree(value)
        gap = to_flat(tree_map(state, (kind, matrix, vector))) - value
        return {"value": value, "tangent": tangent, "gap": gap, **code, **stats}

    return jax.jit(jax.vmap(one))
