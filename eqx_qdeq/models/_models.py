"""Classifiers with one interface: a feature vector in, logits out."""

import functools as ft
import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .. import circuits
from .._checks import check_at_least, check_choice, check_instance, check_names, describe
from .._inputs import check_key, features, precision
from ..cells import (
    AbstractCell,
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
from ._classifier import (
    AbstractClassifier,
    EquilibriumClassifier,
    Key,
    LinearHead,
    Logits,
    PaperHead,
    Values,
    z_products,
)

# Those with a depth; the paper's circuit has the one that the paper gives it.
_TEMPLATES = ("hardware_efficient", "strongly_entangling", "brickwork", "basic_entangler")
_ENCODINGS = {
    "amplitude": AmplitudeEncoding,
    "complex": ComplexAmplitudeEncoding,
    "angle": ft.partial(AngleEncoding, "YZXY"),
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


def _as_config(model: str, arguments: dict[str, Any]) -> str:
    """The arguments of a constructor as JSON."""
    # Text and not a dictionary: a static field is hashed under `jit`, and two models of one text
    # have one structure, so that a step is compiled once for all seeds.
    own = {name: value for name, value in arguments.items() if name not in ("self", "key")}
    return json.dumps({"model": model} | own)


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
    _config: str = eqx.field(static=True, repr=False)

    def __init__(
        self,
        n_qubits: int,
        in_size: int,
        n_classes: int,
        *,
        circuit: str | Circuit = "hardware_efficient",
        depth: int | None = None,
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
        given = dict(locals())  # first: nothing but the arguments has a name here yet
        check_choice("readout", readout, ("z", "zz", "zzz"))
        check_choice("head", head, ("linear", "paper"))
        check_choice("encoding", encoding, tuple(_ENCODINGS))
        if head == "paper" and readout != "z":
            raise ValueError("the paper's head reads ⟨Z⟩ alone; use readout='z' with head='paper'.")
        for name, value in (("n_qubits", n_qubits), ("in_size", in_size)):
            check_at_least(name, value, 1)
        check_at_least("n_classes", n_classes, 2)
        check_key("key", key)
        if injection == "linear" and (train_gain or gain != 1):
            raise ValueError(
                "`gain` and `train_gain` are of injections with a fixed pattern; the weights of "
                f"injection='linear' are all trained. Leave them out; got gain={gain}, "
                f"train_gain={train_gain}."
            )
        circuit = _make_circuit(circuit, n_qubits, depth)
        layer_key, injection_key, head_key = jax.random.split(key, 3)
        encoder = _ENCODINGS[encoding]()
        # Asked now, since sizes that do not fit would else be found at the first call. Concatenated
        # features have the fed-back values behind them.
        encoder.check(in_size + n_qubits if injection == "concat" else in_size, n_qubits)
        layer = QuantumLayer(circuit, encoder, PauliZ(), key=layer_key, engine=engine)
        # A leaf that is an array is trained, a number stays as it is.
        scale = jnp.asarray(gain, jnp.result_type(float)) if train_gain else gain
        feedback = _make_injection(injection, in_size, n_qubits, scale, injection_key)
        self.deq = DEQ(QuantumCell(layer, feedback), max_steps=max_steps)
        # What is fed back is ⟨Z⟩ always: more read out than that costs one measurement in the end,
        # more fed back a larger Jacobian in each step.
        self.readout = None if readout == "z" else z_products(n_qubits, len(readout))
        n_features = n_qubits if self.readout is None else len(self.readout)
        if head == "paper":
            self.head = PaperHead(n_features, in_size, n_classes, dropout, key=head_key)
        else:
            self.head = LinearHead(n_features, n_classes, dropout, key=head_key)
        given.pop("depth")  # it is in the circuit
        if injection != "linear" and not train_gain:
            given.pop("gain")  # it is in the injection: what is compiled must not depend on it
        self._config = _as_config("QDEQClassifier", given | {"circuit": circuit.to_dict()})

    def logits(self, fn: Any, last: Values, value: Values, *, key: Key) -> Logits:
        # Of the state that gave `value`: f(last) = ⟨Z⟩ of it, so both are of one preparation.
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
        return config if "gain" in config else {**config, "gain": next(gains, 1.0)}


QDEQClassifier.__init__.__doc__ = """**Arguments:**

- `n_qubits`: the number of wires; also the number of fed-back values ⟨Z⟩.
- `in_size`: the number of features of a sample.
- `n_classes`: the number of logits.
- `circuit`: the name of a template ("paper", "hardware_efficient", "strongly_entangling",
    "brickwork", "basic_entangler") or a [`eqx_qdeq.Circuit`][].
- `depth`: the template's depth; 4 if left out. "paper" and a circuit of your own have none.
- `encoding`: "amplitude"; "complex", which takes twice as many features; or "angle" for rounds of
    RY, RZ, RX, RY rotations.
- `injection`: "add" (the paper's), "linear", "concat" or "angle".
- `gain`: the strength of the feedback; initial value if `train_gain`. "linear" has none.
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


class _TanhCell(AbstractCell):
    fn: _TanhMap

    def accept(self, x: Any) -> Float[Array, " d"]:
        return features(x, precision(self.fn))

    def init(self, x: Float[Array, " d"]) -> Float[Array, " h"]:
        return jnp.zeros(len(self.fn.state.weight), precision(self.fn))

    def bind(self, x: Float[Array, " d"]) -> Callable[[Float[Array, " h"]], Float[Array, " h"]]:
        x = self.accept(x)
        return lambda z: self.fn(z, x)


class ClassicalDEQClassifier(EquilibriumClassifier):
    r"""The classical counterpart: the equilibrium of $z = \tanh(Wz + Ux + b)$ and a linear head."""

    deq: DEQ
    head: LinearHead
    _config: str = eqx.field(static=True, repr=False)

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
        given = dict(locals())
        for name, value in (("in_size", in_size), ("hidden_size", hidden_size)):
            check_at_least(name, value, 1)
        check_at_least("n_classes", n_classes, 2)
        check_key("key", key)
        kz, kx, kh = jax.random.split(key, 3)
        # Weights uniform in ±1/√h have the variance 1/(3h), hence W a spectral radius of about
        # 1/√3 = 0.58. As |tanh'| is at most 1, J = diag(tanh') W then has eigenvalues well within
        # the unit circle: training starts where there is an equilibrium. One bias is enough.
        state = eqx.nn.Linear(hidden_size, hidden_size, use_bias=False, key=kz)
        fn = _TanhMap(state, eqx.nn.Linear(in_size, hidden_size, key=kx))
        self.deq = DEQ(_TanhCell(fn), max_steps=max_steps)
        self.head = LinearHead(hidden_size, n_classes, dropout, key=kh)
        self._config = _as_config("ClassicalDEQClassifier", given)

    def logits(self, fn: Any, last: Values, value: Values, *, key: Key) -> Logits:
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


def classifier_from_config(config: Mapping[str, Any], *, key: PRNGKeyArray) -> AbstractClassifier:
    """Builds a classifier with new parameters from its `config`.

    **Arguments:**

    - `config`: as given by a classifier's `config`, e.g. read from JSON.
    - `key`: for the initial parameters.

    **Raises:** `ValueError` for an unknown model or unknown arguments.
    """
    arguments = _arguments(config)
    name = arguments.pop("model")
    if name == "UnrolledClassifier":
        base = classifier_from_config(arguments["base"], key=key)
        return base.unrolled(arguments["n_layers"])
    if "circuit" in arguments and not isinstance(arguments["circuit"], str | Circuit):
        # A template is saved gate by gate: what its name means may change from version to version.
        arguments["circuit"] = Circuit.from_dict(arguments["circuit"])
        arguments.pop("depth", None)  # that of the template from which the circuit came
    return _CLASSES[name](**arguments, key=key)


_CLASSES = {"QDEQClassifier": QDEQClassifier, "ClassicalDEQClassifier": ClassicalDEQClassifier}


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config: a model that there is, and arguments that it knows."""
    check_instance("config", config, Mapping, "a dictionary, as a classifier's `config`")
    name = config.get("model")
    known = (*sorted(_CLASSES), "UnrolledClassifier")
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"`config` names the model {describe(name)}; known are {', '.join(known)}."
        )
    if name == "UnrolledClassifier":
        needed = accepted = {"base", "n_layers"}
    else:
        # Unknown ones are not dropped: they may be of a later version, and what they ask for would
        # be missing. Asked of the signature, which cannot go out of date.
        parameters = dict(inspect.signature(_CLASSES[name]).parameters)
        del parameters["key"]
        accepted = set(parameters)
        needed = {n for n, p in parameters.items() if p.default is inspect.Parameter.empty}
    check_names("config", config, needed={*needed, "model"}, known={*accepted, "model"})
    return dict(config)


def shapes_from_config(config: Mapping[str, Any], *, most: int) -> AbstractClassifier:
    """The classifier of a config from a file, with shapes for its arrays: nothing is computed.

    **Arguments:**

    - `config`: as `classifier_from_config` takes it. Circuits stand in it gate by gate.
    - `most`: how many numbers the file has; a config that needs more is refused before they are
        made.

    **Raises:** `ValueError` or `TypeError` for a config of no classifier, or of a larger one.
    """
    inner: Any = config
    # (Not by recursion: a file may nest as deep as JSON does.)
    while isinstance(inner, Mapping) and "base" in inner:
        inner = inner["base"]
    arguments = _arguments(inner)
    # Before the constructors, which make lists as long as these numbers say. Each wire and class is
    # a row or column of some weight; each product that is read out is one, too.
    bounded = ["n_qubits", "n_classes", "hidden_size"]
    bounded += ["in_size"] if arguments.get("head") == "paper" else []
    for name in (name for name in bounded if name in arguments):
        check_at_least(name, arguments[name], 1)
        if arguments[name] > most:
            raise ValueError(f"`{name}` is {arguments[name]}, and the file has no {most} numbers.")
    order, n = len(str(arguments.get("readout", "z"))), arguments.get("n_qubits", 1)
    if order in (2, 3) and sum(math.comb(n, k) for k in range(1, order + 1)) > most:
        raise ValueError(f"`readout` of {n} wires has more values than the file has numbers.")
    if isinstance(arguments.get("circuit", ""), str) and "n_qubits" in arguments:
        raise ValueError("`circuit` must stand in a file gate by gate, as `config` has it.")
    build = lambda key: classifier_from_config(dict(config), key=key)
    return eqx.filter_eval_shape(build, jax.random.key(0))
