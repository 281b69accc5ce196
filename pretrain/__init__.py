"""Energies, losses, encoders and structured decoders; empty so far, they will live here and know torch only."""
