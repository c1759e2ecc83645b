"""Classifiers with one interface: a feature vector in, logits out."""

import abc
import inspect
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float, PRNGKeyArray

from . import circuits
from .circuits import Circuit
from .encodings import AbstractEncoding, AmplitudeEncoding, AngleEncoding
from .equilibrium import (
    AbstractCell,
    AbstractInjection,
    AddInjection,
    AngleFeedback,
    ConcatInjection,
    DEQ,
    FunctionCell,
    jacobian_penalty,
    LinearInjection,
    QuantumCell,
    Solution,
)
from .layers import QuantumLayer
from .measurements import AbstractMeasurement, PauliStrings, PauliZ


class AbstractClassifier(eqx.Module):
    """The abstract base class of the classifiers. One sample at a time; batch with `jax.vmap`."""

    @abc.abstractmethod
    def solve(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " classes"], Solution]:
        """The logits, and how the equilibrium was found."""

    @abc.abstractmethod
    def solve_with_penalty(
        self,
        x: Float[Array, " d"],
        *,
        key: PRNGKeyArray | None = None,
        penalty_key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, " classes"], Solution, Float[Array, ""]]:
        """As `solve`, and the Jacobian penalty at the equilibrium, for training: what depends on
        the sample or the angles is computed once for both."""

    @abc.abstractmethod
    def jacobian_penalty(
        self, x: Float[Array, " d"], state: Float[Array, " m"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, ""]:
        """‖J‖_F² over the size of the state, at `state`: see [`eqx_qdeq.jacobian_penalty`][]."""

    @abc.abstractmethod
    def unrolled(self, n_layers: int) -> "AbstractClassifier":
        """The classifier with the same parameters that applies the cell `n_layers` times."""

    @property
    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """What [`eqx_qdeq.classifier_from_config`][] needs to build the same architecture."""

    @abc.abstractmethod
    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " classes"]:
        """The logits of one sample. Dropout acts only if a `key` is given; give one key to a
        whole batch for one mask, as the paper does."""


