"""Names that have changed: the old ones work for one more release and say what to write instead."""

import sys
import warnings
from collections.abc import Mapping
from typing import Any


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
    - `renamed`: the new name for each old one.
    """

    def get(name: str) -> Any:
        if name not in renamed:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn_renamed(f"{module}.{name}", f"{module}.{renamed[name]}")
        return getattr(sys.modules[module], renamed[name])

    return get
