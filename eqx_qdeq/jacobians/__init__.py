"""A cell's Jacobian and how large it is, outside the solve."""

from ._jacobian import (
    jacobian as jacobian,
    jacobian_penalty as jacobian_penalty,
    spectral_abscissa as spectral_abscissa,
    spectral_norm as spectral_norm,
    spectral_radius as spectral_radius,
)
