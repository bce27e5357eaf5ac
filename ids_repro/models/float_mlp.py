"""The paper's MLP in float: in PyTorch, and as the struct that bpf/user/float_mlp.h reads."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from ..native.layouts import PAPER_NET, Hidden, mlp_float
from .fixed import hidden_of
from .scaling import MinMax


def float_bytes(weights: list[np.ndarray], scaler: MinMax) -> bytes:
    """Return the net as the struct ids_nn_float that C reads; entries that the net does not use are zero.

    Parameters
    ----------
    weights : list of ndarray of shape (M_{l-1}, M_l)
        W^(l) of each layer.
    scaler : MinMax
        The normalisation of its inputs.
    """
    out = np.zeros((), mlp_float(hidden_of(weights)))
    out["min"][: len(scaler.min_)] = scaler.min_
    out["scale"][: len(scaler.min_)] = 1.0 / scaler.range_
    for layer, w in enumerate(weights):
        out["w"][layer, : w.shape[0], : w.shape[1]] = w
    return out.tobytes()


class MLP(nn.Module):
    """The paper's net: layers Y = XW without biases, with ReLU between them (Sec. IV-B).

    Parameters
    ----------
    n_classes : int
        M_L, 2 or 7.
    n_features : int
        M_0.
    hidden : tuple of int
        M_1 to M_{L-1}, the widths of the hidden layers; the paper's are 16 and 16.

    Attributes
    ----------
    layers : ModuleList of Linear
        The layers.
    """

    def __init__(self, n_classes: int, n_features: int = 12, hidden: Hidden = PAPER_NET) -> None:
        super().__init__()
        sizes = (n_features, *hidden, n_classes)
        self.layers = nn.ModuleList(nn.Linear(i, o, bias=False) for i, o in zip(sizes, sizes[1:], strict=False))

    @classmethod
    def drawn(cls, n_classes: int, n_features: int, generator: torch.Generator, hidden: Hidden = PAPER_NET) -> MLP:
        """Make a net with random weights, as `torch.nn.Linear` draws them, but from a generator of its own.

        PyTorch's global generator belongs to all threads: two trainings in one process would take numbers from each
        other.

        Parameters
        ----------
        n_classes, n_features : int
            See `MLP`.
        generator : Generator
            It gives the numbers. One seed gives the weights that the global generator gives with this seed.
        hidden : tuple of int
            See `MLP`.
        """
        with torch.device("meta"):
            net = cls(n_classes, n_features, hidden)
        net.to_empty(device="cpu")
        for layer in net.layers:
            nn.init.kaiming_uniform_(layer.weight, a=5**0.5, generator=generator)
        return net

    @classmethod
    def of(cls, weights: list[np.ndarray]) -> MLP:
        """Make a net with these weights. No random number is drawn.

        Parameters
        ----------
        weights : list of ndarray of shape (M_{l-1}, M_l), float32
            W^(l) of each layer.
        """
        with torch.device("meta"):  # the parameters get no memory and no values before the weights take their places
            net = cls(weights[-1].shape[1], len(weights[0]), hidden_of(weights))
        parts = {f"layers.{layer}.weight": torch.tensor(np.ascontiguousarray(w.T)) for layer, w in enumerate(weights)}
        net.load_state_dict(parts, assign=True)
        return net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map inputs of shape (n, 12), float32, normalised, to logits of shape (n, n_classes)."""
        for layer in self.layers[:-1]:
            x = torch.relu(layer(x))
        return self.layers[-1](x)

    def weights(self) -> list[np.ndarray]:
        """Return W^(l) of each layer, shape (M_{l-1}, M_l), float64."""
        return [layer.weight.detach().numpy().T.astype(np.float64) for layer in self.layers]

    @torch.no_grad()
    def inputs(self, x: np.ndarray) -> list[np.ndarray]:
        """Return the input X^(l) of each layer; calibration chooses a threshold for each.

        Parameters
        ----------
        x : ndarray of shape (n, 12)
            Normalised features.

        Returns
        -------
        list of ndarray of shape (n, M_{l-1}), float32
            The first is `x` itself.
        """
        out = [torch.as_tensor(x, dtype=torch.float32)]
        for layer in self.layers[:-1]:
            out.append(torch.relu(layer(out[-1])))
        return [a.numpy() for a in out]

    @torch.no_grad()
    def predict(self, x: np.ndarray) -> np.ndarray:
        """Classify normalised features of shape (n, 12); int64 of shape (n,)."""
        return self(torch.as_tensor(x, dtype=torch.float32)).argmax(dim=1).numpy()
