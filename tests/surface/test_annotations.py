"""The tests of this folder see the package as users do."""

import eqx_qdeq as qdeq
import pytest

pytestmark = pytest.mark.float32


def test_annotations_are_not_checked() -> None:
    wrong_by_annotation = "1"
    assert qdeq.PauliZ(wrong_by_annotation).wires == "1"  # pyright: ignore
