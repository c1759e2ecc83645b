"""Layers with all kinds of noise."""

import equinox as eqx
import jax

import eqx_qdeq as qdeq
from eqx_qdeq import noise

ENCODINGS = {
    "amplitude": (qdeq.AmplitudeEncoding(), 5),
    "complex": (qdeq.ComplexAmplitudeEncoding(), 11),
    "angle": (qdeq.AngleEncoding("XY"), 5),
    "reuploading": (qdeq.DataReuploading(qdeq.AngleEncoding("XY"), 2), 5),
}
CIRCUIT = qdeq.circuits.hardware_efficient(3, 2)
OTHER = qdeq.PauliStrings(["Z0 Z1", "X2"])
ENGINES = ("heisenberg", "density", "trajectories")


def model(scale: float, *, random: bool = True) -> noise.NoiseModel:
    """Noise everywhere. Without randomness only rotations: a single trajectory is then exact."""
    one = (noise.CoherentRotation("Y", scale),)
    two = (noise.CoherentRotation("ZX", scale),)
    if random:
        one, two = (*one, noise.AmplitudeDamping(scale)), (*two, noise.Depolarizing(scale, 2))
    return noise.NoiseModel(
        one,
        two,
        overrides=(noise.GateNoise(one + one, "Ry", (1,)),),
        idle=one,
        over_rotation=noise.OverRotation(scale),
        preparation=noise.PreparationNoise(one, two),
        readout=noise.ReadoutError(scale, 2 * scale),
    )


def make_layer(encoding, noise_model, engine="auto", measurement=None, circuit=CIRCUIT):
    measurement = qdeq.PauliZ() if measurement is None else measurement
    return qdeq.QuantumLayer(
        circuit, encoding, measurement, key=jax.random.key(0), engine=engine, noise=noise_model,
        n_trajectories=2,
    )  # fmt: skip


@eqx.filter_jit
def all_of(layer, x):
    compiled = layer.compile(x.shape[0])
    return layer(x), compiled.measure(OTHER, x), compiled.probabilities(x)


def engines_for(name: str, random: bool) -> list[str]:
    chosen = ENGINES[:2] if random else ENGINES
    return [e for e in chosen if not (name == "reuploading" and e == "heisenberg")]
