"""The rows of the paper's table, and those headway adds: which model, and how a policy is trained through it.

Source: Henaff, Canziani, LeCun, arXiv:1901.02705, tables 1 and 2, and its appendix. Under `quick` the architecture is
the paper's at a size that a core trains in half an hour: a quarter of its channels, a fifth of its dropout, pictures
kept by logits (mbrl.forward_models.paper). It learns from egos that were moved and drive by chance, for a recorded
action is also a sign of what the others do (envs.windows).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from mbrl.cost_training import CostTraining
from mbrl.forward_models import EnsembleConfig, PaperConfig, SeparatedConfig
from mbrl.model_training import ModelTraining, Stage
from mbrl.policy_training import Method, PolicyTraining
from mbrl.presets import FULL_COST, SHARES, Preset, model_training, of_share, policy_training

SWEEP = (1, 3, 5, 10, 20)  # imagined steps
LONGER = 4  # times as many updates
BRIEFER = 5  # times fewer updates of a model
PERTURBED = (0.0, 0.5, 1.0)  # share of perturbed contexts
NO_U: Method = "mpur-no-uncertainty"
PAPER_COST: dict[str, Any] = dict.fromkeys(FULL_COST, 0.0)


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    name: str  # as the table has it, and the name of its folders
    model: str | None  # of `models`; None: needs none
    training: PolicyTraining
    section: str
    base: str = ""  # the row it was made from, by a change of what the section is about
    model_share: float = 1.0  # of the updates its model has in other rows


def models(preset: Preset, seed: int = 0) -> dict[str, ModelTraining]:
    """Every forward model that rows need, by name."""
    separated, paper = model_training("quick" if preset == "paper" else preset, seed), _paper(preset, seed)

    assert isinstance(separated.model, SeparatedConfig)
    assert isinstance(paper.model, PaperConfig)
    member = replace(paper.model, dropout=0.0)
    z_dropout = replace(paper, z_dropout=0.5)

    def of_paper(**changes: Any) -> ModelTraining:
        training = {k: changes.pop(k) for k in ("z_dropout", "warm_start") if k in changes}
        return replace(paper, model=replace(paper.model, **changes), **training)

    return {
        "deterministic": of_paper(z_dim=0, z_dropout=0.0, warm_start=()),
        "vae": of_paper(z_dropout=0.0),
        "vae-z-dropout": z_dropout,
        "learned-prior": of_paper(latent="learned", z_dropout=0.0),
        "ten": of_paper(latent="error", z_dropout=0.5),
        "ensemble": replace(paper, model=EnsembleConfig(member=member, members=paper.masks)),
        "vae-z-dropout-brief": z_dropout.shortened(BRIEFER),
        "separated": separated,
        "separated-deterministic": replace(separated, model=replace(separated.model, z_dim=0), z_dropout=0.0),
        **{
            of_share(name, share): replace(training, data_share=share)
            for name, training in (("vae-z-dropout", z_dropout), ("separated", separated))
            for share in SHARES
        },
    }


def rows(preset: Preset, seed: int = 0) -> list[Row]:
    """All of them, in the order of the table."""
    separated = policy_training("quick" if preset == "paper" else preset, seed=seed)
    paper, known = _paper_policy(preset, seed), models(preset, seed)

    def by_paper(name: str, model: str, section: str = "the paper's table", **changes: Any) -> Row:
        return Row(name, model, replace(paper, **changes), section)

    def by_separated(name: str, section: str, model: str = "separated", **changes: Any) -> Row:
        return Row(name, model, replace(separated, **changes), section)

    def by_replay(name: str, **changes: Any) -> Row:
        training = policy_training("quick" if preset == "paper" else preset, "log-replay", seed)
        return Row(name, None, replace(training, **changes), "the recorded future")

    return [
        Row("imitation", None, policy_training(preset, "imitation", seed), "the paper's table"),
        by_paper("svg", "vae-z-dropout", method=NO_U),
        by_paper("vg", "deterministic", method=NO_U),
        by_paper("mpur-z-dropout", "vae-z-dropout"),
        by_paper("mpur-vae", "vae"),
        by_paper("mpur-deterministic", "deterministic"),
        by_paper("mper-vae", "vae", method="mper"),
        by_paper("mper-deterministic", "deterministic", method="mper"),
        by_paper("mpur-posterior-z", "vae-z-dropout", z="posterior"),
        by_paper("mpur-adversarial-z", "vae-z-dropout", "more ways", z="adversarial"),
        by_paper("mpur-learned-prior", "learned-prior", "more ways"),
        by_paper("mpur-ten", "ten", "more ways"),
        by_paper("mpur-ensemble", "ensemble", "more ways"),
        by_paper("mpur-value", "vae-z-dropout", "more ways", value_weight=0.5),
        by_paper("mpur-learned-cost", "vae-z-dropout", "more ways", learned_cost=True),
        by_paper("mpur-gaussian", "vae-z-dropout", "more ways", stochastic=True),
        by_separated("separated-mpur", "the separated model"),
        by_separated("separated-mpur-long", "the separated model", updates=LONGER * separated.updates),
        by_separated("separated-no-u", "the separated model", method=NO_U),
        by_separated("separated-deterministic-mpur", "the separated model", "separated-deterministic"),
        by_separated("separated-attached-speed", "the separated model", detach_speed=False),
        by_separated("separated-full-cost", "the separated model", **FULL_COST),
        by_replay("log-replay"),
        by_replay("log-replay-long", updates=LONGER * separated.updates),
        by_replay("log-replay-paper-cost", **PAPER_COST),
        by_separated("separated-pixels", "gradient forms", gradient="pixels", method=NO_U),
        by_paper("paper-position", "vae-z-dropout", "gradient forms", gradient="position", method=NO_U),
        *_by_steps("mpur", "mpur-z-dropout", "vae-z-dropout", paper, known["vae-z-dropout"]),
        *_by_steps("separated", "separated-mpur", "separated", separated, known["separated"]),
        *_with_and_without_u("svg", "mpur-z-dropout", "vae-z-dropout", paper),
        *_with_and_without_u("separated-no-u", "separated-mpur", "separated", separated),
        *_by_updates("svg", "mpur-z-dropout", "vae-z-dropout", paper),
    ]


def _by_steps(
    name: str, base: str, model: str, training: PolicyTraining, through: ModelTraining
) -> list[Row]:
    """A row, with shorter futures, or longer ones as far as the model's uncertainty is known."""
    return [
        Row(f"{name}-{steps}-steps", model, replace(training, horizon=steps), "imagined steps", base)
        for steps in SWEEP
        if steps != training.horizon and steps <= through.horizon
    ]


