"""How well a model does, and how its equilibria were found: as numbers, and as running sums."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from .._mesh import Devices, one_sum
from ..equilibrium import Solves


def count_parameters(model: PyTree) -> int:
    """The number of trainable numbers: the sizes of all floating-point arrays.

    !!! example

        ```python
        import eqx_qdeq as qdeq, jax
        from eqx_qdeq import training

        model = qdeq.ClassicalDEQClassifier(4, 8, 3, key=jax.random.key(0))
        training.count_parameters(model)  # 131
        ```

    **Arguments:**

    - `model`: any Equinox module.

    **Returns:** their number.
    """
    leaves = [leaf for leaf in jax.tree.leaves(model) if hasattr(leaf, "dtype")]
    # Also for models that only have shapes, from `equinox.filter_eval_shape`.
    return sum(leaf.size for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact))


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """What [`eqx_qdeq.training.evaluate`][] finds, over all samples of a split.

    !!! example

        ```python
        import equinox as eqx
        import jax
        from eqx_qdeq import training

        data = training.load_dataset("digits", classes=(0, 1), limit=40)
        metrics = training.evaluate(
            eqx.nn.Linear(16, 2, key=jax.random.key(0)), data.test
        )
        metrics.confusion.shape  # (2, 2)
        sorted(metrics.to_dict())  # ['accuracy', 'loss']
        ```

    **Attributes:**

    - `loss`: the mean loss, weighted if samples are; of cross-entropy, in nats.
    - `accuracy`: the fraction classified correctly (of tokens, if samples have several labels).
    - `confusion`: counts of shape `(classes, classes)`; rows are true classes, columns guesses.
    - `solver_steps`: the mean number of solver steps.
    - `residual`, `residual_max`: mean and largest ‖f(z) - z‖.
    - `fraction_converged`: the fraction of solves that met their tolerance.
    - `mean_square`: the mean squared error, over samples and outputs.
    - `r2`: the coefficient of determination R², the mean over the outputs of
        1 - (mean squared error) / variance, as scikit-learn's `r2_score`.
    - `own`: the numbers of `metrics`, by name.
    - `unseen`: transformations in the model that may hide more solves (see [`eqx_qdeq.Solves`][]).

    `accuracy` and `confusion` are of classifications, `mean_square` and `r2` of regressions, and
    otherwise `None`; so are the four about solves where nothing is solved.
    """

    loss: float
    # `Any` for None: nobody must ask a classifier whether it has an accuracy.
    accuracy: float | Any = None
    confusion: Int[np.ndarray, "classes classes"] | Any = None
    solver_steps: float | Any = None
    residual: float | Any = None
    residual_max: float | Any = None
    fraction_converged: float | Any = None
    mean_square: float | Any = None
    r2: float | Any = None
    own: dict[str, float] = dataclasses.field(default_factory=dict)
    unseen: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the confusion matrix."""
        numbers = {k: v for k, v in vars(self).items() if k not in ("confusion", "own", "unseen")}
        return {k: v for k, v in (numbers | self.own).items() if v is not None}

    def __str__(self) -> str:
        return in_words(self.to_dict(), self.unseen)


def in_words(found: dict[str, Any], unseen: tuple[str, ...] = ()) -> str:
    """Numbers by name as a line of text, those about solves last."""
    shown = {"accuracy": "accuracy {:.2%}", "r2": "R² {:.4f}", "mean_square": "mean square {:.4g}"}
    parts = [text.format(found[name]) for name, text in shown.items() if name in found]
    parts.append(f"loss {found['loss']:.4f}")
    parts += [f"{k} {v:.4g}" for k, v in found.items() if k not in shown and k not in _BUILT_IN]
    if "solver_steps" in found:
        parts.append(
            f"solver steps {found['solver_steps']:.1f}, residual {found['residual']:.1e} (largest "
            f"{found['residual_max']:.1e}), converged {found['fraction_converged']:.1%}"
        )
    if unseen:
        parts.append(f"solves inside {', '.join(unseen)} not seen")
    return ", ".join(parts)


_BUILT_IN = [field.name for field in dataclasses.fields(Metrics)]


@dataclasses.dataclass(frozen=True)
class Report:
    """What can be said of a model on some data: what sums are kept, and what they mean."""

    task: str | None  # "classification", "regression", or neither
    n_outputs: int = 1  # of a regression, each of which has its own R²
    solves: bool = False  # whether something is solved, or unrolled, in the model
    sought: bool = True  # whether equilibria are sought
    unseen: tuple[str, ...] = ()


