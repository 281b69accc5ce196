"""Optimisers of action sequences over any dynamics; empty so far, they will live here and know torch only."""
