"""Square ICA of data that nearly lie in a plane, such as patches of images: in its K directions of largest variance."""

from __future__ import annotations

import torch
from torch import Tensor

from pretrain.bounded.ica import ICA, ICAConfig
from pretrain.bounded.pca import PCA, PCAConfig
from pretrain.learner import Fitted


class WhitenedICA(Fitted):
    """PCA to K coordinates x of variance 1, then ICA of them.

        x = diag(v)^-1/2 V^T (y - m),    s = W (x - mean x),    F(y) = -log p(x) = -sum_i log p_i(s_i) - log |det W|

    F is a density's energy over x, not over y: what of y lies outside the plane costs nothing.

    Sources: Bell and Sejnowski, "The independent components of natural scenes are edge filters" (1997); Hyvarinen and
    Oja, "Independent component analysis: algorithms and applications" (2000), section 5.
    """

    def __init__(self, config: PCAConfig) -> None:
        super().__init__()
        self.config = config
        self.pca = PCA(config)
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
