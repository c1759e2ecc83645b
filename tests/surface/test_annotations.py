"""The tests of this folder see the package as users do."""

import pytest

import eqx_qdeq as qdeq

pytestmark = pytest.mark.float32


def test_annotations_are_not_checked() -> None:
    wrong_by_annotation: str = qdeq.PauliZ([1]).wires  # pyright: ignore
    assert wrong_by_annotation == (1,)
