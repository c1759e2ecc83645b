"""The reader of compiled programs sees what it should."""

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P

from benchmarks._collectives import collectives


def test_collectives_are_seen_with_their_loops(automatic):
    def of(x):
        inner = lambda i, y: y + jax.lax.psum(y, "batch")
        middle = lambda i, y: jax.lax.all_gather(jax.lax.fori_loop(0, 3, inner, y), "batch")[0]
        return jax.lax.pmax(jax.lax.fori_loop(0, 5, middle, x), "batch")

    mapped = jax.shard_map(of, mesh=automatic, in_specs=P("batch"), out_specs=P(), check_vma=False)
    text = jax.jit(mapped).lower(jnp.ones(8, jnp.float32)).compile().as_text()
    assert sorted(collectives(text), key=lambda found: found.loops) == [
        ("all-reduce", 0, 4),
        ("all-gather", 1, 32),
        ("all-reduce", 2, 4),
    ]
