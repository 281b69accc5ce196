"""Is learned inference of sparse codes better than the algorithm it unrolls, at equal depth, and for how much work?

Natural patches of images that were not trained on. The gap is how far the mean energy lies above the least one, as a
part of it (found by FISTA until the proximal gradient is below a thousandth of alpha); "multiplications" are those
with elements of matrices, for one code. Controls of LISTA with the strongest fifth of the mutual inhibition: a fifth of
it drawn at random, and none, trained alike.

"gap of" and "steps from" are of predictive sparse decomposition and its own dictionary: the gap of the code that its
encoder predicts, and the steps of FISTA from there to a gap of WANTED. The encoders are the paper's, g tanh(We y + b),
and one layer of LISTA, shrink(We y, theta), which untrained is one step of ISTA from 0, and costs no more. Controls:
the same encoders of the learned dictionary, untrained; and zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.data import HELD_OUT_IMAGES, natural_patches
from pretrain.experiments.figures import pixels
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.patches import sparse_dictionary
from pretrain.experiments.prediction import predictions
from pretrain.experiments.training import train
from pretrain.sparse.adaptive import sparse_codes
from pretrain.sparse.encoder import Encoder
from pretrain.sparse.energy import energy, lasso, unit_norm
from pretrain.sparse.fista import fista
from pretrain.sparse.inhibition import InhibitionConfig, PartialLISTA, drawn, strongest
from pretrain.sparse.ista import ista
from pretrain.sparse.lcod import LCoD, LCoDConfig, coordinate_descent
from pretrain.sparse.lista import LISTA, LISTAConfig
from pretrain.sparse.psd import PSD, PSDConfig, TanhEncoder

SIZE, ATOMS, ALPHA = 10, 160, 0.5
DEPTHS = tuple(range(1, 13))
LAYERS = (1, 3, 7)
UPDATES = (16, 32, 64)  # of coordinate descent
FIFTH = 0.2
PARTIAL = ("the strongest fifth", "a random fifth", "no inhibition")
WANTED = 0.1


def run(seed: int, quick: bool) -> Outcome:
    rng = torch.Generator().manual_seed(seed)
    num, steps = (2000, 20) if quick else (40_000, 1500)
    y = natural_patches(num, SIZE, rng)
    test = natural_patches(200 if quick else 1000, SIZE, rng, HELD_OUT_IMAGES)
    w = sparse_dictionary(y, ATOMS, ALPHA, 20 if quick else 300, rng).dictionary.detach()
    best = energy(test, sparse_codes(test, w, ALPHA, tolerance=1e-3), w, ALPHA).mean()

    def gap(z: Tensor) -> float:
        return float((energy(test, z, w, ALPHA).mean() - best) / best)

    problem = lasso(test, w, ALPHA)
    numbers = {f"FISTA {k}": gap(fista(problem, k)) for k in DEPTHS}
    numbers |= {f"ISTA {k}": gap(ista(problem, k)) for k in DEPTHS}
    numbers |= {f"CoD {k}": gap(coordinate_descent(test, w, ALPHA, k)) for k in UPDATES}
    for name, make in encoders(w, rng).items():
        encoder = make()
        train(encoder, y, rng, num_steps=steps // 4 if "CoD" in name else steps)
        with torch.no_grad():
            numbers[name] = gap(encoder(test))
    numbers |= {f"multiplications, {name}": float(num) for name, num in multiplications().items()}
    numbers |= predicted(y, test, rng, steps // 5)
    return Outcome(numbers, {"energy_gaps": _picture(numbers)})


def encoders(w: Tensor, rng: torch.Generator) -> dict[str, Callable[[], Encoder]]:
    """By name, untrained."""
    seven = InhibitionConfig(layers=7, proportion=FIFTH)
    masks = (strongest(w.T @ w, FIFTH), drawn(ATOMS, FIFTH, rng), torch.eye(ATOMS, dtype=torch.bool))
    return {
        **{f"LISTA {k}": partial(LISTA, w, ALPHA, LISTAConfig(layers=k)) for k in LAYERS},
        **{
            f"LISTA 7, {name}": partial(PartialLISTA, w, ALPHA, seven, kept=kept)
            for name, kept in zip(PARTIAL, masks, strict=True)
        },
        "LCoD 32": lambda: LCoD(w, ALPHA, LCoDConfig(steps=32)),
    }


def multiplications() -> dict[str, int]:
    """With elements of matrices, for one code: M D for We y, M^2 for S z, M for a column of S.

    The first layer or step has z = 0, hence no S z; an untied layer of LISTA has a We of its own.
    """
    drive, square = ATOMS * SIZE**2, ATOMS**2
    partly = round(FIFTH * (square - ATOMS)) + ATOMS
    return {
        **{f"FISTA {k}": drive + (k - 1) * square for k in DEPTHS},
        **{f"LISTA {k}": k * drive + (k - 1) * square for k in LAYERS},
        "LISTA 7, the strongest fifth": 7 * drive + 6 * partly,
        "LISTA 7, a random fifth": 7 * drive + 6 * partly,
        "LISTA 7, no inhibition": 7 * drive + 6 * ATOMS,
        **{f"CoD {k}": drive + k * ATOMS for k in UPDATES},
        "LCoD 32": drive + 32 * ATOMS,
    }


def predicted(y: Tensor, test: Tensor, rng: torch.Generator, steps: int) -> dict[str, float]:
    """PSD trained on y: what its encoders' codes of test patches are worth under the dictionary of each."""
    start = unit_norm(y[torch.randint(len(y), (ATOMS,), generator=rng)].T)
    layer = LISTAConfig(layers=1)
    numbers: dict[str, float] = {}
    for name, encoder, untrained in (
        ("tanh", TanhEncoder(start), TanhEncoder),
        ("shrink", LISTA(start, ALPHA, layer), partial(LISTA, alpha=ALPHA, config=layer)),
    ):
        psd = PSD(start, encoder, PSDConfig(alpha=ALPHA, beta=1.0, steps=20))
        train(psd, y, rng, num_steps=steps, batch=256, rate=0.01)
        w = psd.dictionary.detach()
        problem = lasso(test, w, ALPHA)
        best = float(problem.energy(sparse_codes(test, w, ALPHA, tolerance=1e-3)).mean())
        with torch.no_grad():
            codes = {f"PSD {name}": encoder(test), f"{name} untrained": untrained(w)(test)}
        codes[f"zeros, {name}"] = problem.start
        numbers |= predictions(problem, codes, best, WANTED)
    return numbers


