"""Everything that a training needs beside its seed, under a name; and the weights that came of it.

(`recipes` is the name of the mapping, so the folder has another.)
"""

from ._recipe import (
    get_recipe as get_recipe,
    load_pretrained as load_pretrained,
    pretrained as pretrained,
    pretrained_path as pretrained_path,
    Recipe as Recipe,
    recipes as recipes,
)
from ._run import (
    load_recipe_data as load_recipe_data,
    RecipeResult as RecipeResult,
    run_recipe as run_recipe,
    run_recipe_together as run_recipe_together,
)
