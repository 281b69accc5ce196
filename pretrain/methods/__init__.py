"""Every method by name: which data it takes, how it is built from them, and what of it can be shown.

    method = METHODS["sparse-coding"]
    y = method.prepare(patches)
    learner = method.build(y, generator)

Sizes fit small images and a CPU. What a method is built from are samples y (N, ...), prepared: their shape, and of some
methods more (atoms begin at samples, the noise of NCE is like them). Weights that torch draws by itself come from its
global generator.
"""

from collections.abc import Mapping

from pretrain.methods.codes import CODED
from pretrain.methods.densities import DENSITIES
from pretrain.methods.method import Kind, Method, Restored

METHODS: Mapping[str, Method] = {**DENSITIES, **CODED}

__all__ = ["METHODS", "Kind", "Method", "Restored"]
