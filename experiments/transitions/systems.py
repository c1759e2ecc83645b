"""Four self-consistent systems with a transition, and what is exact about them."""

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PyTree
from scipy.optimize import root_scalar

import eqx_qdeq as qdeq

EXAMPLES = Path(__file__).parents[2] / "examples" / "self_consistent"


@dataclasses.dataclass(frozen=True)
class System:
    """A cell whose input is one parameter, with a transition at `critical`.

    **Arguments:**

    - `title`, `short`: what it is.
    - `critical`: the parameter at the transition.
    - `make`: makes the cell.
    - `observe`: from the cell's state to the observable.
    - `exact`: from the parameter to the observable and its derivative.
    - `slope`: the slope of the map of the mean field alone, at the equilibrium.
    - `shots`: makes the cell that is read out with shots, if there is one.
    - `sample`: from the parameter to the sample that the cell takes.
    """

    title: str
    short: str
    critical: float
    make: Callable[[], qdeq.AbstractCell]
    observe: Callable[[PyTree[Array]], Array]
    exact: Callable[[float], tuple[float, float]]
    slope: Callable[[float], float]
    shots: Callable[[], qdeq.AbstractCell] | None = None
    sample: Callable[[float], Array] = jnp.array

    def at(self, distance: float) -> float:
        """The parameter so far below the transition, relative to it."""
        return self.critical * (1 - distance)


def example(name: str) -> ModuleType:
    """A file of examples/self_consistent."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- Ferromagnet: m = √(1 - (h/2)²) ------------------------------------------------------------


def _ferromagnet() -> qdeq.AbstractCell:
    return example("ferromagnet").cell(jnp.array(1.0))


def _of_ferromagnet(h: float) -> tuple[float, float]:
    m = np.sqrt(1 - (h / 2) ** 2)
    return m, -h / (4 * m)


# --- Pair of spins on the square lattice, in a mean field ----------------------------------------


def _pair() -> qdeq.AbstractCell:
    return example("clusters").CLUSTERS["pair"].deq().cell


class Ground(eqx.Module):
    """From the mean field of the pair to the magnetization of its ground state, by diagonalization.
    It is read from two wires in that state: with shots, as one measures it."""

    wires: qdeq.QuantumLayer

    def __call__(self, m: Array, h: Array) -> Array:
        bonds, fields, means = map(jnp.asarray, _PAIR)
        return self.wires(jnp.linalg.eigh(bonds + h * fields + m * means)[1][:, 0])[0]


def _sampled_pair() -> qdeq.AbstractCell:
    mean = qdeq.PauliSum({"Z0": 0.5, "Z1": 0.5})
    wires = qdeq.Circuit([], [], [], 2), qdeq.AmplitudeEncoding(), mean
    layer = qdeq.QuantumLayer(*wires, angles=jnp.zeros(0))
    return qdeq.FunctionCell(Ground(layer), lambda h: jnp.ones(()))


_X, _Z, _EYE = np.array([[0.0, 1], [1, 0]]), np.array([[1.0, 0], [0, -1]]), np.eye(2)
_BOTH = lambda a: np.kron(a, _EYE) + np.kron(_EYE, a)
# The Hamiltonian is the first and h times the second and m times the third.
_PAIR = -1.0 * np.kron(_Z, _Z), -1.0 * _BOTH(_X), -3.0 * _BOTH(_Z)


def _measured(m: float, h: float) -> float:
    """The exact ground state's magnetization in the mean field m."""
    bonds, fields, means = _PAIR
    state = np.linalg.eigh(bonds + h * fields + m * means)[1][:, 0]
    return float(state @ _BOTH(_Z) @ state) / 2


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    return root_scalar(function, bracket=(low, high), xtol=1e-14).root


def _difference(function: Callable[[float], float], at: float) -> float:
    d = 1e-4
    return (
        8 * (function(at + d) - function(at - d)) - function(at + 2 * d) + function(at - 2 * d)
    ) / (12 * d)


