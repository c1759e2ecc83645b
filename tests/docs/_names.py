"""Everything public, by its dotted name.

Public is what a package's `__init__.py` re-exports, and the functions and classes of a module of
which nothing is re-exported, since it can only be meant to be imported by itself.
"""

import ast
import importlib
import inspect
import pkgutil
import types

import eqx_qdeq


def is_public(name: str) -> bool:
    return not any(part.startswith("_") for part in name.split("."))


def _reexports(package: types.ModuleType) -> list[str]:
    """The names that an `__init__.py` imports as themselves."""
    return [
        alias.name
        for node in ast.walk(ast.parse(inspect.getsource(package)))
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if alias.asname == alias.name
    ]


def _own_names(module: types.ModuleType) -> list[str]:
    return [
        name
        for name, member in vars(module).items()
        if is_public(name)
        and isinstance(member, type | types.FunctionType)
        and member.__module__ == module.__name__
    ]


def public_names() -> list[str]:
    """The dotted names of everything public."""
    modules = [
        (importlib.import_module(info.name), info.ispkg)
        for info in pkgutil.walk_packages(eqx_qdeq.__path__, "eqx_qdeq.")
        if is_public(info.name)
    ]
    names = [
        f"{package.__name__}.{name}"
        for package, is_package in [(eqx_qdeq, True), *modules]
        if is_package
        for name in _reexports(package)
        if is_public(name) and not isinstance(getattr(package, name), types.ModuleType)
    ]
    reexported = {id(pkgutil.resolve_name(name)) for name in names}
    for module, is_package in modules:
        own = [] if is_package else _own_names(module)
        if not any(id(getattr(module, name)) in reexported for name in own):
            names += [f"{module.__name__}.{name}" for name in own]
    return names
