"""A training that ends says at which step, and which samples to look at."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from eqx_qdeq.training import epoch_batches, fit, Split, TrainingError
from tests.training._stand_in import make_data

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
