"""Charts of a leaderboard, by Altair: the same for page, notebook and report. They hold curves, never rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import altair as alt

from everloop.experiment.decision_curves import DecisionCurves, Line
from everloop.experiment.drawing import BLUE, FAINT, GREY, RED, WIDTH, Drawn, inline
from everloop.experiment.leaderboard import Leaderboard
from everloop.experiment.residuals import QUANTILES
from everloop.experiment.trial_curves import TrialCurves
from everloop.project import Objective

__all__ = ["board_charts", "curve_charts", "history_chart", "interval_chart", "parameter_chart"]

_HALF: Final = 350
_HEIGHT: Final = 260
_ROLES: Final = {"winner": BLUE, "trial": FAINT, "yardstick": GREY}
_CALLED: Final = {"winner": "winner", "trial": "other trials", "yardstick": "yardsticks"}
_RARE: Final = 0.05
_UNIT: Final = alt.Scale(domain=[0, 1])


def _named(curves: TrialCurves) -> str:
    return f"{curves.name} {curves.learner}".strip()


def _colour(drawn: Sequence[TrialCurves]) -> Any:
    """A colour for each role; a key only where there is more than one."""
    roles = _roles(drawn)
    if len(roles) == 1:
        return alt.value(_ROLES[roles[0]])
    scale = alt.Scale(domain=[_CALLED[role] for role in roles], range=[_ROLES[role] for role in roles])
    return alt.Color("role:N", scale=scale, title=None, legend=alt.Legend(orient="top"))


def _roles(drawn: Sequence[TrialCurves]) -> list[str]:
    return [role for role in _ROLES if any(curves.role == role for curves in drawn)]


def _lines(drawn: Sequence[TrialCurves], of: Callable[[DecisionCurves], Line], x: alt.X, y: alt.Y) -> alt.Chart:
    """A line for each trial, the winner's above the others."""
    rows = [
        {"x": point[0], "y": point[1], "at": at, "trial": _named(curves), "role": _CALLED[curves.role]}
        for curves in reversed(drawn)
        if curves.decisions is not None
        for at, point in enumerate(of(curves.decisions).points)
    ]
    shown = [alt.Tooltip("trial:N"), *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("x", "y"))]
    dashes = [[4, 3] if role == "yardstick" else [1, 0] for role in _roles(drawn)]
    scale = alt.Scale(domain=[_CALLED[role] for role in _roles(drawn)], range=dashes)
    key = None if len(dashes) == 1 else alt.Legend(orient="top")
    dash = alt.StrokeDash("role:N", scale=scale, title=None, legend=key)
    chart: alt.Chart = (
        alt.Chart(inline(rows))
        .mark_line(strokeWidth=1.8)
        .encode(x=x, y=y, color=_colour(drawn), strokeDash=dash, detail="trial:N", order="at:Q", tooltip=shown)
    )
    return chart


def _rule(value: float, channel: str, *, dash: tuple[int, int] = (2, 3), colour: str = RED) -> alt.Chart:
    at = {channel: alt.X("at:Q") if channel == "x" else alt.Y("at:Q")}
    chart: alt.Chart = alt.Chart(inline([{"at": value}])).mark_rule(strokeDash=list(dash), color=colour).encode(**at)
    return chart


def _point(x: float, y: float, text: str) -> alt.Chart:
    """The chosen threshold."""
    rows = [{"x": x, "y": y, "is": text}]
    chart: alt.Chart = (
        alt.Chart(inline(rows))
        .mark_point(size=90, filled=True, color=RED, opacity=1)
        .encode(
            x="x:Q", y="y:Q", tooltip=["is:N", alt.Tooltip("x:Q", format=".4~g"), alt.Tooltip("y:Q", format=".4~g")]
        )
    )
    return chart


def _layered(layers: Sequence[alt.Chart], title: str, *, width: int = _HALF) -> alt.LayerChart:
    chart: alt.LayerChart = alt.LayerChart(layer=list(layers), title=title, width=width, height=_HEIGHT)
    return chart


