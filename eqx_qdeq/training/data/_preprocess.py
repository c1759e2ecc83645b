"""From images to feature vectors: small steps that compose.

A step takes images of shape `(n, height, width)` with pixels in [0, 1], and gives images or
features. Any function of that kind will do; those here are hashable, compare by value and print
as they are written. All are NumPy: data are prepared once, before anything is compiled.

Pooling and resizing are linear and separable: one small matrix along the height, one along the
width. `equinox.nn.AvgPool2d` and `jax.image.resize` would do as well, but differ in the last bit
of every other pixel, and trained weights and published numbers are of these; and
`equinox.nn.AdaptiveAvgPool2d` takes other windows than PyTorch's where the sizes do not divide.
"""

import dataclasses
import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from ..._checks import check_at_least, check_positive
from ._arrays import DataError

Preprocess = Callable[[np.ndarray], np.ndarray]
"""From the raw samples of a data set, shape `(n, ...)`, to what a model takes, with the same n: one
of the steps below, several by [`eqx_qdeq.training.Compose`][], or a function of yours."""


def _check_images(images: np.ndarray, step: str) -> None:
    if images.ndim != 3:
        raise DataError(
            f"{step} needs images of shape (n, height, width); got {images.shape}. Pass "
            "preprocess=... for data of another shape."
        )


def _separable(images: np.ndarray, *matrices: np.ndarray) -> np.ndarray:
    """Applies one matrix along the height and one along the width."""
    # R X Cᵀ for all images at once: (R ⊗ C) on a row of pixels without ever being made.
    rows, columns = (matrix.astype(images.dtype) for matrix in matrices)
    return np.matmul(np.matmul(rows, images), columns.T)


def _mean_matrix(size: int, starts: np.ndarray, stops: np.ndarray) -> np.ndarray:
    """A row for each window [start, stop) of an axis. What of it lies beyond the edge is zeros that
    count: the divisor is the whole window."""
    pixels = np.arange(size)
    inside = (starts[:, None] <= pixels) & (pixels < stops[:, None])
    return inside / (stops - starts)[:, None]


def _bilinear_matrix(size: int, side: int) -> np.ndarray:
    # Pixel centers are at half-integers in both images; beyond the outermost ones, the edge.
    # Between two pixels the weights are 1 - t and t, with t the distance from one: a hat on each.
    where = np.clip((np.arange(side) + 0.5) * size / side - 0.5, 0, size - 1)
    return np.maximum(1 - np.abs(where[:, None] - np.arange(size)), 0)


@dataclasses.dataclass(frozen=True)
class AveragePool:
    """Means over square windows, as PyTorch's `avg_pool2d`: padding is zeros and is counted.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        images = np.arange(16.0).reshape(1, 4, 4)
        training.AveragePool(kernel=2, stride=2)(images)[0]
        # [[2.5 4.5]
        #  [10.5 12.5]]
        ```

    **Arguments:**

    - `kernel`: the side of a window, in pixels.
    - `stride`: from window to window, in pixels.
    - `padding`: zeros on each side, in pixels.

    **Raises:** `ValueError` for numbers out of range.
    """

    kernel: int
    stride: int
    padding: int = 0

    def __post_init__(self) -> None:
        for name, least in (("kernel", 1), ("stride", 1), ("padding", 0)):
            check_at_least(name, getattr(self, name), least)

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n h2 w2"]:
        _check_images(images, "AveragePool")
        matrices = []
        for size in images.shape[1:]:
            # The last window ends within the padding: what does not fill one is left out.
            starts = np.arange(-self.padding, size + self.padding - self.kernel + 1, self.stride)
            if len(starts) == 0:
                raise DataError(f"{self} is too large for {size} px.")
            matrices.append(_mean_matrix(size, starts, starts + self.kernel))
        return _separable(images, *matrices)


