"""Pixels become features as PyTorch makes them, and as the paper has them."""

import numpy as np
import pytest
from hypothesis import assume, given, strategies as st
from scipy import ndimage

from eqx_qdeq.training import (
    AdaptivePool,
    AveragePool,
    Compose,
    Crop,
    DataError,
    Flatten,
    Normalize,
    OrientedGradients,
    paper_preprocess,
    PixelPool,
    Resize,
    unit_norm_preprocess,
    UnitNorm,
)

pytestmark = pytest.mark.float32


def _images(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=shape).astype(np.float32)


def _torch():
    return pytest.importorskip("torch", reason='the oracle is PyTorch: pip install ".[vision]"')


def _in_torch(function, images: np.ndarray) -> np.ndarray:
    torch = _torch()
    return function(torch.nn.functional, torch.from_numpy(images[:, None]))[:, 0].numpy()


@pytest.mark.parametrize("size", [(28, 28), (13, 9)])
@pytest.mark.parametrize("pool", [(6, 6, 0), (5, 3, 2), (2, 1, 1)])
def test_average_pool_is_torchs(size, pool):
    images = _images(3, *size)
    truth = _in_torch(lambda f, x: f.avg_pool2d(x, pool[0], pool[1], pool[2]), images)
    np.testing.assert_allclose(AveragePool(*pool)(images), truth, atol=1e-6)


@pytest.mark.parametrize(
    "size,side", [((28, 28), 10), ((8, 8), 4), ((13, 9), 5), ((20, 20), (8, 4)), ((9, 7), (2, 7))]
)
def test_adaptive_pool_is_torchs(size, side):
    images = _images(3, *size)
    truth = _in_torch(lambda f, x: f.adaptive_avg_pool2d(x, side), images)
    np.testing.assert_allclose(AdaptivePool(side)(images), truth, atol=1e-6)


def test_crop_takes_the_margin_off():
    images = _images(2, 7, 9)
    np.testing.assert_array_equal(Crop(2)(images), images[:, 2:-2, 2:-2])
    np.testing.assert_array_equal(Crop(0)(images), images)
    with pytest.raises(ValueError, match="`margin` must be at least 0; got -1"):
        Crop(-1)


@pytest.mark.parametrize("size,side", [((32, 32), 28), ((8, 8), 28), ((1, 5), 3)])
def test_resize_is_torchs(size, side):
    images = _images(3, *size).astype(np.float64)  # PyTorch's positions are in this precision
    options = {"mode": "bilinear", "align_corners": False}
    truth = _in_torch(lambda f, x: f.interpolate(x, (side, side), **options), images)
    np.testing.assert_allclose(Resize(side)(images), truth, atol=1e-12)


@pytest.mark.parametrize("size", [28, 32])
@pytest.mark.parametrize("n_qubits", [4, 10])
def test_paper_pixels_are_those_of_torchs_pipeline(n_qubits, size):
    pixels = _images(3, size, size)

    def pipeline(f, x):
        x = (x - 0.1307) / 0.3081
        if size == 32:
            x = f.interpolate(x, (28, 28), mode="bilinear", align_corners=False)
        return f.avg_pool2d(x, 6) if n_qubits == 4 else f.avg_pool2d(x, 5, 3, 2)

    features = paper_preprocess(n_qubits)(pixels)
    assert features.shape == (3, n_qubits**2) and features.dtype == np.float32
    np.testing.assert_allclose(features, _in_torch(pipeline, pixels).reshape(3, -1), atol=1e-5)


@given(
    st.tuples(st.integers(3, 9), st.integers(3, 9)),
    st.integers(1, 4),
    st.integers(1, 3),
    st.integers(0, 2),
)
def test_average_pool_is_the_mean_over_windows(size, kernel, stride, padding):
    padding = min(padding, kernel // 2)
    assume(min(size) + 2 * padding >= kernel)
    image = np.random.default_rng(0).uniform(size=(1, *size))
    padded = np.pad(image[0], padding)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))
    truth = windows[::stride, ::stride].mean(axis=(2, 3))
    np.testing.assert_allclose(AveragePool(kernel, stride, padding)(image)[0], truth)


def test_windows_in_the_padding_alone_are_zero():
    pooled = AveragePool(2, 1, padding=3)(np.ones((1, 2, 2)))[0]
    one = np.array([0, 0, 0.5, 1, 0.5, 0, 0])
    np.testing.assert_array_equal(pooled, np.outer(one, one))


def test_paper_pixels_by_hand():
    # White everywhere: inside the image the mean is white; in the corner 9 of the 25 pixels of
    # the window are there and 16 are padding.
    white = (1 - 0.1307) / 0.3081
    features = paper_preprocess(10)(np.ones((1, 28, 28))).reshape(10, 10)
    np.testing.assert_allclose(features[1:-1, 1:-1], white)
    np.testing.assert_allclose(features[0, 0], white * 9 / 25)
    # At 4 qubits the last four rows and columns are never seen.
    image = np.zeros((1, 28, 28))
    image[:, 24:] = image[:, :, 24:] = 1
    np.testing.assert_allclose(paper_preprocess(4)(image), -0.1307 / 0.3081)


@pytest.mark.parametrize(
    "n_qubits,size,side",
    [
        (4, 28, 4),
        (10, 28, 10),
        (5, 28, 5),
        (3, 28, 2),
        (2, 8, 2),
        (4, 8, 4),
        (5, 8, 4),
        (6, 8, 8),
        (10, 8, 8),
        (4, 3, 3),
    ],
)
def test_pixels_fit_the_amplitudes(n_qubits, size, side):
    features = unit_norm_preprocess(n_qubits)(_images(2, size, size))
    assert features.shape == (2, side**2)
    assert features.shape[1] <= 2**n_qubits
    np.testing.assert_allclose(np.linalg.norm(features, axis=1), 1, rtol=1e-6)


