"""Our recipes on the paper's tasks."""
