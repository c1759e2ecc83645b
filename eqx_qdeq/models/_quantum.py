"""What quantum models share: how their parts are made of the arguments, read out and saved."""

import functools as ft
import json
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, PRNGKeyArray

from .. import circuits
from .._checks import check_at_least, check_choice
from .._inputs import check_key
from ..cells import (
    AbstractInjection,
    AddInjection,
    AngleFeedback,
    ConcatInjection,
    LinearInjection,
    QuantumCell,
)
from ..circuits import Circuit
from ..encodings import AmplitudeEncoding, AngleEncoding, ComplexAmplitudeEncoding
from ..equilibrium import DEQ
from ..layers import QuantumLayer
from ..measurements import AbstractMeasurement, PauliZ
from ..noise import NoiseModel
from ._classifier import EquilibriumModel, Key, LinearHead, Logits, PaperHead, Values, z_products

# Those with a depth; the paper's circuit has the one that the paper gives it.
_TEMPLATES = ("hardware_efficient", "strongly_entangling", "brickwork", "basic_entangler")
_ENCODINGS = {
    "amplitude": AmplitudeEncoding,
    "complex": ComplexAmplitudeEncoding,
    "angle": ft.partial(AngleEncoding, "YZXY"),
}

# What suits the kind of features. Of an image the direction is what matters, not the brightness,
# and neighbors are alike. Of a table each column means something of its own, also by its size,
# which amplitudes lose; and which of them belong together is for training to find out.
FEATURES = {
    "image": {"encoding": "amplitude", "injection": "add"},
    "table": {"encoding": "angle", "injection": "linear"},
}


def _make_circuit(circuit: str | Circuit, n_qubits: int, depth: int | None) -> Circuit:
    if depth is not None and (isinstance(circuit, Circuit) or circuit == "paper"):
        given = "the paper's circuit" if circuit == "paper" else "a circuit of your own"
        raise ValueError(
            f"`depth` is of the templates, and {given} has its own; got depth={depth}. Leave it "
            "out, or name a template, e.g. circuit='hardware_efficient'."
        )
    if isinstance(circuit, Circuit):
        if circuit.n_qubits != n_qubits:
            raise ValueError(f"`circuit` has {circuit.n_qubits} wires, but n_qubits={n_qubits}.")
        return circuit
    check_choice("circuit", circuit, ("paper", *_TEMPLATES))
    if circuit == "paper":
        return circuits.paper(n_qubits)
    return getattr(circuits, circuit)(n_qubits, 4 if depth is None else depth)


def _make_injection(
    name: str, in_size: int, n_values: int, gain: float | Array, key: PRNGKeyArray
) -> AbstractInjection:
    makers = {
        "add": lambda: AddInjection(in_size, gain),
        "linear": lambda: LinearInjection(in_size, n_values, in_size, key=key),
        "concat": lambda: ConcatInjection(gain),
        "angle": lambda: AngleFeedback(gain=gain),
    }
    check_choice("injection", name, tuple(makers))
    return makers[name]()


def as_config(model: str, arguments: dict[str, Any]) -> str:
    """The arguments of a constructor as JSON."""
    # Text and not a dictionary: a static field is hashed under `jit`, and two models of one text
    # have one structure, so that a step is compiled once for all seeds.
    own = {name: value for name, value in arguments.items() if name not in ("self", "key")}
    return json.dumps({"model": model} | own)


_Model = TypeVar("_Model")


class Parts(NamedTuple):
    """The fields of a quantum model."""

    deq: DEQ
    readout: AbstractMeasurement | None
    head: PaperHead | LinearHead
    config: str