class PaperHead(eqx.Module):
    """The paper's head: values repeated to d features, dropout, ReLU, linear."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    index: tuple[int, ...] = eqx.field(static=True)

    def __init__(
        self, n_values: int, size: int, n_classes: int, dropout: float, *, key: PRNGKeyArray
    ):
        self.linear = eqx.nn.Linear(size, n_classes, key=key)
        self.dropout = eqx.nn.Dropout(dropout)
        self.index = tuple((np.arange(size) * n_values // size).tolist())

    def __call__(
        self, values: Float[Array, " m"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " classes"]:
        repeated = values[np.array(self.index)]
        dropped = self.dropout(repeated, key=key, inference=key is None)
        return self.linear(jax.nn.relu(dropped))


class LinearHead(eqx.Module):
    """Dropout and one linear map."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, n_values: int, n_classes: int, dropout: float, *, key: PRNGKeyArray):
        self.linear = eqx.nn.Linear(n_values, n_classes, key=key)
        self.dropout = eqx.nn.Dropout(dropout)

    def __call__(
        self, values: Float[Array, " m"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " classes"]:
        return self.linear(self.dropout(values, key=key, inference=key is None))


def z_and_zz(n_qubits: int) -> PauliStrings:
    """All ⟨Z_i⟩ and ⟨Z_iZ_j⟩: n + n(n-1)/2 values from the same measurements as ⟨Z⟩ alone."""
    single = [f"Z{i}" for i in range(n_qubits)]
    pairs = [f"Z{i} Z{j}" for i in range(n_qubits) for j in range(i + 1, n_qubits)]
    return PauliStrings(single + pairs)


class UnrolledClassifier(AbstractClassifier):
    """The paper's DIRECT model: the cell applied `n_layers` times with tied weights.

    Made from an equilibrium classifier, whose parameters it shares:
    `QDEQClassifier(...).unrolled(5)`.
    """

    base: "_EquilibriumClassifier"
    n_layers: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.n_layers < 1:
            raise ValueError(f"`n_layers` must be at least 1; got {self.n_layers}.")

    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " classes"]:
        return self.solve(x, key=key)[0]

    def solve(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " classes"], Solution]:
        base = self.base
        fn = base.deq.cell.bind(x)
        z = base.deq.cell.init(x)
        # All but the last application; that one also shows how far z is from an equilibrium.
        z, _ = jax.lax.scan(lambda z, _: (fn(z), None), z, None, length=self.n_layers)
        gap = jax.lax.stop_gradient(ravel_pytree(jax.tree.map(jnp.subtract, fn(z), z))[0])
        stats = {
            "num_steps": jnp.asarray(self.n_layers),
            "num_evals": jnp.asarray(self.n_layers),
            "residual": jnp.linalg.norm(gap),
        }
        solution = Solution(z, optx.RESULTS.successful, stats)
        return base.logits(fn, z, key=key), solution

    def solve_with_penalty(
        self,
        x: Float[Array, " d"],
        *,
        key: PRNGKeyArray | None = None,
        penalty_key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, " classes"], Solution, Float[Array, ""]]:
        return *self.solve(x, key=key), jnp.zeros((), x.dtype)

    def jacobian_penalty(
        self, x: Float[Array, " d"], state: Float[Array, " m"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, ""]:
        return jnp.zeros((), x.dtype)

    def unrolled(self, n_layers: int) -> "UnrolledClassifier":
        return UnrolledClassifier(self.base, n_layers)

    @property
    def config(self) -> dict[str, Any]:
        return {
            "model": "UnrolledClassifier",
            "n_layers": self.n_layers,
            "base": self.base.config,
        }


UnrolledClassifier.__init__.__doc__ = """**Arguments:**

- `base`: the equilibrium classifier whose parameters are used.
- `n_layers`: how often the cell is applied.
"""


class _EquilibriumClassifier(AbstractClassifier):
    deq: eqx.AbstractVar[DEQ]

    @abc.abstractmethod
    def logits(
        self, fn: Any, state: Float[Array, " m"], *, key: PRNGKeyArray | None
    ) -> Float[Array, " classes"]:
        """Reads the logits out of an equilibrium."""

    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " classes"]:
        return self.solve(x, key=key)[0]

    def solve(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " classes"], Solution]:
        _, solution, logits = self._solve(x, key)
        return logits, solution

    def solve_with_penalty(
        self,
        x: Float[Array, " d"],
        *,
        key: PRNGKeyArray | None = None,
        penalty_key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, " classes"], Solution, Float[Array, ""]]:
        fn, solution, logits = self._solve(x, key)
        return logits, solution, jacobian_penalty(fn, solution.value, key=penalty_key)

    def _solve(self, x: Array, key: PRNGKeyArray | None) -> tuple[Any, Solution, Array]:
        """The bound cell, its equilibrium, and the logits."""
        x, usable = self.deq.guard(x)
        fn = self.deq.cell.bind(x)
        solution = self.deq.mask(self.deq.solve_bound(fn, self.deq.cell.init(x)), usable)
        return fn, solution, self.logits(fn, solution.value, key=key)

    def jacobian_penalty(
        self, x: Float[Array, " d"], state: Float[Array, " m"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, ""]:
        return jacobian_penalty(self.deq.cell.bind(x), state, key=key)

    def unrolled(self, n_layers: int) -> UnrolledClassifier:
        return UnrolledClassifier(self, n_layers)


_CIRCUITS = ("paper", "hardware_efficient", "strongly_entangling", "basic_entangler")
_ENCODINGS = ("amplitude", "angle")
_INJECTIONS = ("add", "linear", "concat", "angle")
_READOUTS = ("z", "zz")
_HEADS = ("linear", "paper")


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {value!r}.")


def _make_circuit(circuit: str | Circuit, n_qubits: int, depth: int) -> Circuit:
    if isinstance(circuit, Circuit):
        if circuit.n_qubits != n_qubits:
            raise ValueError(f"`circuit` has {circuit.n_qubits} wires, but n_qubits={n_qubits}.")
        return circuit
    _check_choice("circuit", circuit, _CIRCUITS)
    if circuit == "paper":
        return circuits.paper(n_qubits)
    return getattr(circuits, circuit)(n_qubits, depth)


def _make_injection(
    injection: str,
    in_size: int,
    n_values: int,
    gain: float | Array,
    key: PRNGKeyArray,
) -> AbstractInjection:
    _check_choice("injection", injection, _INJECTIONS)
    if injection == "add":
        return AddInjection(in_size, gain)
    if injection == "concat":
        return ConcatInjection(gain)
    if injection == "angle":
        return AngleFeedback(gain=gain)
    return LinearInjection(in_size, n_values, in_size, key=key)


class QDEQClassifier(_EquilibriumClassifier):
    r"""A quantum deep equilibrium classifier: the equilibrium of a circuit's measured values, read
    out and classified by one linear map.

    With `circuit="paper", head="paper"` it is the paper's model; the defaults are ours.

    ??? cite "Reference"

        P. Schleich, M. Skreta, L. B. Kristensen, R. A. Vargas-Hernández and A. Aspuru-Guzik,
        "Quantum deep equilibrium models", NeurIPS 2024, arXiv:2410.23940.
    """

    deq: DEQ
    head: PaperHead | LinearHead
    readout: AbstractMeasurement | None
    _config: str = eqx.field(static=True)

    def __init__(
        self,
        n_qubits: int,
        in_size: int,
        n_classes: int,
        *,
        circuit: str | Circuit = "hardware_efficient",
        depth: int = 4,
        encoding: str = "amplitude",
        injection: str = "add",
        gain: float = 1.0,
        train_gain: bool = False,
        readout: str = "z",
        head: str = "linear",
        dropout: float = 0.0,
        engine: str = "auto",
        max_steps: int = 256,
        key: PRNGKeyArray,
    ):
        _check_choice("encoding", encoding, _ENCODINGS)
        _check_choice("readout", readout, _READOUTS)
        _check_choice("head", head, _HEADS)
        if head == "paper" and readout != "z":
            raise ValueError("the paper's head reads ⟨Z⟩ alone; use readout='z' with head='paper'.")
        if n_classes < 2:
            raise ValueError(f"`n_classes` must be at least 2; got {n_classes}.")
        circuit = _make_circuit(circuit, n_qubits, depth)
        layer_key, injection_key, head_key = jax.random.split(key, 3)
        encoder: AbstractEncoding
        encoder = AmplitudeEncoding() if encoding == "amplitude" else AngleEncoding("YZXY")
        encoder.check(in_size + n_qubits if injection == "concat" else in_size, n_qubits)
        layer = QuantumLayer(circuit, encoder, PauliZ(), key=layer_key, engine=engine)
        scale = jnp.asarray(gain, jnp.result_type(float)) if train_gain else gain
        feedback = _make_injection(injection, in_size, n_qubits, scale, injection_key)
        self.deq = DEQ(QuantumCell(layer, feedback), max_steps=max_steps)
        self.readout = z_and_zz(n_qubits) if readout == "zz" else None
        n_features = n_qubits if self.readout is None else len(z_and_zz(n_qubits))
        if head == "paper":
            self.head = PaperHead(n_features, in_size, n_classes, dropout, key=head_key)
        else:
            self.head = LinearHead(n_features, n_classes, dropout, key=head_key)
        self._config = json.dumps(
            {
                "model": "QDEQClassifier",
                "n_qubits": n_qubits,
                "in_size": in_size,
                "n_classes": n_classes,
                "circuit": circuit.to_dict(),
                "depth": depth,
                "encoding": encoding,
                "injection": injection,
                "gain": gain,
                "train_gain": train_gain,
                "readout": readout,
                "head": head,
                "dropout": dropout,
                "engine": engine,
                "max_steps": max_steps,
            }
        )

    def logits(
        self, fn: Any, state: Float[Array, " m"], *, key: PRNGKeyArray | None
    ) -> Float[Array, " classes"]:
        values = state if self.readout is None else self.readout.values(fn.state(state))
        return self.head(values, key=key)

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self._config)


