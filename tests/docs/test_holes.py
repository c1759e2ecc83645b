"""No public name is without an example, its arguments, what it returns and what it raises.

A module's checks raise too: a function that calls one of `_checks.py` or `_inputs.py`, or a local
function named for what it checks, says so as well.
"""

import ast
import dataclasses
import inspect
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

import eqx_qdeq
from tests.docs._names import is_public, public_names

pytestmark = pytest.mark.usefixtures("once")


# What other rooms and libraries call; pages do not show it.
_PLUMBING = (
    *("pullback", "allow_dependent_columns", "allow_dependent_rows"),
    *("depolarising", "n_parametrised"),
)
# Types in the signatures of abstract methods, of which users need no more than the names.
_PLUMBING_TYPES = {"BoundMap", "Dense", "Experiment", "Run", "Sampling"}

_PACKAGE, _API = Path(eqx_qdeq.__file__).parent, Path(__file__).parents[2] / "docs" / "api"


def holes(name: str) -> list[str]:
    """What the documentation of a public name lacks."""
    found: Any = resolve_name(name)
    if isinstance(found, type):
        return [*_holes_of_class(found), *_holes_of_methods(found)]
    if callable(found) and typing.get_origin(found) is None:
        return _holes_of_function(found)
    return []  # data and aliases: their page has a table, or says what they are


def _holes_of_class(cls: type) -> list[str]:
    doc = "\n".join([vars(cls).get("__doc__") or "", cls.__init__.__doc__ or ""])
    names = _constructor_arguments(cls)
    lacks = [] if "```python" in doc else ["example"]
    if names and "**Arguments:**" not in doc and "**Attributes:**" not in doc:
        lacks.append("arguments")
    lacks += [f"argument {name}" for name in names if not _names(doc, name)]
    checks = [vars(cls).get(name) for name in ("__init__", "__check_init__", "__post_init__")]
    if any(map(_raises, filter(None, checks))) and "**Raises:**" not in doc:
        lacks.append("raises")
    return lacks


def _holes_of_function(function: Any) -> list[str]:
    doc = function.__doc__ or ""
    signature = inspect.signature(function)
    names = [name for name in signature.parameters if name not in ("args", "kwargs")]
    lacks = [] if "```python" in doc else ["example"]
    if names and "**Arguments:**" not in doc:
        lacks.append("arguments")
    lacks += [f"argument {name}" for name in names if not _names(doc, name)]
    nothing = (None, types.NoneType, "None", inspect.Signature.empty)
    if signature.return_annotation not in nothing and "**Returns:**" not in doc:
        lacks.append("returns")
    if _raises(function) and "**Raises:**" not in doc:
        lacks.append("raises")
    return lacks


def _holes_of_methods(cls: type) -> Iterator[str]:
    """Of the class's own: each says what it does, or the abstract base has said it, and what it
    raises."""
    for name, member in vars(cls).items():
        function = getattr(member, "__func__", member)
        function = getattr(function, "method", function)
        if not is_public(name) or name in _PLUMBING or not isinstance(function, types.FunctionType):
            continue
        if not function.__doc__ and not _is_inherited(cls, name):
            yield f"{name}: docstring"
        elif function.__doc__ and _raises(function) and "Raises" not in function.__doc__:
            yield f"{name}: raises"


def _is_inherited(cls: type, name: str) -> bool:
    return any(getattr(vars(base).get(name), "__doc__", None) for base in cls.__mro__[1:])


def _constructor_arguments(cls: type) -> list[str]:
    if dataclasses.is_dataclass(cls) and "__init__" not in vars(cls):
        return [field.name for field in dataclasses.fields(cls) if field.init]
    if issubclass(cls, BaseException) and "__init__" not in vars(cls):
        return []
    if issubclass(cls, tuple):
        return list(getattr(cls, "_fields", ()))
    names = inspect.signature(cls).parameters
    return [name for name in names if name not in ("self", "args", "kwargs")]


def _names(doc: str, argument: str) -> bool:
    """Whether an argument is named, or all of them are said to be those of another entry."""
    elsewhere = ("**Arguments:** as for", "[`eqx_qdeq.training.Options`][]")
    return f"`{argument}`" in doc or any(words in doc for words in elsewhere)


def _raises(function: Any) -> bool:
    """Whether a function raises by itself, or calls what is there to raise."""
    function = inspect.unwrap(getattr(function, "method", function))
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):
        return False  # generated code
    return any(map(_is_refusal, ast.walk(tree)))


def _is_refusal(node: ast.AST) -> bool:
    if isinstance(node, ast.Raise):
        return True
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return False
    return node.func.id.lstrip("_").startswith("check_")


def _types_in_signatures(name: str) -> set[str]:
    """Names in the annotations of a public function, or of a class with its public members."""
    found: Any = inspect.unwrap(resolve_name(name))
    try:
        node = ast.parse(textwrap.dedent(inspect.getsource(found))).body[0]
    except (OSError, TypeError):
        return set()  # data
    names = set()
    body = node.body if isinstance(node, ast.ClassDef) else [node]
    has_fields = all(getattr(part, "name", None) != "__init__" for part in body)
    for node in body:
        if isinstance(node, ast.FunctionDef) and (node.name == "__init__" or _is_shown(node)):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            annotations = [*(argument.annotation for argument in arguments), node.returns]
        elif has_fields and isinstance(node, ast.AnnAssign):
            annotations = [node.annotation]
        else:
            continue
        for part in (part for a in annotations if a is not None for part in ast.walk(a)):
            if isinstance(part, ast.Name):
                names.add(part.id)
    return names


def _is_shown(node: ast.FunctionDef) -> bool:
    return is_public(node.name) and ast.get_docstring(node) is not None


def test_types_in_signatures_have_entries() -> None:
    ours = {
        word
        for path in _PACKAGE.rglob("*.py")
        for word in re.findall(r"^(?:class )?([A-Z]\w+)(?=[(:]| = )", path.read_text("utf-8"), re.M)
    }
    entries = re.findall(r"^::: .*\.(\w+)$", "\n".join(map(_text, _API.glob("*.md"))), re.M)
    used = set().union(*map(_types_in_signatures, public_names()))
    assert {"DEQ", "Loss", "Rate"} <= ours & used
    missing = (ours & used) - set(entries) - _PLUMBING_TYPES
    assert not missing, f"types in signatures without an entry in docs/api: {sorted(missing)}"


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def test_no_public_name_has_a_hole() -> None:
    once = {id(resolve_name(name)): name for name in reversed(public_names())}
    lacking = {name: holes(name) for name in sorted(once.values())}
    lines = [f"{name}: {', '.join(lacks)}" for name, lacks in lacking.items() if lacks]
    assert not lines, "\n".join([f"{len(lines)} public names have holes:", *lines])


def test_holes_are_found() -> None:
    def bare(x: int, y: int) -> int:
        """Adds `x` and another number."""
        if y < 0:
            raise ValueError("`y` must be positive.")
        return x + y

    wanted = ["example", "arguments", "argument y", "returns", "raises"]
    assert _holes_of_function(bare) == wanted
    assert "argument in_size" not in holes("eqx_qdeq.AddInjection")
    assert eqx_qdeq.AddInjection.__init__.__doc__
