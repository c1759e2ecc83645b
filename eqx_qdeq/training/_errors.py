"""What can go wrong around training, each with one line that says what to do."""


class DataError(ValueError):
    """Data that are missing, malformed or do not fit what was asked of them."""


class CheckpointError(RuntimeError):
    """A file of weights, or of a run, that cannot be used here. It is left as it was."""


class TrainingError(RuntimeError):
    """A training run that cannot go on."""
