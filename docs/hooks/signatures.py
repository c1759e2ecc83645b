"""Signatures in the API reference as they stand in the code.

The reference is made from the running package, since that is where an `equinox.Module` gets its
`__init__` and its documentation. But annotations at run time are objects whose `repr` is no
pleasure (a `PRNGKeyArray` is a union of three types); this extension of Griffe puts back what was
written.
"""

import ast
import importlib
import importlib.util
import inspect
import re
import textwrap
import typing
from typing import Any

import griffe


def _source(obj: Any) -> ast.stmt | None:
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(obj)))).body[0]
    except (OSError, TypeError, SyntaxError):  # generated code has no source
        return None


def _written(node: ast.expr) -> str:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value  # an annotation that had to be quoted
    # jaxtyping's " d" is "d"; the space is for linters.
    return re.sub(r"(['\"]) *(.*?)\1", r'"\2"', ast.unparse(node))


def _annotations(obj: Any) -> dict[str, str]:
    """The annotations of a function as written; `return` is what it returns."""
    node = _source(obj)
    if not isinstance(node, ast.FunctionDef):
        return {}
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    found = {a.arg: _written(a.annotation) for a in arguments if a.annotation is not None}
    if node.returns is not None:
        found["return"] = _written(node.returns)
    # What `**named` stands for where a function takes `options` as well: the fields of `Options`.
    options = getattr(inspect.unwrap(obj), "__globals__", {}).get("Options")
    if "options" in found and node.args.kwarg is not None and options is not None:
        fields = _fields(options).items()
        found = {name: _written(field.annotation) for name, field in fields} | found
    return found


def _fields(cls: type) -> dict[str, ast.AnnAssign]:
    """The annotated fields of a class and its bases."""
    fields: dict[str, ast.AnnAssign] = {}
    for base in reversed(cls.__mro__):
        node = None if base is object else _source(base)
        if isinstance(node, ast.ClassDef):
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                    fields[item.target.id] = item
    return fields


def _default(value: ast.expr | None) -> str | None:
    """The default of a field, looking into `field(..., default=...)`."""
    if isinstance(value, ast.Call) and ast.unparse(value.func).endswith("field"):
        given = {keyword.arg: keyword.value for keyword in value.keywords}
        made = given.get("default_factory")  # as its call: a parameter behind defaults needs one
        value = given.get("default") if made is None else ast.Call(made, [], [])
    return None if value is None else ast.unparse(value)


def _assignment(name: str) -> tuple[ast.stmt | None, str]:
    """Where a module's name gets its value, and the text below, which documents it."""
    module, _, name = name.rpartition(".")
    source = importlib.import_module(module)
    tree = ast.parse(inspect.getsource(source))
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                if node.level and name in (alias.name, alias.asname):  # from elsewhere here
                    there = "." * node.level + (node.module or "")
                    home = importlib.util.resolve_name(there, source.__package__)
                    return _assignment(f"{home}.{alias.name}")
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            text = after.value if isinstance(after, ast.Expr) else None
            is_text = isinstance(text, ast.Constant) and isinstance(text.value, str)
            return node, inspect.cleandoc(text.value) if is_text else ""
    return None, ""


def documentation(name: str) -> str:
    """What is said of a module's data or alias, in the text below its assignment."""
    return _assignment(name)[1]


class Signatures(griffe.Extension):
    """Puts annotations and defaults back as they were written."""

    def on_module_members(
        self, *, node: ast.AST | griffe.ObjectNode, mod: griffe.Module, **_: Any
    ) -> None:
        # `tuple[...]` and the like look to Griffe like `tuple` under another name.
        for name, member in list(mod.members.items()):
            value = getattr(node.obj, name, None) if isinstance(node, griffe.ObjectNode) else None
            if isinstance(member, griffe.Alias) and typing.get_origin(value) is not None:
                mod.members[name] = attribute = griffe.Attribute(name, parent=mod)
                self.on_attribute_instance(node=node, attr=attribute)

    def on_attribute_instance(
        self, *, node: ast.AST | griffe.ObjectNode, attr: griffe.Attribute, **_: Any
    ) -> None:
        if not isinstance(attr.parent, griffe.Module) or not isinstance(node, griffe.ObjectNode):
            return
        written, text = _assignment(attr.path)
        if written is None:
            return
        attr.docstring = griffe.Docstring(text, parent=attr) if text else None
        attr.value = None  # a dictionary's is a page long, and shown as a table
        if isinstance(written, ast.AnnAssign):
            attr.annotation = _written(written.annotation)
        elif isinstance(written, ast.Assign):  # an alias is what it stands for
            attr.annotation, attr.value = None, _written(written.value)

    def on_function_instance(
        self, *, node: ast.AST | griffe.ObjectNode, func: griffe.Function, **_: Any
    ) -> None:
        if isinstance(node, griffe.ObjectNode):
            written = _annotations(node.obj)
            for parameter in func.parameters:
                parameter.annotation = written.get(parameter.name, parameter.annotation)
            func.returns = written.get("return", func.returns)

    def on_class_members(
        self, *, node: ast.AST | griffe.ObjectNode, cls: griffe.Class, **_: Any
    ) -> None:
        if not isinstance(node, griffe.ObjectNode):
            return
        runtime = vars(node.obj)
        for name, member in cls.members.items():
            if isinstance(member, griffe.Object) and name in runtime:
                # A field's default value is an attribute of the class, and what documents the
                # value does not document the field.
                if member.is_attribute and not isinstance(runtime[name], property):
                    member.docstring = None
        order = {name: _line(runtime.get(name)) for name in cls.members}
        cls.members = dict(sorted(cls.members.items(), key=lambda item: order[item[0]]))
        init = cls.members.get("__init__")
        if isinstance(init, griffe.Function):
            if init.docstring is not None and init.docstring.value.startswith("Initialize self."):
                init.docstring = None  # Python's own, for a class that has nothing to say
            if _source(runtime.get("__init__")) is None:  # generated from the fields
                _restore_fields(init, _fields(node.obj))


def _restore_fields(init: griffe.Function, fields: dict[str, ast.AnnAssign]) -> None:
    for parameter in init.parameters:
        if parameter.name in fields:
            field = fields[parameter.name]
            parameter.annotation = _written(field.annotation)
            parameter.default = _default(field.value)


def _line(member: Any) -> int:
    """Where a function, method or property begins, for members in the order of the code."""
    function = member.fget if isinstance(member, property) else member
    function = inspect.unwrap(getattr(function, "__func__", function))
    code = getattr(getattr(function, "method", function), "__code__", None)
    return 0 if code is None else code.co_firstlineno
