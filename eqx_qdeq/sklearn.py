"""Quantum equilibria as scikit-learn's estimators: `fit`, `predict`, pipelines, grid searches."""

# First, so that what is missing is named by the extra that has it.
try:
    import optax
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
except ImportError as error:
    raise ImportError(
        "eqx_qdeq.sklearn needs scikit-learn and optax, of the extra `sklearn`: "
        'pip install ".[sklearn]" in a checkout of eqx-qdeq.'
    ) from error

import warnings
from typing import Any, no_type_check

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.special
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, PyTree
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from ._checks import check_at_least, check_instance, check_positive, check_within
from ._inputs import numbers
from .models import AbstractEquilibriumModel, QDEQClassifier, QDEQRegressor
from .training import NAMED, Standardize, TrainingError

# Predictions are made so many at a time, always: a row's is then the same, bit by bit, whichever
# others come with it.
_CHUNK = 128
_ROWS = 512  # Training samples are padded to so many at least.
_TURN = 4  # rounds of rotations in angle encoding, "YZXY"
# Of standardized columns: small angles at first, where a circuit is nearly a linear function.
_SCALE = 0.3
_CLIP = 1.0


class _Batches(eqx.Module):
    """Training samples, padded to a size that many data sets share."""

    x: Float[Array, "rows d"]
    y: Num[Array, "rows ..."]
    weight: Float[Array, " rows"]  # their mean over the samples that there are is 1
    n: Int[Array, ""]