QDEQClassifier.__init__.__doc__ = """**Arguments:**

- `n_qubits`: the number of wires; also the number of fed-back values ⟨Z⟩.
- `in_size`: the number of features of a sample.
- `n_classes`: the number of logits.
- `circuit`: the name of a template ("paper", "hardware_efficient", "strongly_entangling",
    "basic_entangler") or a [`eqx_qdeq.Circuit`][].
- `depth`: the template's depth; "paper" has none.
- `encoding`: "amplitude", or "angle" for rounds of RY, RZ, RX, RY rotations.
- `injection`: "add" (the paper's), "linear", "concat" or "angle".
- `gain`: the strength of the feedback; initial value if `train_gain`.
- `train_gain`: whether the gain is trained.
- `readout`: "z" classifies the equilibrium ⟨Z_i⟩ itself, "zz" all ⟨Z_i⟩ and ⟨Z_iZ_j⟩ of its state.
- `head`: "linear", or "paper" (repeat to `in_size` features, dropout, ReLU, linear).
- `dropout`: the head's dropout probability.
- `engine`: see [`eqx_qdeq.QuantumLayer`][].
- `max_steps`: the solver's steps at most.
- `key`: for the initial parameters.

**Raises:** `ValueError` for a choice that does not exist or sizes that do not fit.
"""


