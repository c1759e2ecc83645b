"""The examples of docstrings run as users run them, and give what they say.

A docstring is a page of its own. Behind an expression, or right below it, stands what comes
out: `x.shape  # (2,)`. Numbers agree to the last digit that is shown, or to 1 %, and `…` is any
text.
"""

from pathlib import Path

import pytest

from docs.hooks.outputs import alike
from tests.docs._snippets import docstrings, modules, run

pytestmark = pytest.mark.usefixtures("once")

EXAMPLES = [
    pytest.param(doc, id=name)
    for module in modules()
    for name, doc in docstrings(module)
    if "```python" in doc
]


@pytest.mark.parametrize("doc", EXAMPLES)
def test_docstring(
    doc: str, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run(doc, f"<docstring of {request.node.callspec.id}>")


def test_docstring_examples_are_found() -> None:
    names = [param.id for param in EXAMPLES]
    assert "eqx_qdeq.equilibrium._deq.DEQ" in names


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("(2,)", "(2,)"),
        ("[0.54, -1.]", "[ 0.5403023 -1.       ]"),
        ("1.2e-3", "0.00123"),
        ("<Circuit: …>", "<Circuit: 2 wires>"),
    ],
)
def test_outputs(wanted: str, found: str) -> None:
    assert alike(wanted, found, atol=1e-6, rtol=0.01)
    run(f"```python\ntext = {found!r}\ntext  # {wanted}\n```", "text")


@pytest.mark.parametrize(
    ("wanted", "found"), [("(2,)", "(3,)"), ("0.54", "0.56"), ("[1.]", "[0.]"), ("[1.]", "[1. 1.]")]
)
def test_wrong_outputs(wanted: str, found: str) -> None:
    assert not alike(wanted, found, atol=1e-6, rtol=0.01)
    with pytest.raises(AssertionError):
        run(f"```python\nprint({found!r})\n# {wanted}\n```", "text")