class Sums(eqx.Module):
    """Sums over samples, from which means are made."""

    weight: Float[Array, ""]  # the number of samples
    loss: Float[Array, ""]
    loss_weight: Float[Array, ""]
    score: Float[Array, "..."]  # the fraction correct, or the squared error of each output
    solves: Float[Array, ""]
    steps: Float[Array, ""]
    residual: Float[Array, ""]
    residual_max: Float[Array, ""]
    converged: Float[Array, ""]

    def __add__(self, other: "Sums") -> "Sums":
        # All are sums but one.
        total = jax.tree.map(jnp.add, self, other)
        largest = jnp.maximum(self.residual_max, other.residual_max)
        return eqx.tree_at(lambda s: s.residual_max, total, largest)

    @classmethod
    def zero(cls, report: Report) -> "Sums":
        zeros = {f.name: jnp.zeros((), jnp.result_type(float)) for f in dataclasses.fields(cls)}
        if report.task == "regression":
            zeros["score"] = jnp.zeros(report.n_outputs, jnp.result_type(float))
        return cls(**zeros)

    @classmethod
    def of(
        cls,
        report: Report,
        losses: Float[Array, " n"],
        outputs: PyTree[Array],
        solves: Solves | None,
        y: Array,
        mask: Float[Array, " n"],
        weight: Float[Array, " n"],
    ) -> "Sums":
        """`mask` says which samples are there, `weight` how much each counts in the loss."""

        # Not the product alone: what has no weight may be infinite.
        def total(values: Array, by: Array = mask) -> Array:
            by = by.reshape(-1, *[1] * (values.ndim - 1))
            return jnp.sum(jnp.where(by > 0, by * values.astype(by.dtype), 0), axis=0)

        sums = cls.zero(report)
        parts = {"weight": jnp.sum(mask), "loss": total(losses, weight)}
        parts["loss_weight"] = jnp.sum(weight)
        if report.task is not None and outputs is not None:
            parts["score"] = total(scores(report, outputs, y))
        if solves is not None:
            steps, residual = solves.num_steps, solves.residual
            parts |= {"solves": total(solves.count), "steps": total(steps)}
            parts |= {"residual": total(residual), "converged": total(solves.num_converged)}
            parts["residual_max"] = jnp.max(jnp.where(mask > 0, solves.residual_max, 0))
        # Carried through the loop over steps, where dtypes must not depend on the data's.
        dtype = jnp.result_type(float)
        found = {name: getattr(sums, name) for name in vars(sums)} | {
            name: part.astype(dtype) for name, part in parts.items()
        }
        return jax.lax.stop_gradient(cls(**found))

    def over(self, devices: Devices, others: PyTree[Array]) -> tuple["Sums", PyTree[Array]]:
        """These of all devices, and the sums of whatever else: by one exchange."""
        # The largest among numbers of which each device adds its own.
        mine = jnp.arange(len(devices), dtype=jnp.int32) == jax.lax.axis_index(devices.samples)
        each = jnp.where(mine, self.residual_max, 0)
        sums, others, each = one_sum((self, others, each), devices.samples)
        return eqx.tree_at(lambda s: s.residual_max, sums, jnp.max(each)), others

    def means(self, report: Report, spread: Float[np.ndarray, " k"] | None) -> dict[str, float]:
        """Named means as Python numbers; `spread` is the variance of each target
        of a regression."""
        host = vars(jax.device_get(self))
        # At the start of an epoch there are no samples yet.
        n = max(float(host["weight"]), 1.0)
        means = {"loss": _over(host["loss"], host["loss_weight"])}
        score = np.asarray(host["score"], np.float64) / n
        if report.task == "classification":
            means["accuracy"] = float(score)
        if spread is not None:
            means["mean_square"] = float(np.mean(score))
            # Of a constant target any error is worse than the mean, which has none.
            still = spread == 0
            ratio = np.where(still, score > 0, score / np.where(still, 1, spread))
            means["r2"] = float(np.mean(1 - ratio))
        if report.solves:
            count = host["solves"]
            means["solver_steps"] = _over(host["steps"], count)
            means["residual"] = _over(host["residual"], count)
            means["residual_max"] = float(host["residual_max"])
            means["fraction_converged"] = _over(host["converged"], count) if count else 1.0
        return means


def _over(total: Any, count: Any) -> float:
    return float(total) / float(count) if count else 0.0


def scores(report: Report, outputs: Array, y: Array) -> Array:
    """Of each sample: the share that is right, or the squared error of each output."""
    if report.task == "classification":
        right = guess(outputs).astype(y.dtype) == y
        return jnp.mean(right.astype(jnp.result_type(float)).reshape(len(y), -1), axis=1)
    # A single output of shape (1,) may stand beside a number.
    return jnp.square(outputs.reshape(y.shape) - y.astype(outputs.dtype)).reshape(len(y), -1)


def guess(logits: Float[Array, "*n classes"]) -> Int[Array, "*n"]:
    """The most likely class; -1 where a logit is NaN, which argmax would call a class."""
    return jnp.where(jnp.isnan(logits).any(axis=-1), -1, jnp.argmax(logits, axis=-1))
