"""A training that ends says at which step, and which samples to look at."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqx_qdeq.training import epoch_batches, fit, Split, TrainingError
from tests.training._stand_in import make_data, make_model

pytestmark = pytest.mark.float32

DATA = make_data()


class _Root(eqx.Module):
    """Finite logits, but no derivative where a feature is exactly zero."""

    linear: eqx.nn.Linear

    def __call__(self, x, *, key=None):
        scaled = self.linear.weight * x[None]
        return jnp.sum(jnp.sqrt(jnp.abs(scaled)), axis=1) + self.linear.bias


def _run(data, model):
    options = {"optimizer": optax.sgd(1e-3), "epochs": 1, "batch_size": 16, "progress": False}
    with pytest.raises(TrainingError) as error:
        fit(model, data, **options)
    return str(error.value)


def test_it_names_the_samples():
    x = np.array(DATA.train.x)
    batch = np.asarray(epoch_batches(60, 16, 0, 0, False))[2]
    x[batch[[3, 5]], 0] = 0
    train = Split(jnp.asarray(x), DATA.train.y)
    data = eqx.tree_at(lambda d: d.train, DATA, train)
    size, classes = x.shape[1], DATA.n_classes
    model = _Root(eqx.nn.Linear(size, classes, key=jax.random.key(0)))
    rows = ", ".join(map(str, sorted(batch[[3, 5]])))
    text = _run(data, model)
    assert f"in step 3 (epoch 1), for 2 of its 16 samples: rows {rows} of the training" in text


@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("what", ["parameters", "state"])
def test_a_finite_gradient_that_makes_infinities(what, epochs, tmp_path):
    """The last step of a run included: with one step an epoch, the only one."""
    largest = float(jnp.finfo(DATA.train.x.dtype).max)
    # In float32, by hand: 1e30² is no number, and Adam's step is then zero, for ever.
    state = optax.chain(optax.scale(largest**0.8), optax.adam(0.05))
    optimizer = optax.sgd(largest) if what == "parameters" else state
    options = {"optimizer": optimizer, "batch_size": 60, "progress": False, "epochs": epochs}
    model = make_model(jax.random.key(0))
    scaled = eqx.tree_at(lambda m: m.head.weight, model, 30 * model.head.weight)
    message = r"the parameters or the optimizer's state became NaN or infinite in step 1 \(epoch 1"
    # A run that is taken up again says the same, and not that its checkpoint is useless.
    for _ in range(2):
        with pytest.raises(TrainingError, match=message):
            fit(scaled, DATA, checkpoint_dir=tmp_path, **options)


def test_what_is_infinite_from_the_start_may_stay():
    """As the best loss so far of a reduction on plateaus."""
    optimizer = optax.chain(optax.sgd(0.1), optax.contrib.reduce_on_plateau())
    state = optimizer.init(jnp.zeros(2))
    assert not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state))
    options = {"optimizer": optimizer, "epochs": 1, "batch_size": 16, "progress": False}
    assert fit(make_model(jax.random.key(0)), DATA, **options).steps == 4
