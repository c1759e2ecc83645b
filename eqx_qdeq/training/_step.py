"""Many training steps in one call of a compiled function.

A step of a small quantum model takes about a millisecond, as long as Python needs to start one. So
the loop over steps is compiled too: a `while_loop` whose bounds are arguments. It runs as many
steps as it is told (up to a checkpoint, a progress report, or the end of an epoch), and because
its body is compiled once, where it is interrupted does not change the numbers.
"""

import functools as ft
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray, PyTree

from ._by_content import by_content, ByContent, call
from ._metrics import forward, Sums


class Settings(NamedTuple):
    """What else decides how a step is taken: arrays may change without compiling it anew."""

    update: ByContent | optax.GradientTransformationExtraArgs
    clip: Float[Array, ""] | None
    jacobian_penalty: Float[Array, ""] | None
    unrolled_layers: int  # 0: the model itself; otherwise its unrolled version (warm-up)
    shared_dropout: bool


class State(eqx.Module):
    """What a step changes. `params` is the trainable part of the model."""

    params: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    sums: Sums
    penalty: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    finite: Bool[Array, ""]
    has_solver: bool = eqx.field(static=True)

    def means(self) -> dict[str, float]:
        """Named means over the epoch so far."""
        return self.sums.means(self.has_solver)

    def fresh_sums(self) -> "State":
        """The state at the start of an epoch."""
        zero = jnp.zeros_like(self.penalty)
        where = lambda s: (s.sums, s.penalty, s.gradient_norm)
        return eqx.tree_at(where, self, (Sums.zero(), zero, jnp.zeros_like(zero)))


class Fixed(eqx.Module):
    """What a step needs and does not change."""

    static: PyTree  # the rest of the model
    x: Float[Array, "n ..."]
    y: Int[Array, " n"]
    batches: Int[Array, "n_batches batch"]  # rows of x, -1 where the last batch is filled up
    first: Int[Array, ""]  # the step of the epoch's first batch
    key: PRNGKeyArray
    settings: Settings


def make_state(params: PyTree, optimizer: optax.GradientTransformation, has_solver: bool) -> State:
    """The state before the first step, on buffers of its own: they are donated."""
    params = jax.tree.map(lambda p: jnp.array(p, p.dtype, copy=True), params)
    # Compiled: eagerly, each zero of the moments would be a call of its own.
    opt_state = call(by_content(optimizer.init, params), params)
    # Line searches count in Python at first, and in arrays from the first step on, as which both
    # are saved.
    number = lambda x: jnp.asarray(x) if isinstance(x, int | float) else x
    opt_state = jax.tree.map(number, opt_state)
    zero = jnp.zeros((), jnp.result_type(float))
    return State(
        params,
        opt_state,
        jnp.zeros((), jnp.int32),
        Sums.zero(),
        zero,
        jnp.zeros_like(zero),
        jnp.ones((), bool),
        has_solver,
    )


class _LooksAtTheObjective(Exception):
    pass


def make_update(
    optimizer: optax.GradientTransformation, state: State
) -> ByContent | optax.GradientTransformationExtraArgs:
    """The update of the optimizer, of (gradient, state, parameters, loss)."""
    full = optax.with_extra_args_support(optimizer)

    def refuse(params: PyTree) -> Array:
        raise _LooksAtTheObjective

    try:
        loss = jnp.zeros_like(state.penalty)
        update = ft.partial(update_by, full, objective=refuse)
        return by_content(update, state.params, state.opt_state, state.params, loss)
    # A line search evaluates the objective, so that its program has the model in it: such an
    # optimizer is known as the object that it is.
    except _LooksAtTheObjective:
        return full


def update_by(
    optimizer: optax.GradientTransformationExtraArgs,
    gradient: PyTree,
    opt_state: PyTree,
    params: PyTree,
    loss: Float[Array, ""],
    objective: Callable[[PyTree], Float[Array, ""]],
) -> tuple[PyTree, PyTree]:
    # Optax mixes counts and rates, which strict promotion refuses; its results are what they are.
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        # The loss is for those that look: line searches, reduction on plateaus.
        more: Any = {"value": loss, "grad": gradient, "value_fn": objective}
        return optimizer.update(gradient, opt_state, params, **more)


