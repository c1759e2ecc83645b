"""PennyLane in TorchDEQ: the quantum equilibrium itself, for the images."""

import numpy as np
import pennylane as qml
import torch
from torch import nn
from torchdeq import get_deq

from .tasks import Task
from .torchdeq_side import train

N, DEPTH = 6, 6
PAIRS = [(i, j) for i in range(N) for j in range(i + 1, N)]
device = qml.device("default.qubit", wires=N)


def prepare(angles: torch.Tensor, x: torch.Tensor) -> None:
    """The encoded image, then layers of RY and RZ on every wire and a ring of CNOT."""
    qml.AmplitudeEmbedding(x, wires=range(N), normalize=True)
    for layer in angles:
        for wire in range(N):
            qml.RY(layer[0, wire], wires=wire)
        for wire in range(N):
            qml.RZ(layer[1, wire], wires=wire)
        for wire in range(N):
            qml.CNOT(wires=[wire, (wire + 1) % N])


@qml.qnode(device, interface="torch", diff_method="backprop")
def feedback(angles: torch.Tensor, x: torch.Tensor) -> list:
    prepare(angles, x)
    return [qml.expval(qml.PauliZ(i)) for i in range(N)]


@qml.qnode(device, interface="torch", diff_method="backprop")
def readout(angles: torch.Tensor, x: torch.Tensor) -> list:
    prepare(angles, x)
    ones = [qml.expval(qml.PauliZ(i)) for i in range(N)]
    return ones + [qml.expval(qml.PauliZ(i) @ qml.PauliZ(j)) for i, j in PAIRS]


class Model(nn.Module):
    """The equilibrium of w = ⟨Z⟩ of the circuit on x + g·upsample(w), and a linear map."""

    def __init__(self):
        super().__init__()
        self.angles = nn.Parameter((2 * torch.rand(DEPTH, 2, N) - 1) * torch.pi)
        self.head = nn.Linear(N + len(PAIRS), 10)
        self.deq = get_deq(f_solver="anderson", f_max_iter=40, f_tol=1e-4, b_tol=1e-4)
        self.index = torch.arange(64) * N // 64

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inject = lambda w: x + 0.3 * w[:, self.index]
        f = lambda w: torch.stack(feedback(self.angles, inject(w)), dim=1).float()
        w, _ = self.deq(f, torch.zeros(len(x), N))
        values = readout(self.angles, inject(w[-1]))
        return self.head(torch.stack(values, dim=1).float())


def images(task: Task, seed: int) -> float:
    torch.manual_seed(seed)
    model, loss = Model(), nn.CrossEntropyLoss()
    y = task.y.astype(np.int64)
    logits = train(model, loss, task.x, y, task.test_x, 0.03, task.epochs, seed)
    return float(np.mean(logits.argmax(axis=1) == task.test_y))
