"""The dashboards without Grafana: the same questions answered by Polars, drawn on the same grid, one page each."""

from __future__ import annotations

import re
from html import escape
from importlib import resources
from typing import Any

import polars as pl

from dashboards.answering import Shown, answer
from dashboards.datasets import Dataset
from dashboards.points import Points
from dashboards.questions import EVERY
from dashboards.render_charts import chart
from dashboards.render_words import Json, Look, look

CELL, ROW, GAP, MARGIN = 62, 38, 8, 16
"""Pixels of one of the 24 columns, of one of Grafana's height units, between panels, and within one."""
ROWS = 1.0
LINE = 27


def rendered(board: Json, points: Points, shown: Shown) -> str:
    """A dashboard as a page of HTML that needs nothing else."""
    style = resources.files("dashboards").joinpath("render.css").read_text(encoding="utf-8")
    panels = "\n".join(_panel(panel, points, shown) for panel in board["panels"])
    chosen = ", ".join(f"{escape(k)} {escape(v)}" for k, v in shown.chosen.items()) or "everything"
    title = f"{escape(board['title'])} - CellHerd"
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{style}</style></head>"
        f"<body><h1>{escape(board['title'])}</h1><p>{escape(board['description'])} Shown: {chosen}.</p>"
        f'<main style="grid-template-columns:repeat(24,{CELL}px);gap:{GAP}px">{panels}</main></body></html>'
    )


def _panel(panel: Json, points: Points, shown: Shown) -> str:
    place = panel["gridPos"]
    size = place["w"] * (CELL + GAP) - GAP - 2 * MARGIN, place["h"] * ROW - 40
    answers = [(target, EVERY[target["query"]], _answered(target, points, shown)) for target in panel["targets"]]
    body = _body(panel, answers, size)
    at = f"grid-column:{place['x'] + 1}/span {place['w']};height:{place['h'] * ROW}px"
    title, about = escape(panel["title"]), escape(panel["description"], quote=True)
    return f'<section style="{at}" title="{about}"><h2>{title}</h2>{body}</section>'


def _answered(target: Json, points: Points, shown: Shown) -> pl.DataFrame:
    return answer(EVERY[target["query"]].ask, points, shown)


Answers = list[tuple[Json, Dataset, pl.DataFrame]]


def _body(panel: Json, answers: Answers, size: tuple[int, int]) -> str:
    if panel["type"] == "stat":
        return _stat(panel, answers)
    if all(frame.is_empty() for _, _, frame in answers):
        return f'<p class="nothing">{escape(panel["fieldConfig"]["defaults"]["noValue"])}</p>'
    if panel["type"] == "table":
        return _table(panel, answers[0], size)
    return chart(panel, _points(panel, answers), size)


def _points(panel: Json, answers: Answers) -> pl.DataFrame:
    """All answers as rows of `at`, `name` and `value`; the alias names them as Grafana would."""
    found = []
    for target, dataset, frame in answers:
        if panel["type"] == "xychart":
            axes = panel["options"]["series"][0]
            x, y = (axes[name]["matcher"]["options"] for name in "xy")
            found.append(frame.select(at=pl.col(x), name=pl.lit("modules"), value=pl.col(y)))
            continue
        tags = list(dataset.ask.by)
        values = [name for name in frame.columns if name not in {"ts", *tags}]
        for name in values:
            parts = [pl.lit(text) if not tag else pl.col(tag) for text, tag in _pieces(target["alias"], name)]
            told = frame.select(at=pl.col("ts"), name=pl.concat_str(parts), value=pl.col(name).cast(pl.Float64))
            found.append(told.drop_nulls("value"))
    return pl.concat(found)


def _pieces(alias: str, column: str) -> list[tuple[str, str]]:
    """`$tag_site cell` as (text, tag) pairs."""
    pieces = re.split(r"(\$tag_\w+|\$col)", alias)
    named = [("", piece.removeprefix("$tag_")) if piece.startswith("$tag_") else (piece, "") for piece in pieces]
    return [(column if text == "$col" else text, tag) for text, tag in named if text or tag]


def _stat(panel: Json, answers: Answers) -> str:
    shown = []
    for target, _dataset, frame in answers:
        column = [name for name in frame.columns if name != "ts"][-1] if frame.width > 1 else ""
        value = frame[column].drop_nulls()[-1] if column and frame[column].drop_nulls().len() else None
        name = target["alias"] if target["alias"] != "$col" else ""
        how = look(panel, name or column)
        text = how.text(value) if value is not None else panel["fieldConfig"]["defaults"]["noValue"]
        tint = how.tint(value if value is not None else 0)
        shown.append(f'<div style="color:{tint}"><b>{escape(text)}</b><span>{escape(name)}</span></div>')
    return f'<div class="stat">{"".join(shown)}</div>'


def _table(panel: Json, answered: tuple[Json, Dataset, pl.DataFrame], size: tuple[int, int]) -> str:
    _, dataset, frame = answered
    names = ["Time", *dataset.ask.by, *(n for n in frame.columns if n not in {"ts", *dataset.ask.by})]
    rows = frame.rename({"ts": "Time"})
    looks = {name: look(panel, name) for name in names}
    order = panel["options"].get("sortBy") or []
    by = next((n for n in names if order and order[0]["displayName"] in {n, looks[n].heading}), None)
    if by:
        rows = rows.sort(by, descending=order[0]["desc"], nulls_last=True)
    shown = [name for name in names if not looks[name].hidden]
    sides = {
        name: ' class="number"' if rows[name].dtype.is_numeric() and not looks[name].mappings else "" for name in shown
    }
    head = "".join(f"<th{sides[name]}>{escape(looks[name].heading)}</th>" for name in shown)
    lines = [_line(row, shown, looks) for row in rows.head(200).to_dicts()]
    return f'<div class="rows" style="height:{size[1]}px"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _line(row: dict[str, Any], shown: list[str], looks: dict[str, Look]) -> str:
    return f"<tr>{''.join(_cell(row[name], looks[name]) for name in shown)}</tr>"


def _cell(value: object, how: Look) -> str:
    tint = f' style="color:{how.tint(value)}"' if how.coloured and how.tint(value) else ""
    text = escape(how.text(value))
    number = ' class="number"' if isinstance(value, int | float) and not (how.mappings or {}) else ""
    return f"<td{number}{tint}>{f'<u>{text}</u>' if how.link else text}</td>"
