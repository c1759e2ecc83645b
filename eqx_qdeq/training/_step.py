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
import optax
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Num, PRNGKeyArray, PyTree

from .._mesh import AMPLITUDES, Devices
from ._batches import Batch, batch_of, Part, part_of
from ._by_content import by_content, ByContent, call
from ._evaluate import named_losses
from ._forward import forward, losing, over_batch, with_penalty
from ._look import Look
from ._metrics import Report, Sums


class Settings(NamedTuple):
    """What else decides how a step is taken: arrays may change without compiling it anew."""

    look: Look
    update: ByContent | optax.GradientTransformationExtraArgs
    clip: Float[Array, ""] | None
    jacobian_penalty: Float[Array, ""] | None
    unrolled_layers: int  # 0: the model itself; otherwise its unrolled version (warm-up)
    shared_dropout: bool
    devices: Devices | None = None  # among which a batch is parted


class State(eqx.Module):
    """What a step changes. `params` is the trainable part of the model, `model_state` what else it
    keeps from one batch to the next."""

    params: PyTree
    model_state: PyTree
    opt_state: PyTree
    step: Int[Array, ""]
    sums: Sums
    penalty: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    finite: Bool[Array, ""]

    def fresh_sums(self) -> "State":
        """The state at the start of an epoch."""
        where = lambda s: (s.sums, s.penalty, s.gradient_norm)
        return eqx.tree_at(where, self, jax.tree.map(jnp.zeros_like, where(self)))


class Fixed(eqx.Module):
    """What a step needs and does not change."""

    static: PyTree  # the rest of the model
    x: PyTree[Array]
    y: Num[Array, "..."]
    weight: Float[Array, "..."] | None  # of each sample in the loss
    batches: Int[Array, "n_batches batch"]  # rows of x; -1 - row where the last batch is filled up
    first: Int[Array, ""]  # the step of the first batch
    key: PRNGKeyArray
    settings: Settings
    # Whether x, y and weight are those of the batches, shape `(n_batches, batch, ...)`, and x and y
    # on each device its own part of each.
    by_step: bool = eqx.field(static=True, default=False)

    def batch(self, step: Int[Array, ""]) -> Batch:
        """The samples of a step."""
        index, key = self._of(step)
        batch = self._take(step, index, self._weight(step, index), key)
        devices = self.settings.devices
        if devices is None or len(batch.y) % len(devices):
            return batch
        # Of a model with state, which may look at the whole batch.
        there = devices.sharding(devices.samples)
        x, y, mask, weight = jax.lax.with_sharding_constraint(tuple(batch[:-1]), there)
        return Batch(x, y, mask, weight, batch.key)

    def part(self, step: Int[Array, ""], devices: Devices) -> tuple[Batch, Part]:
        """Those of this device."""
        index, key = self._of(step)
        weight = self._weight(step, index)
        mine, part = part_of(index, weight, devices)
        weight = None if weight is None else weight[part.places]
        return self._take(step, mine, weight, key), part

    def _of(self, step: Int[Array, ""]) -> tuple[Array, PRNGKeyArray]:
        # By the step, not split from the last key: a resumed run draws the same masks and probes.
        key = jax.random.fold_in(self.key, step)
        return self.batches[step - self.first], key

    def _weight(self, step: Int[Array, ""], index: Array) -> Array | None:
        if self.weight is None:
            return None
        return self.weight[step - self.first] if self.by_step else self.weight[_rows(index)]

    def _take(
        self, step: Int[Array, ""], index: Array, weight: Array | None, key: PRNGKeyArray
    ) -> Batch:
        if self.by_step:
            of = lambda a: a[step - self.first][: len(index)]
        else:
            of = lambda a: a[_rows(index)]
        x, y = jax.tree.map(of, (self.x, self.y))
        return batch_of(x, y, weight, index, key)


def _rows(index: Int[Array, " batch"]) -> Int[Array, " batch"]:
    return jnp.maximum(index, -1 - index)


