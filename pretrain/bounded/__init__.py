"""Energies that are low on a bounded volume by construction: a plane, K points, or a normalised density."""

from pretrain.bounded.ica import ICA, ICAConfig, amari_distance
from pretrain.bounded.kmeans import KMeans, KMeansConfig
from pretrain.bounded.mixture import GaussianMixture, GaussianMixtureConfig
from pretrain.bounded.pca import PCA, PCAConfig
from pretrain.bounded.whitened_ica import WhitenedICA

__all__ = [
    "ICA",
    "PCA",
    "GaussianMixture",
    "GaussianMixtureConfig",
    "ICAConfig",
    "KMeans",
    "KMeansConfig",
    "PCAConfig",
    "WhitenedICA",
    "amari_distance",
]
