"""eqx-qdeq as a scikit-learn estimator: the same equilibrium, in scikit-learn's words."""

from eqx_qdeq.sklearn import QuantumEquilibriumClassifier, QuantumEquilibriumRegressor

from .tasks import Task


def table(task: Task, seed: int) -> float:
    model = QuantumEquilibriumClassifier(epochs=task.epochs, random_state=seed)
    return model.fit(task.x, task.y).score(task.test_x, task.test_y)


def regression(task: Task, seed: int) -> float:
    model = QuantumEquilibriumRegressor(epochs=task.epochs, random_state=seed, learning_rate=0.01)
    return model.fit(task.x, task.y).score(task.test_x, task.test_y)
