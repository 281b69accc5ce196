"""Sparse coding: codes made few by a penalty, how they are inferred, and how inference and atoms are learned."""

from __future__ import annotations

from pretrain.sparse.convolutional import ConvolutionalPSD, convolutional_energy, convolutional_lasso
from pretrain.sparse.energy import energy, lasso, random_dictionary, shrink, unit_norm
from pretrain.sparse.fista import fista
from pretrain.sparse.groups import group_energy, group_lasso
from pretrain.sparse.inhibition import InhibitionConfig, PartialLISTA
from pretrain.sparse.ista import ista
from pretrain.sparse.lcod import LCoD, LCoDConfig, coordinate_descent
from pretrain.sparse.learning import DictionaryLearner
from pretrain.sparse.lista import LISTA, LISTAConfig
from pretrain.sparse.psd import PSD, PSDConfig
from pretrain.sparse.topographic import TopographicConfig, topographic_codes, topographic_energy

__all__ = [
    "LISTA",
    "PSD",
    "ConvolutionalPSD",
    "DictionaryLearner",
    "InhibitionConfig",
    "LCoD",
    "LCoDConfig",
    "LISTAConfig",
    "PSDConfig",
    "PartialLISTA",
    "TopographicConfig",
    "convolutional_energy",
    "convolutional_lasso",
    "coordinate_descent",
    "energy",
    "fista",
    "group_energy",
    "group_lasso",
    "ista",
    "lasso",
    "random_dictionary",
    "shrink",
    "topographic_codes",
    "topographic_energy",
    "unit_norm",
]
