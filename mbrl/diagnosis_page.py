"""diagnosis.html: what diagnosis.json holds, drawn, for somebody who asks whether to believe a model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from agents.results import number
from mbrl.machine import versions
from mbrl.page import card, details, legend, page, section, table
from mbrl.plots import Points, line_chart, scatter_chart, series_colour

TITLE = "headway: how far the model can be trusted"
AHEAD = "seconds ahead"
EXECUTED_NOTE = (
    "From recorded situations the policy drives through the future that the model imagines; the same accelerations and"
    " curvatures are then driven among the recorded cars. The cost is read off the pictures: proximity (1: touching) +"
    " 0.2 lane + 0.2 off road. A dot is a situation; above the dashed line imagination was too kind."
)
CALIBRATION_NOTE = (
    "U is how much {num} {whose} disagree along recorded actions: about the picture, or, as policies mind it, about"
    " picture, motion and cost, less what is usual. First: do the situations with the"
    " highest U have the largest errors? 1: in exactly that order; 0: U says nothing. More traffic in view is more to"
    " be wrong about: where U ranks errors no better than that, it adds nothing. Then: the situations in {parts} equal"
    " parts, from the lowest U to the highest. Lines that rise mean that U knows where the model is wrong."
)
SENSITIVITY_NOTE = (
    "Recorded futures, predicted in the car's own view. With another situation's actions, predictions must get worse:"
    " as much as they do is owed to the actions. With z told (inferred from the very future), they can get better: as"
    " much as they do, z carries what the past cannot tell. Where another's actions hurt less with z told than without,"
    " z has told the actions, too. A line that cannot be seen lies under another."
)
CASES = {
    "recorded actions, z unknown (prior)": "prior",
    "recorded actions, z told (posterior)": "posterior",
    "another situation's actions, z told": "shuffled",
    "another situation's actions, z unknown": "shuffled_prior",
}


def diagnosis_page(data: Mapping[str, Any]) -> str:
    """The whole document, which needs no other file."""
    parts = [
        f"<h1>{escape(TITLE)}</h1>",
        f"<p class=headline>{escape(headline(data))}</p>",
        _tiles(data),
        section("Imagined against executed", _grid(_executed(data)), note=EXECUTED_NOTE),
        section("Does the model know when it is wrong?", _calibration(data), note=_calibration_note(data)),
        section("Do predictions follow the actions?", _grid(_sensitivity(data)), note=SENSITIVITY_NOTE),
        section("All numbers", details("every step", card(_every_step(data)))),
        section("How it was made", card(_facts(data))),
    ]
    return page(TITLE, parts)


def headline(data: Mapping[str, Any]) -> str:
    """The result in one sentence or two."""
    executed = data["executed"]
    imagined, real = executed["imagined_cost"][-1], executed["executed_cost"][-1]
    kind = "too kind" if imagined < real else "too harsh"
    known = executed["correlation"] is not None
    agree = f"correlate with {executed['correlation']:.2f}" if known else "do not both vary"
    return (
        f"Over {data['situations']} situations of {data['split']} cars, the imagined and the executed cost of a drive"
        f" {agree}. On average, imagination is {kind}: {data['seconds'][-1]:g} s ahead a cost of {imagined:.2f},"
        f" {real:.2f} when driven."
    )


def _tiles(data: Mapping[str, Any]) -> str:
    executed, sensitive = data["executed"], data["sensitivity"]
    low, high = executed["correlation_ci"]
    known = [value for value in data["calibration"]["rank_correlation"] if value is not None]
    recorded, shuffled = (sensitive[key]["picture"][-1] for key in ("posterior", "shuffled"))
    last = f"{data['seconds'][-1]:g} s ahead"
    tiles = [
        (
            "correlation of costs",
            number(executed["correlation"], 2),
            f"[{number(low, 2)}, {number(high, 2)}]",
        ),
        (
            f"cost {last}",
            f"{executed['imagined_cost'][-1]:.2f} / {executed['executed_cost'][-1]:.2f}",
            "imagined / executed",
        ),
        (
            "U ranks errors",
            number(sum(known) / len(known) if known else None, 2),
            "rank correlation, mean over steps",
        ),
        (
            "error with other actions",
            f"× {shuffled / recorded:.1f}" if recorded else "–",
            f"of the picture, {last}",
        ),
    ]
    return (
        "<div class=tiles>"
        + "".join(
            f'<div class="card tile"><span class=note>{name}</span><b>{value}</b><span class=note>{note}</span></div>'
            for name, value, note in tiles
        )
        + "</div>"
    )


def _executed(data: Mapping[str, Any]) -> Iterator[str]:
    executed, seconds = data["executed"], data["seconds"]
    of_each = executed["situations"]
    whole = f"mean cost over {seconds[-1]:g} s"
    yield card(
        scatter_chart(
            list(zip(of_each["imagined_cost"], of_each["executed_cost"], strict=True)),
            x_label=f"imagined {whole}",
            y_label=f"executed {whole}",
        ),
        title="Each situation",
    )
    for what, y_label, title in (
        ("cost", "cost", "Cost"),
        ("m", "metres from where it began", "Distance"),
    ):
        lines = {name: executed[f"{name}_{what}"] for name in ("imagined", "executed")}
        yield _lines(title, lines, seconds, AHEAD, y_label)


def _calibration_note(data: Mapping[str, Any]) -> str:
    parts = len(data["calibration"]["reliability"][0]["error"])
    return CALIBRATION_NOTE.format(num=data["masks"], whose=data["disagreement_of"], parts=parts)


def _calibration(data: Mapping[str, Any]) -> str:
    found = data["calibration"]
    if all(value is None for value in found["rank_correlation"]):
        return f"<p>The {data['disagreement_of']} never disagree: U is 0 everywhere and says nothing.</p>"
    ranks = _lines(
        "Who ranks the errors?",
        {
            "errors of pictures, by U": found["rank_correlation"],
            "errors of pictures, by traffic in view": found["rank_correlation_of_traffic"],
            "errors of costs, by U as policies mind it": found["rank_correlation_of_costs"],
        },
        data["seconds"],
        AHEAD,
        "rank correlation with the error (Spearman's)",
        up_to=1.0,
    )
    by_part = {
        f"{bins['seconds']:g} s ahead": [error / mean if mean else None for error in bins["error"]]
        for bins in found["reliability"]
        if (mean := sum(bins["error"]) / len(bins["error"])) is not None
    }
    num = len(next(iter(by_part.values())))
    rising = _lines(
        "Error of the picture by U",
        by_part,
        list(range(1, num + 1)),
        f"part of the situations, 1 (lowest U) to {num} (highest)",
        "error / mean error of that step",
    )
    costs = {
        f"{bins['seconds']:g} s ahead": list(zip(bins["uncertainty"], bins["error"], strict=True))
        for bins in found["reliability_of_costs"]
    }
    paid = _chart(
        "Error of the cost by U", costs, "U as policies mind it, mean of a part", "|C - C*|, mean of a part"
    )
    return _grid([ranks, rising, paid])


def _sensitivity(data: Mapping[str, Any]) -> Iterator[str]:
    for key, y_label, title in (
        ("picture", "mean squared error of a pixel (0 to 1)", "What the car would see"),
        ("place_m", "metres from the recorded place", "Where the car would be"),
    ):
        lines = {name: data["sensitivity"][case][key] for name, case in CASES.items()}
        yield _lines(title, lines, data["seconds"], AHEAD, y_label)


def _lines(
    title: str,
    lines: Mapping[str, Sequence[float | None]],
    x: Sequence[float],
    x_label: str,
    y_label: str,
    *,
    up_to: float = 0.0,
) -> str:
    """A card with a chart whose vertical axis begins at 0 (at most) and its legend."""
    series: dict[str, Points] = {
        name: [(a, float("nan") if b is None else b) for a, b in zip(x, values, strict=True)]
        for name, values in lines.items()
    }
    return _chart(title, series, x_label, y_label, shows=[(x[0], 0.0), (x[0], up_to)])


def _chart(
    title: str,
    lines: Mapping[str, Points],
    x_label: str,
    y_label: str,
    shows: Sequence[tuple[float, float]] = ((0.0, 0.0),),
) -> str:
    """A card with a chart, that reaches some points, and its legend."""
    colours = {name: series_colour(i) for i, name in enumerate(lines)}
    chart = line_chart(lines, colours, x_label=x_label, y_label=y_label, shows=shows, is_log=False)
    return card(legend(colours.items()) if len(lines) > 1 else "", chart, title=title)


def _grid(cards: Iterator[str] | Sequence[str]) -> str:
    return f"<div class=grid>{''.join(cards)}</div>"


def _every_step(data: Mapping[str, Any]) -> str:
    executed, sensitive = data["executed"], data["sensitivity"]
    columns: dict[str, tuple[Sequence[float | None], int]] = {
        "s ahead": (data["seconds"], 1),
        "cost imagined": (executed["imagined_cost"], 3),
        "executed": (executed["executed_cost"], 3),
        "m imagined": (executed["imagined_m"], 1),
        "executed ": (executed["executed_m"], 1),
        "rank correlation of U": (data["calibration"]["rank_correlation"], 2),
        "of traffic in view": (data["calibration"]["rank_correlation_of_traffic"], 2),
        "of U as minded, with costs": (data["calibration"]["rank_correlation_of_costs"], 2),
    }
    for case in CASES.values():
        columns[f"picture, {case}"] = (sensitive[case]["picture"], 4)
    for case in CASES.values():
        columns[f"m off, {case}"] = (sensitive[case]["place_m"], 2)
    rows = [
        [number(values[t], digits) for values, digits in columns.values()]
        for t in range(len(data["seconds"]))
    ]
    return table(list(columns), rows)


def _facts(data: Mapping[str, Any]) -> str:
    kept = ("model", "policy", "split", "situations", "cars", "seed", "masks", "disagreement_of")
    facts = {"command": "headway diagnose", "recording": ", ".join(data["recordings"])}
    facts |= {key.replace("_", " "): str(data[key]) for key in kept} | versions()
    rows = [[escape(key), escape(value)] for key, value in facts.items()]
    return table(["", ""], rows, text_columns=(0, 1))
