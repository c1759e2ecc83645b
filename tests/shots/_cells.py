"""Small cells of all kinds, and their exact gradients."""

import equinox as eqx
import jax
import jax.numpy as jnp

import eqx_qdeq as qdeq

WEIGHTS = jnp.array([1.0, -2.0])
TIGHT = qdeq.Newton(rtol=1e-7, atol=1e-7)


def make_cell(kind, key, measurement=None):
    """A cell on two wires and the size of its samples; gains are trained."""
    encoding, injection, in_size = {
        "feedback": (qdeq.AmplitudeEncoding(), qdeq.AngleFeedback(gain=jnp.array(0.8)), 4),
        "both angles": (qdeq.AngleEncoding(), qdeq.AngleFeedback("X", jnp.array([0.5, 0.7])), 2),
        "concat": (qdeq.AngleEncoding("Y"), qdeq.ConcatInjection(gain=jnp.array(0.6)), 2),
        "amplitudes": (qdeq.AmplitudeEncoding(), qdeq.AddInjection(4), 4),
    }[kind]
    circuit = qdeq.Circuit(
        ["Ry", "CRy", "Rz", "Ry", "CX", "Rx"],
        [[0], [0, 1], [1], [1], [1, 0], [0]],
        [[0], [1], [2], [3], [], [0]],
    )
    measurement = qdeq.PauliZ() if measurement is None else measurement
    layer = qdeq.QuantumLayer(circuit, encoding, measurement, key=key)
    return qdeq.QuantumCell(layer, injection), in_size


def flat_gradient(model, x, run):
    """With respect to all that is trained, as one vector; and the value."""

    def loss(m):
        value = run(m, x)
        return jnp.dot(WEIGHTS, value), value

    gradient, value = eqx.filter_grad(loss, has_aux=True)(model)
    leaves = jax.tree_util.tree_leaves(gradient)
    return jnp.concatenate([jnp.ravel(leaf) for leaf in leaves]), value


@eqx.filter_jit
def exact_gradients(cell, x):
    """Of a batch, with the equilibria."""
    run = lambda cell, x: qdeq.DEQ(cell, TIGHT)(x)
    return jax.vmap(lambda x: flat_gradient(cell, x, run))(x)


def exact_gradient(cell, x):
    return exact_gradients(cell, x[None])[0][0]


@eqx.filter_jit
def sampled_gradients(cell, x, keys, n_shots, gradient, backward):
    """At the exact equilibrium, for many keys."""

    def one(key):
        deq = lambda cell, x: qdeq.SampledDEQ(cell, n_shots, TIGHT, gradient, backward)(x, key=key)
        return flat_gradient(cell, x, deq)[0]

    return jax.lax.map(one, keys, batch_size=250)