@eqx.filter_jit
def _train(
    model: AbstractEquilibriumModel,
    data: _Batches,
    epochs: Int[Array, ""],
    learning_rate: Float[Array, ""],
    weight_decay: Float[Array, ""],
    batch_size: int,
    key: PRNGKeyArray,
) -> AbstractEquilibriumModel:
    """A whole training by AdamW with a cosine schedule, as one computation. The numbers of samples,
    epochs and the rates are arrays, so that folds and grids share what is compiled."""
    params, static = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.chain(optax.clip_by_global_norm(_CLIP), optax.scale_by_adam())
    n_batches = -(-data.n // batch_size)
    total = (epochs * n_batches).astype(learning_rate.dtype)
    rows = jnp.arange(len(data.x))
    is_labels = jnp.issubdtype(data.y.dtype, jnp.integer)
    losses = jax.vmap(NAMED["cross_entropy" if is_labels else "mean_square"])

    def objective(params: PyTree, index: Int[Array, " b"], real: Array) -> Float[Array, ""]:
        outputs = jax.vmap(eqx.combine(params, static))(data.x[index])
        weight = jnp.where(real, data.weight[index], 0)
        return jnp.sum(weight * losses(outputs, data.y[index])) / jnp.sum(real)

    def step(carry: tuple, order: Int[Array, " rows"], epoch: Array, batch: Array) -> tuple:
        params, state = carry
        start = batch * batch_size
        index = jax.lax.dynamic_slice(order, (start,), (batch_size,))
        real = start + jnp.arange(batch_size) < data.n
        gradient = eqx.filter_grad(objective)(params, index, real)
        updates, state = optimizer.update(gradient, state)
        done = (epoch * n_batches + batch).astype(total.dtype) / total
        rate = learning_rate * (1 + jnp.cos(jnp.pi * done)) / 2
        # Decoupled, as in AdamW: the decay is of the parameters, not of the gradient. Matrices
        # decay, among them the feedback's: a large one makes the map expand. Biases and angles do
        # not: that they are small makes no model simpler.
        move = lambda p, u: (
            p - rate.astype(p.dtype) * (u + (weight_decay.astype(p.dtype) * p if p.ndim > 1 else 0))
        )
        return jax.tree.map(move, params, updates), state

    def through(epoch: Array, carry: tuple) -> tuple:
        # Samples that there are come first, in an order of their own in each epoch.
        draw = jax.random.uniform(jax.random.fold_in(key, epoch), rows.shape)
        order = jnp.argsort(jnp.where(rows < data.n, draw, 2))
        return jax.lax.fori_loop(0, n_batches, lambda b, c: step(c, order, epoch, b), carry)

    # As in `training.fit`, without what reports, checkpoints and resumes: Optax mixes dtypes.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        params, _ = jax.lax.fori_loop(0, epochs, through, (params, optimizer.init(params)))
    return eqx.combine(params, static)


@eqx.filter_jit
def _outputs(model: Any, x: Float[Array, "rows d"]) -> tuple[Array, Array]:
    outputs, solution = jax.vmap(model.solve)(x)
    return outputs, solution.success


def _merged(
    rows: np.ndarray, weight: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows that are alike as one row of more weight, in an order of their own: weights are then
    repetitions, to the last bit. Where the first of each was, and how much it weighs."""
    weight = np.ones(len(rows)) if weight is None else weight
    found, first, inverse = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    return found, first, np.bincount(inverse.ravel(), weight)


def _padded(array: np.ndarray, rows: int, columns: int | None = None) -> np.ndarray:
    widths = [(0, rows - len(array))] + [(0, 0)] * (array.ndim - 1)
    if columns is not None:
        widths[1] = (0, columns - array.shape[1])
    return np.pad(array, widths)


class _QuantumEquilibrium(BaseEstimator):
    """What both estimators share: the arguments, the training, the outputs of samples."""

    # Scikit-learn's rule: whatever comes is kept, and `fit` says what is wrong with it.
    @no_type_check
    def __init__(
        self,
        n_qubits: int = 4,
        depth: int = 1,
        *,
        circuit: Any = "hardware_efficient",
        features: str = "table",
        readout: str = "zz",
        standardize: bool = True,
        learning_rate: float = 0.02,
        epochs: int = 60,
        batch_size: int = 32,
        weight_decay: float = 2.0,
        max_steps: int = 256,
        random_state: Any = None,
    ):
        self.n_qubits = n_qubits
        self.depth = depth
        self.circuit = circuit
        self.features = features
        self.readout = readout
        self.standardize = standardize
        self.learning_rate = learning_rate
        self.epochs = epochs
        self.batch_size = batch_size
        self.weight_decay = weight_decay
        self.max_steps = max_steps
        self.random_state = random_state

    def _fit(self, kind: Any, x: np.ndarray, y: np.ndarray, weight: Any, n_outputs: int) -> None:
        """Trains on checked samples, and labels from 0 or standardized targets."""
        for name in ("n_qubits", "epochs", "batch_size", "max_steps"):
            check_at_least(name, getattr(self, name), 1)
        check_positive("learning_rate", self.learning_rate)
        check_within("weight_decay", self.weight_decay, 0.0, np.inf, "0 for none")
        check_instance("standardize", self.standardize, bool | np.bool_, "True or False")
        weight = np.ones(len(x)) if weight is None else weight
        if not np.any(weight > 0):
            raise ValueError("`sample_weight` is zero for all samples; give some of them weight.")
        x, y, weight = x[weight > 0], y[weight > 0], weight[weight > 0]
        _, first, weight = _merged(np.concatenate([x, y.reshape(len(y), -1)], axis=1), weight)
        x, y = x[first], y[first]
        self._scaler = Standardize.fit(x, weight) if self.standardize else None
        seed = check_random_state(self.random_state).randint(2**31 - 1)
        model_key, train_key = jax.random.split(jax.random.key(seed))
        options = {} if not isinstance(self.circuit, str) else {"depth": self.depth}
        features = self._prepare(x)
        model = kind(
            self.n_qubits,
            features.shape[1],
            n_outputs,
            circuit=self.circuit,
            features=self.features,
            readout=self.readout,
            max_steps=self.max_steps,
            key=model_key,
            **options,
        )
        # Of few sizes, since each is compiled: batches by powers of two.
        n_batches = -(-max(len(x), _ROWS) // self.batch_size)
        rows = self.batch_size * (1 << (n_batches - 1).bit_length())
        real = jnp.result_type(float)
        data = _Batches(
            numbers(_padded(features, rows), float, name="X"),
            jnp.asarray(_padded(y, rows), jnp.int32 if y.dtype.kind in "iu" else real),
            jnp.asarray(_padded(weight / weight.mean(), rows), real),
            jnp.asarray(len(x), jnp.int32),
        )
        self.model_ = _train(
            model,
            data,
            jnp.asarray(self.epochs, jnp.int32),
            jnp.asarray(self.learning_rate, real),
            jnp.asarray(self.weight_decay, real),
            self.batch_size,
            train_key,
        )
        outputs, success = self._solve(x)
        if not np.all(np.isfinite(outputs)):
            raise TrainingError(
                "the parameters became NaN or infinite; lower `learning_rate` "
                f"({self.learning_rate}), or standardize the features."
            )
        if success.mean() < 0.99:
            warnings.warn(
                f"the equilibria of {1 - success.mean():.1%} of the training samples were not "
                "found; raise `max_steps`, or lower `learning_rate`.",
                ConvergenceWarning,
                stacklevel=3,
            )

    def _prepare(self, x: np.ndarray) -> np.ndarray:
        x = x if self._scaler is None else self._scaler(x)
        if self.features != "table":
            return x
        # Zeros up to a full turn of rotations on every wire. So few columns are turned more than
        # once, and tables of about as many columns share a program. The initial weights shrink with
        # the number of columns, which the features make up for.
        size = -(-x.shape[1] // (_TURN * self.n_qubits)) * _TURN * self.n_qubits
        return _padded(_SCALE * x * np.sqrt(size / x.shape[1]), len(x), size)

    def _solve(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Outputs of checked samples, and which equilibria were found."""
        x, parts = self._prepare(x), []
        for start in range(0, len(x), _CHUNK):
            chunk = _padded(x[start : start + _CHUNK], _CHUNK)
            parts.append(_outputs(self.model_, numbers(chunk, float, name="X")))
        outputs, success = (np.concatenate([np.asarray(p[i]) for p in parts]) for i in (0, 1))
        return outputs[: len(x)].astype(np.float64), success[: len(x)]

    def _ask(self, x: Any) -> np.ndarray:
        check_is_fitted(self)
        checked: Any = validate_data(self, x, reset=False, dtype=np.float64)
        return self._solve(checked)[0]


class QuantumEquilibriumClassifier(ClassifierMixin, _QuantumEquilibrium):
    """A quantum deep equilibrium model as a scikit-learn classifier.

    !!! example

        ```python
        from eqx_qdeq.sklearn import QuantumEquilibriumClassifier
        from sklearn.datasets import load_iris

        x, y = load_iris(return_X_y=True)
        classifier = QuantumEquilibriumClassifier(random_state=0)
        assert classifier.fit(x, y).score(x, y) > 0.9
        ```

    **Arguments:**

    - `n_qubits`, `depth`, `circuit`, `features`, `readout`, `max_steps`: as for
        [`eqx_qdeq.QDEQClassifier`][]. A circuit of your own has its depth.
    - `standardize`: whether features are standardized by the training samples.
    - `learning_rate`, `weight_decay`: of AdamW; the rate falls to 0 along a cosine. Matrices decay,
        angles and biases do not. Small tables want a strong decay, large ones a weaker.
    - `epochs`, `batch_size`: passes over the samples, and how many of them make a step.
    - `random_state`: of the initial parameters and the order of the samples, as elsewhere in
        scikit-learn.

    **Attributes** after `fit`:

    - `model_`: the trained [`eqx_qdeq.QDEQClassifier`][], of standardized features.
    - `classes_`: the labels, sorted.
    - `n_features_in_`, `feature_names_in_`: as elsewhere in scikit-learn.

    **Raises:** `ValueError` for what scikit-learn refuses and for arguments out of range;
    [`eqx_qdeq.training.TrainingError`][] if the parameters become infinite. Warns
    (`sklearn.exceptions.ConvergenceWarning`) of equilibria that were not found.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "QuantumEquilibriumClassifier":
        """Trains on samples of shape `(n, d)` and their labels, which may be of any kind.

        **Raises:** `ValueError` for what scikit-learn refuses, or samples of one class.
        """
        checked: Any = validate_data(self, X, y, dtype=np.float64)
        X, y = checked
        check_classification_targets(y)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"all samples are of one class, {self.classes_.tolist()[0]!r}; a classifier needs "
                "two."
            )
        self._fit(QDEQClassifier, X, labels, sample_weight, len(self.classes_))
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, shape `(n, classes)`."""
        return scipy.special.softmax(self._ask(X), axis=1)

    def decision_function(self, X: Any) -> np.ndarray:
        """The logits, shape `(n, classes)`; of two classes their difference, shape `(n,)`."""
        logits = self._ask(X)
        return logits[:, 1] - logits[:, 0] if logits.shape[1] == 2 else logits

    def predict(self, X: Any) -> np.ndarray:
        """The most likely class of each sample, as one of `classes_`."""
        logits = self._ask(X)  # first, as it asks whether there was a `fit`
        return self.classes_[logits.argmax(axis=1)]


class QuantumEquilibriumRegressor(RegressorMixin, _QuantumEquilibrium):
    """A quantum deep equilibrium model as a scikit-learn regressor, of one target or several.

    !!! example

        ```python
        from eqx_qdeq.sklearn import QuantumEquilibriumRegressor
        from sklearn.datasets import load_diabetes

        x, y = load_diabetes(return_X_y=True)
        regressor = QuantumEquilibriumRegressor(2, 1, epochs=10, random_state=0)
        assert regressor.fit(x, y).score(x, y) > 0.3
        ```

    **Arguments:** as for [`eqx_qdeq.sklearn.QuantumEquilibriumClassifier`][], and so are
    attributes and errors; but the model is an [`eqx_qdeq.QDEQRegressor`][], `standardize` is of the
    targets as well, and there are no `classes_`.
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "QuantumEquilibriumRegressor":
        """Trains on samples of shape `(n, d)` and targets of shape `(n,)` or `(n, k)`.

        **Raises:** `ValueError` for what scikit-learn refuses.
        """
        checked: Any = validate_data(
            self, X, y, dtype=np.float64, multi_output=True, y_numeric=True
        )
        X, y = checked
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        self._shape = y.shape[1:]
        found, _, weight = _merged(targets, sample_weight)
        self._targets = Standardize.fit(found, weight) if self.standardize else None
        targets = targets if self._targets is None else self._targets(targets)
        self._fit(QDEQRegressor, X, targets, sample_weight, targets.shape[1])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """The targets of each sample, shape `(n,)` or `(n, k)`, in the units of those given."""
        outputs = self._ask(X)  # first, as it asks whether there was a `fit`
        outputs = outputs if self._targets is None else self._targets.undo(outputs)
        return outputs.reshape(-1, *self._shape)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags
