"""The paper's table, and the baselines beside it."""
