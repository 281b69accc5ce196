"""Hidden patches stay hidden, patches are where they are said to be, and structure is learned."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from pretrain.autoencoders import MaskedAutoEncoder, MaskedAutoEncoderConfig
from pretrain.autoencoders.masked_images import images_of, normalised, patches_of
from pretrain.learner import step
from tests.pretrain.toys import generator


def learner(hidden: float = 0.75) -> MaskedAutoEncoder:
    torch.manual_seed(0)
    config = MaskedAutoEncoderConfig(
        height=8, width=12, channels=2, patch=2, hidden=hidden, encoder_width=16, decoder_width=16, heads=2
    )
    return MaskedAutoEncoder(config).eval()


def images(num: int = 3, seed: int = 0) -> Tensor:
    return torch.rand(num, 2, 8, 12, generator=generator(seed))


def test_what_is_hidden_changes_no_prediction_and_what_is_visible_does() -> None:
    one, y = learner(), images()
    order = one.draw(3, generator())
    visible, hidden = order.split([6, 18], 1)
    patches = patches_of(y, 2)
    with torch.no_grad():
        before = one.predict(y, visible)
        for index, same in ((hidden, True), (visible, False)):
            changed = patches.scatter(1, index[..., None].expand(-1, -1, 8), 0.5)
            after = one.predict(images_of(changed, 2, 8, 12), visible)
            assert torch.equal(before, after) is same


def test_only_hidden_patches_are_in_the_loss() -> None:
    one, y = learner(), images()
    order = one.draw(3, generator())
    predicted = one.predict(y, order[:, :6])
    target = normalised(patches_of(y, 2))
    for k in range(3):
        hidden = order[k, 6:]
        want = (predicted[k, hidden] - target[k, hidden]).square().mean()
        np.testing.assert_allclose(one.error(y, order)[k].detach(), want.detach(), rtol=1e-5)


def test_patches_are_cut_row_by_row_and_put_back() -> None:
    y = images()
    patches = patches_of(y, 2)
    np.testing.assert_array_equal(patches[1, 6 + 2].view(2, 2, 2), y[1, :, 2:4, 4:6])
    assert torch.equal(images_of(patches, 2, 8, 12), y)


def test_the_encoder_knows_where_a_patch_is_but_not_their_order() -> None:
    one, y = learner(), images()
    visible = one.draw(3, generator())[:, :6]
    with torch.no_grad():
        tokens, flipped = one.encoder(y, visible), one.encoder(y, visible.flip(1))
        np.testing.assert_allclose(tokens, flipped.flip(1), atol=1e-5)
        everything = one.encoder(y, torch.arange(24).expand(3, -1))
        np.testing.assert_allclose(everything, one.encoder(y), atol=1e-6)
        moved = one.encoder(y.roll(2, 3))
        assert not torch.allclose(everything.mean(1), moved.mean(1), atol=1e-3)


def test_masks_are_uniform_and_of_every_image_its_own() -> None:
    order = learner().draw(4000, generator())
    share = torch.zeros(24).index_add_(0, order[:, :6].flatten(), torch.ones(4000 * 6)) / 4000
    np.testing.assert_allclose(share, 0.25, atol=0.03)
    assert not torch.equal(order[0], order[1])


def test_a_flat_patch_has_a_finite_target() -> None:
    assert (normalised(torch.full((1, 2, 4), 0.3)).abs() < 1e-3).all()
    np.testing.assert_allclose(normalised(torch.rand(3, 2, 16)).var(-1, correction=0), 1, atol=1e-4)


def test_the_energy_repeats_and_every_patch_is_seen_and_predicted() -> None:
    one, y = learner(), images(1)
    seen: list[Tensor] = []
    one.encoder.register_forward_pre_hook(lambda _, given: seen.append(given[1][0]))
    with torch.no_grad():
        assert torch.equal(one.energy(y), one.energy(y))
    times = torch.bincount(torch.cat(seen), minlength=24)
    assert times.min() > 0
    assert times.max() < len(seen)


def test_blocks_start_with_weights_of_their_own() -> None:
    weights = [
        p for name, p in learner().encoder.blocks.named_parameters() if name.endswith("linear1.weight")
    ]
    assert len(weights) == 3
    assert not torch.equal(weights[0], weights[1])


def test_it_learns_stripes() -> None:
    """Each image is one wave: the visible patches tell its direction and phase, a mean would leave all variance."""

    def waves(num: int, rng: torch.Generator) -> Tensor:
        v, u = torch.meshgrid(torch.arange(8.0), torch.arange(12.0), indexing="ij")
        phase, turned = torch.rand(2, num, 1, 1, generator=rng)
        return torch.sin(torch.where(turned < 0.5, u, v) * 0.9 + 6.28 * phase)[:, None]

    torch.manual_seed(0)
    config = MaskedAutoEncoderConfig(
        height=8, width=12, hidden=0.5, encoder_width=32, encoder_depth=2, decoder_width=32, heads=2
    )
    one, rng = MaskedAutoEncoder(config), generator()
    optimiser = torch.optim.Adam(one.parameters(), lr=3e-3)
    for _ in range(150):
        step(one, optimiser, waves(64, rng), rng)
    with torch.no_grad():
        assert float(one.energy(waves(50, rng)).mean()) < 0.5
        assert float(one.energy(torch.randn(50, 1, 8, 12, generator=rng)).mean()) > 0.9


def test_bad_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="patch=3 must divide"):
        MaskedAutoEncoderConfig(height=8, width=12, patch=3)
    with pytest.raises(ValueError, match=r"hidden=0\.0"):
        MaskedAutoEncoderConfig(height=8, width=12, hidden=0.0)
    with pytest.raises(ValueError, match="decoder_width=6"):
        MaskedAutoEncoderConfig(height=8, width=12, decoder_width=6)