def epoch_batches(
    n: int, batch_size: int, seed: int, epoch: int, drop_last: bool
) -> Int[np.ndarray, "n_batches batch"]:
    """Which samples are in which batch of an epoch; -1 fills up the last one."""
    # Philox is keyed: the permutation follows from seed and epoch alone, so a resumed run needs no
    # state of a generator. It is the same on every machine; JAX's own may change with its version.
    order = np.random.Generator(np.random.Philox(key=[seed, epoch])).permutation(n)
    n_batches = n // batch_size if drop_last else -(-n // batch_size)
    batches = np.full(n_batches * batch_size, -1, np.int32)
    kept = min(n, len(batches))
    batches[:kept] = order[:kept]
    return batches.reshape(n_batches, batch_size)


@eqx.filter_jit(donate="all-except-first")
def run_steps(fixed_and_stop: tuple[Fixed, Int[Array, ""]], state: State) -> State:
    """Runs steps until `stop`, or until a loss or gradient is not finite: that step is undone."""
    # A pair, because all arguments but the first are donated: the next state overwrites this one,
    # while the images stay. `stop` is an array, or each number of steps would compile.
    fixed, stop = fixed_and_stop
    return jax.lax.while_loop(
        lambda s: (s.step < stop) & s.finite, lambda s: _step(fixed, s), state
    )


@eqx.filter_jit(donate="all-except-first")
def run_steps_together(fixed_and_stop: tuple[Fixed, Int[Array, ""]], states: State) -> State:
    """As `run_steps`, for several runs at once: all arrays have a leading axis, one entry per run.
    A run whose step was undone stands still; the others go on."""
    fixed, stop = fixed_and_stop
    # All reach `stop` together, so only runs whose step was undone are held back.
    step = eqx.filter_vmap(lambda f, s: _where(s.finite, _step(f, s), s))
    return jax.lax.while_loop(
        lambda s: jnp.any((s.step < stop) & s.finite), lambda s: step(fixed, s), states
    )


def _where(condition: Bool[Array, ""], yes: State, no: State) -> State:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), yes, no)


def _step(fixed: Fixed, state: State) -> State:
    settings = fixed.settings
    # All batches have one shape, so that they share one compiled body. Where the last one is filled
    # up, it is with sample 0 at weight 0, and means divide by the sum of the weights.
    index = fixed.batches[state.step - fixed.first]
    weight = (index >= 0).astype(fixed.x.dtype)
    rows = jnp.maximum(index, 0)
    x, y = fixed.x[rows], fixed.y[rows]
    # By the step, not split from the last key: a resumed run draws the same masks and probes.
    key = jax.random.fold_in(fixed.key, state.step)

    def objective(params: PyTree) -> tuple[Float[Array, ""], tuple[Sums, Float[Array, ""]]]:
        return _objective(eqx.combine(params, fixed.static), x, y, weight, key, settings)

    value_and_grad = eqx.filter_value_and_grad(objective, has_aux=True)
    (loss, (sums, penalty)), gradient = value_and_grad(state.params)
    # Before clipping: reports show the gradient as it is.
    norm = optax.tree.norm(gradient)
    finite = jnp.isfinite(loss) & jnp.isfinite(norm)
    if settings.clip is not None:
        clipping = optax.clip_by_global_norm(settings.clip.astype(norm.dtype))
        gradient, _ = clipping.update(gradient, optax.EmptyState())
    arguments = (gradient, state.opt_state, state.params)
    if isinstance(settings.update, ByContent):
        updates, opt_state = settings.update(*arguments, loss.astype(state.penalty.dtype))
    else:
        value = lambda params: objective(params)[0]
        updates, opt_state = update_by(settings.update, *arguments, loss, value)
    params = eqx.apply_updates(state.params, updates)
    # A finite gradient can make infinite parameters, which would be saved. What was infinite at
    # first, such as the best loss so far, may stay.
    finite &= _as_finite((params, opt_state), (state.params, state.opt_state))
    done = State(
        params,
        opt_state,
        state.step + 1,
        state.sums + sums,
        state.penalty + penalty,
        state.gradient_norm + norm.astype(state.gradient_norm.dtype),
        finite,
        state.has_solver,
    )
    # A bad step must leave no trace: the state is that of the last good one, but for the flag that
    # ends the loop.
    undone = eqx.tree_at(lambda s: s.finite, state, finite)
    return _where(finite, done, undone)


