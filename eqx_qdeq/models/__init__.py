"""Classifiers and regressors with one interface: a feature vector in, logits or targets out."""

from ._classifier import (
    AbstractClassifier as AbstractClassifier,
    AbstractEquilibriumModel as AbstractEquilibriumModel,
    AbstractRegressor as AbstractRegressor,
    UnrolledClassifier as UnrolledClassifier,
    UnrolledRegressor as UnrolledRegressor,
    z_and_zz as z_and_zz,
    z_products as z_products,
)
from ._models import (
    ClassicalDEQClassifier as ClassicalDEQClassifier,
    classifier_from_config as classifier_from_config,
    QDEQClassifier as QDEQClassifier,
    QDEQRegressor as QDEQRegressor,
    shapes_from_config,
)
