"""From arrays or a file of images to splits, ready for training."""

from ..._deprecated import deprecated_names
from ._arrays import DataError as DataError, Standardize as Standardize
from ._dataset import (
    as_dataset,
    Dataset as Dataset,
)
from ._files import read_array
from ._load import load_dataset as load_dataset
from ._preprocess import (
    AdaptivePool as AdaptivePool,
    AveragePool as AveragePool,
    Compose as Compose,
    Crop as Crop,
    Flatten as Flatten,
    Normalize as Normalize,
    OrientedGradients as OrientedGradients,
    paper_preprocess as paper_preprocess,
    PaperPixels as PaperPixels,
    PixelPool as PixelPool,
    Preprocess,
    Resize as Resize,
    unit_norm_preprocess as unit_norm_preprocess,
    UnitNorm as UnitNorm,
)
from ._samples import Split as Split
from ._splits import stratified_split as stratified_split
from ._stream import Stream as Stream

__getattr__ = deprecated_names(__name__, {"Normalise": "Normalize"})
