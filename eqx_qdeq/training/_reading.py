"""What is read of a stream, and when: the next samples while a model is trained on these."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Num, PyTree

from .._mesh import Devices
from .data import Stream

_A = TypeVar("_A")
_B = TypeVar("_B")

Read = dict[tuple[int, int], PyTree[np.ndarray]]
"""Samples and labels, by their places in a batch: the first, and that after the last."""


def read(stream: Stream, rows: Int[np.ndarray, "*steps batch"], devices: Devices | None) -> Read:
    """Those of these rows that this process needs: where there are devices, what is on its own."""
    spans = {(0, rows.shape[-1])}
    if devices is not None:
        there = _sharding(rows.ndim, devices).addressable_devices_indices_map(rows.shape)
        spans = {_span(index, rows.shape) for index in there.values()}
    found = {}
    for start, stop in sorted(spans):
        some = rows[..., start:stop]
        found[start, stop] = stream.read(some), stream.y[some]
    return found


def place(found: Read, shape: tuple[int, ...], devices: Devices | None) -> tuple[PyTree, Array]:
    """What `read` has read, for rows of this shape, as arrays on the devices."""
    if devices is None:
        (whole,) = found.values()
        return jax.tree.map(jnp.asarray, whole)
    there, spans = _sharding(len(shape), devices), list(found)

    def put(*parts: np.ndarray) -> Array:
        at = dict(zip(spans, parts, strict=True))
        whole = (*shape, *parts[0].shape[len(shape) :])
        return jax.make_array_from_callback(whole, there, lambda index: at[_span(index, shape)])

    return jax.tree.map(put, *found.values())


def _sharding(ndim: int, devices: Devices) -> jax.sharding.NamedSharding:
    return devices.sharding(*[None] * (ndim - 1), devices.samples)


def _span(index: tuple[slice, ...], shape: tuple[int, ...]) -> tuple[int, int]:
    start, stop, _ = index[len(shape) - 1].indices(shape[-1])
    return start, stop


def ahead(function: Callable[[_A], _B], arguments: Iterable[_A]) -> Iterator[_B]:
    """`map(function, arguments)`, of which the next one is found while this one is used."""
    with ThreadPoolExecutor(1) as pool:
        coming = None
        for argument in arguments:
            this, coming = coming, pool.submit(function, argument)
            if this is not None:
                yield this.result()
        if coming is not None:
            yield coming.result()


class Batches(NamedTuple):
    """The batches of some steps, x and y in parts on the devices."""

    x: PyTree[Array]
    y: Num[Array, "steps batch ..."]
    weight: Num[Array, "steps batch"] | None
    rows: Int[Array, "steps batch"]  # as `epoch_batches` writes them


class Reader:
    """The batches of a training, a stretch of steps at a time, all stretches of one shape."""

    def __init__(
        self,
        stream: Stream,
        weight: np.ndarray | None,
        order: Callable[[int], Int[np.ndarray, "n_batches batch"]],
        epochs: int,
        devices: Devices | None,
    ):
        self._stream, self._weight, self._order = stream, weight, order
        self._epochs, self._devices = epochs, devices
        self._n_batches, self._size = order(0).shape
        # Of what is in the memory of this process.
        processes = 1 if devices is None else jax.process_count()
        batch_bytes = -(-self._size // processes) * stream.row_bytes
        self._steps = min(max(stream.buffer // batch_bytes, 1), self._n_batches)
        self._next, self._ahead = -1, iter(())

    def stretch(self, step: int) -> range:
        """The steps that are read together with this one."""
        epoch, within = divmod(step, self._n_batches)
        first = epoch * self._n_batches + within // self._steps * self._steps
        return range(first, min(first + self._steps, (epoch + 1) * self._n_batches))

    def at(self, first: int) -> Batches:
        """The stretch that begins with this step."""
        if first != self._next:
            self.close()
            self._ahead = ahead(self._read, self._stretches(first))
        self._next = self.stretch(first).stop
        rows, found = next(self._ahead)
        batches = self._filled(self._rows(self.stretch(first)))
        x, y = place(found, rows, self._devices)
        index = np.maximum(batches, -1 - batches)
        weight = None if self._weight is None else jnp.asarray(self._weight[index])
        return Batches(x, y, weight, jnp.asarray(batches))

    def close(self) -> None:
        """Ends the reading ahead."""
        self._next = -1
        if hasattr(self._ahead, "close"):
            self._ahead.close()

    def _stretches(self, first: int) -> Iterator[range]:
        while first < self._epochs * self._n_batches:
            yield self.stretch(first)
            first = self.stretch(first).stop

    def _rows(self, steps: range) -> Int[np.ndarray, "steps batch"]:
        epoch, within = divmod(steps.start, self._n_batches)
        return self._order(epoch)[within : within + len(steps)]

    def _read(self, steps: range) -> tuple[tuple[int, int], Read]:
        batches = self._rows(steps)
        rows = np.maximum(batches, -1 - batches)
        if self._devices is not None:
            # The last sample again, where parts would be unequal.
            more = self._devices.padded(self._size) - self._size
            rows = np.concatenate([rows, np.repeat(rows[:, -1:], more, axis=1)], axis=1)
        found = jax.tree.map(self._filled, read(self._stream, rows, self._devices))
        return (self._steps, rows.shape[1]), found

    def _filled(self, of_steps: np.ndarray) -> np.ndarray:
        """Up to the length of all stretches; nothing looks there."""
        more = self._steps - len(of_steps)
        if more == 0:
            return of_steps
        return np.concatenate([of_steps, np.zeros((more, *of_steps.shape[1:]), of_steps.dtype)])
