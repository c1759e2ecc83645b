"""Matrix products at the highest precision.

On GPUs and TPUs a float32 product is by default made of shorter numbers (TF32, bfloat16). Its error
of 1e-3 is noise in f(z): residuals stall there, and no tolerance below is met.
"""

import functools as ft

import jax.numpy as jnp
from jax import lax

HIGHEST = lax.Precision.HIGHEST

dot = ft.partial(jnp.dot, precision=HIGHEST)
einsum = ft.partial(jnp.einsum, precision=HIGHEST)
matmul = ft.partial(jnp.matmul, precision=HIGHEST)
tensordot = ft.partial(jnp.tensordot, precision=HIGHEST)