def _picture(numbers: dict[str, float]) -> NDArray[np.uint8]:
    """Gaps against steps that must be taken one after the other, and against multiplications."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 4.2), dpi=110, layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    work = multiplications()
    curves = {
        "FISTA": ("FISTA", DEPTHS, "o-", "0.2"),
        "LISTA": ("LISTA", LAYERS, "s-", "tab:red"),
        "CoD": ("CoD", UPDATES, "^-", "tab:blue"),
        "LCoD": ("LCoD", (32,), "*", "tab:green"),
    }
    left.plot(DEPTHS, [numbers[f"ISTA {k}"] for k in DEPTHS], "o-", color="0.7", ms=4, label="ISTA")
    for label, (name, depths, style, colour) in curves.items():
        gaps = [numbers[f"{name} {k}"] for k in depths]
        left.plot(depths, gaps, style, color=colour, ms=5, label=label)
        right.plot([work[f"{name} {k}"] for k in depths], gaps, style, color=colour, ms=5)
    for name, marker in zip(PARTIAL, "DPx", strict=True):
        at = numbers[f"LISTA 7, {name}"]
        left.plot([7], [at], marker, color="tab:orange", ms=6, label=f"LISTA, {name}")
        right.plot([work[f"LISTA 7, {name}"]], [at], marker, color="tab:orange", ms=6)
    left.set(yscale="log", xlabel="steps, one after the other", ylabel="energy gap on new patches")
    right.set(xlabel="multiplications for a code, thousands")
    for axes, ticks, unit in ((left, (1, 2, 4, 8, 16, 32, 64), 1), (right, (20, 50, 100, 200, 300), 1000)):
        axes.set_xscale("log")
        axes.set_xticks([unit * at for at in ticks], [str(at) for at in ticks])
        axes.minorticks_off()
        axes.spines[["top", "right"]].set_visible(False)
    marked = (0.02, 0.05, 0.1, 0.2, 0.5, 1)
    left.set_yticks(marked, [str(gap) for gap in marked])
    left.legend(frameon=False, fontsize=8)
    return pixels(figure)


EXPERIMENT = Experiment(
    "sparse-inference",
    "Does learned inference beat the algorithm it unrolls, at equal depth, on new patches?",
    run,
    (
        Claim("LISTA 7", "below", "FISTA 12"),
        Claim("LISTA 3", "below", "FISTA 3", 0.5),
        Claim("LISTA 1", "below", "FISTA 1", 0.5),
        Claim("LISTA 7, the strongest fifth", "below", "FISTA 7"),
        Claim("LISTA 7, the strongest fifth", "below", "LISTA 7, a random fifth"),
        Claim("LISTA 7, the strongest fifth", "below", "LISTA 7, no inhibition"),
        Claim("LCoD 32", "below", "CoD 32"),
        Claim("CoD 64", "below", "LISTA 7"),
        *(Claim("gap of PSD tanh", "below", f"gap of {c}") for c in ("tanh untrained", "zeros, tanh")),
        *(
            Claim(f"{number} PSD shrink", "below", f"{number} {control}")
            for number in ("gap of", "steps from")
            for control in ("shrink untrained", "zeros, shrink")
        ),
    ),
)
