"""Write calibration.json: the thresholds of nvidia-modelopt's histogram calibrator on fixed samples.

No test runs this program, and the project requires neither modelopt nor its dependencies. These commands made the file,
in an environment of its own:

    python3 -m venv /tmp/modelopt
    /tmp/modelopt/bin/pip install nvidia-modelopt==0.47.0 torch==2.13.0 requests huggingface_hub
    /tmp/modelopt/bin/python tests/golden/make_calibration.py

tests/models/test_calibration.py takes `draw` from here and the thresholds from the file.
"""

import hashlib
import json
import platform
from importlib import metadata
from pathlib import Path

import numpy as np

COMMAND = "python tests/golden/make_calibration.py"
BINS, EVERY = 2048, 60  # every 60th divergence is kept: those of the candidates 128, 188, ..., 2048
RNG = np.random.default_rng


def x2_like() -> np.ndarray:
    """Draw a second layer's input: ReLU of flags, two ports, the protocols TCP and UDP, short and long intervals."""
    rng, n = RNG(6), 3_000
    x = np.zeros((n, 12))
    x[:, 0] = np.where(rng.random(n) < 0.8, 6, 17) / 17
    x[:, 1:3] = np.stack([rng.choice([22, 53, 80, 443], n), rng.integers(32_768, 61_000, n)], axis=1) / 65_535
    x[:, 3:8] = rng.exponential(0.02, (n, 5))
    x[:, 8:] = rng.random((n, 4)) < 0.2
    return np.maximum(x @ rng.normal(size=(12, 16)), 0)


# What is drawn, by name. `draw` converts it to float32, as modelopt does.
SAMPLES = {
    "normal": lambda: RNG(0).normal(size=20_011),
    "laplace": lambda: RNG(1).laplace(size=20_011),
    "relu of a shifted normal": lambda: np.maximum(RNG(2).normal(-0.5, 1, 20_011), 0),
    "uniform": lambda: RNG(3).uniform(-1, 1, 20_011),
    "normal and one outlier": lambda: np.append(RNG(4).normal(size=20_011), 40.0),
    "12 weights, the least within 128 bins": lambda: np.append(RNG(5).normal(size=11), 0.001),
    "12 weights, none within 128 bins": lambda: np.sign(RNG(5).normal(size=12)) * RNG(7).uniform(0.2, 1, 12),
    "like a second layer's input": x2_like,
}


def draw(name: str) -> np.ndarray:
    """Draw one sample, float32."""
    return SAMPLES[name]().astype(np.float32)


def golden(values: np.ndarray) -> dict:
    """Return modelopt's thresholds of one sample, from its own float32 histogram and from NumPy's histogram."""
    import torch
    from modelopt.torch.quantization.calib import histogram

    divergences, entropy, quantize = [], histogram.entropy, histogram.fake_tensor_quant

    def recording(*distributions):
        divergences.append(float(entropy(*distributions)))
        return divergences[-1]

    def mended(centers, amax, num_bits, unsigned):
        return quantize(centers, amax, None, num_bits, unsigned)

    calibrator = histogram.HistogramCalibrator(num_bits=8, axis=None, num_bins=BINS)
    calibrator.collect(torch.from_numpy(values))
    out = {"sha256": hashlib.sha256(values.tobytes()).hexdigest(), "size": values.size}
    out |= {method: calibrator.compute_amax(method).item() for method in ("entropy", "percentile", "mse")}
    # modelopt 0.47 passes num_bits in the place of a new parameter, "bias", so its "mse" quantizes to no bits at all.
    histogram.fake_tensor_quant = mended
    out["mse_mended"] = calibrator.compute_amax("mse").item()
    histogram.fake_tensor_quant = quantize
    magnitude = np.abs(values.astype(np.float64)).ravel()
    counts, edges = np.histogram(magnitude, BINS, (0.0, magnitude.max()))
    out["bins_counted_otherwise"] = int(np.sum(counts != calibrator._calib_hist.numpy()))
    histogram.entropy = recording
    # The search overwrites the first count with the second, so it gets a copy.
    out["entropy_same_histogram"] = histogram._compute_amax_entropy(counts.copy(), edges, 8, False).item()
    histogram.entropy = entropy
    # JSON has neither infinity nor not-a-number.
    out["divergence"] = [d if np.isfinite(d) else str(d) for d in divergences[::EVERY]]
    return out


def main() -> None:
    """Write calibration.json beside this file."""
    packages = ("nvidia-modelopt", "torch", "numpy", "scipy")
    made = {"command": COMMAND, "python": platform.python_version()} | {p: metadata.version(p) for p in packages}
    out = {"made": made, "samples": {name: golden(draw(name)) for name in SAMPLES}}
    Path(__file__).with_name("calibration.json").write_text(json.dumps(out, indent=1) + "\n")


if __name__ == "__main__":
    main()
