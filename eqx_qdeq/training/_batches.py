"""Which samples are in which batch, and what is taken of them."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Num, PRNGKeyArray, PyTree

from .._mesh import Devices


def epoch_batches(
    n: int,
    batch_size: int,
    seed: int,
    epoch: int,
    drop_last: bool,
    *,
    others: bool = False,
    parts: int = 1,
) -> Int[np.ndarray, "n_batches batch"]:
    """Which samples are in which batch of an epoch. The last one is filled up by sample 0, written
    as -1; or, with `others`, by the epoch's first, of which sample i is written as -1 - i. Of
    `parts`, each is shuffled by itself and has its own place in each batch."""
    # Philox is keyed: the permutation follows from seed and epoch alone, so a resumed run needs no
    # state of a generator. It is the same on every machine; JAX's own may change with its version.
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    n_batches = n // batch_size if drop_last else -(-n // batch_size)
    size, places = n // parts, batch_size // parts
    found = []
    for part in range(parts):
        order = part * size + generator.permutation(size)
        batches = np.full(n_batches * places, -1, np.int32)
        kept = min(size, len(batches))
        batches[:kept] = order[:kept]
        if others or parts > 1:
            batches[kept:] = -1 - order[: len(batches) - kept]
        found.append(batches.reshape(n_batches, places))
    return np.concatenate(found, axis=1)


class Batch(NamedTuple):
    """The samples of a step."""

    x: PyTree[Array]
    y: Num[Array, "batch ..."]
    mask: Float[Array, " batch"]  # 0 where the batch is filled up
    weight: Float[Array, " batch"]  # in the loss
    key: PRNGKeyArray


class Part(NamedTuple):
    """What a device has of a batch must be told of the whole."""

    size: int
    places: Int[Array, " part"]  # in the batch, of each sample here
    total: Float[Array, ""]  # the number of samples in the batch
    weights: Float[Array, ""]  # ... and their weights


def part_of(
    index: Int[Array, " batch"], weight: Float[Array, " batch"] | None, devices: Devices
) -> tuple[Int[Array, " part"], Part]:
    """Which of a batch's samples are those of this device."""
    size = len(index)
    places = devices.own(jnp.arange(devices.padded(size)))
    # Filled up, too, where the batch cannot be divided.
    there, places = places < size, jnp.minimum(places, size - 1)
    mine = jnp.where(there, index[places], -1)
    mask = (index >= 0).astype(jnp.result_type(float))
    weights = mask if weight is None else mask * weight
    return mine, Part(size, places, jnp.sum(mask), jnp.sum(weights))


def batch_of(
    x: PyTree[Array],
    y: Num[Array, "batch ..."],
    weight: Float[Array, " batch"] | None,
    index: Int[Array, " batch"],
    key: PRNGKeyArray,
) -> Batch:
    """Samples as a batch, which `epoch_batches` has written."""
    # All batches have one shape, so that they share one compiled body. Where the last one is filled
    # up, it is at weight 0, and means divide by the sum of the weights.
    mask = (index >= 0).astype(jnp.result_type(float))
    return Batch(x, y, mask, mask if weight is None else mask * weight, key)
