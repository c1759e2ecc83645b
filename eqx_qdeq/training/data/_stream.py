"""Samples that stay where they are: sources larger than memory, read a few rows at a time."""

import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import jax
import jax.tree_util as jtu
import numpy as np
from jax.experimental import multihost_utils
from jaxtyping import Float, Int, Num, PyTree

from ..._checks import check_at_least, describe
from ._arrays import as_samples, check_finite, DataError, on_host
from ._samples import check_shapes, targets_of, weights_of

_T = TypeVar("_T")

_BLOCK = 1024
"""Of so many rows there is a checksum: the same ones, whichever processes read them."""


class Stream:
    """As [`eqx_qdeq.training.Split`][], of samples that stay where they are: rows of a source
    larger than memory are read as they are needed, the next ones while a model is trained on these.

    Batches, and what is learned from them, are those of a `Split` of the same samples. With a
    `mesh` over several processes, each reads what its own devices need.

    A source is read once when a stream is made of it, in pieces: for its labels, for its checksum,
    by which a checkpoint knows its data, and to see that all of it can be learned from. (Several
    processes share this, so all of them make the stream.) What is read later is looked at again.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        x = np.lib.format.open_memmap("x.npy", mode="w+", shape=(100, 3), dtype="f4")
        y = np.arange(100) % 2
        rest, aside = training.stratified_split(y, 0.2, seed=0)
        train = training.Stream(x, y, rows=rest)
        validation = training.Stream(x, y, rows=aside)
        names = ("even", "odd")
        data = training.Dataset(train, validation, validation, class_names=names)
        len(train), train.x.shape  # (80, (80, 3))
        ```

    **Attributes:**

    - `x`: shape and type of the samples, each a `jax.ShapeDtypeStruct`.
    - `y`, `sample_weight`: as those of a `Split`, in the host's memory.
    - `parts`: how many parts are shuffled each by itself.
    - `digest`: the checksum.
    """

    x: PyTree[jax.ShapeDtypeStruct]
    y: Num[np.ndarray, "n ..."]
    sample_weight: Float[np.ndarray, " n"] | None
    parts: int
    digest: str

    def __init__(
        self,
        x: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        rows: Any = None,
        preprocess: Callable[[Any], Any] | None = None,
        parts: int | None = None,
        buffer: int = 2**25,
        threads: int = 8,
        name: str = "the stream",
    ):
        counts = {"buffer": buffer, "threads": threads, "parts": 1 if parts is None else parts}
        for argument, value in counts.items():
            check_at_least(argument, value, 1)
        self.name, self.buffer, self.parts = name, buffer, counts["parts"]
        self._source = _Source(x, y is not None, threads, name)
        self._preprocess = preprocess
        self._rows = _rows_of(rows, len(self._source), name)
        n = len(self._rows)
        if parts is not None:
            lengths = sorted(set(_everyones(np.asarray([n], np.int32)).tolist()))
            if len(lengths) > 1:
                raise DataError(f"{name}: processes must have equally many samples; got {lengths}.")
        # Of parts this process has its own alone, after those of the processes before it.
        processes = 1 if parts is None else jax.process_count()
        self._n, self._first = n * processes, 0 if parts is None else n * jax.process_index()
        if self._n % self.parts or self.parts % processes:
            raise DataError(
                f"{name}: {self._n} samples, of {processes} processes, cannot be {self.parts} "
                "equal parts with whole ones in each process; use another number of `parts`, or "
                "leave some `rows` out."
            )
        # The first sample says what all are like.
        self.x = None
        form, *_ = self._read(np.asarray([self._first]))
        of = lambda a: jax.ShapeDtypeStruct((self._n, *a.shape[1:]), a.dtype)
        self.x = jtu.tree_map(of, form)
        self.y, self.sample_weight, self.digest = self._looked_through(y, sample_weight)

    def __len__(self) -> int:
        return self._n

    @property
    def row_bytes(self) -> int:
        """How large a sample is."""
        leaves = jtu.tree_leaves(self.x)
        return max(sum(a.dtype.itemsize * a.size for a in leaves) // self._n, 1)

    def read(self, rows: Int[np.ndarray, "*n"]) -> PyTree[np.ndarray]:
        """The samples of these rows."""
        x, *_ = self._read(rows.reshape(-1))
        return jtu.tree_map(lambda a: a.reshape(*rows.shape, *a.shape[1:]), x)

    def _read(self, rows: Int[np.ndarray, " k"]) -> tuple[PyTree[np.ndarray], Any, Any]:
        """The samples of these rows, and what else is in their records: y and weights."""
        own = rows - self._first
        if np.any((own < 0) | (own >= len(self._rows))):
            raise DataError(
                f"{self.name}: this process has the samples {self._first} to "
                f"{self._first + len(self._rows) - 1} and needs others; use a `mesh` of the "
                "devices of all processes, in their order, and a `batch_size` that is a multiple "
                "of their number."
            )
        there = self._rows[own]
        found, y, weight = self._source.read(there)
        x = as_samples(found, self.name)
        if self._preprocess is not None:
            x = as_samples(self._preprocess(x), f"{self.name}, preprocessed")
        x = jtu.tree_map(lambda a: on_host(a, f"{self.name}: x"), x)
        check_finite(x, self.name, rows=there)
        shapes = lambda tree: jtu.tree_map(lambda a: (a.shape[1:], str(a.dtype)), tree)
        here = shapes(x), len(jtu.tree_leaves(x)[0])
        if self.x is not None and here != (shapes(self.x), len(rows)):
            raise DataError(
                f"{self.name}: samples {there[0]} to {there[-1]}, {len(there)} of them, came as "
                f"{here[1]} of (shape, type) {here[0]}, where the first is of {shapes(self.x)}; "
                "they must agree."
            )
        return x, y, weight

    # --- What must be known of all samples before the first step. ---

    def _looked_through(
        self, y: Any, weight: Any
    ) -> tuple[Num[np.ndarray, "n ..."], Float[np.ndarray, " n"] | None, str]:
        """Labels and weights of all samples, and the checksum."""
        given = None
        if y is not None:
            take = lambda a, what: _whole(a, len(self._source), f"{self.name}: {what}")[self._rows]
            given = take(y, "y"), None if weight is None else take(weight, "sample_weight")
        elif weight is not None:
            raise DataError(
                f"{self.name}: weights of a source of records stand in them, as (x, y, weight)."
            )
        y, weight, blocks = _by_all(lambda: self._own_blocks(given), self.name)
        if given is None or len(given[0]) < self._n:
            y = _everyones(y)
            if weight is not None:
                weight = _everyones(np.asarray(weight, jax.dtypes.canonicalize_dtype(float)))
        weight = weights_of(weight, self._n, self.name)
        shapes = [(a.shape, str(a.dtype.kind)) for a in jtu.tree_leaves(self.x)]
        sha = hashlib.sha256(f"{jtu.tree_structure(self.x)} {shapes} {self.parts}".encode())
        sha.update(_everyones(blocks).tobytes())
        for array in [y] if weight is None else [y, weight]:
            sha.update(_in_32_bits(array))
        return y, weight, sha.hexdigest()[:16]

    def _own_blocks(
        self, given: tuple[np.ndarray, np.ndarray | None] | None
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Labels, weights and checksums: of all samples if they are given, and of what this
        process has to look at."""
        size = self._n // self.parts
        blocks = [
            np.arange(start, min(start + _BLOCK, (part + 1) * size))
            for part in range(self.parts)
            for start in range(part * size, (part + 1) * size, _BLOCK)
        ]
        me, processes = jax.process_index(), jax.process_count()
        if len(self._rows) < self._n:
            ends = self._first, self._first + len(self._rows)
            mine = [block for block in blocks if ends[0] <= block[0] < ends[1]]
        else:
            mine = blocks[len(blocks) * me // processes : len(blocks) * (me + 1) // processes]
        at_once = max(self.buffer // self.row_bytes, 1)
        checksums, targets, weights = [np.zeros((0, 32), np.uint8)], [], []
        for block in mine:
            shas = [hashlib.sha256() for _ in jtu.tree_leaves(self.x)]
            for start in range(0, len(block), at_once):
                rows = block[start : start + at_once]
                x, y, weight = self._read(rows)
                for sha, leaf in zip(shas, jtu.tree_leaves(x), strict=True):
                    sha.update(_in_32_bits(leaf))
                if given is None:
                    check_shapes(x, y, self.name)
                    targets.append(targets_of(y, self.name))
                    weights += [] if weight is None else [weight]
            together = hashlib.sha256(b"".join(sha.digest() for sha in shas)).digest()
            checksums.append(np.frombuffer(together, np.uint8)[None])
        sums = np.concatenate(checksums)
        if given is not None:
            y, weight = given
            check_shapes([y], y, self.name)
            return targets_of(y, self.name), weight, sums
        if not targets:  # more processes than blocks
            _, y, weight = self._read(np.asarray([self._first]))
            y, weight = targets_of(y, self.name)[:0], None if weight is None else weight[:0]
            return y, weight, sums
        if len({y.dtype for y in targets}) > 1:
            raise DataError(f"{self.name}: y is real in some records and integer in others.")
        return np.concatenate(targets), np.concatenate(weights) if weights else None, sums


Stream.__init__.__doc__ = """**Arguments:**

- `x`: the source. Either one array, or a pytree of arrays, with a leading axis of samples:
    whatever has `shape`, `dtype` and `[rows]`, as `np.memmap` and the arrays of Zarr and h5py.
    Or records: whatever has a length and `[i]`, as a list or a `grain.MapDataset`; without `y`,
    each is `(x, y)` or `(x, y, weight)`.
- `y`: the labels or targets of all samples, where they are not in the records.
- `sample_weight`: how much each sample counts, likewise.
- `rows`: which samples of the source these are, in which order; all of them if left out.
- `preprocess`: what is done to samples that were read: a function of several of them, as
    [`eqx_qdeq.training.Compose`][] is one.
- `parts`: if given, the samples here are those of this process alone, an equal share of all. There
    are so many parts, each of which belongs to one process as a whole; each is shuffled by itself,
    and a batch has equally many samples of each. So a run goes on in other processes, if the
    number of these divides that of the parts. If left out, all processes see the whole source.
- `buffer`: how many bytes of samples are read at a time; at least a batch is. A few times as many
    are in memory.
- `threads`: how many records are read at once.
- `name`: what to call it in errors.

**Raises:** [`eqx_qdeq.training.DataError`][] for what is no source, no samples, samples of
different shapes, numbers that are not finite, labels that are not integers from 0, or samples that
cannot be read: here, and in training and evaluation.
"""


class _Source:
    """What a user gives, by rows."""

    def __init__(self, x: Any, has_targets: bool, threads: int, name: str):
        self.name, self._threads, self._has_targets, self._x = name, threads, has_targets, x
        leaves = [] if isinstance(x, list) else jtu.tree_leaves(x)
        self._is_columns = len(leaves) > 0 and all(map(_is_column, leaves))
        if self._is_columns:
            if not has_targets:
                raise DataError(f"{name}: a source that is an array needs `y`, the labels.")
            lengths = sorted({leaf.shape[0] for leaf in leaves})
            if len(lengths) > 1:
                raise DataError(f"{name}: the arrays of x must be of one length; got {lengths}.")
            self._n = int(lengths[0])
        elif hasattr(x, "__getitem__") and hasattr(x, "__len__") and not isinstance(x, dict | str):
            self._n = len(x)
        else:
            raise DataError(
                f"{name}: x must be an array, arrays, or records, with `[i]` and a length; got "
                f"{describe(x)}."
            )
        if self._n > np.iinfo(np.int32).max:
            raise DataError(
                f"{name}: {self._n} samples are more than {np.iinfo(np.int32).max}; a Grain data "
                "set that repeats itself has no end, and epochs do that here."
            )

    def __len__(self) -> int:
        return self._n

    def read(self, rows: Int[np.ndarray, " k"]) -> tuple[Any, Any, Any]:
        """x, y and weights of some rows; y and weights only where records have them."""
        try:
            if self._is_columns:
                return jtu.tree_map(lambda a: _rows_from(a, rows), self._x), None, None
            with ThreadPoolExecutor(self._threads) as pool:
                records = list(pool.map(self._record, rows))
        except Exception as error:
            raise DataError(
                f"{self.name}: reading {len(rows)} samples, from {rows.min()} to {rows.max()}, "
                f"ended in {type(error).__name__}: {error}"
            ) from error
        leaves, forms = zip(*records, strict=True)
        for row, some, form in zip(rows, leaves, forms, strict=True):
            if form is None:
                raise DataError(
                    f"{self.name}: sample {row} must be (x, y) or (x, y, weight), or x where `y` "
                    f"is given; got {describe(some)}. Of Grain, use e.g. "
                    "`.map(lambda r: (r['image'], r['label']))`, and no `filter`."
                )
            if form != forms[0]:
                raise DataError(
                    f"{self.name}: sample {row} is {form[0]} of shapes {form[1]}, and sample "
                    f"{rows[0]} is {forms[0][0]} of {forms[0][1]}; they must agree."
                )
        stacked = jtu.tree_unflatten(
            forms[0][0], [np.stack(some) for some in zip(*leaves, strict=True)]
        )
        return (stacked, None, None) if self._has_targets else (*stacked, None)[:3]

    def _record(self, row: np.integer) -> tuple[Any, Any]:
        """The arrays of a record and its form; itself and `None`, where it is none."""
        record = self._x[int(row)]
        is_pair = isinstance(record, tuple) and len(record) in (2, 3)
        if record is None or not (self._has_targets or is_pair):
            return record, None
        # Lists are arrays in the making, as in a `Split`.
        leaves, structure = jtu.tree_flatten(record, is_leaf=lambda v: isinstance(v, list))
        arrays = list(map(np.asarray, leaves))
        return arrays, (structure, [a.shape for a in arrays])


def _is_column(leaf: Any) -> bool:
    shape = getattr(leaf, "shape", None)
    return isinstance(shape, tuple) and len(shape) > 0 and hasattr(leaf, "dtype")


def _rows_from(array: Any, rows: Int[np.ndarray, " k"]) -> np.ndarray:
    if np.all(np.diff(rows) == 1):
        return np.asarray(array[int(rows[0]) : int(rows[-1]) + 1])
    # In ascending order, each once: as h5py wants it, and as files are read best.
    places, back = np.unique(rows, return_inverse=True)
    return np.asarray(array[places])[back]


def _rows_of(rows: Any, n: int, name: str) -> Int[np.ndarray, " k"]:
    found = np.arange(n) if rows is None else np.asarray(rows)
    if found.ndim != 1 or found.dtype.kind not in "iu":
        raise DataError(f"{name}: `rows` must be a list of integers; got {describe(rows)}.")
    if len(found) == 0:
        raise DataError(f"{name}: no samples.")
    if found.min() < 0 or found.max() >= n:
        raise DataError(
            f"{name}: `rows` must be from 0 to {n - 1}; got {found.min()} to {found.max()}."
        )
    return found


def _whole(array: Any, n: int, name: str) -> np.ndarray:
    found = np.asarray(array)
    if found.shape[:1] != (n,):
        raise DataError(f"{name} must be of {n} samples; got {describe(found)}.")
    return found


def _in_32_bits(array: np.ndarray) -> bytes:
    """Rounded to 32 bits: the same in both precisions."""
    kind = np.float32 if array.dtype.kind == "f" else np.int32
    return np.ascontiguousarray(array, kind).tobytes()


def _everyones(own: np.ndarray) -> np.ndarray:
    """What the processes have, one after the other, of any length."""
    if jax.process_count() == 1:
        return own
    lengths = multihost_utils.process_allgather(np.asarray(len(own), np.int32))
    padded = np.zeros((int(lengths.max()), *own.shape[1:]), own.dtype)
    padded[: len(own)] = own
    every = multihost_utils.process_allgather(padded)
    return np.concatenate([some[:k] for some, k in zip(every, lengths, strict=True)])


def _by_all(find: Callable[[], _T], name: str) -> _T:
    """What `find` finds, if it does so in all processes; if not, none of them waits for another."""
    try:
        found, said = find(), ""
    except DataError as error:
        if jax.process_count() == 1:
            raise
        found, said = None, str(error)
    problems = _everyones(np.frombuffer(said.encode(), np.uint8))
    if len(problems):
        raise DataError(said or problems.tobytes().decode())
    return found  # pyright: ignore[reportReturnType]