def ranking_chart(drawn: Sequence[TrialCurves]) -> alt.HConcatChart:
    """Precision over recall with the objective's constraint as a line, and ROC; the chosen threshold is marked."""
    percent = alt.Axis(format="%")
    recall = alt.X("x:Q", title="recall", scale=_UNIT, axis=percent)
    precision = alt.Y("y:Q", title="precision", scale=_UNIT, axis=percent)
    alarms = alt.X("x:Q", title="share of negatives flagged", scale=_UNIT, axis=percent)
    caught = alt.Y("y:Q", title="recall", scale=_UNIT, axis=percent)
    left = [*_constraint(drawn[0]), _lines(drawn, lambda one: one.precision_recall, recall, precision)]
    right = [_lines(drawn, lambda one: one.roc, alarms, caught)]
    chosen = None if drawn[0].decisions is None else drawn[0].decisions.chosen
    if chosen is not None:
        said = f"threshold {chosen.threshold:.4g}"
        left.append(_point(chosen.recall, chosen.precision, said))
        right.append(_point(chosen.false_alarms, chosen.recall, said))
    chart: alt.HConcatChart = alt.hconcat(_layered(left, "precision and recall"), _layered(right, "ROC"))
    return chart


def _constraint(winner: TrialCurves) -> list[alt.Chart]:
    """The bound of the objective's constraint, where it is one of the two that are drawn."""
    constraint = Objective.parse(winner.objective).constraint
    if constraint is None or constraint.metric not in ("precision", "recall"):
        return []
    channel = "y" if constraint.metric == "precision" else "x"
    return [_rule(constraint.bound, channel, dash=(5, 4), colour=GREY)]


def threshold_chart(drawn: Sequence[TrialCurves]) -> alt.HConcatChart:
    """Calibration of the winner with its intervals, and what the objective is at every threshold."""
    winner = drawn[0].decisions
    assert winner is not None
    x = alt.X("x:Q", title="threshold")
    y = alt.Y("y:Q", title=winner.value_of, axis=alt.Axis(format=".3~g"), scale=alt.Scale(zero=True))
    layers = [_lines(drawn, lambda one: one.over_threshold, x, y)]
    if winner.chosen is not None:
        layers += [_rule(winner.chosen.threshold, "x")]
        layers += [_point(winner.chosen.threshold, winner.chosen.value, f"threshold {winner.chosen.threshold:.4g}")]
    over = _layered(layers, f"{_short(winner.value_of)} over the threshold")
    chart: alt.HConcatChart = alt.hconcat(_calibration(winner), over)
    return chart


def _short(name: str) -> str:
    return "objective" if " at " in name else "cost" if name.startswith("cost") else name


def _calibration(winner: DecisionCurves) -> alt.LayerChart:
    """Share of positives over mean score; rare positives on the scale of the square root, which spreads the small."""
    rows = [
        {"score": one.score, "low": one.low, "share": one.share, "high": one.high, "rows": one.rows}
        for one in winner.calibration
    ]
    most = min(1.0, 1.05 * max([one.score for one in winner.calibration] + [one.high for one in winner.calibration]))
    total = sum(one.rows for one in winner.calibration)
    rare = sum(one.share * one.rows for one in winner.calibration) / total < _RARE
    scale = alt.Scale(domain=[0, most], type="sqrt" if rare else "linear", nice=False)
    axis = alt.Axis(format=".2~%", tickCount=6, labelOverlap=True)
    x = alt.X("score:Q", title="mean score of the bin", scale=scale, axis=axis)
    base = alt.Chart(inline(rows)).encode(x=x)
    tips = ["rows:Q", *(alt.Tooltip(f"{name}:Q", format=".3~%") for name in ("score", "low", "share", "high"))]
    bars = base.mark_rule(color=BLUE).encode(
        y=alt.Y("low:Q", title="share of positives, 95 %", scale=scale, axis=axis), y2="high:Q", tooltip=tips
    )
    points = base.mark_point(filled=True, size=50, color=BLUE, opacity=1).encode(
        y=alt.Y("share:Q", scale=scale), tooltip=tips
    )
    ends = alt.Chart(inline([{"score": 0, "share": 0}, {"score": most, "share": most}]))
    line = ends.mark_line(strokeDash=[5, 4], color=GREY, strokeWidth=1).encode(x=x, y=alt.Y("share:Q", scale=scale))
    return _layered([line, bars, points], "calibration")


def residual_chart(drawn: Sequence[TrialCurves]) -> alt.HConcatChart:
    """Of a regression: how far outcomes lay from predictions, over the prediction, and how often by how much."""
    chart: alt.HConcatChart = alt.hconcat(_residual_bands(drawn[0]), _residual_histogram(drawn))
    return chart


