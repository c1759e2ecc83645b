"""Fixtures shared by all tests, and which of them run in which precision.

Laws are tested in double precision, where a wrong term cannot hide in rounding: with the
environment variable `JAX_ENABLE_X64=1`, which JAX reads when it is imported, all tests run but
those with the fixture `once`. In float32, JAX's default, run those with `once` and the modules
marked `float32` or `portable`: what precision changes. `--every` runs all that is collected. Write
a test for both, with `tol`.
"""

import gc
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path

from tests._xla_flags import quick_compilation

# A figure in a test is looked at by nobody: no window, no display needed.
os.environ.setdefault("MPLBACKEND", "Agg")
if "XLA_FLAGS" not in os.environ:  # workers have it from the process that started them
    os.environ["XLA_FLAGS"] = quick_compilation()

import hypothesis
import jax
import pytest
from jaxtyping import PRNGKeyArray

# Tracing makes millions of small objects, and to look for cycles among them as often as Python does
# is a seventh of the suite's time.
gc.freeze()
gc.set_threshold(100_000, 50, 100)

# What a user may have switched on must not break anything, and promotion that nobody asked for is
# where precision is lost. As in Optimistix's own suite.
jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")

# A first example compiles and takes seconds, so neither deadlines nor many examples, and half as
# many where float32 has been through them. The same examples in each run: a failure in CI is a
# failure here.
hypothesis.settings.register_profile(
    "eqx-qdeq",
    deadline=None,
    max_examples=10 if jax.config.jax_enable_x64 else 20,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[
        hypothesis.HealthCheck.too_slow,
        hypothesis.HealthCheck.data_too_large,
    ],
)
hypothesis.settings.load_profile("eqx-qdeq")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every", action="store_true", help="run every test in this precision")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--every"):
        return
    here, elsewhere = [], []
    for item in items:
        once = "once" in getattr(item, "fixturenames", ())
        if jax.config.jax_enable_x64:
            runs = not once
        else:
            runs = once or any(item.iter_markers("float32")) or any(item.iter_markers("portable"))
        (here if runs else elsewhere).append(item)
    config.hook.pytest_deselected(items=elsewhere)
    items[:] = here


@pytest.fixture(scope="session")
def x64() -> bool:
    """Whether this run is in double precision."""
    return jax.config.jax_enable_x64


@pytest.fixture(scope="session")
def once() -> None:
    """For tests of commands, pages, figures, counts and statistics, which take long and in which
    the precision changes nothing but digits: they run in float32 alone."""


@pytest.fixture(scope="session")
def tol(x64: bool) -> float:
    """How closely two ways to compute the same numbers must agree."""
    return 1e-10 if x64 else 1e-5


@pytest.fixture
def getkey() -> Callable[[], PRNGKeyArray]:
    """A function that returns a fresh key at each call, the same ones in every run."""
    seeds = random.Random(0)

    def fresh() -> PRNGKeyArray:
        return jax.random.key(seeds.randint(0, 2**31 - 1))

    return fresh


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The folder with the real image data, as torchvision lays it out."""
    root = os.environ.get("EQX_QDEQ_DATA")
    if not root:
        pytest.skip("needs real image data: set EQX_QDEQ_DATA to torchvision's data folder")
    path = Path(root)
    if not path.is_dir():
        raise NotADirectoryError(f"EQX_QDEQ_DATA={root!r} is not a folder")
    return path


# Commands and pages are code as users write it, with Optax, which mixes counts and rates.
_AS_USERS_WRITE = ("benchmarks", "docs", "examples", "experiments", "surface")


@pytest.fixture(scope="module", autouse=True)
def _promotion(request: pytest.FixtureRequest) -> Iterator[None]:
    if request.path.parent.name not in _AS_USERS_WRITE:
        yield
        return
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


@pytest.fixture(scope="module", autouse=True)
def _drop_compiled() -> Iterator[None]:
    """Forgets what a module of tests compiled: all of it together is many gigabytes."""
    yield
    jax.clear_caches()
