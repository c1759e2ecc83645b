"""All recipes by name."""

import re
from collections.abc import Mapping
from types import MappingProxyType

from ._errors import DataError
from ._our_recipes import OURS
from ._paper_recipes import PAPER
from ._recipe import Recipe

recipes: Mapping[str, Recipe] = MappingProxyType(
    {recipe.name: recipe for recipe in (*OURS, *PAPER)}
)
"""The recipes by name."""


def get_recipe(name: str) -> Recipe:
    """A recipe by name, also one made by `with_model`, e.g. "ours-mnist4-unrolled5".

    **Arguments:**

    - `name`: its name.

    **Returns:**

    A [`eqx_qdeq.training.Recipe`][].

    **Raises:** [`eqx_qdeq.training.DataError`][] that lists the names there are.
    """
    if name in recipes:
        return recipes[name]
    variant = re.fullmatch(r"(.+)-(unrolled|classical)(\d+)", name)
    if variant is not None and variant[1] in recipes:
        return recipes[variant[1]].with_model(variant[2], n_layers=int(variant[3]))
    raise DataError(f"unknown recipe {name!r}; choose one of {', '.join(recipes)}.")
