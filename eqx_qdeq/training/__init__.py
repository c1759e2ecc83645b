"""Training on real data: data sources, the training loop, checkpoints, metrics and recipes."""

# First, so that what is missing is named by the extra that has it.
try:
    import optax
except ImportError as error:
    raise ImportError(
        "eqx_qdeq.training needs optax, of the extra `train`: "
        'pip install ".[train]" in a checkout of eqx-qdeq.'
    ) from error

from .._deprecated import deprecated_names
from ._batches import epoch_batches
from ._callbacks import (
    AbstractCallback as AbstractCallback,
    EarlyStopping as EarlyStopping,
    Record as Record,
    TensorBoard as TensorBoard,
    WandB as WandB,
)
from ._convergence import ConvergenceWarning as ConvergenceWarning
from ._evaluate import evaluate as evaluate, OwnMetrics as OwnMetrics
from ._files import (
    load as load,
    load_metadata as load_metadata,
    save as save,
)
from ._fit import Data as Data, fit as fit
from ._losses import ClassWeight as ClassWeight, Loss as Loss, NAMED
from ._metrics import count_parameters as count_parameters, Metrics as Metrics
from ._options import Callback as Callback, Options as Options
from ._progress import TrainingError as TrainingError
from ._residuals import (
    plain_iteration_history as plain_iteration_history,
    residual_history as residual_history,
)
from ._result import FitResult as FitResult
from ._together import fit_together as fit_together
from ._writing import (
    CheckpointError as CheckpointError,
    to_json,
    write_atomic as write_atomic,
)
from .data import (
    AdaptivePool as AdaptivePool,
    AveragePool as AveragePool,
    Compose as Compose,
    Crop as Crop,
    DataError as DataError,
    Dataset as Dataset,
    Flatten as Flatten,
    load_dataset as load_dataset,
    Normalize as Normalize,
    OrientedGradients as OrientedGradients,
    paper_preprocess as paper_preprocess,
    PaperPixels as PaperPixels,
    PixelPool as PixelPool,
    Preprocess as Preprocess,
    Resize as Resize,
    Split as Split,
    Standardize as Standardize,
    stratified_split as stratified_split,
    Stream as Stream,
    unit_norm_preprocess as unit_norm_preprocess,
    UnitNorm as UnitNorm,
)
from .recipe import (  # last: recipes stand on all of the above
    get_recipe as get_recipe,
    load_pretrained as load_pretrained,
    load_recipe_data as load_recipe_data,
    pretrained as pretrained,
    pretrained_path as pretrained_path,
    Recipe as Recipe,
    RecipeResult as RecipeResult,
    recipes as recipes,
    run_recipe as run_recipe,
    run_recipe_together as run_recipe_together,
)

__getattr__ = deprecated_names(__name__, {"Normalise": "Normalize"})
