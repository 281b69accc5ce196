"""Small, real data that come with packages, and toy manifolds; nothing is fetched.

Images are in the packages of headway's extra `pretrain`.
"""

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

__all__ = [
    "HELD_OUT_IMAGES",
    "Labelled",
    "mixture_of_gaussians",
    "mnist",
    "natural_image",
    "natural_patches",
    "parabola",
    "resized",
    "spiral",
    "whitened",
]