def _residual_bands(winner: TrialCurves) -> alt.LayerChart:
    assert winner.residuals is not None
    names = [f"q{100 * level:g}" for level in QUANTILES]
    rows = [
        {"predicted": one.predicted, "rows": one.rows, **dict(zip(names, one.quantiles, strict=True))}
        for one in winner.residuals.bins
    ]
    x = alt.X("predicted:Q", title="prediction", scale=alt.Scale(zero=False), axis=alt.Axis(format=".4~g"))
    title = "outcome − prediction"
    base = alt.Chart(inline(rows)).encode(
        x=x, tooltip=["rows:Q", *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("predicted", *names))]
    )
    wide = base.mark_area(color=BLUE, opacity=0.15).encode(y=alt.Y(f"{names[0]}:Q", title=title), y2=f"{names[-1]}:Q")
    half = base.mark_area(color=BLUE, opacity=0.3).encode(y=f"{names[1]}:Q", y2=f"{names[-2]}:Q")
    middle = base.mark_line(color=BLUE, point=alt.OverlayMarkDef(color=BLUE, size=20)).encode(y=f"{names[2]}:Q")
    return _layered([wide, half, middle, _rule(0.0, "y", colour=GREY)], "residuals: median, half, nine in ten")


def _residual_histogram(drawn: Sequence[TrialCurves]) -> alt.LayerChart:
    """The winner's as bars, the yardsticks' as lines over them."""
    found: dict[str, list[dict[str, Any]]] = {role: [] for role in _ROLES}
    for curves in drawn:
        missed = curves.residuals
        assert missed is not None
        found[curves.role] += [
            {"low": low, "high": high, "share": share, "trial": _named(curves)}
            for low, high, share in zip(missed.edges[:-1], missed.edges[1:], missed.shares, strict=True)
        ]
    y = alt.Y("share:Q", title="share of the rows", axis=alt.Axis(format=".2~%"))
    x = alt.X("low:Q", title="outcome − prediction", axis=alt.Axis(format=".4~g"))
    tips = ["trial:N", *(alt.Tooltip(f"{name}:Q", format=".4~g") for name in ("low", "high", "share"))]
    winner = alt.Chart(inline(found["winner"])).mark_bar(color=BLUE, opacity=0.6)
    bars = winner.encode(x=x, x2="high:Q", y=y, y2=alt.datum(0), tooltip=tips)
    lines = (
        alt.Chart(inline(found["yardstick"]))
        .mark_line(interpolate="step-after", color=GREY, strokeDash=[4, 3])
        .encode(x=x, y=y, detail="trial:N", tooltip=tips)
    )
    return _layered([bars, lines] if found["yardstick"] else [bars], "how often by how much")


def history_chart(board: Leaderboard) -> alt.LayerChart:
    """The objective by the trial's number, the best so far as a line; given up and failed trials are marked."""
    trials = sorted((one for one in board.trials if one.kind == "trial"), key=lambda one: one.number)
    values = [one.value for one in board.trials if one.value is not None]
    least = min(values, default=0.0)
    rows = [
        {
            "number": one.number,
            "value": least if one.value is None else one.value,
            "trial": f"{one.name} {one.learner}",
            "is": {"done": "done", "pruned": "given up", "failed": "failed"}[one.status],
        }
        for one in trials
    ]
    kinds = ["done", "given up", "failed"]
    x = alt.X("number:Q", title="trial", axis=alt.Axis(format="d", tickMinStep=1), scale=alt.Scale(zero=False))
    y = alt.Y("value:Q", title=board.objective, scale=alt.Scale(zero=False), axis=alt.Axis(format=".3~g"))
    points = (
        alt.Chart(inline(rows))
        .mark_point(size=45, filled=True, opacity=1)
        .encode(
            x=x,
            y=y,
            color=alt.Color(
                "is:N",
                scale=alt.Scale(domain=kinds, range=[BLUE, GREY, RED]),
                title=None,
                legend=alt.Legend(orient="top"),
            ),
            shape=alt.Shape("is:N", scale=alt.Scale(domain=kinds, range=["circle", "triangle-down", "cross"])),
            tooltip=["trial:N", "is:N", alt.Tooltip("value:Q", format=".4~f")],
        )
    )
    best = alt.Chart(inline(_best_so_far(board))).mark_line(interpolate="step-after", color=BLUE, strokeWidth=1.2)
    chart: alt.LayerChart = alt.LayerChart(
        layer=[*_yardstick_rules(board), best.encode(x=x, y=y), points], width=WIDTH, height=_HEIGHT
    )
    return chart


