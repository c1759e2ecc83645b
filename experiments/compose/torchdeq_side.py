"""TorchDEQ: a classical equilibrium z = tanh(W z + U x + b) for each task."""

import numpy as np
import torch
from sklearn.metrics import r2_score
from sklearn.preprocessing import StandardScaler
from torch import nn
from torchdeq import get_deq

from .tasks import Task

torch.set_num_threads(1)  # for so small models more of them only wait for each other


class Model(nn.Module):
    """An equilibrium of `size` numbers, and a linear map."""

    def __init__(self, n_in: int, size: int, n_out: int):
        super().__init__()
        self.state, self.input = nn.Linear(size, size, bias=False), nn.Linear(n_in, size)
        self.head = nn.Linear(size, n_out)
        self.deq = get_deq(f_solver="anderson", f_max_iter=40, f_tol=1e-4, b_tol=1e-4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        offset = self.input(x)
        z, _ = self.deq(lambda z: torch.tanh(self.state(z) + offset), torch.zeros_like(offset))
        return self.head(z[-1])


def train(model: nn.Module, loss, x, y, test_x, rate: float, epochs: int, seed: int) -> np.ndarray:
    """Minimizes the mean loss by Adam, in batches of 32; the outputs for the test samples."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    random = np.random.default_rng(seed)
    x, y = torch.tensor(x, dtype=torch.float32), torch.tensor(y)
    for _ in range(epochs):
        order = random.permutation(len(x))
        for batch in np.split(order[: len(x) // 32 * 32], len(x) // 32):
            optimizer.zero_grad()
            loss(model(x[batch]), y[batch]).backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        return model(torch.tensor(test_x, dtype=torch.float32)).numpy()


def table(task: Task, seed: int) -> float:
    torch.manual_seed(seed)
    scaler = StandardScaler().fit(task.x)
    x, test_x = scaler.transform(task.x), scaler.transform(task.test_x)
    model, loss = Model(13, 10, 3), nn.CrossEntropyLoss()
    logits = train(model, loss, x, task.y, test_x, 0.01, task.epochs, seed)
    return float(np.mean(logits.argmax(axis=1) == task.test_y))


def regression(task: Task, seed: int) -> float:
    torch.manual_seed(seed)
    scaler, targets = StandardScaler().fit(task.x), StandardScaler().fit(task.y[:, None])
    x, test_x = scaler.transform(task.x), scaler.transform(task.test_x)
    y = np.asarray(targets.transform(task.y[:, None]), np.float32)
    outputs = train(Model(10, 8, 1), nn.MSELoss(), x, y, test_x, 0.01, task.epochs, seed)
    return r2_score(task.test_y, targets.inverse_transform(outputs))


def images(task: Task, seed: int) -> float:
    torch.manual_seed(seed)
    model, loss = Model(64, 6, 10), nn.CrossEntropyLoss()
    y = task.y.astype(np.int64)
    logits = train(model, loss, task.x, y, task.test_x, 0.01, task.epochs, seed)
    return float(np.mean(logits.argmax(axis=1) == task.test_y))
