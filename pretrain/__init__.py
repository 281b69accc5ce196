"""Energies, losses, encoders and structured decoders: what shapes an energy F(x, y) to be low where y fits x.

Two lectures define it: Y. LeCun, "Energy-based models, part 2" (NYU Deep Learning, 2021) and "Energy-based approaches
to representation learning" (2019). Every loss and every energy can be used alone. Knows torch, scipy and scikit-learn.
"""
