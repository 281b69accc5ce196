"""Training a method of pretrain/ on data: the loop, the checkpoint, and pictures of what was learned.

A learner's players take turns, each with an Adam of its own whose rate falls to 0 along a cosine. What is fitted at
once counts as one update. The folder holds training.safetensors, result.json and pictures; of text, sentences whose
hidden words were guessed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray

from envs.errors import InputError
from envs.formats.atomic import atomic_path
from mbrl.checkpoint import Part
from mbrl.loop import NotFinite, train
from mbrl.pretrain_data import PretrainData
from mbrl.progress import MakeCounter, Progress
from mbrl.schedule import cosine
from pretrain.cloze import Cloze, as_markdown, judged
from pretrain.learner import Fitted, Learner, step
from pretrain.methods import METHODS, Method
from pretrain.pictures import Shown, pictures

RESULT_FILE = "result.json"
SENTENCES_FILE, SENTENCES = "hidden_words.md", 40
JUDGED = 500  # samples whose energy is reported


@dataclass(frozen=True, kw_only=True)
class MethodTraining:
    """What is trained on what. updates: rounds of a learner's players; no matter for what is fitted at once."""

    method: str
    data: str
    updates: int = 1000
    batch_size: int = 128
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ValueError(f"unknown method {self.method!r}; there is: {', '.join(METHODS)}")
        for name in ("updates", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1")


def train_method(
    config: MethodTraining, data: PretrainData, out: Path, *, progress: MakeCounter = Progress
) -> Learner | Fitted:
    """Train, or go on training, in a folder; then judge and draw.

    Raises:
        InputError: the method does not take such data or batches, or the folder holds another run.
        NotFinite: an energy or a term of the loss became NaN or infinite.
    """
    method = METHODS[config.method]
    if data.kind not in method.takes:
        raise InputError(
            f"{config.method} takes {' or '.join(method.takes)}, and --data {config.data} is {data.kind}"
        )
    y, generator = method.prepare(data.y), torch.Generator().manual_seed(config.seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        built = method.build(y, generator)
    parts: dict[str, Part] = {"method": built, "generator": generator}
    if isinstance(built, Fitted):
        update, num_updates = _fitting(method, built, y, generator), 1
    else:
        if built.largest_batch is not None and config.batch_size > built.largest_batch:
            raise InputError(
                f"{config.method} takes batches of at most {built.largest_batch}, not {config.batch_size}"
            )
        adams = {
            player: torch.optim.Adam(built.parameters_of(player), method.rate) for player in built.players
        }
        parts |= {f"adam_{player}": adam for player, adam in adams.items()}
        update, num_updates = _learning(config, method, built, adams, y, generator), config.updates

    def named(number: int) -> dict[str, float]:
        try:
            return update(number)
        except FloatingPointError as error:
            raise NotFinite(f"{error} (update {number} of {config.method})") from error

    train(
        named,
        name="pretrain",
        what=f"training {config.method}",
        out=out,
        config=asdict(config) | {"fingerprint": data.fingerprint},
        num_updates=num_updates,
        parts=parts,
        fingerprint=data.fingerprint,
        progress=progress,
    )
    built.eval()
    _report(config, method, built, data, out)
    return built


def _fitting(
    method: Method, built: Fitted, y: torch.Tensor, generator: torch.Generator
) -> Callable[[int], dict[str, float]]:
    def update(number: int) -> dict[str, float]:
        built.fit(y, generator)
        return {"loss": float(method.energy(built, y[:JUDGED]).mean())}

    return update


def _learning(
    config: MethodTraining,
    method: Method,
    learner: Learner,
    adams: dict[str, torch.optim.Adam],
    y: torch.Tensor,
    generator: torch.Generator,
) -> Callable[[int], dict[str, float]]:
    """A round: each player in turn, on a new batch. With several players, "loss" is that of the first."""
    learner.train()

    def update(number: int) -> dict[str, float]:
        metrics: dict[str, float] = {}
        for player in method.turns:
            for group in adams[player].param_groups:
                group["lr"] = method.rate * cosine(number / config.updates)
            batch = y[torch.randint(len(y), (config.batch_size,), generator=generator)]
            found = step(learner, adams[player], batch, generator, player)
            metrics |= (
                found if len(adams) == 1 else {f"{player}.{name}": value for name, value in found.items()}
            )
        return metrics if len(adams) == 1 else metrics | {"loss": metrics[f"{method.turns[0]}.loss"]}

    return update


def _report(
    config: MethodTraining, method: Method, built: Learner | Fitted, data: PretrainData, out: Path
) -> None:
    with torch.no_grad():
        energies = {
            name: float(method.energy(built, method.prepare(part[:JUDGED])).mean())
            for name, part in (("train", data.y), ("held_out", data.held_out))
        }
    shown = Shown(data.kind, method.prepare(data.held_out[:JUDGED]), tuple(data.y.shape[1:]))
    drawn = pictures(method, built, shown, torch.Generator().manual_seed(config.seed))
    for name, picture in drawn.items():
        write_png(out / f"{name}.png", picture)
    result: dict[str, Any] = asdict(config) | {
        "energy": energies,
        "pictures": [f"{name}.png" for name in drawn],
    }
    if data.words and method.fill is not None:
        result["hidden_words"] = _hide_words(config, method, built, data, out)._asdict()
    with atomic_path(out / RESULT_FILE) as path:
        path.write_text(json.dumps(result, indent=1) + "\n")


@torch.no_grad()
def _hide_words(
    config: MethodTraining, method: Method, built: Learner | Fitted, data: PretrainData, out: Path
) -> Cloze:
    """Have words of held-out sentences guessed, and write a page of some of them."""
    assert method.fill is not None
    y = method.prepare(data.held_out)
    filled = method.fill(built, y, torch.Generator().manual_seed(config.seed))
    cloze = judged(filled, y, method.prepare(data.y))
    with atomic_path(out / SENTENCES_FILE) as path:
        path.write_text(as_markdown(filled, y, data.words, cloze, SENTENCES))
    return cloze


def write_png(path: Path, picture: NDArray) -> None:
    """A picture uint8 (H, W, 3)."""
    from matplotlib.image import imsave

    with atomic_path(path) as temporary:
        imsave(temporary, picture, format="png")
