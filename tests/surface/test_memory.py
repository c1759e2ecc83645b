"""The bytes of a training step: what may be asked about."""

import jax.numpy as jnp
import pytest

import eqx_qdeq as qdeq


def test_what_is_no_model_or_no_number():
    with pytest.raises(TypeError, match="`model` must be a function of one sample; got"):
        qdeq.memory(3, jnp.ones(3))
    with pytest.raises(ValueError, match="`bytes` must be a positive number"):
        with qdeq.memory_limit("1 GiB"):
            pass
    assert "a batch of 4" in str(qdeq.memory(jnp.sin, jnp.ones(3), batch=jnp.array(4)))