def _of_pair(h: float) -> tuple[float, float]:
    m = _root(lambda m: _measured(m, h) - m, 1e-3, 1)
    # dm/dh = (∂f/∂h) / (1 - ∂f/∂m), of one diagonalization each.
    by_h = _difference(lambda h: _measured(m, h), h)
    return m, by_h / (1 - _difference(lambda m: _measured(m, h), m))


def _slope_of_pair(h: float) -> float:
    return _difference(lambda m: _measured(m, h), _of_pair(h)[0])


# Where ∂f/∂m = 1 at m = 0.
_CRITICAL_PAIR = _root(lambda h: _difference(lambda m: _measured(m, h), 0.0) - 1, 3.5, 4.2)

# --- Mott transition: Z = 1 - (U/U_c)² -----------------------------------------------------------

U_C = 32 / (3 * np.pi)


def _mott() -> qdeq.AbstractCell:
    return example("mott").make_cell()


def _of_mott(u: float) -> tuple[float, float]:
    return 1 - (u / U_C) ** 2, -2 * u / U_C**2


# --- Driven spins: the fold of the upper branch --------------------------------------------------

_V = 5.0
_drive = lambda z: np.sqrt((1 - z) * (1 + 4 * _V**2 * z**2) / (2 * z))
_drive_slope = lambda z: (_drive(z + 1e-6) - _drive(z - 1e-6)) / 2e-6
_Z_FOLD = _root(_drive_slope, 0.3, 0.9)


def _driven() -> qdeq.AbstractCell:
    """From ⟨Z⟩ of the others to that of a spin's steady state, which is a linear equilibrium. It is
    read from a wire that is turned so far: with shots, as often 0 and 1 as in the steady state."""
    bistability = example("bistability")
    wire = qdeq.Circuit([], [], [], 1), qdeq.AngleEncoding("Y"), qdeq.PauliZ()
    return qdeq.FunctionCell(
        Steady(bistability.change, qdeq.QuantumLayer(*wire, angles=jnp.zeros(0))),
        lambda drive: jnp.ones(()),
    )


class Steady(eqx.Module):
    """⟨Z⟩ of the steady state of a spin that changes in this way."""

    change: Callable[[Array, Array, Array], Array]
    wire: qdeq.QuantumLayer

    def __call__(self, z: Array, drive: Array) -> Array:
        at = lambda bloch: self.change(bloch, drive, z)
        nothing = jnp.zeros(3)
        steady = jnp.linalg.solve(jax.jacfwd(at)(nothing), -at(nothing))
        return self.wire(jnp.arccos(steady[2:]))[0]


def _of_driven(g: float) -> tuple[float, float]:
    z = _root(lambda z: _drive(z) - g, _Z_FOLD, 1 - 1e-9)
    return z, 1 / _drive_slope(z)


def _slope_of_driven(g: float) -> float:
    z = _of_driven(g)[0]
    a, b = 1 + 4 * _V**2 * z**2, 2 * g**2
    return 8 * _V**2 * z * b / (a + b) ** 2


SYSTEMS = {
    "ferromagnet": System(
        "mean-field ferromagnet", "ferromagnet", 2.0, _ferromagnet, lambda m: m[0], _of_ferromagnet,
        lambda h: (h / 2) ** 2, shots=_ferromagnet, sample=lambda h: jnp.array([h]),
    ),
    "pair": System(
        "pair of spins, mean field and angles", "pair, angles", _CRITICAL_PAIR, _pair,
        lambda z: abs(z.fields[0] if isinstance(z, qdeq.SelfConsistentState) else z), _of_pair,
        _slope_of_pair, shots=_sampled_pair,
    ),
    "mott": System(
        "Mott transition", "Mott transition", U_C, _mott, lambda r: r**2, _of_mott,
        lambda u: (u / U_C) ** 2, shots=_mott,
    ),
    "driven": System(
        "fold of driven spins", "driven spins", float(_drive(_Z_FOLD)), _driven, lambda z: z,
        _of_driven, _slope_of_driven, shots=_driven,
    ),
}  # fmt: skip
