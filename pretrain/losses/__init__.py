"""Losses that shape an energy: down on the right answer, up on others. Energies in, one value per sample out.

`per_answer` from the energies of all answers, `pairwise` from two, `additive` from the right one and each of the
others, `group` from the right one and many others at once. A forbidden answer has energy +inf: as a wrong one it costs
nothing and gets no gradient, as the right one it makes the loss +inf (a bounded loss: its bound), which `learner.step`
refuses. `Loss` is any of them as a module that holds its settings and names its terms.
"""

from pretrain.losses.loss import Loss

__all__ = ["Loss"]
