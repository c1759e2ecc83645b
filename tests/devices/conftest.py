"""Tests on eight virtual devices, each a thread of this process: `make test-devices`."""

import jax
import pytest
from jax.sharding import AxisType, Mesh


@pytest.fixture(scope="session", autouse=True)
def _eight() -> None:
    if jax.device_count() < 8:
        pytest.skip("needs eight devices: make test-devices")


@pytest.fixture(scope="session")
def mesh(_eight: None) -> Mesh:
    """As `jax.make_mesh` makes it: its axis is explicit."""
    return jax.make_mesh((8,), ("batch",))


@pytest.fixture(scope="session")
def automatic(_eight: None) -> Mesh:
    return jax.make_mesh((8,), ("batch",), axis_types=(AxisType.Auto,))