class _TanhMap(eqx.Module):
    state: eqx.nn.Linear
    input: eqx.nn.Linear

    def __call__(self, z: Float[Array, " h"], x: Float[Array, " d"]) -> Float[Array, " h"]:
        return jnp.tanh(self.state(z) + self.input(x))


def _zeros(size: int, x: Array) -> Array:
    return jnp.zeros(size, x.dtype)


class ClassicalDEQClassifier(_EquilibriumClassifier):
    r"""The classical counterpart: the equilibrium of $z = \tanh(Wz + Ux + b)$ and a linear head."""

    deq: DEQ
    head: LinearHead
    _config: str = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        hidden_size: int,
        n_classes: int,
        *,
        dropout: float = 0.0,
        max_steps: int = 256,
        key: PRNGKeyArray,
    ):
        if hidden_size < 1:
            raise ValueError(f"`hidden_size` must be at least 1; got {hidden_size}.")
        kz, kx, kh = jax.random.split(key, 3)
        state = eqx.nn.Linear(hidden_size, hidden_size, use_bias=False, key=kz)
        fn = _TanhMap(state, eqx.nn.Linear(in_size, hidden_size, key=kx))
        cell: AbstractCell = FunctionCell(fn, eqx.Partial(_zeros, hidden_size))
        self.deq = DEQ(cell, max_steps=max_steps)
        self.head = LinearHead(hidden_size, n_classes, dropout, key=kh)
        self._config = json.dumps(
            {
                "model": "ClassicalDEQClassifier",
                "in_size": in_size,
                "hidden_size": hidden_size,
                "n_classes": n_classes,
                "dropout": dropout,
                "max_steps": max_steps,
            }
        )

    def logits(
        self, fn: Any, state: Float[Array, " h"], *, key: PRNGKeyArray | None
    ) -> Float[Array, " classes"]:
        return self.head(state, key=key)

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self._config)


ClassicalDEQClassifier.__init__.__doc__ = """**Arguments:**

- `in_size`: the number of features of a sample.
- `hidden_size`: the size of the state z.
- `n_classes`: the number of logits.
- `dropout`: the head's dropout probability.
- `max_steps`: the solver's steps at most.
- `key`: for the initial parameters.
"""


def classifier_from_config(config: dict[str, Any], *, key: PRNGKeyArray) -> AbstractClassifier:
    """Builds a classifier with new parameters from its `config`.

    **Arguments:**

    - `config`: as given by a classifier's `config`, e.g. read from JSON.
    - `key`: for the initial parameters.

    **Raises:** `ValueError` for an unknown model or unknown arguments.
    """
    arguments = dict(config)
    name = arguments.pop("model", None)
    if name == "UnrolledClassifier":
        base = classifier_from_config(arguments["base"], key=key)
        return base.unrolled(arguments["n_layers"])
    classes = {"QDEQClassifier": QDEQClassifier, "ClassicalDEQClassifier": ClassicalDEQClassifier}
    if name not in classes:
        raise ValueError(
            f"`config` names the model {name!r}; known are {', '.join(sorted(classes))} and "
            "UnrolledClassifier."
        )
    if isinstance(arguments.get("circuit"), dict):
        arguments["circuit"] = Circuit.from_dict(arguments["circuit"])
    accepted = set(inspect.signature(classes[name]).parameters) - {"key"}
    unknown = sorted(set(arguments) - accepted)
    if unknown:
        raise ValueError(f"`config` has arguments that {name} does not know: {unknown}.")
    return classes[name](**arguments, key=key)
