"""Classifiers with one interface: a feature vector in, logits out."""

import inspect
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .. import circuits
from .._checks import check_at_least, check_choice
from ..cells import (
    AbstractCell,
    AbstractInjection,
    AddInjection,
    AngleFeedback,
    ConcatInjection,
    FunctionCell,
    LinearInjection,
    QuantumCell,
)
from ..circuits import Circuit
from ..encodings import AbstractEncoding, AmplitudeEncoding, AngleEncoding, ComplexAmplitudeEncoding
from ..equilibrium import DEQ
from ..layers import QuantumLayer
from ..measurements import AbstractMeasurement, PauliZ
from ..noise import NoiseModel
from ._classifier import (
    AbstractClassifier as AbstractClassifier,
    EquilibriumClassifier,
    LinearHead as LinearHead,
    PaperHead as PaperHead,
    UnrolledClassifier as UnrolledClassifier,
    z_and_zz as z_and_zz,
    z_products as z_products,
)

_CIRCUITS = (
    "paper",
    "hardware_efficient",
    "strongly_entangling",
    "brickwork",
    "basic_entangler",
)
_ENCODINGS = ("amplitude", "complex", "angle")
_INJECTIONS = ("add", "linear", "concat", "angle")
_READOUTS = ("z", "zz", "zzz")
_HEADS = ("linear", "paper")


def _make_circuit(circuit: str | Circuit, n_qubits: int, depth: int) -> Circuit:
    if isinstance(circuit, Circuit):
        if circuit.n_qubits != n_qubits:
            raise ValueError(f"`circuit` has {circuit.n_qubits} wires, but n_qubits={n_qubits}.")
        return circuit
    check_choice("circuit", circuit, _CIRCUITS)
    if circuit == "paper":
        return circuits.paper(n_qubits)
    return getattr(circuits, circuit)(n_qubits, depth)


def _make_encoding(encoding: str) -> AbstractEncoding:
    check_choice("encoding", encoding, _ENCODINGS)
    if encoding == "amplitude":
        return AmplitudeEncoding()
    return ComplexAmplitudeEncoding() if encoding == "complex" else AngleEncoding("YZXY")


def _make_injection(
    injection: str,
    in_size: int,
    n_values: int,
    gain: float | Array,
    key: PRNGKeyArray,
) -> AbstractInjection:
    check_choice("injection", injection, _INJECTIONS)
    if injection == "add":
        return AddInjection(in_size, gain)
    if injection == "concat":
        return ConcatInjection(gain)
    if injection == "angle":
        return AngleFeedback(gain=gain)
    return LinearInjection(in_size, n_values, in_size, key=key)


class QDEQClassifier(EquilibriumClassifier):
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
        check_choice("readout", readout, _READOUTS)
        check_choice("head", head, _HEADS)
        if head == "paper" and readout != "z":
            raise ValueError("the paper's head reads ⟨Z⟩ alone; use readout='z' with head='paper'.")
        check_at_least("n_classes", n_classes, 2)
        circuit = _make_circuit(circuit, n_qubits, depth)
        layer_key, injection_key, head_key = jax.random.split(key, 3)
        encoder = _make_encoding(encoding)
        encoder.check(in_size + n_qubits if injection == "concat" else in_size, n_qubits)
        layer = QuantumLayer(circuit, encoder, PauliZ(), key=layer_key, engine=engine)
        scale = jnp.asarray(gain, jnp.result_type(float)) if train_gain else gain
        feedback = _make_injection(injection, in_size, n_qubits, scale, injection_key)
        self.deq = DEQ(QuantumCell(layer, feedback), max_steps=max_steps)
        self.readout = None if readout == "z" else z_products(n_qubits, len(readout))
        n_features = n_qubits if self.readout is None else len(self.readout)
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
        self,
        fn: Any,
        last: Float[Array, " m"],
        value: Float[Array, " m"],
        *,
        key: PRNGKeyArray | None,
    ) -> Float[Array, " classes"]:
        values = value if self.readout is None else fn.measure(self.readout, last)
        return self.head(values, key=key)

    def with_noise(
        self,
        noise: NoiseModel | None,
        *,
        engine: str = "auto",
        n_trajectories: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> "QDEQClassifier":
        """The classifier with the same parameters and a noisy circuit, to be evaluated or trained.

        The noise is no part of `config`: to load a saved noisy classifier, give one of the same
        structure as `like`.

        **Arguments:** as for [`eqx_qdeq.QuantumLayer.with_noise`][].
        """
        layer_of = lambda model: model.deq.cell.layer
        layer = layer_of(self).with_noise(
            noise, engine=engine, n_trajectories=n_trajectories, key=key
        )
        return eqx.tree_at(layer_of, self, layer)

    @property
    def config(self) -> dict[str, Any]:
        return json.loads(self._config)


QDEQClassifier.__init__.__doc__ = """**Arguments:**

- `n_qubits`: the number of wires; also the number of fed-back values ⟨Z⟩.
- `in_size`: the number of features of a sample.
- `n_classes`: the number of logits.
- `circuit`: the name of a template ("paper", "hardware_efficient", "strongly_entangling",
    "brickwork", "basic_entangler") or a [`eqx_qdeq.Circuit`][].
- `depth`: the template's depth; "paper" has none.
- `encoding`: "amplitude"; "complex", which takes twice as many features; or "angle" for rounds of
    RY, RZ, RX, RY rotations.
- `injection`: "add" (the paper's), "linear", "concat" or "angle".
- `gain`: the strength of the feedback; initial value if `train_gain`.
- `train_gain`: whether the gain is trained.
- `readout`: "z" classifies the equilibrium ⟨Z_i⟩ itself, "zz" all ⟨Z_i⟩ and ⟨Z_iZ_j⟩ of its state,
    "zzz" those of three wires as well.
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


class _Zeros(eqx.Module):
    size: int = eqx.field(static=True)

    def __call__(self, x: Float[Array, " d"]) -> Float[Array, " h"]:
        return jnp.zeros(self.size, x.dtype)


class ClassicalDEQClassifier(EquilibriumClassifier):
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
        check_at_least("hidden_size", hidden_size, 1)
        kz, kx, kh = jax.random.split(key, 3)
        state = eqx.nn.Linear(hidden_size, hidden_size, use_bias=False, key=kz)
        fn = _TanhMap(state, eqx.nn.Linear(in_size, hidden_size, key=kx))
        cell: AbstractCell = FunctionCell(fn, _Zeros(hidden_size))
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
        self,
        fn: Any,
        last: Float[Array, " h"],
        value: Float[Array, " h"],
        *,
        key: PRNGKeyArray | None,
    ) -> Float[Array, " classes"]:
        return self.head(value, key=key)

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
