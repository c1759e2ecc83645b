"""A film: the equilibrium of each frame is sought where that of the frame before was found.

python examples/sequence.py
"""

from pathlib import Path

import equinox as eqx
import jax
import numpy as np
import tyro
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from sklearn.datasets import load_sample_image
from tqdm.auto import tqdm

import eqx_qdeq as qdeq
from eqx_qdeq.training import unit_norm_preprocess


def pan(photo: np.ndarray, speed: float, n_frames: int = 48) -> np.ndarray:
    """The frames of a camera that moves to the right by `speed` pixels a frame."""
    lefts = (speed * np.arange(n_frames)).round().astype(int)
    return np.stack([photo[27:427, left : left + 400] for left in lefts])


def main(
    speeds: tuple[float, ...] = (0.25, 0.5, 1, 2, 5),
    seed: int = 0,
    out: Path = Path("sequence.png"),
    smoke: bool = False,
) -> None:
    """Solves the frames of a film each by itself, and one after the other.

    Args:
        speeds: pixels a frame by which the camera moves across a photograph, 5 at most.
        seed: of the circuit's angles.
        out: the figure to write.
        smoke: two speeds only.
    """
    circuit = qdeq.circuits.hardware_efficient(n_qubits=6, depth=6)
    layer = qdeq.QuantumLayer(
        circuit, qdeq.AmplitudeEncoding(), qdeq.PauliZ(), key=jax.random.key(seed)
    )
    cell = qdeq.QuantumCell(layer, qdeq.AddInjection(in_size=64, gain=0.3))
    deq = qdeq.DEQ(cell, qdeq.Picard(rtol=1e-5, atol=1e-5))  # plain iteration: steps are its cost
    solve_each = eqx.filter_jit(lambda film: jax.vmap(deq.solve)(film))
    solve_film = eqx.filter_jit(lambda film: qdeq.solve_sequence(deq, film))

    photo = load_sample_image("china.jpg").mean(axis=-1) / 255
    features = unit_norm_preprocess(side=8)
    speeds = speeds[::3] if smoke else speeds
    steps, apart = [], 0.0
    for speed in tqdm(speeds, desc="films"):
        film = features(pan(photo, speed)).astype(np.float32)  # (frames, 64)
        cold, warm = solve_each(film), solve_film(film)
        steps.append([s.stats["num_steps"] for s in (cold, warm)])
        apart = max(apart, float(abs(cold.value - warm.value).max()))

    figure = Figure(figsize=(11, 3.2), layout="constrained")
    picture, values, counts = figure.subplots(1, 3)
    picture.imshow(photo, cmap="gray")
    for name, left, color in (("first frame", 0, "C0"), ("last frame", 47 * speeds[-1], "C3")):
        picture.add_patch(Rectangle((left, 27), 399, 399, fill=False, color=color, label=name))
    picture.set_title(f"A camera moves {speeds[-1]:g} pixels a frame")
    picture.legend(loc="upper center")
    picture.axis("off")
    values.plot(warm.value)
    values.set(title="The equilibrium moves with it", xlabel="frame", ylabel="⟨Z⟩ of each wire")
    means = np.mean(steps, axis=2)
    counts.plot(speeds, means[:, 0], "o-", label="each by itself")
    counts.plot(speeds, means[:, 1], "s-", label="from the frame before")
    counts.set(title="Cost of a frame", xlabel="pixels a frame", ylabel="mean solver steps")
    counts.set_ylim(bottom=0)
    counts.legend()
    figure.savefig(out, dpi=100)
    total = np.sum(steps, axis=(0, 2))
    print(f"figure {out}")
    print(
        f"checked: the same equilibria to {apart:.1e}, in {total[1]} solver steps from the frame "
        f"before, in {total[0]} by themselves"
    )


if __name__ == "__main__":
    tyro.cli(main, config=(tyro.conf.FlagCreatePairsOff,))
