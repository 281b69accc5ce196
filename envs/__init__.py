"""The world: recordings and sites, batched replay, rasterised observation, costs, environments, generated traffic."""
