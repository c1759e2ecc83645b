"""The one home of argument checks.

`name` is how an error calls the argument: `"depth"`, or `"Anderson(memory=...)"` where a bare name
would leave open whose it is. Numbers under a transformation are tracers and pass unchecked.
"""

import importlib
import numbers
from collections.abc import Sequence
from typing import Any


def need(module: str, extra: str, what: str) -> Any:
    """A module of an extra.

    **Raises:** `ImportError` without it, which says what needs it and how to install it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f'{what} needs {module}: pip install "eqx-qdeq[{extra}]".') from error


def is_number(value: Any) -> bool:
    """Whether a field can be checked now. Under a transformation it may be a tracer."""
    return isinstance(value, int | float)


def check_at_least(name: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"`{name}` must be at least {least}; got {value}.")


def check_within(name: str, value: Any, low: float, high: float, what: str) -> None:
    """A plain number from `low` to `high`."""
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(f"`{name}` must be a number, {what}; got {value!r}.")
    if not low <= float(value) <= high:
        raise ValueError(f"`{name}` must be from {low} to {high}, {what}; got {value}.")


def check_positive(name: str, value: Any) -> None:
    if is_number(value) and not value > 0:
        raise ValueError(f"`{name}` must be positive; got {value}.")


def check_step_length(name: str, value: Any) -> None:
    if is_number(value) and not 0 < value <= 1:
        raise ValueError(
            f"`{name}` must be above 0 and at most 1, which is an undamped step; got {value}."
        )


def check_damp(name: str, value: Any) -> None:
    if is_number(value) and not 0 <= value < 1:
        raise ValueError(
            f"`{name}` must be at least 0, which is no damping, and below 1; got {value}."
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {value!r}.")
