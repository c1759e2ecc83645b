"""Training on real data: data sources, the training loop, checkpoints, metrics and recipes."""

from . import _extras as _extras  # first: says which extra is missing
from ._dataset import Dataset as Dataset, Split as Split, stratified_split as stratified_split
from ._errors import (
    CheckpointError as CheckpointError,
    DataError as DataError,
    TrainingError as TrainingError,
)
from ._fit import fit as fit, FitResult as FitResult
from ._gradients import OrientedGradients as OrientedGradients
from ._load import load_dataset as load_dataset
from ._metrics import (
    count_parameters as count_parameters,
    evaluate as evaluate,
    Metrics as Metrics,
)
from ._preprocess import (
    AdaptivePool as AdaptivePool,
    AveragePool as AveragePool,
    Compose as Compose,
    Crop as Crop,
    Flatten as Flatten,
    Normalise as Normalise,
    paper_preprocess as paper_preprocess,
    PaperPixels as PaperPixels,
    PixelPool as PixelPool,
    Resize as Resize,
    unit_norm_preprocess as unit_norm_preprocess,
    UnitNorm as UnitNorm,
)
from ._pretrained import (
    load_pretrained as load_pretrained,
    pretrained as pretrained,
    pretrained_path as pretrained_path,
)
from ._recipe import Recipe as Recipe
from ._recipes import get_recipe as get_recipe, recipes as recipes
from ._residuals import (
    plain_iteration_history as plain_iteration_history,
    residual_history as residual_history,
)
from ._run_recipe import (
    load_recipe_data as load_recipe_data,
    RecipeResult as RecipeResult,
    run_recipe as run_recipe,
    run_recipe_together as run_recipe_together,
)
from ._save import load as load, load_metadata as load_metadata, save as save
from ._together import fit_together as fit_together
