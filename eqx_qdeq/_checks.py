"""The one home of argument checks: what an error says, and that it says it early."""

from collections.abc import Sequence
from typing import Any


def is_number(value: Any) -> bool:
    """Whether a field can be checked now. Under a transformation it may be a tracer."""
    return isinstance(value, int | float)


def check_at_least(name: str, field: str, value: int, least: int) -> None:
    if value < least:
        raise ValueError(f"`{name}({field}=...)` must be at least {least}; got {value}.")


def check_fraction(name: str, field: str, value: float) -> None:
    if is_number(value) and not 0 < value <= 1:
        raise ValueError(
            f"`{name}({field}=...)` must be above 0 and at most 1 (1 is an undamped step); got "
            f"{value}."
        )


def check_damp(name: str, value: float) -> None:
    if is_number(value) and not 0 <= value < 1:
        raise ValueError(
            f"`{name}(damp=...)` must be at least 0, which is no damping, and below 1; got {value}."
        )


def check_choice(name: str, value: object, choices: Sequence[str]) -> None:
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(choices)}; got {value!r}.")