def make_parts(model: str, given: dict[str, Any], n_outputs: str, least: int) -> Parts:
    """Checks the arguments of a constructor and makes the parts of the model of them; `n_outputs`
    is how it calls the number of outputs, of which there are `least` at least."""
    # Saved and printed is what was chosen, not why.
    given = given | {"self": None}
    features = given.pop("features")
    check_choice("features", features, tuple(FEATURES))
    for name, choice in FEATURES[features].items():
        given[name] = choice if given[name] is None else given[name]
    readout, head, injection = given["readout"], given.get("head", "linear"), given["injection"]
    n_qubits, in_size, gain = given["n_qubits"], given["in_size"], given["gain"]
    check_choice("readout", readout, ("z", "zz", "zzz"))
    check_choice("head", head, ("linear", "paper"))
    check_choice("encoding", given["encoding"], tuple(_ENCODINGS))
    if head == "paper" and readout != "z":
        raise ValueError("the paper's head reads ⟨Z⟩ alone; use readout='z' with head='paper'.")
    for name, value in (("n_qubits", n_qubits), ("in_size", in_size)):
        check_at_least(name, value, 1)
    check_at_least(n_outputs, given[n_outputs], least)
    check_key("key", given["key"])
    train_gain = given["train_gain"]
    if injection == "linear" and (train_gain or gain != 1):
        raise ValueError(
            "`gain` and `train_gain` are of injections with a fixed pattern; the weights of "
            f"injection='linear' are all trained. Leave them out; got gain={gain}, "
            f"train_gain={train_gain}."
        )
    circuit = _make_circuit(given["circuit"], n_qubits, given.pop("depth"))
    layer_key, injection_key, head_key = jax.random.split(given["key"], 3)
    encoder = _ENCODINGS[given["encoding"]]()
    # Asked now, since sizes that do not fit would else be found at the first call. Concatenated
    # features have the fed-back values behind them.
    encoder.check(in_size + n_qubits if injection == "concat" else in_size, n_qubits)
    layer = QuantumLayer(circuit, encoder, PauliZ(), key=layer_key, engine=given["engine"])
    # A leaf that is an array is trained, a number stays as it is.
    scale = jnp.asarray(gain, jnp.result_type(float)) if train_gain else gain
    feedback = _make_injection(injection, in_size, n_qubits, scale, injection_key)
    deq = DEQ(QuantumCell(layer, feedback), max_steps=given["max_steps"])
    # What is fed back is ⟨Z⟩ always: more read out than that costs one measurement in the end,
    # more fed back a larger Jacobian in each step.
    measured = None if readout == "z" else z_products(n_qubits, len(readout))
    n_values = n_qubits if measured is None else len(measured)
    outputs, dropout = given[n_outputs], given["dropout"]
    if head == "paper":
        made = PaperHead(n_values, in_size, outputs, dropout, key=head_key)
    else:
        made = LinearHead(n_values, outputs, dropout, key=head_key)
    if injection != "linear":
        given.pop("gain")  # it is in the injection: what is compiled must not depend on it
    config = as_config(model, given | {"circuit": circuit.to_dict()})
    return Parts(deq, measured, made, config)


class QuantumModel(EquilibriumModel):
    """An equilibrium model whose cell is a circuit."""

    deq: eqx.AbstractVar[DEQ]
    head: eqx.AbstractVar[PaperHead | LinearHead]
    readout: eqx.AbstractVar[AbstractMeasurement | None]
    _config: eqx.AbstractVar[str]

    def logits(self, fn: Any, last: Values, value: Values, *, key: Key) -> Logits:
        # Of the state that gave `value`: f(last) = ⟨Z⟩ of it, so both are of one preparation.
        values = value if self.readout is None else fn.measure(self.readout, last)
        return self.head(values, key=key)

    def with_noise(
        self: _Model,
        noise: NoiseModel | None,
        *,
        engine: str = "auto",
        n_trajectories: int | None = None,
        key: PRNGKeyArray | None = None,
    ) -> _Model:
        """The model with the same parameters and a noisy circuit, to be evaluated or trained.

        The noise is no part of `config`: to load a saved noisy model, give one of the same
        structure as `like`.

        **Arguments:** as for [`eqx_qdeq.QuantumLayer.with_noise`][].
        """
        # Only the layer changes: the injection, the solver and the head know nothing of noise.
        layer_of = lambda model: model.deq.cell.layer
        layer = layer_of(self).with_noise(
            noise, engine=engine, n_trajectories=n_trajectories, key=key
        )
        return eqx.tree_at(layer_of, self, layer)

    @property
    def config(self) -> dict[str, Any]:
        config, has_gain = json.loads(self._config), lambda node: hasattr(node, "gain")
        gains = (n.gain for n in jax.tree.leaves(self.deq.cell, is_leaf=has_gain) if has_gain(n))
        gain = config.pop("gain", next(gains, 1.0))
        # Of one that is trained, its value now, with the digits of its precision.
        is_number = isinstance(gain, int | float)
        return {
            **config,
            "gain": gain if is_number else np.asarray(gain).astype(str).astype(float).tolist(),
        }
