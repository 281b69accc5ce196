"""Contrasts made by a generator that is trained to find low energies: the critic is the energy."""
