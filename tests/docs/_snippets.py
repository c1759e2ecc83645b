"""Examples in docstrings: found, run, and compared with the output that is written beside them."""

import ast
import contextlib
import importlib
import io
import pkgutil
import tokenize
import types
from collections.abc import Iterator
from typing import Any

import eqx_qdeq
from docs.hooks.outputs import alike, blocks


def modules() -> list[types.ModuleType]:
    found = pkgutil.walk_packages(eqx_qdeq.__path__, "eqx_qdeq.")
    return [eqx_qdeq, *(importlib.import_module(info.name) for info in found)]


def docstrings(module: types.ModuleType) -> Iterator[tuple[str, str]]:
    """Everything that is documented in a module, with its name."""
    yield module.__name__, module.__doc__ or ""
    todo = [(module.__name__, module.__dict__)]
    while todo:
        prefix, members = todo.pop()
        for name, member in list(members.items()):
            member = getattr(member, "__func__", member)  # class methods, static methods
            # Equinox wraps a module's methods, and some decorators a module's functions.
            member = getattr(member, "method", getattr(member, "__wrapped__", member))
            if getattr(member, "__module__", None) != module.__name__:
                continue
            doc = member.__dict__.get("__doc__") if isinstance(member, type) else member.__doc__
            yield f"{prefix}.{name}", doc or ""
            if isinstance(member, type):
                todo.append((f"{prefix}.{name}", vars(member)))


def run(text: str, name: str) -> None:
    """Runs the blocks one after the other, as a reader would type them: what a line gives must be
    what its comment says, `x.shape  # (2,)`."""
    module = types.ModuleType("__main__")
    for block in blocks(text):
        tree = ast.parse(block.code, filename=name)
        shown = expected(block.code, tree)
        for statement in tree.body:
            wanted = shown.get(statement.lineno)
            found = execute(statement, name, module.__dict__, capture=wanted is not None)
            if wanted is not None:
                said = f"{name}: `{ast.unparse(statement)}` is\n{found}\nand not\n{wanted}"
                assert alike(wanted, found, atol=1e-6, rtol=0.01), said


def execute(statement: ast.stmt, name: str, space: dict[str, Any], *, capture: bool) -> str:
    """Runs a statement, and says what it printed or, of an expression, what it is."""
    if not capture or not isinstance(statement, ast.Expr):
        exec(compile(ast.Module([statement], []), name, "exec"), space)
        return ""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        value = eval(compile(ast.Expression(statement.value), name, "eval"), space)
    return printed.getvalue() if value is None else str(value)


def expected(code: str, tree: ast.Module) -> dict[int, str]:
    """What is said of expressions, by the line on which they begin: in the comment behind one, or
    in the comments right below."""
    lines = code.splitlines()
    comments = {
        token.start[0]: token.string[1:].removeprefix(" ")
        for token in tokenize.generate_tokens(io.StringIO(code).readline)
        if token.type == tokenize.COMMENT
    }
    found = {}
    for statement in tree.body:
        end = statement.end_lineno
        if not isinstance(statement, ast.Expr) or end is None:
            continue
        said = [comments[end]] if end in comments else []
        if not said:
            while end < len(lines) and lines[end].startswith("#"):
                end += 1
                said.append(comments[end])
        if said:
            found[statement.lineno] = "\n".join(said)
    return found
