"""The one home of argument checks.

`name` is how an error calls the argument: `"depth"`, or `"Anderson(memory=...)"` where a bare name
would leave open whose it is. Numbers under a transformation are tracers and pass unchecked.

What samples and states may be is in `_inputs`. Nothing here imports JAX: circuits are described
without it.
"""

import importlib
import operator
from collections.abc import Iterable, Sequence
from numbers import Real
from typing import Any

import numpy as np


def need(module: str, extra: str, what: str, raised: type[Exception] = ImportError) -> Any:
    """A module of an extra.

    **Raises:** `raised` without it, which says what needs it and how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        # (No index has the package yet, so its name alone would install nothing.)
        raise raised(
            f"{what} needs {module}, of the extra `{extra}`: "
            f'pip install ".[{extra}]" in a checkout of eqx-qdeq.'
        ) from error


def is_number(value: Any) -> bool:
    """Whether a field can be checked now. Under a transformation it may be a tracer."""
    return isinstance(value, int | float)


def can_check(name: str, value: Any) -> bool:
    """Whether a field that must be a number can be checked now: an array may be traced.

    **Raises:** `TypeError` for what is no number.
    """
    if is_number(value) and not isinstance(value, bool):
        return True
    kind, shape = str(getattr(value, "dtype", "bool")), getattr(value, "shape", ())
    if kind != "bool" and shape == ():
        return isinstance(value, np.generic | np.ndarray)
    raise TypeError(f"`{name}` must be a number; got {describe(value)}.")


def check_at_least(name: str, value: int, least: int) -> None:
    if any(kind.__name__ == "Tracer" for kind in type(value).__mro__):
        return
    try:
        if isinstance(value, bool):  # has an index, but counts nothing
            raise TypeError
        operator.index(value)
    except TypeError:
        raise TypeError(f"`{name}` must be an integer; got {describe(value)}.") from None
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}; got {value}.")


def check_within(name: str, value: Any, low: float, high: float, what: str) -> None:
    """A plain number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"`{name}` must be a number, {what}; got {describe(value)}.")
    if not low <= float(value) <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, {what}; got {value}.")


def check_positive(name: str, value: Any) -> None:
    if can_check(name, value) and not value > 0:
        raise ValueError(f"`{name}` must be positive; got {value}.")


def check_step_length(name: str, value: Any) -> None:
    if can_check(name, value) and not 0 < value <= 1:
        raise ValueError(
            f"`{name}` must be above 0 and at most 1, which is an undamped step; got {value}."
        )


def check_damp(name: str, value: Any) -> None:
    check_share(name, value, "which is no damping")


def check_share(name: str, value: Any, none: str) -> None:
    """A number in [0, 1); `none` says what 0 is."""
    if can_check(name, value) and not 0 <= value < 1:
        raise ValueError(f"`{name}` must be at least 0, {none}, and below 1; got {value}.")


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {describe(value)}.")


def check_names(
    name: str, found: Iterable[str], needed: Iterable[str], known: Iterable[str]
) -> None:
    """The entries of a dictionary, which may come from a file."""
    # A name that is not known explains one that is missing, so it comes first.
    unknown = sorted(map(repr, set(found) - set(known)))
    if unknown:
        raise ValueError(f"`{name}` has entries that are not known: {', '.join(unknown)[:200]}.")
    missing = sorted(set(needed) - set(found))
    if missing:
        raise ValueError(f"`{name}` lacks {', '.join(missing)}.")


def integers(name: str, values: Any) -> tuple[int, ...]:
    """A list of integers, such as wires, as a tuple that can be hashed."""
    try:
        if isinstance(values, str):
            raise TypeError
        return tuple(operator.index(value) for value in values)
    except TypeError:
        raise TypeError(
            f"`{name}` must be a list of integers, e.g. (0, 1); got {describe(values)}."
        ) from None


def optional_wires(values: Any) -> tuple[int, ...] | None:
    return None if values is None else integers("wires", values)


def check_instance(name: str, value: object, kinds: Any, wanted: str) -> None:
    """Refuses what is no instance of `kinds`; `wanted` says what is, with an example."""
    if not isinstance(value, kinds):
        raise TypeError(f"`{name}` must be {wanted}; got {describe(value)}.")


def describe(value: object) -> str:
    """What came, in few words; a class that was meant as its instance is told so."""
    if isinstance(value, type):
        return f"the class {value.__name__} itself; write `{value.__name__}(...)`"
    if isinstance(value, str | bool | int | float | complex | None):
        return repr(value)
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and hasattr(value, "dtype"):
        return f"an array of {value.dtype} of shape {shape}"  # pyright: ignore
    if isinstance(value, tuple | list) and len(repr(value)) <= 60:
        return repr(value)
    return type(value).__name__


def short(said: object, most: int = 80) -> str:
    """A file's own words in a message of one line: they may be long, or move the cursor."""
    text = str(said)
    text = text if len(text) <= most else text[: most - 3] + "..."
    return text if text.isprintable() else repr(text)