@dataclasses.dataclass(frozen=True)
class AdaptivePool:
    """Means over as many windows as are wanted, as PyTorch's `adaptive_avg_pool2d`.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        images = np.arange(16.0).reshape(1, 4, 4)
        training.AdaptivePool(2)(images)[0]
        # [[2.5 4.5]
        #  [10.5 12.5]]
        ```

    **Arguments:**

    - `side`: height and width of the result, in pixels; or both as a pair.

    **Raises:** `ValueError` for less than one pixel.
    """

    side: int | tuple[int, int]

    def __post_init__(self) -> None:
        check_at_least("side", min(self._sides()), 1)

    def _sides(self) -> tuple[int, int]:
        return self.side if isinstance(self.side, tuple) else (self.side, self.side)

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n h2 w2"]:
        _check_images(images, "AdaptivePool")
        height, width = self._sides()
        if height > images.shape[1] or width > images.shape[2]:
            raise DataError(
                f"AdaptivePool({self.side}) cannot enlarge images of "
                f"{images.shape[1]}×{images.shape[2]} px; use Resize({max(height, width)})."
            )
        matrices = []
        for n, m in zip(images.shape[1:], (height, width), strict=True):
            # Window i is [⌊i n/m⌋, ⌈(i+1) n/m⌉): neighbors overlap where m does not divide n.
            i = np.arange(m)
            matrices.append(_mean_matrix(n, i * n // m, -(-(i + 1) * n // m)))
        return _separable(images, *matrices)


@dataclasses.dataclass(frozen=True)
class Crop:
    """Cuts a margin off each side.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        images = np.arange(16.0).reshape(1, 4, 4)
        training.Crop(1)(images)[0]
        # [[5. 6.]
        #  [9. 10.]]
        ```

    **Arguments:**

    - `margin`: in pixels.
    """

    margin: int

    def __post_init__(self) -> None:
        check_at_least("margin", self.margin, 0)

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n h2 w2"]:
        _check_images(images, "Crop")
        height, width = images.shape[1:]
        if 2 * self.margin >= min(height, width):
            raise DataError(f"Crop({self.margin}) leaves nothing of {height}×{width} px.")
        return images[:, self.margin : height - self.margin, self.margin : width - self.margin]


Crop.__init__.__doc__ = """**Raises:** `ValueError` for a negative margin.
"""


@dataclasses.dataclass(frozen=True)
class Resize:
    """Bilinear interpolation without antialiasing, as PyTorch's
    `interpolate(mode="bilinear", align_corners=False)`.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.Resize(28)(np.ones((5, 32, 32))).shape  # (5, 28, 28)
        ```

    **Arguments:**

    - `side`: height and width of the result, in pixels.

    **Raises:** `ValueError` for less than one pixel.
    """

    side: int

    def __post_init__(self) -> None:
        check_at_least("side", self.side, 1)

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n side side"]:
        _check_images(images, "Resize")
        # Multiplying by the identity would be right, and slow for a whole data set.
        if images.shape[1:] == (self.side, self.side):
            return images
        return _separable(images, *[_bilinear_matrix(n, self.side) for n in images.shape[1:]])


@dataclasses.dataclass(frozen=True)
class Normalize:
    """Subtracts a mean and divides by a standard deviation, the same ones for every pixel.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.Normalize(mean=0.5, std=0.25)(np.array([[0.0, 0.5, 1.0]]))
        # [[-2. 0. 2.]]
        ```

    **Arguments:**

    - `mean`, `std`: in units of the pixels.

    **Raises:** `ValueError` for a deviation that is not positive.
    """

    mean: float
    std: float

    def __post_init__(self) -> None:
        check_positive("std", self.std)

    def __call__(self, images: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return (images - images.dtype.type(self.mean)) / images.dtype.type(self.std)


@dataclasses.dataclass(frozen=True)
class Flatten:
    """Each image as one vector, row by row.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.Flatten()(np.ones((5, 4, 4))).shape  # (5, 16)
        ```
    """

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n d"]:
        return images.reshape(images.shape[0], math.prod(images.shape[1:]))


@dataclasses.dataclass(frozen=True)
class UnitNorm:
    """Each sample divided by its Euclidean norm; a blank one stays zero.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.UnitNorm()(np.array([[3.0, 4.0], [0.0, 0.0]]))
        # [[0.6 0.8]
        #  [0. 0. ]]
        ```
    """

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        flat = images.reshape(images.shape[0], -1)
        # The largest pixel first: squares of tiny or huge ones would leave the float range.
        largest = np.abs(flat).max(axis=1, initial=0, keepdims=True)
        flat = flat / np.where(largest > 0, largest, 1)
        # ‖p‖ = max · ‖p / max‖ is between one and √d of them, so nothing is lost or overflows.
        norm = np.linalg.norm(flat, axis=1, keepdims=True)
        return (flat / np.where(norm > 0, norm, 1)).reshape(images.shape)


@dataclasses.dataclass(frozen=True)
class OrientedGradients:
    r"""The rising part of an image's slope along each of K directions, pooled:

    $$\Big(\operatorname{pool}\,\max(0,\ \cos\varphi_k\,\partial_x I + \sin\varphi_k\,\partial_y
    I)\Big)^p,\qquad \varphi_k = 2\pi k/K.$$

    Slopes are differences of the two neighbors, at the edges of the pixel and its neighbor. A
    direction's values make an image of its own; the result is a vector, direction after direction,
    each row by row. Nothing is fitted to data.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        images = np.ones((5, 8, 8))
        training.OrientedGradients(side=2, directions=4)(images).shape  # (5, 16)
        ```

    ??? cite "Reference"

        After the histograms of oriented gradients of N. Dalal and B. Triggs, "Histograms of
        oriented gradients for human detection", CVPR 2005; without their overlapping blocks.

    **Arguments:**

    - `side`: height and width of a direction's image, in pixels.
    - `directions`: K.
    - `power`: p; below 1 it brings weak and strong edges closer together.

    **Raises:** `ValueError` for numbers that are not positive.
    """

    side: int
    directions: int = 8
    power: float = 0.5

    def __post_init__(self) -> None:
        for name in ("side", "directions", "power"):
            check_positive(name, getattr(self, name))

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n d"]:
        _check_images(images, "OrientedGradients")
        # Repeated edges rather than zeros: the frame of an image is no slope in it.
        # So a pixel's slope is x₊₁ - x₋₁, and half of a step's worth at the edges.
        padded = np.pad(images, ((0, 0), (1, 1), (1, 1)), mode="edge")
        along_x = padded[:, 1:-1, 2:] - padded[:, 1:-1, :-2]
        along_y = padded[:, 2:, 1:-1] - padded[:, :-2, 1:-1]
        pool, number = AdaptivePool(self.side), images.dtype.type
        values = []
        # One direction after the other: all at once would be as many copies of the data set.
        for angle in 2 * np.pi * np.arange(self.directions) / self.directions:
            slope = number(np.cos(angle)) * along_x + number(np.sin(angle)) * along_y
            values.append(pool(np.maximum(slope, 0)) ** number(self.power))
        return np.stack(values, axis=1).reshape(len(images), -1)


@dataclasses.dataclass(frozen=True)
class PixelPool:
    """Pools images to as many pixels as fit the amplitudes of `n_qubits` wires.

    As in the paper for 28×28 images on 4 wires (4×4 pixels) and 10 wires (10×10); otherwise the
    largest square of side n or less that fits into 2ⁿ amplitudes. 8×8 images are pooled by whole
    windows: to 4×4 on 4 and 5 wires, to 2×2 on fewer, and not at all on 6 or more.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.PixelPool(10)(np.ones((5, 28, 28))).shape  # (5, 10, 10)
        ```

    **Arguments:**

    - `n_qubits`: the number of wires.
    """

    n_qubits: int

    def __post_init__(self) -> None:
        check_at_least("n_qubits", self.n_qubits, 2)

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n h2 w2"]:
        _check_images(images, "PixelPool")
        n = self.n_qubits
        # Digits are small: windows that overlap would blur what there is.
        if images.shape[1:] == (8, 8):
            return AdaptivePool(2 if n < 4 else 4 if n < 6 else 8)(images)
        if images.shape[1:] == (28, 28) and n in _PAPER_POOLS:
            return _PAPER_POOLS[n](images)
        # The paper's sides are 4 and 10, those of n qubits; below four, n² pixels are more than 2ⁿ.
        side = min(n, math.isqrt(2**n), *images.shape[1:])
        return AdaptivePool(side)(images)


PixelPool.__init__.__doc__ = """**Raises:** `ValueError` for fewer than two qubits.
"""


_PAPER_POOLS = {4: AveragePool(6, 6), 10: AveragePool(5, 3, 2)}


@dataclasses.dataclass(frozen=True)
class PaperPixels:
    """The paper's pixels as an image: see [`eqx_qdeq.training.paper_preprocess`][].

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.PaperPixels(4)(np.ones((5, 28, 28))).shape  # (5, 4, 4)
        ```

    **Arguments:**

    - `n_qubits`: 4 or 10.
    """

    n_qubits: int

    def __post_init__(self) -> None:
        if self.n_qubits not in _PAPER_POOLS:
            raise ValueError(
                f"the paper's preprocessing is defined for 4 and 10 qubits; got {self.n_qubits}. "
                "Use unit_norm_preprocess(n_qubits) for other numbers."
            )

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n h2 w2"]:
        # The paper's windows are of 28 px; on other images they would be of other parts.
        if images.shape[1:] not in ((28, 28), (32, 32)):
            raise DataError(
                "the paper's preprocessing needs images of 28×28 or 32×32 pixels; got "
                f"{'×'.join(map(str, images.shape[1:]))}. Use unit_norm_preprocess(...) instead."
            )
        images = Resize(28)(images)
        # Normalized first: the zeros of the padding are not black.
        return _PAPER_POOLS[self.n_qubits](Normalize(0.1307, 0.3081)(images))


PaperPixels.__init__.__doc__ = """**Raises:** `ValueError` for another number of qubits.
"""


@dataclasses.dataclass(frozen=True)
class Compose:
    """One step after the other.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        prepare = training.Compose((training.Crop(1), training.Flatten()))
        prepare(np.arange(16.0).reshape(1, 4, 4))  # [[5. 6. 9. 10.]]
        ```

    **Arguments:**

    - `steps`: the steps, the first one first.
    """

    steps: tuple[Preprocess, ...]

    def __call__(self, images: np.ndarray) -> np.ndarray:
        for step in self.steps:
            images = step(images)
        return images


def paper_preprocess(n_qubits: int) -> Compose:
    """The paper's features: d = n² pixels.

    Pixels are normalized to (p - 0.1307) / 0.3081, p in [0, 1]; then averaged over windows of 6×6
    pixels with stride 6 at 4 qubits (4×4 features, of pixels 0 to 23), or of 5×5 pixels with stride
    3 and 2 pixels of zero padding, counted, at 10 qubits (10×10 features). Images of 32×32 pixels
    are first reduced to 28×28 by [`eqx_qdeq.training.Resize`][], that is without antialiasing, as
    the authors' code did it.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        training.paper_preprocess(4)(np.ones((5, 28, 28))).shape  # (5, 16)
        ```

    **Arguments:**

    - `n_qubits`: 4 or 10.

    **Returns:**

    A function from images `(n, 28, 28)` or `(n, 32, 32)` to features `(n, n_qubits**2)`.

    **Raises:** `ValueError` for another number of qubits; the function it returns,
    [`eqx_qdeq.training.DataError`][] for images of another size.

    ??? cite "Reference"

        P. Schleich et al., "Quantum deep equilibrium models", NeurIPS 2024, arXiv:2410.23940.
    """
    return Compose((PaperPixels(n_qubits), Flatten()))


def unit_norm_preprocess(n_qubits: int | None = None, *, side: int | None = None) -> Compose:
    r"""Pooled pixels in [0, 1] scaled to unit Euclidean norm, $x = p / \|p\|$: amplitudes as they
    are. A blank image stays zero.

    !!! example

        ```python
        import numpy as np
        from eqx_qdeq import training

        prepare = training.unit_norm_preprocess(side=2)
        prepare(np.ones((5, 8, 8)))[0]  # [0.5 0.5 0.5 0.5]
        ```

    **Arguments:**

    - `n_qubits`: pools as [`eqx_qdeq.training.PixelPool`][] does, e.g. to 4×4 at 4 qubits.
    - `side`: or pools to that many pixels on each side.

    **Returns:**

    A function from images `(n, height, width)` to features `(n, d)`.

    **Raises:** `ValueError` unless exactly one of the two is given.
    """
    if (n_qubits is None) == (side is None):
        raise ValueError(f"give exactly one of `n_qubits` and `side`; got {n_qubits=} and {side=}.")
    pool = PixelPool(n_qubits or 0) if side is None else AdaptivePool(side)
    return Compose((pool, Flatten(), UnitNorm()))
