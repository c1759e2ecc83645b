"""Bytes of a training step, told before it is compiled; and what cannot fit, refused by name."""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import pytest

import eqx_qdeq as qdeq
from eqx_qdeq import simulate
from eqx_qdeq.circuits import hardware_efficient

pytestmark = pytest.mark.float32

NOISE = qdeq.noise.NoiseModel.depolarizing(0.01)


def _layer(n, *, depth=1, encoding=None, measurement=None, **options):
    encoding = qdeq.AmplitudeEncoding() if encoding is None else encoding
    measurement = qdeq.PauliZ() if measurement is None else measurement
    circuit = hardware_efficient(n, depth)
    return qdeq.QuantumLayer(circuit, encoding, measurement, key=jax.random.key(0), **options)


def _qdeq(n):
    return qdeq.QDEQ(n, 100, circuit=hardware_efficient(n, 1), key=jax.random.key(0))


def _feedback(n):
    layer = _layer(n, encoding=qdeq.AngleEncoding())
    return qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AngleFeedback()))


def _composed(n):
    layer = _layer(n, encoding=qdeq.AngleEncoding())
    return qdeq.DEQ(qdeq.QuantumCell(layer, qdeq.AddInjection(n)), qdeq.Anderson(1e-4, 1e-4))


# Sizes from one MiB to a hundred.
STEPS = {
    "statevector": (lambda: _layer(12, engine="statevector"), 2**12, 16),
    "uncomputed": (lambda: _layer(12, engine="statevector", gradient="uncomputed"), 2**12, 32),
    "operator": (lambda: _layer(9, engine="operator"), 2**9, 64),
    "heisenberg": (lambda: _layer(8, engine="heisenberg"), 2**8, 64),
    "re-uploading": (
        lambda: _layer(10, encoding=qdeq.DataReuploading(qdeq.AngleEncoding(), 2)),
        10,
        32,
    ),
    "density": (lambda: _layer(6, engine="density", noise=NOISE), 2**6, 16),
    "forms": (lambda: _layer(6, noise=NOISE), 2**6, 16),
    "trajectories": (
        lambda: _layer(8, engine="trajectories", noise=NOISE, n_trajectories=32),
        2**8,
        8,
    ),
    "equilibrium": (lambda: _qdeq(12), 100, 16),
    "feedback": (lambda: _feedback(9), 9, 16),
    "anderson": (lambda: _composed(9), 9, 16),
}


@pytest.mark.parametrize("name", STEPS)
def test_the_estimate_is_near_what_xla_takes(name):
    make, size, batch = STEPS[name]
    model, x = make(), jax.ShapeDtypeStruct((size,), jnp.result_type(float))
    told, taken = (qdeq.memory(model, x, batch=batch, exact=exact) for exact in (False, True))
    assert taken.exact and taken.gradient > 2**20
    assert 0.45 < told.value / taken.value < 1.85
    assert 0.45 < told.gradient / taken.gradient < 1.85


def test_a_plan_tells_the_bytes_of_a_training_step():
    layer = _layer(10, engine="statevector", expected_batch=64)
    plan, alone = layer.plan(2**10), qdeq.memory(layer, jnp.ones(2**10), batch=64)
    assert plan.memory == alone
    assert str(alone) in str(plan) and "a batch of 64" in str(alone)
    # A sample has two parts of 2**10 numbers, and its gradient keeps one such state for a block.
    itemsize = jnp.result_type(float).itemsize
    assert alone.gradient > len(plan.plan.blocks) * 64 * 2 * 2**10 * itemsize / 2
    assert alone.value < alone.gradient < alone.available


def test_any_function_may_be_asked_about():
    # Nothing is computed: 3 numbers come in and 6 come out, and none is a parameter.
    itemsize = jnp.result_type(float).itemsize
    told = qdeq.memory(lambda x: jnp.concatenate([2 * x, x]), jnp.ones(3))
    assert (told.value, told.batch) == (9 * itemsize, None)
    with pytest.raises(ValueError, match="`batch` must be at least 1"):
        qdeq.memory(jnp.sin, jnp.ones(3), batch=0)


N = 41
X = jnp.ones(100)
# All that a user may ask of so many wires.
REQUESTS = {
    "layer": lambda: _layer(N)(X),
    "complex amplitudes": lambda: _layer(N, encoding=qdeq.ComplexAmplitudeEncoding())(X),
    "angles": lambda: _layer(N, encoding=qdeq.AngleEncoding())(jnp.ones(N)),
    "re-uploading": lambda: _layer(N, encoding=qdeq.DataReuploading(qdeq.AngleEncoding(), 1))(
        jnp.ones(N)
    ),
    "operator": lambda: _layer(N, engine="operator")(X),
    "heisenberg": lambda: _layer(N, engine="heisenberg")(X),
    "strings": lambda: _layer(N, measurement=qdeq.PauliStrings(["X0 Y1"]))(X),
    "map": lambda: _layer(N).map(X[None]),
    "density": lambda: _layer(N, noise=NOISE, engine="density")(X),
    "forms": lambda: _layer(N, noise=NOISE, engine="heisenberg")(X),
    "trajectories": lambda: _layer(N, noise=NOISE, engine="trajectories")(X),
    "shots": lambda: qdeq.with_shots(_layer(N), 100)(X),
    "equilibrium": lambda: _qdeq(N)(X),
    "noisy equilibrium": lambda: qdeq.with_noise(_qdeq(N), NOISE, engine="trajectories")(X),
    "feedback": lambda: _feedback(N)(jnp.ones(N)),
    "composed": lambda: _composed(N)(jnp.ones(N)),
    "state": lambda: qdeq.AmplitudeEncoding().state(X, N),
    "state of angles": lambda: qdeq.AngleEncoding().state(jnp.ones(N), N),
    "eigenvalues": lambda: qdeq.PauliZ().diagonals(N),
    "columns": lambda: simulate.plan_columns(
        simulate.make_plan(hardware_efficient(N, 1)), jnp.zeros(2 * N), 4
    ),
}