def _best_so_far(board: Leaderboard) -> list[dict[str, Any]]:
    """The best of the trials that went through all folds, by number."""
    done = sorted((one for one in board.trials if one.kind == "trial" and one.status == "done"), key=lambda t: t.number)
    last = max((one.number for one in board.trials if one.kind == "trial"), default=0)
    better = max if board.maximise else min
    rows: list[dict[str, Any]] = []
    for one in done:
        assert one.value is not None
        rows.append({"number": one.number, "value": better([one.value, *(row["value"] for row in rows[-1:])])})
    return [*rows, {"number": last, "value": rows[-1]["value"]}] if rows else []


def _yardstick_rules(board: Leaderboard) -> list[alt.Chart]:
    rows = [{"value": one.value, "text": one.learner} for one in board.trials if one.kind == "yardstick" and one.range]
    base = alt.Chart(inline(rows)).encode(y="value:Q")
    text = base.mark_text(align="left", dx=4, dy=-6, color="#616e7c").encode(x=alt.value(0), text="text:N")
    return [base.mark_rule(strokeDash=[4, 3], color=GREY), text] if rows else []


def interval_chart(board: Leaderboard, *, most: int = 15) -> alt.LayerChart:
    """The objective of the best trials and the yardsticks, with its 95 % interval."""
    winner = None if board.winner is None else board.winner.trial
    whole = [one for one in board.trials if one.status == "done" and one.range is not None]
    best = [one for one in whole if one.kind == "trial"][:most]
    shown = [one for one in whole if one.kind == "yardstick" or one in best or one == winner]
    rows = [
        {
            "trial": f"{one.name} {one.learner}",
            "role": _CALLED["winner" if one == winner else one.kind],
            **({} if one.range is None else one.range.to_dict()),
        }
        for one in shown
    ]
    colours = alt.Scale(domain=list(_CALLED.values()), range=[RED, BLUE, GREY])
    order = [str(row["trial"]) for row in rows]
    axis = alt.Axis(format=".3~g")
    base = alt.Chart(inline(rows)).encode(
        y=alt.Y("trial:N", sort=order, title=None),
        color=alt.Color("role:N", scale=colours, title=None, legend=alt.Legend(orient="top")),
        tooltip=["trial:N", *(alt.Tooltip(f"{name}:Q", format=".4~f") for name in ("low", "point", "high"))],
    )
    bars = base.mark_rule(strokeWidth=1.5).encode(
        x=alt.X("low:Q", title=board.objective, scale=alt.Scale(zero=False), axis=axis), x2="high:Q"
    )
    points = base.mark_point(filled=True, size=50, opacity=1).encode(x="point:Q")
    chart: alt.LayerChart = alt.LayerChart(layer=[bars, points], width=WIDTH - 120, height=alt.Step(18))
    return chart


def parameter_chart(board: Leaderboard) -> alt.Chart:
    """What share of the differences between the winner's learner's trials each hyperparameter explains alone."""
    rows = [{"name": name, "share": share} for name, share in board.parameters.items()]
    chart: alt.Chart = (
        alt.Chart(inline(rows))
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("share:Q", title="share of the variance of the objective", axis=alt.Axis(format="%", tickCount=6)),
            y=alt.Y("name:N", sort=list(board.parameters), title=None),
            tooltip=["name:N", alt.Tooltip("share:Q", format=".1%")],
        )
        .properties(width=WIDTH - 120, height=alt.Step(18))
    )
    return chart


def curve_charts(drawn: Sequence[TrialCurves]) -> dict[str, Drawn]:
    """The charts of these trials' curves by title, the first one's in front."""
    if not drawn:
        return {}
    if drawn[0].decisions is not None:
        return {
            "Precision, recall and false alarms": ranking_chart(drawn),
            "Calibration and threshold": threshold_chart(drawn),
        }
    return {"Residuals": residual_chart(drawn)}


def board_charts(board: Leaderboard) -> dict[str, Drawn]:
    """The page's charts by title, those that the search allows."""
    found: dict[str, Drawn] = {}
    if any(one.range is not None for one in board.trials):
        found["Objective"] = interval_chart(board)
    found |= curve_charts(board.curves)
    if any(one.kind == "trial" for one in board.trials):
        found["How the search went"] = history_chart(board)
    if board.parameters:
        found["Hyperparameters"] = parameter_chart(board)
    return found
