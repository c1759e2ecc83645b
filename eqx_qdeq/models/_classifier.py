"""What all models share: their interface, heads, and the unrolled counterparts."""

import abc
import functools as ft
import itertools
from collections.abc import Callable
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray

from .._checks import check_at_least, check_share
from .._inputs import precision
from .._trees import all_finite
from ..equilibrium import DEQ, Solution, Unrolled
from ..jacobians import jacobian_penalty
from ..measurements import PauliStrings

# The words of the signatures below; those of the public base stand there in full, for its page.
Key = PRNGKeyArray | None
Logits = Float[Array, " classes"]
Values = Float[Array, " m"]
WithPenalty = tuple[Logits, Solution, Float[Array, ""]]


_F = TypeVar("_F", bound=Callable)


def _accepting(method: _F) -> _F:
    """A method that is given `x` as the cell takes it: what is compiled would round it first."""

    @ft.wraps(method)
    def checked(self: Any, x: Any, *args: Any, **named: Any) -> Any:
        return method(self, getattr(self, "base", self).deq.cell.accept(x), *args, **named)

    return checked  # pyright: ignore[reportReturnType]


class AbstractEquilibriumModel(eqx.Module):
    """The abstract base class of classifiers and regressors: outputs (logits or targets) are read
    out of what a cell was iterated to. One sample at a time; batch with `jax.vmap`.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(2, 4, 3, depth=1, key=jax.random.key(0))
        logits, solution = model.solve(jax.numpy.ones(4))
        logits.shape, solution.value.shape  # ((3,), (2,))
        model.config["n_qubits"]  # 2
        ```
    """

    @abc.abstractmethod
    def solve(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> tuple[Float[Array, " outputs"], Solution]:
        """The outputs, and how the equilibrium was found."""

    @abc.abstractmethod
    def solve_with_penalty(
        self,
        x: Float[Array, " d"],
        *,
        key: PRNGKeyArray | None = None,
        penalty_key: PRNGKeyArray | None = None,
    ) -> tuple[Float[Array, " outputs"], Solution, Float[Array, ""]]:
        """As `solve`, and the Jacobian penalty at the equilibrium, for training: what depends on
        the sample or the angles is computed once for both."""

    @abc.abstractmethod
    def jacobian_penalty(
        self, x: Float[Array, " d"], state: Float[Array, " m"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, ""]:
        """‖J‖_F² over the size of the state, at `state`: see [`eqx_qdeq.jacobian_penalty`][]."""

    @abc.abstractmethod
    def unrolled(self, n_layers: int) -> "AbstractEquilibriumModel":
        """The model with the same parameters that applies the cell `n_layers` times."""

    @property
    @abc.abstractmethod
    def config(self) -> dict[str, Any]:
        """What [`eqx_qdeq.classifier_from_config`][] needs to build the same architecture."""

    def __call__(
        self, x: Float[Array, " d"], *, key: PRNGKeyArray | None = None
    ) -> Float[Array, " outputs"]:
        """The outputs of one sample. Dropout acts only if a `key` is given; give one key to a
        whole batch for one mask, as the paper does."""
        return self.solve(x, key=key)[0]


class AbstractClassifier(AbstractEquilibriumModel):
    """The abstract base class of the classifiers: the outputs are logits.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(2, 4, 3, depth=1, key=jax.random.key(0))
        isinstance(model, qdeq.AbstractClassifier)  # True
        x = jax.numpy.ones(4)
        model.predict_proba(x).sum()  # 1.
        int(model.predict(x)) in (0, 1, 2)  # True
        ```
    """

    def predict_proba(self, x: Float[Array, " d"]) -> Float[Array, " classes"]:
        """The probability of each class: the softmax of the logits."""
        return jax.nn.softmax(self(x))

    def predict(self, x: Float[Array, " d"]) -> Int[Array, ""]:
        """The most likely class, counted from 0; -1 for a sample that is not finite."""
        logits = self(x)
        # A solve of such a sample ends where it began, and its logits would name some class.
        return jnp.where(all_finite((x, logits)), jnp.argmax(logits), -1)


class AbstractRegressor(AbstractEquilibriumModel):
    """The abstract base class of the regressors: the outputs are real targets.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQRegressor(2, 3, depth=1, key=jax.random.key(0))
        isinstance(model, qdeq.AbstractRegressor)  # True
        model.predict(jax.numpy.ones(3)).shape  # (1,)
        ```
    """

    def predict(self, x: Float[Array, " d"]) -> Float[Array, " outputs"]:
        """The outputs: as calling it, by the name that a classifier has for its class."""
        return self(x)


# --- Heads: from measured values to logits. ---


class PaperHead(eqx.Module):
    """The paper's head: values repeated to d features, dropout, ReLU, linear."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout
    index: tuple[int, ...] = eqx.field(static=True, repr=False)

    def __init__(
        self, n_values: int, size: int, n_classes: int, dropout: float, *, key: PRNGKeyArray
    ):
        self.linear = eqx.nn.Linear(size, n_classes, key=key)
        check_share("dropout", dropout, "which drops nothing")
        self.dropout = eqx.nn.Dropout(dropout)
        # Value ⌊i m / d⌋ for the feature i, as the authors' `nn.Upsample` repeats them.
        self.index = tuple((np.arange(size) * n_values // size).tolist())

    def __call__(self, values: Values, *, key: Key = None) -> Logits:
        repeated = values[np.array(self.index)]
        # Dropout acts on the copies, so that of a value that is dropped in one others remain.
        dropped = self.dropout(repeated, key=key, inference=True if key is None else None)
        return self.linear(jax.nn.relu(dropped))


class LinearHead(eqx.Module):
    """Dropout and one linear map."""

    linear: eqx.nn.Linear
    dropout: eqx.nn.Dropout

    def __init__(self, n_values: int, n_classes: int, dropout: float, *, key: PRNGKeyArray):
        self.linear = eqx.nn.Linear(n_values, n_classes, key=key)
        check_share("dropout", dropout, "which drops nothing")
        self.dropout = eqx.nn.Dropout(dropout)

    def __call__(self, values: Values, *, key: Key = None) -> Logits:
        return self.linear(self.dropout(values, key=key, inference=True if key is None else None))


def z_products(n_qubits: int, order: int) -> PauliStrings:
    """All products of Z on up to `order` wires, those on fewer wires first: what one setting of
    the measurement gives.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.z_products(3, order=2)
        # PauliStrings(Z0, Z1, Z2, Z0 Z1, Z0 Z2, Z1 Z2; 6 values)
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    - `order`: the most wires of a product, at least 1. More than `n_qubits` add nothing.

    **Returns:** an [`eqx_qdeq.PauliStrings`][].

    **Raises:** `ValueError` for an order below 1.
    """
    check_at_least("order", order, 1)
    # All of them are diagonal: one bitstring says all their values, ±1 by the parity of its bits.
    sizes = range(1, order + 1)
    products = (wires for k in sizes for wires in itertools.combinations(range(n_qubits), k))
    return PauliStrings([" ".join(f"Z{wire}" for wire in wires) for wires in products])


def z_and_zz(n_qubits: int) -> PauliStrings:
    r"""All $\langle Z_i\rangle$ and $\langle Z_iZ_j\rangle$: n + n(n-1)/2 values from the same
    measurements as $\langle Z_i\rangle$ alone.

    !!! example

        ```python
        import eqx_qdeq as qdeq

        qdeq.z_and_zz(3)  # PauliStrings(Z0, Z1, Z2, Z0 Z1, Z0 Z2, Z1 Z2; 6 values)
        ```

    **Arguments:**

    - `n_qubits`: the number n of wires.

    **Returns:** an [`eqx_qdeq.PauliStrings`][].
    """
    return z_products(n_qubits, 2)


class UnrolledModel(AbstractEquilibriumModel):
    """The cell of an equilibrium model applied `n_layers` times with tied weights."""

    base: eqx.AbstractVar["EquilibriumModel"]
    n_layers: eqx.AbstractVar[int]

    def __check_init__(self) -> None:
        # `Unrolled` asks as well, but is made anew in each call: too late for who made this one.
        check_at_least("n_layers", self.n_layers, 1)

    @_accepting
    @eqx.filter_jit
    def solve(self, x: Float[Array, " d"], *, key: Key = None) -> tuple[Logits, Solution]:
        fn, last, solution = Unrolled(self.base.deq.cell, self.n_layers).bind_and_solve(x, key=key)
        return fn.only(self.base.logits(fn, last, solution.value, key=key)), solution

    def solve_with_penalty(
        self, x: Float[Array, " d"], *, key: Key = None, penalty_key: Key = None
    ) -> WithPenalty:
        # No equilibrium is sought, so there is nothing that a large Jacobian could spoil.
        return *self.solve(x, key=key), jnp.zeros((), precision(self.base))

    def jacobian_penalty(
        self, x: Float[Array, " d"], state: Values, *, key: Key = None
    ) -> Float[Array, ""]:
        return jnp.zeros((), precision(self.base))

    @property
    def config(self) -> dict[str, Any]:
        base = self.base.config
        return {"model": type(self).__name__, "n_layers": self.n_layers, "base": base}


class EquilibriumModel(AbstractEquilibriumModel):
    """A model that reads its outputs out of an equilibrium; what is left open is how."""

    deq: eqx.AbstractVar[DEQ]

    @abc.abstractmethod
    def logits(self, fn: Any, last: Values, value: Values, *, key: Key) -> Logits:
        """Reads the outputs out of what a solve ended with: the bound cell, the state to which it
        was applied last, and `value`, what that application gave."""

    @_accepting
    @eqx.filter_jit
    def solve(self, x: Float[Array, " d"], *, key: Key = None) -> tuple[Logits, Solution]:
        fn, last, solution = self.deq.bind_and_solve(x, key=key)
        return fn.only(self.logits(fn, last, solution.value, key=key)), solution

    @_accepting
    @eqx.filter_jit
    def solve_with_penalty(
        self, x: Float[Array, " d"], *, key: Key = None, penalty_key: Key = None
    ) -> WithPenalty:
        fn, last, solution = self.deq.bind_and_solve(x, key=key)
        # The penalty is a function of the equilibrium, too: its gradient goes through the solve and
        # moves equilibria to where the map contracts. `fn` is bound once for all three.
        logits = fn.only(self.logits(fn, last, solution.value, key=key))
        return logits, solution, jacobian_penalty(fn, solution.value, key=penalty_key)

    @_accepting
    @eqx.filter_jit
    def jacobian_penalty(
        self, x: Float[Array, " d"], state: Values, *, key: Key = None
    ) -> Float[Array, ""]:
        return jacobian_penalty(self.deq.cell.bind(x), state, key=key)


# --- Of each kind, and each unrolled one the counterpart of its own. ---


class UnrolledClassifier(UnrolledModel, AbstractClassifier):
    """The paper's DIRECT model: the cell applied `n_layers` times with tied weights.

    Made from an equilibrium classifier, whose parameters it shares:
    `QDEQClassifier(...).unrolled(5)`.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQClassifier(2, 4, 3, depth=1, key=jax.random.key(0))
        direct = model.unrolled(5)
        direct(jax.numpy.ones(4)).shape  # (3,)
        direct.base is model  # True
        ```
    """

    base: "EquilibriumClassifier"
    n_layers: int = eqx.field(static=True)

    def unrolled(self, n_layers: int) -> "UnrolledClassifier":
        return UnrolledClassifier(self.base, n_layers)


class UnrolledRegressor(UnrolledModel, AbstractRegressor):
    """The cell of a regressor applied `n_layers` times with tied weights.

    Made from an equilibrium regressor, whose parameters it shares:
    `QDEQRegressor(...).unrolled(5)`.

    !!! example

        ```python
        import jax
        import eqx_qdeq as qdeq

        model = qdeq.QDEQRegressor(2, 3, depth=1, key=jax.random.key(0))
        model.unrolled(5)(jax.numpy.ones(3)).shape  # (1,)
        ```
    """

    base: "EquilibriumRegressor"
    n_layers: int = eqx.field(static=True)

    def unrolled(self, n_layers: int) -> "UnrolledRegressor":
        return UnrolledRegressor(self.base, n_layers)


for _model in (UnrolledClassifier, UnrolledRegressor):
    _model.__init__.__doc__ = """**Arguments:**

- `base`: the equilibrium model whose parameters are used.
- `n_layers`: how often the cell is applied.
"""


class EquilibriumClassifier(EquilibriumModel, AbstractClassifier):
    """A classifier that reads its logits out of an equilibrium."""

    def unrolled(self, n_layers: int) -> UnrolledClassifier:
        return UnrolledClassifier(self, n_layers)


class EquilibriumRegressor(EquilibriumModel, AbstractRegressor):
    """A regressor that reads its outputs out of an equilibrium."""

    def unrolled(self, n_layers: int) -> UnrolledRegressor:
        return UnrolledRegressor(self, n_layers)
