"""Classifiers with one interface: a feature vector in, logits out."""

from ._classifier import (
    AbstractClassifier as AbstractClassifier,
    UnrolledClassifier as UnrolledClassifier,
    z_and_zz as z_and_zz,
    z_products as z_products,
)
from ._models import (
    ClassicalDEQClassifier as ClassicalDEQClassifier,
    classifier_from_config as classifier_from_config,
    QDEQClassifier as QDEQClassifier,
    shapes_from_config,
)