@pytest.mark.parametrize("request_", REQUESTS.values(), ids=REQUESTS)
def test_what_cannot_fit_is_refused_by_name(request_):
    with pytest.raises(MemoryError, match=r"41 wires.*: at least .*iB are needed, and there are"):
        request_()


def test_more_wires_than_fit_can_be_planned():
    plan = _layer(N).plan(100, batch=2)
    assert plan.engine == "statevector"
    assert plan.memory is not None and plan.memory.value > 2 * 2 * 2**N * 4


def test_samples_count():
    layer = _layer(13, engine="statevector")
    x, batch = jnp.ones(2**13), jnp.ones((600, 2**13))
    with qdeq.memory_limit(2**26):
        assert jnp.all(jnp.isfinite(layer(x)))
        for run in (jax.vmap(layer), jax.jit(jax.vmap(layer)), jax.vmap(jax.jit(layer.__call__))):
            with pytest.raises(MemoryError, match="13 wires for 600 samples at a time: at least"):
                jax.eval_shape(run, batch)
        # In chunks they fit.
        jax.eval_shape(lambda b: layer.map(b, memory=2**24), batch)


def test_what_a_gradient_keeps_counts_where_it_is_kept():
    layer, x = _layer(14, depth=6, engine="statevector", block_size=2), jnp.ones(2**14)
    loss = lambda layer, x: jnp.sum(layer(x) ** 2)
    shape = lambda gradient, *args: eqx.filter_eval_shape(gradient, *args)
    with qdeq.memory_limit(2**22 * x.dtype.itemsize // 2):
        shape(loss, layer, x)
        with pytest.raises(MemoryError, match="with what its gradient keeps.*uncomputed"):
            shape(eqx.filter_grad(loss), layer, x)
        # That of the features keeps nothing, nor do undone blocks.
        shape(jax.grad(lambda x: loss(layer, x)), x)
        shape(eqx.filter_grad(loss), layer.replace(gradient="uncomputed"), x)
    with qdeq.memory_limit(None):
        shape(eqx.filter_grad(loss), layer, x)


def test_a_dense_jacobian_of_a_large_state_is_refused():
    cell = qdeq.FunctionCell(lambda z, x: jnp.tanh(z) * x, lambda x: jnp.zeros(10**6, x.dtype))
    x = jnp.ones(())
    with pytest.raises(MemoryError, match=r"Jacobian of a state of 1,000,000 numbers"):
        qdeq.jacobian(cell.bind(x), jnp.zeros(10**6))
    with pytest.raises(MemoryError, match=r"1,000,000 numbers, for LU"):
        qdeq.DEQ(cell, qdeq.Newton(1e-4, 1e-4, linear_solver=lx.LU()))(x)
    deq = qdeq.DEQ(cell, adjoint=qdeq.ImplicitAdjoint(lx.LU()))
    with pytest.raises(MemoryError, match=r"1,000,000 numbers, for LU"):
        eqx.filter_eval_shape(jax.grad(lambda x: jnp.sum(deq(x))), x)


def test_what_was_planned_or_run_before_is_refused_all_the_same():
    """JAX keeps what it has traced."""
    wide, x = _layer(N, encoding=qdeq.AngleEncoding()), jnp.ones(N)
    assert wide.plan(N).memory.value > 2**N and qdeq.memory(wide, x).value > 2**N
    loss = lambda layer: jnp.sum(layer(x))
    for run in (loss, eqx.filter_grad(loss), eqx.filter_jit(loss)):
        with pytest.raises(MemoryError, match="41 wires"):
            run(wide)
    small = eqx.filter_jit(_layer(12, encoding=qdeq.AngleEncoding()))
    small(jnp.ones(12))
    with qdeq.memory_limit(1000), pytest.raises(MemoryError, match="12 wires"):
        small(jnp.ones(12))
    with qdeq.memory_limit(None):
        small(jnp.ones(12))


def test_checkpoints_are_kept():
    layer = _layer(14, depth=20, encoding=qdeq.AngleEncoding(), gradient="checkpointed")
    sections, state = layer.plan(14).plan.n_sections, 2 * 2**14 * jnp.result_type(float).itemsize
    assert sections >= 5
    gradient = eqx.filter_grad(lambda layer: jnp.sum(layer(jnp.ones(14))))
    with qdeq.memory_limit((sections - 1) * state):
        eqx.filter_eval_shape(_layer(14, depth=20, encoding=qdeq.AngleEncoding()), jnp.ones(14))
        with pytest.raises(MemoryError, match="with what its gradient keeps"):
            eqx.filter_eval_shape(gradient, layer)


def test_a_limit_is_what_it_says(monkeypatch):
    for wrong in (0, -1, True):
        with pytest.raises(ValueError, match="`bytes` must be a positive number"):
            with qdeq.memory_limit(wrong):
                pass
    with qdeq.memory_limit(2**30):
        with pytest.raises(MemoryError, match="there are 1 GiB"):
            qdeq.AmplitudeEncoding().state(X, 29)
    # A container may use less than the machine has.
    texts = {"/sys/fs/cgroup/memory.max": "1048576\n", "/proc/meminfo": "SwapTotal: 1024 kB\n"}
    monkeypatch.setattr("eqx_qdeq._memory._read", lambda path: texts.get(path, ""))
    assert qdeq.memory(jnp.sin, X).available == 2**21