def make_state(
    params: PyTree, optimizer: optax.GradientTransformation, report: Report, model_state: PyTree
) -> State:
    """The state before the first step, on buffers of its own: they are donated."""
    copy = lambda a: jnp.array(a, a.dtype, copy=True) if eqx.is_array(a) else a
    params, model_state = jax.tree.map(copy, (params, model_state))
    # Compiled: eagerly, each zero of the moments would be a call of its own.
    opt_state = call(by_content(optimizer.init, params), params)
    # Line searches count in Python at first, and in arrays from the first step on, as which both
    # are saved.
    number = lambda x: jnp.asarray(x) if isinstance(x, int | float) else x
    opt_state = jax.tree.map(number, opt_state)
    zero = jnp.zeros((), jnp.result_type(float))
    return State(
        params,
        model_state,
        opt_state,
        jnp.zeros((), jnp.int32),
        Sums.zero(report),
        zero,
        jnp.zeros_like(zero),
        jnp.ones((), bool),
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


@eqx.filter_jit(donate="all-except-first")
def run_steps(fixed_and_stop: tuple[Fixed, Int[Array, ""]], state: State) -> State:
    """Runs steps until `stop`, or until a loss or gradient is not finite: that step is undone."""
    # A pair, because all arguments but the first are donated: the next state overwrites this one,
    # while the images stay. `stop` is an array, or each number of steps would compile.

    def run(fixed: Fixed, stop: Int[Array, ""], state: State) -> State:
        return jax.lax.while_loop(
            lambda s: (s.step < stop) & s.finite, lambda s: _step(fixed, s), state
        )

    return _on_devices(run, *fixed_and_stop, state)


def _devices(fixed: Fixed, state: State) -> Devices | None:
    """The devices that go through the steps each for itself. A model with state looks at the whole
    batch, and is one computation, which XLA parts."""
    devices = fixed.settings.devices
    if state.model_state is None or devices is None:
        return devices
    if AMPLITUDES in devices.mesh.axis_names:
        raise ValueError(
            "`mesh` has an axis 'amplitudes', along which a model with state, such as batch "
            "normalization, cannot lie. Part samples alone, or use a layer without state, e.g. "
            "equinox.nn.LayerNorm."
        )
    return None


def _on_devices(run: Callable[..., State], fixed: Fixed, stop: Array, state: State) -> State:
    """All steps, on each of the devices if there are several: what is exchanged between them is
    the sum in each step. Several runs may lie on other devices each."""
    devices = _devices(fixed, state)
    if devices is None:
        return run(fixed, stop, state)
    runs: Any = PartitionSpec(*([devices.runs] if devices.runs else []))
    where = runs
    if fixed.by_step:
        # Each device has its part of the samples, and all of the rest.
        where = jax.tree.map(lambda _: runs, eqx.filter(fixed, eqx.is_array))
        own = lambda tree: jax.tree.map(lambda _: PartitionSpec(None, devices.samples), tree)
        where = eqx.tree_at(lambda f: (f.x, f.y), where, own((fixed.x, fixed.y)))
    return devices.map(run, (fixed, stop, state), (where, PartitionSpec(), runs), runs)


@eqx.filter_jit(donate="all-except-first")
def run_steps_together(fixed_and_stop: tuple[Fixed, Int[Array, ""]], states: State) -> State:
    """As `run_steps`, for several runs at once: all arrays have a leading axis, one entry per run.
    A run whose step was undone stands still; the others go on."""
    # All reach `stop` together, so only runs whose step was undone are held back.
    step = eqx.filter_vmap(lambda f, s: _where(s.finite, _step(f, s), s))

    def run(fixed: Fixed, stop: Int[Array, ""], states: State) -> State:
        return jax.lax.while_loop(
            lambda s: jnp.any((s.step < stop) & s.finite), lambda s: step(fixed, s), states
        )

    return _on_devices(run, *fixed_and_stop, states)


def _where(condition: Bool[Array, ""], yes: State, no: State) -> State:
    return jax.tree.map(lambda new, old: jnp.where(condition, new, old), yes, no)


def _step(fixed: Fixed, state: State) -> State:
    settings = fixed.settings
    devices, part = _devices(fixed, state), None
    if devices is None:
        batch = fixed.batch(state.step)
    else:
        batch, part = fixed.part(state.step, devices)

    def objective(params: PyTree) -> tuple[Float[Array, ""], tuple[Sums, Array, PyTree]]:
        model = eqx.combine(params, fixed.static)
        return _objective(model, state.model_state, *batch, settings, part)

    value_and_grad = eqx.filter_value_and_grad(objective, has_aux=True)
    (loss, (sums, penalty, model_state)), gradient = value_and_grad(state.params)
    if devices is not None:
        # Nothing else is exchanged in a step.
        sums, (loss, penalty, gradient) = sums.over(devices, (loss, penalty, gradient))
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
        own = lambda params: objective(params)[0]
        value = own if devices is None else lambda p: jax.lax.psum(own(p), devices.samples)
        updates, opt_state = update_by(settings.update, *arguments, loss, value)
    params = eqx.apply_updates(state.params, updates)
    # A finite gradient can make infinite parameters, which would be saved. What was infinite at
    # first, such as the best loss so far, may stay.
    before = (state.params, state.opt_state, state.model_state)
    finite &= _as_finite((params, opt_state, model_state), before)
    done = State(
        params,
        model_state,
        opt_state,
        state.step + 1,
        state.sums + sums,
        state.penalty + penalty,
        state.gradient_norm + norm.astype(state.gradient_norm.dtype),
        finite,
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
def finite_rows(fixed: Fixed, state: State) -> tuple[Bool[Array, " batch"], Bool[Array, ""]]:
    """Whether the loss and the gradient of each sample of the batch that comes next are finite, or
    it is there to fill the batch; and whether those of the batch are: what to look at after a step
    that was undone."""
    whole = fixed.batch(state.step)

    def is_finite(batch: Batch) -> Bool[Array, ""]:
        of = lambda params: _objective(
            eqx.combine(params, fixed.static), state.model_state, *batch, fixed.settings
        )
        (loss, _), gradient = eqx.filter_value_and_grad(of, has_aux=True)(state.params)
        return jnp.isfinite(loss) & jnp.isfinite(optax.tree.norm(gradient))

    def alone(sample: PyTree) -> Bool[Array, ""]:
        x, y = jax.tree.map(lambda a: a[None], sample)
        return is_finite(Batch(x, y, jnp.ones(1), jnp.ones(1), whole.key))

    # Nothing hides it: 0 · NaN is NaN, so samples cannot be told apart by weights. One after the
    # other: a gradient for each sample at once is the whole model that many times.
    each = jax.lax.map(alone, (whole.x, whole.y))
    found = each | (whole.mask == 0), is_finite(whole)
    devices = fixed.settings.devices
    return found if devices is None else jax.lax.with_sharding_constraint(found, devices.sharding())


def _each(key: PRNGKeyArray, y: Num[Array, "batch ..."], part: Part | None) -> Array:
    """Keys, one for each sample: by its place in the batch, wherever it is."""
    return (
        jax.random.split(key, len(y))
        if part is None
        else jax.random.split(key, part.size)[part.places]
    )


def _objective(
    model: Any,
    model_state: PyTree,
    x: PyTree[Array],
    y: Num[Array, "batch ..."],
    mask: Float[Array, " batch"],
    weight: Float[Array, " batch"],
    key: PRNGKeyArray,
    settings: Settings,
    part: Part | None = None,
) -> tuple[Float[Array, ""], tuple[Sums, Float[Array, ""], PyTree]]:
    """The loss, and the Jacobian penalty, as weighted means over a batch; or what a part of it adds
    to them."""
    # Split whether or not both are used: a penalty of zero must not change the dropout.
    drop_key, probe_key = jax.random.split(key)
    look = settings.look
    if settings.unrolled_layers:
        model = model.unrolled(settings.unrolled_layers)

    def one(x: PyTree, y: Array, key: PRNGKeyArray, probe: PRNGKeyArray) -> tuple[Any, PyTree]:
        penalty = jnp.zeros((), mask.dtype)
        if callable(look.loss):
            loss, state, solves = losing(look.loss, model, x, y, key, model_state)
            return (loss, None, solves, penalty), state
        if settings.jacobian_penalty is not None:
            called, penalty = with_penalty(model, x, key, probe)
        else:
            called = forward(model, x, key=key, state=model_state)
        return (None, called.outputs, called.solves, penalty), called.state

    # One dropout mask for the batch, or one per sample. An axis of `None` gives `vmap` one key for
    # all, and then it also draws the mask once.
    drop, axis = (drop_key, None) if settings.shared_dropout else (_each(drop_key, y, part), 0)
    probes = _each(probe_key, y, part)
    each = over_batch(one, (0, 0, axis, 0), model_state)
    (losses, outputs, solves, penalties), model_state = each(x, y, drop, probes)
    if not callable(look.loss):
        outputs, losses = named_losses(look.loss, outputs, y)
    # All of a batch may have no weight; then there is nothing to learn from it.
    total, weights = jnp.sum(mask), jnp.sum(weight)
    if part is not None:
        total, weights = part.total, part.weights
    penalty = jnp.sum(mask * penalties) / total
    loss = jnp.sum(weight * losses) / jnp.where(weights > 0, weights, 1)
    if settings.jacobian_penalty is not None:
        loss = loss + settings.jacobian_penalty.astype(penalty.dtype) * penalty
    sums = Sums.of(look.in_training, losses, outputs, solves, y, mask, weight)
    return loss, (sums, jax.lax.stop_gradient(penalty), model_state)
