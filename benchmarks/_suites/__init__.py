"""The suites, by name: each maps settings and the measured rates to its tables."""

from collections.abc import Callable
from typing import Any

from .._settings import Settings
from .._tables import Table
from ._compile import compile_times
from ._contests import layer, solve, train
from ._devices import devices
from ._engines import engines
from ._graphs import graphs
from ._memory import memory
from ._noise import noise
from ._scaling import scaling
from ._solvers import solvers
from ._wide import wide
from ._wires import wires

Suite = Callable[[Settings, dict[str, Any]], list[Table]]

SUITES: dict[str, Suite] = {
    "layer": layer,
    "solve": solve,
    "solvers": solvers,
    "train": train,
    "compile": compile_times,
    "memory": memory,
    "engines": engines,
    "scaling": scaling,
    "wires": wires,
    "wide": wide,
    "noise": noise,
    "graphs": graphs,
    "devices": devices,
}
