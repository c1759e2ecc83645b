"""How well a model classifies, and how its equilibria were found."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree

from .._checks import check_instance
from ..equilibrium import DEQ, QDEQ, Solution, Unrolled
from ._by_content import gains_as_arrays
from ._convergence import warn_unconverged
from .data import DataError, Split

# Up to so many samples, a chunk has this size.
_SMALL = 256


def forward(
    model: Any, x: Float[Array, "..."], key: PRNGKeyArray | None
) -> tuple[Float[Array, " classes"], Solution | None]:
    """The logits of one sample, and the solution of a model that has one."""
    # By what it can do, not by its class: models from elsewhere are trained too.
    if isinstance(model, DEQ | QDEQ | Unrolled):
        solution = model.solve(x)
        return solution.value, solution
    if hasattr(model, "solve"):
        return model.solve(x, key=key)
    return model(x, key=key), None


def logits_shape(model: Any, split: Split) -> tuple[int, ...]:
    """The shape of the logits of one sample: by shapes alone, nothing is computed."""
    sample = jax.ShapeDtypeStruct(split.x.shape[1:], split.x.dtype)
    return eqx.filter_eval_shape(lambda m, x: forward(m, x, None)[0], model, sample).shape


def count_parameters(model: PyTree) -> int:
    """The number of trainable numbers: the sizes of all floating-point arrays.

    **Arguments:**

    - `model`: any Equinox module.
    """
    leaves = [leaf for leaf in jax.tree.leaves(model) if hasattr(leaf, "dtype")]
    # Also for models that only have shapes, from `equinox.filter_eval_shape`.
    return sum(leaf.size for leaf in leaves if jnp.issubdtype(leaf.dtype, jnp.inexact))


@dataclasses.dataclass(frozen=True, eq=False)
class Metrics:
    """What [`eqx_qdeq.training.evaluate`][] finds, over all samples of a split.

    **Attributes:**

    - `loss`: the mean cross-entropy, in nats.
    - `accuracy`: the fraction classified correctly.
    - `confusion`: counts of shape `(classes, classes)`; rows are true classes, columns guesses.
    - `solver_steps`: the mean number of solver steps.
    - `residual`, `residual_max`: mean and largest ‖f(z) - z‖.
    - `fraction_converged`: the fraction whose solve met its tolerance.

    The last four are `None` for a model without `solve`.
    """

    loss: float
    accuracy: float
    confusion: Int[np.ndarray, "classes classes"]
    solver_steps: float | None = None
    residual: float | None = None
    residual_max: float | None = None
    fraction_converged: float | None = None

    def to_dict(self) -> dict[str, Any]:
        """The numbers, without the confusion matrix."""
        numbers = {k: v for k, v in vars(self).items() if k != "confusion"}
        return {k: v for k, v in numbers.items() if v is not None}

    def __str__(self) -> str:
        text = f"accuracy {self.accuracy:.2%}, loss {self.loss:.4f}"
        if self.solver_steps is not None:
            text += (
                f", solver steps {self.solver_steps:.1f}, residual {self.residual:.1e} (largest "
                f"{self.residual_max:.1e}), converged {self.fraction_converged:.1%}"
            )
        return text


class Sums(eqx.Module):
    """Weighted sums over samples, from which means are made."""

    weight: Float[Array, ""]
    loss: Float[Array, ""]
    correct: Float[Array, ""]
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
    def zero(cls) -> "Sums":
        return cls(*[jnp.zeros((), jnp.result_type(float)) for _ in dataclasses.fields(cls)])

    @classmethod
    def of(
        cls,
        losses: Float[Array, " n"],
        logits: Float[Array, "n classes"],
        solution: Solution | None,
        y: Int[Array, " n"],
        weight: Float[Array, " n"],
    ) -> "Sums":
        # Not the product alone: what has no weight may be infinite.
        weighted = lambda values: jnp.where(weight > 0, weight * values.astype(weight.dtype), 0)
        steps = residuals = converged = jnp.zeros_like(weight)
        if solution is not None:
            steps, residuals = solution.stats["num_steps"], solution.stats["residual"]
            converged = solution.success
        correct = guess(logits).astype(y.dtype) == y
        summed = (jnp.ones_like(weight), losses, correct, steps, residuals, converged)
        *sums, n_converged = [jnp.sum(weighted(values)) for values in summed]
        largest = jnp.max(jnp.where(weight > 0, residuals, 0))
        # Sums are carried through the loop over steps, whose dtypes must not depend on the data's.
        dtype = jnp.result_type(float)
        parts = [part.astype(dtype) for part in (*sums, largest, n_converged)]
        return cls(*jax.lax.stop_gradient(parts))

    def means(self, has_solver: bool) -> dict[str, float]:
        """Named means as Python numbers."""
        host = {k: float(v) for k, v in vars(jax.device_get(self)).items()}
        # At the start of an epoch there are no samples yet.
        weight = max(host["weight"], 1.0)
        means = {"loss": host["loss"] / weight, "accuracy": host["correct"] / weight}
        if has_solver:
            means["solver_steps"] = host["steps"] / weight
            means["residual"] = host["residual"] / weight
            means["residual_max"] = host["residual_max"]
            means["fraction_converged"] = host["converged"] / weight
        return means


def guess(logits: Float[Array, "n classes"]) -> Int[Array, " n"]:
    """The most likely class; -1 where a logit is NaN, which argmax would call a class."""
    return jnp.where(jnp.isnan(logits).any(axis=-1), -1, jnp.argmax(logits, axis=-1))


@eqx.filter_jit
def _evaluate_chunk(
    model: Any, x: Array, y: Array, weight: Array
) -> tuple[Sums, Int[Array, "classes classes"]]:
    logits, solution = jax.vmap(lambda one: forward(model, one, None))(x)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    n_classes = logits.shape[-1]
    # A guess of -1 would be counted in the last column, as Python counts; it is added as zero.
    guesses = guess(logits)
    counted = ((weight > 0) & (guesses >= 0)).astype(jnp.int32)
    confusion = jnp.zeros((n_classes, n_classes), jnp.int32).at[y, guesses].add(counted)
    return Sums.of(losses, logits, solution, y, weight), confusion


def chunks(split: Split, batch_size: int = 1024) -> list[tuple[Array, Array, Array]]:
    """The samples in chunks of one size, the last one filled up with samples of no weight."""
    if batch_size < 1:
        raise ValueError(f"`batch_size` must be at least 1; got {batch_size}.")
    # Few sizes, as each is compiled: a small validation and test set share theirs. One size of 1024
    # for all would be ten times the work for the digits' 108 validation samples.
    batch_size = min(batch_size, _SMALL) if len(split) <= _SMALL else batch_size
    x, y = np.asarray(split.x), np.asarray(split.y)
    result = []
    for start in range(0, len(y), batch_size):
        index = np.arange(start, start + batch_size)
        weight = (index < len(y)).astype(x.dtype)
        index = np.minimum(index, len(y) - 1)
        result.append((jnp.asarray(x[index]), jnp.asarray(y[index]), jnp.asarray(weight)))
    return result


def evaluate_chunks(model: Any, data: list[tuple[Array, Array, Array]]) -> Metrics:
    """As `evaluate`, for samples already in chunks."""
    # Counts are added by NumPy, in 64 bits, which JAX may not have.
    totals, confusion, model = Sums.zero(), 0, gains_as_arrays(model)
    for x, y, weight in data:
        sums, counts = _evaluate_chunk(model, x, y, weight)
        totals, confusion = totals + sums, confusion + np.asarray(counts, np.int64)
    means = totals.means(hasattr(model, "solve"))
    return Metrics(confusion=np.asarray(confusion), **means)


def evaluate(model: Any, split: Split, batch_size: int = 1024) -> Metrics:
    """Classifies every sample of a split, without dropout.

    **Arguments:**

    - `model`: a classifier of [`eqx_qdeq`][], or any Equinox module from one sample to logits.
    - `split`: the samples.
    - `batch_size`: how many are classified at a time; changes memory and time, not the results.

    **Returns:**

    [`eqx_qdeq.training.Metrics`][]; printed, it is a line of text.

    **Raises:** [`eqx_qdeq.training.DataError`][] for labels that the model does not have.
    Warns ([`eqx_qdeq.training.ConvergenceWarning`][]) of samples whose equilibrium was not found.
    """
    check_instance("split", split, Split, "a Split, e.g. `dataset.test` or `Split(x, y)`")
    n_classes, largest = logits_shape(model, split)[-1], int(np.asarray(split.y).max())
    if largest >= n_classes:
        raise DataError(
            f"label {largest} is out of range: the model has {n_classes} classes. Use the data "
            "that it was trained for."
        )
    found = evaluate_chunks(model, chunks(split, batch_size))
    warn_unconverged(model, "samples", found.fraction_converged, found.residual_max)
    return found
