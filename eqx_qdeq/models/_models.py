"""Classifiers and regressors with one interface: a feature vector in, logits or targets out."""

import inspect
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from .._checks import check_at_least, check_instance, check_names, describe
from .._inputs import check_key, features, precision
from ..cells import AbstractCell
from ..circuits import Circuit
from ..equilibrium import DEQ
from ..measurements import AbstractMeasurement
from ._classifier import (
    AbstractEquilibriumModel,
    EquilibriumClassifier,
    EquilibriumRegressor,
    Key,
    LinearHead,
    Logits,
    PaperHead,
    Values,
)
from ._quantum import as_config, make_parts, QuantumModel


class QDEQClassifier(QuantumModel, EquilibriumClassifier):
    r"""A quantum deep equilibrium classifier: the equilibrium of a circuit's measured values, read
    out and classified by one linear map.

    With `circuit="paper", head="paper"` it is the paper's model; the defaults are ours.

    !!! example

        ```python
        import jax
        import jax.numpy as jnp
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(
            n_qubits=2, in_size=4, n_classes=3, depth=1, key=jax.random.key(0)
        )
        model([0.1, 0.2, 0.3, 0.4]).shape  # (3,)
        jax.vmap(model.predict)(jnp.ones((5, 4))).shape  # (5,)
        ```

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
        features: str = "image",
        encoding: str | None = None,
        injection: str | None = None,
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
        parts = make_parts("QDEQClassifier", given, "n_classes", least=2)
        self.deq, self.readout, self.head, self._config = parts


QDEQClassifier.__init__.__doc__ = """**Arguments:**

- `n_qubits`: the number of wires; also the number of fed-back values ⟨Z⟩.
- `in_size`: the number of features of a sample.
- `n_classes`: the number of logits.
- `circuit`: the name of a template ("paper", "hardware_efficient", "strongly_entangling",
    "brickwork", "basic_entangler") or a [`eqx_qdeq.Circuit`][].
- `depth`: the template's depth; 4 if left out. "paper" and a circuit of your own have none.
- `features`: "image" or "table", of which kind they are: it says what `encoding` and `injection`
    are if they are left out. "image" is "amplitude" and "add", as in the paper; "table" is "angle"
    and "linear", for standardized columns.
- `encoding`: "amplitude"; "complex", which takes twice as many features; or "angle" for rounds of
    RY, RZ, RX, RY rotations.
- `injection`: "add" (the paper's), "linear", "concat" or "angle".
- `gain`: the strength of the feedback; initial value if `train_gain`, and `config` has what it is
    now. "linear" has none.
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


class QDEQRegressor(QuantumModel, EquilibriumRegressor):
    r"""A quantum deep equilibrium regressor: the equilibrium of a circuit's measured values, read
    out and mapped to one or several real targets by one linear map.

    Of standardized targets, as [`eqx_qdeq.training.Dataset.from_arrays`][] makes them, training
    finds the linear map soonest.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax

        model = qdeq.QDEQRegressor(2, 3, depth=1, key=jax.random.key(0))
        assert model(jax.numpy.ones(3)).shape == (1,)
        ```
    """

    deq: DEQ
    head: PaperHead | LinearHead
    readout: AbstractMeasurement | None
    _config: str = eqx.field(static=True, repr=False)

    def __init__(
        self,
        n_qubits: int,
        in_size: int,
        n_targets: int = 1,
        *,
        circuit: str | Circuit = "hardware_efficient",
        depth: int | None = None,
        features: str = "table",
        encoding: str | None = None,
        injection: str | None = None,
        gain: float = 1.0,
        train_gain: bool = False,
        readout: str = "z",
        dropout: float = 0.0,
        engine: str = "auto",
        max_steps: int = 256,
        key: PRNGKeyArray,
    ):
        given = dict(locals())  # first: nothing but the arguments has a name here yet
        parts = make_parts("QDEQRegressor", given, "n_targets", least=1)
        self.deq, self.readout, self.head, self._config = parts


QDEQRegressor.__init__.__doc__ = """**Arguments:** as for [`eqx_qdeq.QDEQClassifier`][], but

- `n_targets`: the number of outputs, shape `(n_targets,)`, also of one.
- `features`: "table" if left out.

There is no `head`: it is one linear map.
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
    r"""The classical counterpart: the equilibrium of $z = \tanh(Wz + Ux + b)$ and a linear head.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.ClassicalDEQClassifier(4, 8, 3, key=jax.random.key(0))
        model(jax.numpy.ones(4)).shape  # (3,)
        ```
    """

    deq: DEQ
    head: PaperHead | LinearHead
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
        self._config = as_config("ClassicalDEQClassifier", given)

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

**Raises:** `ValueError` for sizes below 1, fewer than two classes, or a dropout outside of [0,
1).
"""


def classifier_from_config(
    config: Mapping[str, Any], *, key: PRNGKeyArray
) -> AbstractEquilibriumModel:
    """Builds a classifier or regressor with new parameters from its `config`.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.ClassicalDEQClassifier(4, 8, 3, key=jax.random.key(0))
        same_kind = qdeq.classifier_from_config(model.config, key=jax.random.key(1))
        type(same_kind).__name__  # ClassicalDEQClassifier
        ```

    **Arguments:**

    - `config`: as given by a model's `config`, e.g. read from JSON.
    - `key`: for the initial parameters.

    **Returns:** the model.

    **Raises:** `ValueError` for an unknown model or unknown arguments.
    """
    arguments = _arguments(config)
    name = arguments.pop("model")
    if name in _UNROLLED:
        base = classifier_from_config(arguments["base"], key=key)
        return base.unrolled(arguments["n_layers"])
    if "circuit" in arguments and not isinstance(arguments["circuit"], str | Circuit):
        # A template is saved gate by gate: what its name means may change from version to version.
        arguments["circuit"] = Circuit.from_dict(arguments["circuit"])
        arguments.pop("depth", None)  # that of the template from which the circuit came
    return _CLASSES[name](**arguments, key=key)


_CLASSES = {c.__name__: c for c in (QDEQClassifier, QDEQRegressor, ClassicalDEQClassifier)}
_UNROLLED = ("UnrolledClassifier", "UnrolledRegressor")


def _arguments(config: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a config: a model that there is, and arguments that it knows."""
    check_instance("config", config, Mapping, "a dictionary, as a classifier's `config`")
    name = config.get("model")
    known = (*sorted(_CLASSES), *_UNROLLED)
    if not isinstance(name, str) or name not in known:
        raise ValueError(
            f"`config` names the model {describe(name)}; known are {', '.join(known)}."
        )
    if name in _UNROLLED:
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


def shapes_from_config(config: Mapping[str, Any], *, most: int) -> AbstractEquilibriumModel:
    """The model of a config from a file, with shapes for its arrays: nothing is computed.

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
    bounded = ["n_qubits", "n_classes", "n_targets", "hidden_size"]
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
