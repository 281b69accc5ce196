"""Square ICA of data that nearly lie in a plane, such as patches of images: in its K directions of largest variance."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pretrain.bounded.ica import ICA, ICAConfig
from pretrain.bounded.pca import PCA, PCAConfig
from pretrain.learner import Fitted


@dataclass(frozen=True, kw_only=True)
class WhitenedICAConfig:
    """dim: D of y. num_components: K of its directions, and of sources."""

    dim: int
    num_components: int

    def __post_init__(self) -> None:
        if not 1 <= self.num_components <= self.dim:
            raise ValueError(f"num_components={self.num_components} must be within [1, dim={self.dim}]")


class WhitenedICA(Fitted):
    """PCA to K coordinates x of variance 1, then ICA of them.

        x = diag(v)^-1/2 V^T (y - m),    s = W (x - mean x),    F(y) = -log p(x) = -sum_i log p_i(s_i) - log |det W|

    F is a density's energy over x, not over y: what of y lies outside the plane costs nothing.

    Sources: Bell and Sejnowski, "The independent components of natural scenes are edge filters" (1997); Hyvarinen and
    Oja, "Independent component analysis: algorithms and applications" (2000), section 5.
    """

    def __init__(self, config: WhitenedICAConfig) -> None:
        super().__init__()
        self.config = config
        self.pca = PCA(PCAConfig(dim=config.dim, num_components=config.num_components))
        self.ica = ICA(ICAConfig(dim=config.num_components))

    @torch.no_grad()
    def fit(self, y: Tensor, generator: torch.Generator | None = None) -> None:
        """To samples y (N, D); nothing is random.

        Raises:
            ValueError: fewer samples than components.
            torch.linalg.LinAlgError: the samples lie in a plane of fewer than K dimensions, as K always do.
        """
        self.pca.fit(y)
        self.ica.fit(self.pca.whiten(y))

    def sources(self, y: Tensor) -> Tensor:
        """s (N, K) of y (N, D)."""
        return self.ica.sources(self.pca.whiten(y))

    def atoms(self) -> Tensor:
        """(K, D): y is m and its sources times these rows, within the plane."""
        mixing = torch.linalg.inv(self.ica.unmixing).T
        return mixing * self.pca.variances.sqrt() @ self.pca.components

    def energy(self, y: Tensor) -> Tensor:
        """-log p(x) (N,) of y (N, D)."""
        return self.ica.energy(self.pca.whiten(y))
