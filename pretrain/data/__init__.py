"""Small, real data that come with packages, and toy manifolds; nothing is fetched.

Images, points and text are in the packages of headway's extra `pretrain`; signals and speech say what to install.
"""

from pretrain.data.archive import ARCHIVE, archive_signals
from pretrain.data.images import (
    HELD_OUT_IMAGES,
    Labelled,
    mnist,
    natural_image,
    natural_patches,
    resized,
    whitened,
)
from pretrain.data.points import mixture_of_gaussians, parabola, spiral
from pretrain.data.signals import standardised
from pretrain.data.speech import speech_windows
from pretrain.data.text import SPECIAL, Text, lee

__all__ = [
    "ARCHIVE",
    "HELD_OUT_IMAGES",
    "SPECIAL",
    "Labelled",
    "Text",
    "archive_signals",
    "lee",
    "mixture_of_gaussians",
    "mnist",
    "natural_image",
    "natural_patches",
    "parabola",
    "resized",
    "speech_windows",
    "spiral",
    "standardised",
    "whitened",
]
