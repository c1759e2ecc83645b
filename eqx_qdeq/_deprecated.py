"""Names that have changed: the old ones work for one more release and say what to write instead."""

import functools as ft
import importlib
import sys
import warnings
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

_Target = TypeVar("_Target", bound=Callable)


def warn_renamed(old: str, new: str, stacklevel: int = 3) -> None:
    """Warns whoever called the function that calls this one (or someone further up)."""
    warnings.warn(
        f"`{old}` is now `{new}`; the old name will be removed in the next release.",
        DeprecationWarning,
        stacklevel,
    )


# `Any` and not the type of a function: for a module whose `__getattr__` is known to be one, type
# checkers believe in every name there is, and find no misspelt one.
def deprecated_names(module: str, renamed: Mapping[str, str]) -> Any:
    """The `__getattr__` of a module in which names have changed.

    **Arguments:**

    - `module`: its `__name__`.
    - `renamed`: the new name for each old one; dotted (`"eqx_qdeq.solvers.Newton"`) where it has
        moved to another module.
    """

    def get(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        place, _, new = renamed[name].rpartition(".")
        place = place or module
        warn_renamed(f"{module}.{name}", f"{place}.{new}")
        # Looked up now: a room that stands above this module could not be imported with it.
        home = sys.modules[place] if place in sys.modules else importlib.import_module(place)
        return getattr(home, new)

    return get


def renamed_arguments(**hints: str) -> Callable[[_Target], _Target]:
    """Decorates a function or a class: an old keyword raises a `TypeError` with its hint. (An
    argument whose meaning changed with its name cannot be passed on.)"""

    def decorate(target: _Target) -> _Target:
        function = target.__init__ if isinstance(target, type) else target

        @ft.wraps(function)
        def checked(*args: Any, **kwargs: Any) -> Any:
            for old, hint in hints.items():
                if old in kwargs:
                    raise TypeError(f"`{target.__name__}({old}=...)` is now {hint}.")
            return function(*args, **kwargs)

        if not isinstance(target, type):
            return checked  # pyright: ignore[reportReturnType]
        target.__init__ = checked  # pyright: ignore[reportAttributeAccessIssue]
        return target  # pyright: ignore[reportReturnType]

    return decorate
