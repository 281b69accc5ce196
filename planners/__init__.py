"""Optimisers of action sequences over any dynamics; they know tensors, not traffic. `base` is the face of all."""