def _as_finite(new: PyTree, old: PyTree) -> Bool[Array, ""]:
    """Whether every number is finite that was finite before."""
    pairs = zip(jax.tree.leaves(new), jax.tree.leaves(old), strict=True)
    kept = [
        jnp.all(jnp.isfinite(after) | ~jnp.isfinite(before))
        for after, before in pairs
        if eqx.is_inexact_array(after)
    ]
    return ft.reduce(jnp.logical_and, kept, jnp.asarray(True))


@eqx.filter_jit
def finite_rows(
    fixed: Fixed, state: State
) -> tuple[Int[Array, " batch"], Bool[Array, " batch"], Bool[Array, ""]]:
    """The rows of the batch that comes next, whether the loss and the gradient of each of them
    alone are finite, and whether those of the batch are: what to look at after a step that was
    undone."""
    rows = fixed.batches[state.step - fixed.first]
    key = jax.random.fold_in(fixed.key, state.step)

    def is_finite(rows: Int[Array, " n"], weight: Float[Array, " n"]) -> Bool[Array, ""]:
        of = lambda params: _objective(
            eqx.combine(params, fixed.static),
            fixed.x[rows],
            fixed.y[rows],
            weight,
            key,
            fixed.settings,
        )
        (loss, _), gradient = eqx.filter_value_and_grad(of, has_aux=True)(state.params)
        return jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))

    real = jnp.maximum(rows, 0)
    batch = is_finite(real, (rows >= 0).astype(fixed.x.dtype))
    # Nothing hides it: 0 · NaN is NaN, so samples cannot be told apart by weights. One after the
    # other: a gradient for each sample at once is the whole model that many times.
    one = jnp.ones(1, fixed.x.dtype)
    alone = jax.lax.map(lambda row: is_finite(row[None], one), real)
    return rows, alone | (rows < 0), batch


def _objective(
    model: Any,
    x: Float[Array, "batch ..."],
    y: Int[Array, " batch"],
    weight: Float[Array, " batch"],
    key: PRNGKeyArray,
    settings: Settings,
) -> tuple[Float[Array, ""], tuple[Sums, Float[Array, ""]]]:
    """Cross-entropy, and the Jacobian penalty, as weighted means over a batch."""
    # Split whether or not both are used: a penalty of zero must not change the dropout.
    drop_key, probe_key = jax.random.split(key)
    n = len(y)
    if settings.unrolled_layers:
        model = model.unrolled(settings.unrolled_layers)
    # One dropout mask for the batch, or one per sample. An axis of `None` gives `vmap` one key for
    # all, and then it also draws the mask once.
    drop, axis = (drop_key, None) if settings.shared_dropout else (jax.random.split(drop_key, n), 0)
    penalties = jnp.zeros_like(weight)
    if settings.jacobian_penalty is not None:
        probes = jax.random.split(probe_key, n)
        solve = lambda one, k, probe: model.solve_with_penalty(one, key=k, penalty_key=probe)
        logits, solution, penalties = jax.vmap(solve, (0, axis, 0))(x, drop, probes)
    else:
        logits, solution = jax.vmap(lambda one, k: forward(model, one, k), (0, axis))(x, drop)
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, y)
    total = jnp.sum(weight)
    penalty = jnp.sum(weight * penalties) / total
    loss = jnp.sum(weight * losses) / total
    if settings.jacobian_penalty is not None:
        loss = loss + settings.jacobian_penalty.astype(penalty.dtype) * penalty
    sums = Sums.of(losses, logits, solution, y, weight)
    return loss, (sums, jax.lax.stop_gradient(penalty))
