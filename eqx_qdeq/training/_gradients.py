"""How an image changes, and where: features with nothing trained in them."""

import dataclasses

import numpy as np
from jaxtyping import Float

from ._preprocess import AdaptivePool, check_images


@dataclasses.dataclass(frozen=True)
class OrientedGradients:
    r"""The rising part of an image's slope along each of K directions, pooled:

    $$\Big(\operatorname{pool}\,\max(0,\ \cos\varphi_k\,\partial_x I + \sin\varphi_k\,\partial_y
    I)\Big)^p,\qquad \varphi_k = 2\pi k/K.$$

    Slopes are differences of the two neighbours, at the edges of the pixel and its neighbour. A
    direction's values make an image of its own; the result is a vector, direction after direction,
    each row by row. Nothing is fitted to data.

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
            if getattr(self, name) <= 0:
                raise ValueError(f"`{name}` must be positive; got {getattr(self, name)}.")

    def __call__(self, images: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n d"]:
        check_images(images, "OrientedGradients")
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