def test_unit_norm_uses_the_papers_windows():
    images = _images(2, 28, 28)
    np.testing.assert_array_equal(PixelPool(4)(images), AveragePool(6, 6)(images))
    np.testing.assert_array_equal(PixelPool(10)(images), AveragePool(5, 3, 2)(images))
    digits = _images(2, 8, 8)
    np.testing.assert_allclose(PixelPool(4)(digits), AveragePool(2, 2)(digits), rtol=1e-6)
    np.testing.assert_allclose(PixelPool(6)(digits), digits, rtol=1e-6)


def test_oriented_gradients():
    """SciPy's derivative, and one pixel at a time."""
    images = _images(2, 7, 7)
    got = OrientedGradients(7, 4, power=1.0)(images).reshape(2, 4, 7, 7)
    along_x = ndimage.correlate1d(images, [-1, 0, 1], axis=2, mode="nearest")
    along_y = ndimage.correlate1d(images, [-1, 0, 1], axis=1, mode="nearest")
    for k, slope in enumerate((along_x, along_y, -along_x, -along_y)):
        np.testing.assert_allclose(got[:, k], np.maximum(slope, 0), atol=1e-6)
    # A ramp rises along its own direction everywhere, and by the cosine along its neighbors.
    ramp = np.tile(np.arange(6, dtype=np.float32) / 10, (1, 6, 1))
    eight = OrientedGradients(2, 8, power=2.0)(ramp).reshape(8, 2, 2)
    # The outermost pixels have one neighbor each: mean slopes of 0.5 / 3 instead of 0.2.
    np.testing.assert_allclose(eight[0], (0.5 / 3) ** 2, rtol=1e-5)
    np.testing.assert_allclose(eight[1], (0.5 / 3) ** 2 / 2, rtol=1e-5)
    np.testing.assert_allclose(eight[2:7], 0, atol=1e-7)
    assert got.dtype == np.float32


def test_a_blank_image_stays_zero_and_extremes_stay_finite():
    images = np.zeros((4, 2, 2), np.float32)
    images[1, 0, 0] = 1e-30
    images[2] = 1e30
    images[3, 1, 1] = -2
    features = UnitNorm()(images)
    assert np.all(features[0] == 0)
    np.testing.assert_allclose(np.linalg.norm(features[1:].reshape(3, -1), axis=1), 1, rtol=1e-6)


def test_side():
    assert unit_norm_preprocess(side=7)(_images(2, 28, 28)).shape == (2, 49)


def test_steps_compose_compare_and_hash():
    steps = Compose((Normalize(0.5, 2.0), Flatten()))
    assert steps == Compose((Normalize(0.5, 2.0), Flatten()))
    assert hash(paper_preprocess(4)) == hash(paper_preprocess(4))
    assert paper_preprocess(4) != paper_preprocess(10)
    assert "Normalize(mean=0.5, std=2.0)" in repr(steps)
    image = np.arange(4.0).reshape(1, 2, 2)
    np.testing.assert_allclose(steps(image), (np.arange(4.0)[None] - 0.5) / 2)


@pytest.mark.parametrize(
    "make,message",
    [
        (lambda: paper_preprocess(5), "4 and 10 qubits; got 5"),
        (lambda: unit_norm_preprocess(), "exactly one of `n_qubits` and `side`"),
        (lambda: unit_norm_preprocess(4, side=4), "exactly one of `n_qubits` and `side`"),
        (lambda: unit_norm_preprocess(side=0), "`side` must be at least 1; got 0"),
        (lambda: OrientedGradients(0), "`side` must be positive; got 0"),
        (lambda: unit_norm_preprocess(1), "`n_qubits` must be at least 2; got 1"),
        (lambda: AveragePool(0, 1), "`kernel` must be at least 1; got 0"),
        (lambda: AveragePool(2, 0), "`stride` must be at least 1; got 0"),
        (lambda: AveragePool(2, 2, -1), "`padding` must be at least 0; got -1"),
        (lambda: AdaptivePool((3, 0)), "`side` must be at least 1; got 0"),
        (lambda: Resize(0), "`side` must be at least 1; got 0"),
        (lambda: Normalize(0.0, 0.0), "`std` must be positive; got 0"),
    ],
)
def test_bad_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    "step,shape,message",
    [
        (paper_preprocess(4), (2, 8, 8), "28×28 or 32×32 pixels; got 8×8"),
        (paper_preprocess(4), (2, 16), "28×28 or 32×32 pixels; got 16"),
        (unit_norm_preprocess(4), (2, 16), r"shape \(n, height, width\); got \(2, 16\)"),
        (OrientedGradients(4), (2, 16), r"OrientedGradients needs images of shape"),
        (AveragePool(6, 6), (2, 4, 4), "too large for 4 px"),
        (AdaptivePool((4, 9)), (2, 8, 8), r"cannot enlarge images of 8×8 px; use Resize\(9\)"),
        (Crop(4), (2, 8, 8), r"Crop\(4\) leaves nothing of 8×8 px"),
        (AdaptivePool(9), (2, 8, 8), r"cannot enlarge images of 8×8 px; use Resize\(9\)"),
    ],
)
def test_images_that_do_not_fit(step, shape, message):
    with pytest.raises(DataError, match=message):
        step(np.zeros(shape, np.float32))