def _with_and_without_u(without: str, with_u: str, model: str, training: PolicyTraining) -> list[Row]:
    """When does U matter? Two rows, by the amount of data and by how many contexts are perturbed."""
    both = _both(without, with_u, training)
    others = [share for share in PERTURBED if share != training.perturbed]
    return [
        Row(of_share(base, share), of_share(model, share), replace(row, data_share=share), "U by data", base)
        for share in SHARES
        for base, row in both
    ] + [
        Row(f"{base}-perturbed-{100 * share:.0f}", model, replace(row, perturbed=share), "U by perturbation", base)
        for share in others
        for base, row in both
    ]  # fmt: skip


def _by_updates(without: str, with_u: str, model: str, training: PolicyTraining) -> list[Row]:
    """When does U matter? The same two, through a model that learned less, and for policies that learn for longer."""
    both = _both(without, with_u, training)
    return [
        Row(f"{base}-brief-model", f"{model}-brief", row, "U by model updates", base, 1 / BRIEFER)
        for base, row in both
    ] + [
        Row(f"{base}-long", model, replace(row, updates=LONGER * row.updates), "U by policy updates", base)
        for base, row in both
    ]  # fmt: skip


def _both(without: str, with_u: str, training: PolicyTraining) -> tuple[tuple[str, PolicyTraining], ...]:
    """Two rows by name, the first without the uncertainty cost."""
    return (without, replace(training, method=NO_U)), (with_u, training)


def start_of(training: PolicyTraining, preset: Preset) -> PolicyTraining:
    """The imitation that a row's policy starts from: the same network, cars and seed."""
    imitation = policy_training(preset, "imitation", training.seed)
    return replace(imitation, policy=training.policy, data_share=training.data_share)


def cost_of(training: PolicyTraining, preset: Preset) -> CostTraining:
    """The learned cost that judges a row's policy: a network as large, of all training cars, and its seed."""
    sizes: dict[str, Any] = {"updates": 8, "batch_size": 8} if preset == "debug" else {}
    return CostTraining(network=training.policy, seed=training.seed, **sizes)


def _paper(preset: Preset, seed: int) -> ModelTraining:
    """The paper's model, VAE, at a preset's size."""
    if preset == "paper":
        return model_training("paper", seed)
    base = model_training(preset, seed)
    assert isinstance(base.model, SeparatedConfig)
    sizes: dict[str, Any] = {
        "timing": base.model.timing,
        "channels": base.model.channels,
        "z_dim": base.model.z_dim,
    }
    if preset == "debug":
        return replace(base, model=PaperConfig(hidden=8, **sizes), varied=1.0)
    return replace(
        base,
        model=PaperConfig(hidden=64, dropout=0.02, residual="logit", **sizes),  # what so few updates allow
        stages=(
            Stage(steps=4, updates=1500, batch_size=32),
            Stage(steps=8, updates=2000, batch_size=32),
            Stage(steps=15, updates=700, batch_size=16),
        ),
        varied=1.0,
    )


def _paper_policy(preset: Preset, seed: int) -> PolicyTraining:
    """MPUR through it."""
    base = policy_training(preset, seed=seed)
    if preset == "paper":
        return base
    sizes: dict[str, Any] = {}
    if preset == "quick":  # 12 steps of 0.2 s: as far ahead as the model has learned what an action causes
        sizes = {"updates": 600, "batch_size": 16, "learning_rate": 1e-3, "cycles": 1, "horizon": 12}
    return replace(base, **sizes, uncertainty_weight=0.04, urgent=0.0, block=1, epochs=1)
