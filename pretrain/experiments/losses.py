"""Every loss of the tutorial's table trains a small classifier of digits; which of them may collapse?

E(x, y) = |g(x) - c_y|^2, g a perceptron of two layers on digits of 14 x 14 pixels, c_y one of ten codes. The codes are
either anchored (fixed, orthogonal) or free (learned too, and then a constant g = c_y makes all energies 0). Reported on
held-out digits: the error of inference, and the mean energy gap E' - E between the most offending wrong answer and the
right one. "untrained" is the same machine before any step. LVQ2 and MEE are bounded, and where the bound is reached
there is no gradient: in some seeds they give up a whole digit or two, whose every image is then wrong at the bound.

Collapse shows where the data leave no way to a loss of 0: the machines learn once more with a third of the labels drawn
at random. `spread` is theirs: the standard deviation of a held-out digit's energies over its ten answers, 0 for a flat
energy. Free codes let the energy loss and the perceptron go flat; anchored ones stop the energy loss alone, for at
g = 0 all ten are as near. LVQ2 may give digits up before its energy is flat.
"""

from __future__ import annotations

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pretrain import data
from pretrain.energies import infer
from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.losses import Loss, per_answer
from pretrain.losses.per_answer import energy_gap
from pretrain.networks import mlp

CODES = ("anchored", "free")
BATCH = 100
DRAWN = 1 / 3  # of the labels drawn at random, for `spread`
LOSSES = {name: Loss(entry.loss) for name, entry in per_answer.LOSSES.items()} | {
    "lvq2": Loss(per_answer.lvq2, bound=0.5)  # some E - E' of the untrained machine lie beyond it
}
MARGINS = {name: entry.margin for name, entry in per_answer.LOSSES.items()}
APART = [name for name, margin in MARGINS.items() if margin in ("m", "above 0")]


class Classifier(nn.Module):
    """E(x, y) of all ten y, (N, 10), of digits (N, D)."""

    def __init__(self, num_inputs: int, codes: str) -> None:
        super().__init__()
        self.g = mlp((num_inputs, 64, 10), "relu")
        start = torch.eye(10) if codes == "anchored" else 0.3 * torch.randn(10, 10)
        self.codes = nn.Parameter(start, requires_grad=codes == "free")

    def forward(self, x: Tensor) -> Tensor:
        return (self.g(x)[:, None] - self.codes).square().sum(2)


def run(seed: int, quick: bool) -> Outcome:
    """`error.LOSS.CODES`, `gap.LOSS.CODES`, `spread.LOSS.CODES`, and of the untrained machines."""
    train, test = _digits("train"), _digits("test")
    mislabelled = _mislabelled(train, torch.Generator().manual_seed(seed))
    numbers: dict[str, float] = {}
    for codes in CODES:
        for name in ["untrained", *LOSSES]:
            num_steps = (10 if quick else 400) * (name in LOSSES)
            energies = _energies(_trained(name, codes, train, seed, num_steps), test)
            numbers[f"error.{name}.{codes}"] = float((infer(energies) != test.labels).float().mean())
            numbers[f"gap.{name}.{codes}"] = float(energy_gap(energies, test.labels).mean())
            energies = _energies(_trained(name, codes, mislabelled, seed, num_steps), test)
            numbers[f"spread.{name}.{codes}"] = float(energies.std(1, correction=0).mean())
    return Outcome(numbers, {"losses": _chart(numbers)})


def _digits(part: str) -> data.Labelled:
    images, labels = data.mnist(part)
    return data.Labelled(data.resized(images, 14).flatten(1), labels)


def _mislabelled(digits: data.Labelled, generator: torch.Generator) -> data.Labelled:
    """With a third of the labels drawn from all ten."""
    drawn = torch.randint(10, digits.labels.shape, generator=generator)
    wrong = torch.rand(len(drawn), generator=generator) < DRAWN
    return data.Labelled(digits.images, torch.where(wrong, drawn, digits.labels))


def _energies(model: Classifier, digits: data.Labelled) -> Tensor:
    """(N, 10)."""
    with torch.no_grad():
        return model(digits.images)


def _trained(name: str, codes: str, train: data.Labelled, seed: int, num_steps: int) -> Classifier:
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Classifier(train.images.shape[1], codes)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(num_steps):
        batch = torch.randint(len(train.labels), (BATCH,), generator=generator)
        loss = LOSSES[name](model(train.images[batch]), train.labels[batch]).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return model


def _chart(numbers: dict[str, float]) -> NDArray:
    from matplotlib.figure import Figure

    figure = Figure((13, 5.2), dpi=100, layout="constrained")
    names = ["untrained", *LOSSES]
    titles = {
        "error": "error on held-out digits",
        "gap": "mean energy gap E' - E on held-out digits",
        "spread": "spread of energies, a third of labels random",
    }
    for axes, (what, title) in zip(figure.subplots(1, 3, sharey=True), titles.items(), strict=True):
        for k, codes in enumerate(CODES):
            values = [numbers[f"{what}.{name}.{codes}"] for name in names]
            places = [i - 0.2 + 0.4 * k for i in range(len(names))]
            bars = axes.barh(places, values, 0.36, label=f"{codes} codes", color=("#35608d", "#e08214")[k])
            axes.bar_label(
                bars, [f"{v:.3f}" if what == "error" else f"{v:.2g}" for v in values], fontsize=7, padding=2
            )
        axes.set(title=title, yticks=range(len(names)), yticklabels=names)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.15)
        if what == "error":
            axes.legend(frameon=False)
        if what == "gap":
            axes.set_xscale("symlog", linthresh=0.1)
            axes.axvline(0, color="black", linewidth=0.8)
        if what == "spread":
            axes.set_xscale("log")
    axes.invert_yaxis()
    return pixels(figure)


EXPERIMENT = Experiment(
    "losses",
    "Which losses of the table train a classifier, and which let its energy go flat where it can?",
    run,
    (
        *(Claim(f"error.{name}.anchored", "below", "error.untrained.anchored", 0.5) for name in LOSSES),
        *(Claim(f"error.{name}.free", "below", "error.untrained.free", 0.5) for name in APART),
        Claim("gap.energy.free", "below", "gap.energy.anchored", 0.1),
        Claim("error.energy.free", "above", "error.energy.anchored", 1.3),
        *(
            Claim(f"gap.{name}.free", "above", "gap.energy.free", 10)
            for name in ("hinge", "nll", "square-square")
        ),
        Claim("spread.energy.free", "below", "spread.untrained.free", 0.1),
        Claim("spread.energy.anchored", "above", "spread.untrained.anchored"),
        *(Claim(f"spread.perceptron.{codes}", "below", f"spread.untrained.{codes}", 0.1) for codes in CODES),
        *(
            Claim(f"spread.{name}.{codes}", "above", f"spread.perceptron.{codes}", 5)
            for name in APART
            for codes in CODES
        ),
    ),
)
