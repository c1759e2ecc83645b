"""Fails early, with the remedy, where the packages that training needs are not installed."""

try:
    import optax as optax
except ImportError as error:
    raise ImportError('eqx_qdeq.training needs optax: pip install "eqx-qdeq[train]"') from error
