"""Is learned inference of sparse codes better than the algorithm it unrolls, at equal depth?

Natural patches of images that were not trained on. The gap is how far the mean energy lies above that of FISTA after
3,000 steps, as a part of it. A layer of LISTA costs what a step of ISTA or FISTA costs; a step of coordinate
descent costs 1 / M of it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pretrain.data import HELD_OUT_IMAGES, natural_patches
from pretrain.experiments.outcome import Claim, Experiment, Outcome
from pretrain.experiments.patches import sparse_dictionary
from pretrain.experiments.training import train
from pretrain.sparse.encoder import Encoder
from pretrain.sparse.energy import energy, lasso
from pretrain.sparse.fista import fista
from pretrain.sparse.inhibition import InhibitionConfig, PartialLISTA
from pretrain.sparse.ista import ista
from pretrain.sparse.lcod import LCoD, LCoDConfig, coordinate_descent
from pretrain.sparse.lista import LISTA, LISTAConfig

SIZE, ATOMS, ALPHA = 10, 160, 0.5
DEPTHS = tuple(range(1, 13))
LAYERS = (1, 3, 7)


def run(seed: int, quick: bool) -> Outcome:
    rng = torch.Generator().manual_seed(seed)
    num, steps, exact = (2000, 20, 300) if quick else (40_000, 2000, 3000)
    y = natural_patches(num, SIZE, rng)
    test = natural_patches(200 if quick else 1000, SIZE, rng, HELD_OUT_IMAGES)
    w = sparse_dictionary(y, ATOMS, ALPHA, 20 if quick else 300, rng).dictionary.detach()
    best = energy(test, fista(lasso(test, w, ALPHA), exact), w, ALPHA).mean()

    def gap(z: Tensor) -> float:
        return float((energy(test, z, w, ALPHA).mean() - best) / best)

    problem = lasso(test, w, ALPHA)
    numbers = {f"FISTA {k}": gap(fista(problem, k)) for k in DEPTHS}
    numbers |= {f"ISTA {k}": gap(ista(problem, k)) for k in DEPTHS}
    numbers |= {f"CoD {k}": gap(coordinate_descent(test, w, ALPHA, k)) for k in (16, 32, 64)}
    encoders: dict[str, Callable[[], Encoder]] = {
        **{f"LISTA {k}": partial(LISTA, w, ALPHA, LISTAConfig(layers=k)) for k in LAYERS},
        "LISTA 7, a fifth of the inhibition": lambda: PartialLISTA(w, ALPHA, InhibitionConfig(layers=7)),
        "LCoD 32": lambda: LCoD(w, ALPHA, LCoDConfig(steps=32)),
    }
    for name, make in encoders.items():
        encoder = make()
        train(encoder, y, rng, num_steps=steps // 4 if "CoD" in name else steps)
        with torch.no_grad():
            numbers[name] = gap(encoder(test))
    return Outcome(numbers, {"energy_gaps": _picture(numbers)})


def _picture(numbers: dict[str, float]) -> NDArray[np.uint8]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.2), dpi=120, layout="constrained")
    axes = figure.subplots()
    for name, colour in (("ISTA", "0.6"), ("FISTA", "0.2")):
        axes.plot(DEPTHS, [numbers[f"{name} {k}"] for k in DEPTHS], "o-", color=colour, ms=4, label=name)
    axes.plot(LAYERS, [numbers[f"LISTA {k}"] for k in LAYERS], "s-", color="tab:red", ms=6, label="LISTA")
    fifth = numbers["LISTA 7, a fifth of the inhibition"]
    axes.plot([7], [fifth], "D", color="tab:orange", label="LISTA, a fifth of the inhibition")
    cod = {k: k / ATOMS for k in (16, 32, 64)}
    axes.plot(
        list(cod.values()), [numbers[f"CoD {k}"] for k in cod], "^-", color="tab:blue", ms=4, label="CoD"
    )
    axes.plot([cod[32]], [numbers["LCoD 32"]], "*", color="tab:green", ms=11, label="LCoD")
    axes.set(
        yscale="log",
        xlabel="depth, in multiplications by an M x M matrix",
        ylabel="energy gap on new patches",
    )
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False, fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3])


EXPERIMENT = Experiment(
    "sparse-inference",
    "Does learned inference beat the algorithm it unrolls, at equal depth, on new patches?",
    run,
    (
        Claim("LISTA 7", "below", "FISTA 12"),
        Claim("LISTA 3", "below", "FISTA 3", 0.5),
        Claim("LISTA 1", "below", "FISTA 1", 0.5),
        Claim("LISTA 7, a fifth of the inhibition", "below", "FISTA 7"),
        Claim("LCoD 32", "below", "CoD 32"),
    ),
)
