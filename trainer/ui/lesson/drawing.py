"""The encoder as a drawing and as a table with the same numbers: a pure function of its parts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer import methods
from trainer.analysis.lesson import Anatomy
from trainer.sources import backbones
from trainer.sources.backbones import Part
from trainer.texts import tr
from trainer.ui.common.lab import escape
from trainer.ui.common.tables import Cell, table
from trainer.ui.lesson.frame import heading_of, shut
from trainer.ui.lesson.text import TEXTS, say

WIDTH, EDGE, GAP = 340, 2, 6
LINE, STATE = 18, 207
"""Units of the drawing; as wide as a phone's page, a unit is about a pixel there."""
ROWS = (("query", "key", "value"), ("attention_output",), ("attention_output_norm",),
        ("intermediate",), ("output",), ("output_norm",))  # fmt: skip
"""A layer from top to bottom; parts in one row work side by side."""
HEADINGS = {"query": "frozen.attention", "intermediate": "frozen.feed_forward"}
WAISTED = ("lora", "bottleneck")
"""Narrow in the middle, as their shapes are."""

CSS = """
.lab-drawing { margin: 0; max-width: 440px; }
.lab-drawing svg { width: 100%; height: auto; display: block; }
.lab-drawing text { fill: var(--body-text-color); font-size: 15px; font-family: inherit; }
.lab-drawing .lab-state-word { font-size: 14px; }
.lab-drawing .lab-trains text { font-weight: 600; }
.lab-drawing .lab-shape { fill: transparent; stroke: var(--body-text-color-subdued); stroke-width: 1.2;
  stroke-dasharray: 5 3; }
.lab-drawing .lab-trains .lab-shape { fill: rgba(0, 114, 178, 0.16); stroke: #0072B2; stroke-width: 3;
  stroke-dasharray: none; }
.dark .lab-drawing .lab-trains .lab-shape { fill: rgba(86, 180, 233, 0.18); stroke: #56B4E9; }
.lab-drawing .lab-ground { fill: url(#lab-bits); stroke: none; }
.lab-drawing #lab-bits circle { fill: var(--body-text-color-subdued); opacity: 0.35; }
.lab-drawing .lab-frame { fill: none; stroke: var(--body-text-color-subdued); stroke-width: 1; }
.lab-drawing .lab-arrow { stroke: var(--body-text-color-subdued); stroke-width: 1.5; fill: none; }
.lab-summary { font-size: 18px; font-weight: 600; margin: 8px 0; }
"""


@dataclass
class _Sheet:
    """Where the next thing goes, and what is drawn so far."""

    y: float = 4
    marks: list[str] = field(default_factory=list)

    def text(self, words: str, *, x: float = WIDTH / 2, anchor: str = "middle", kind: str = "") -> None:
        self.y += LINE
        self.marks.append(_text(words, x=x, y=self.y - 4, anchor=anchor, kind=kind))

    def arrow(self) -> None:
        x, y = WIDTH / 2, self.y + 2
        self.marks.append(f'<path class="lab-arrow" d="M{x} {y}v12m-4 -5l4 5l4 -5"/>')
        self.y += 18


def drawing(anatomy: Anatomy) -> str:
    """The model as an SVG with its summary, and a table of its parts; every count of the one stands in the other."""
    words = escape(summary(anatomy))
    alternative = escape(say("frozen.alternative", summary=summary(anatomy)))
    return (
        f'<p class="lab-summary" role="status">{words}</p><p class="lab-note">{escape(say("frozen.legend"))}</p>'
        f'<figure class="lab-drawing">{svg(anatomy, alternative=alternative)}</figure>'
        f"{shut(say('frozen.table'), parts_table(anatomy))}"
        f'<p class="lab-small">{escape(say("frozen.source", paper=methods.get(anatomy.method).paper))}</p>'
    )


def summary(anatomy: Anatomy) -> str:
    """What trains of how many, in a sentence."""
    title = backbones.BACKBONES[anatomy.backbone].title.split(",")[0] if anatomy.backbone in backbones.BACKBONES else ""
    return say(
        "frozen.summary",
        method=tr(methods.get(anatomy.method).title),
        backbone=title.split(" (")[0] or anatomy.backbone,
        trained=f"{anatomy.trained:,}",
        total=f"{anatomy.total:,}",
        share=share(anatomy.trained / anatomy.total),
    )


def share(value: float) -> str:
    """A share as a person reads it: more digits where it is small, none where it is whole."""
    percent = 100 * value
    if percent == 100:
        return "100%"
    return f"{percent:.2f}%" if percent < 10 else f"{percent:.0f}%"


def svg(anatomy: Anatomy, *, alternative: str) -> str:
    """The drawing; `alternative` is its text for a screen reader, escaped."""
    sheet = _Sheet()
    outside = [part for part in anatomy.parts if not part.layers]
    inside = [part for part in anatomy.parts if part.layers]
    sheet.text(say("frozen.sentence"))
    for part in outside:
        if part.name == "embeddings":
            sheet.arrow()
            _row(sheet, [part], x=EDGE, width=WIDTH - 2 * EDGE)
    sheet.arrow()
    _layer(sheet, inside, layers=anatomy.layers)
    for part in outside:
        if part.name != "embeddings":
            sheet.arrow()
            _row(sheet, [part], x=EDGE, width=WIDTH - 2 * EDGE)
    sheet.arrow()
    sheet.text(say("frozen.label"))
    dots = (
        '<defs><pattern id="lab-bits" width="7" height="7" patternUnits="userSpaceOnUse">'
        '<circle cx="2" cy="2" r="1"/></pattern></defs>'
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {sheet.y + 6:.0f}" role="img" aria-label="{alternative}">'
        f"{dots}{''.join(sheet.marks)}</svg>"
    )


def _layer(sheet: _Sheet, parts: Sequence[Part], *, layers: int) -> None:
    """One layer in its frame, with what the method adds under the row of the parts that it stands beside."""
    top, x, width = sheet.y, 10, WIDTH - 20
    whole = sum(part.count * part.copies for part in parts)
    sheet.y += 4
    sheet.text(say("frozen.layer", layers=layers))
    sheet.text(say("frozen.layer_count", count=f"{whole:,}"), kind="lab-state-word")
    own = {part.name: part for part in parts if not part.beside}
    for row in ROWS:
        if row[0] in HEADINGS:
            sheet.text(say(HEADINGS[row[0]]), x=x, anchor="start")
            sheet.y += 2
        _row(sheet, [own[name] for name in row], x=x, width=width)
        beside = [[part for part in parts if part.beside == name] for name in row]
        for depth in range(max(map(len, beside))):
            _row(sheet, [found[depth] if depth < len(found) else None for found in beside], x=x, width=width)
    sheet.y += 4
    sheet.marks.append(
        f'<rect class="lab-frame" x="{EDGE}" y="{top}" width="{WIDTH - 2 * EDGE}" height="{sheet.y - top}" rx="6"/>'
    )


def _row(sheet: _Sheet, parts: Sequence[Part | None], *, x: float, width: float) -> None:
    """Boxes side by side; None keeps its place empty."""
    each = (width - GAP * (len(parts) - 1)) / len(parts)
    lines = 3 if len(parts) > 1 else 2 if parts[0] is not None and parts[0].name in WAISTED else 1
    height = LINE * lines + 8
    for place, part in enumerate(parts):
        if part is not None:
            sheet.marks.append(_box(part, x=x + place * (each + GAP), y=sheet.y, width=each, height=height))
    sheet.y += height + GAP


def _box(part: Part, *, x: float, y: float, width: float, height: float) -> str:
    waist = (8 if width < WIDTH / 2 else 12) if part.name in WAISTED else 0
    points = [(x, y), (x + width, y), (x + width - waist, y + height / 2), (x + width, y + height), (x, y + height),
              (x + waist, y + height / 2)]  # fmt: skip
    shape = " ".join(f"{a:.1f},{b:.1f}" for a, b in points)
    ground = f'<polygon class="lab-ground" points="{shape}"/>' if part.bits < 32 else ""
    left, right, middle = x + 8 + waist, x + width - 8 - waist, x + width / 2
    if width < WIDTH / 2:
        text = (
            _text(name(part), x=middle, y=y + LINE)
            + _text(count(part), x=middle, y=y + 2 * LINE)
            + _text(state(part), x=middle, y=y + 3 * LINE, kind="lab-state-word")
        )
    else:
        beside = waist == 0  # the state stands between name and count, or where these leave no room under the name
        place = {"x": STATE, "y": y + LINE} if beside else {"x": left, "y": y + 2 * LINE, "anchor": "start"}
        text = (
            _text(name(part), x=left, y=y + LINE, anchor="start")
            + _text(count(part), x=right, y=y + LINE, anchor="end")
            + _text(state(part), kind="lab-state-word", **place)
        )
    kind = "lab-trains" if part.trains else "lab-frozen"
    return f'<g class="{kind}"><polygon class="lab-shape" points="{shape}"/>{ground}{text}</g>'


def _text(words: str, *, x: float, y: float, anchor: str = "middle", kind: str = "") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{kind}">{escape(words)}</text>'


def name(part: Part) -> str:
    """What a part is called; a part that nobody described yet keeps its own name."""
    key = f"part.{part.name}"
    return say(key) if key in TEXTS else part.name


def count(part: Part) -> str:
    """Parameters in one place, and how many copies of it stand there."""
    one = f"{part.count:,}"
    return say("frozen.copies", copies=part.copies, count=one) if part.copies > 1 else one


def state(part: Part) -> str:
    """Whether it trains, and how it is held."""
    if part.trains:
        return say("frozen.trains")
    return say("frozen.frozen_bits", bits=part.bits) if part.bits < 32 else say("frozen.frozen")


def parts_table(anatomy: Anatomy) -> str:
    """The same numbers as a table, with the sums."""
    columns = [
        heading_of("frozen.column.part", numeric=False),
        *(heading_of(f"frozen.column.{key}") for key in ("one", "places", "all")),
        heading_of("frozen.column.state", numeric=False),
    ]
    rows = []
    for part in anatomy.parts:
        places = max(part.layers, 1) * part.copies
        title = name(part)
        if part.beside:
            host = name(Part(part.beside, 0))
            title = say("frozen.beside", part=title, place=host)
        rows.append(
            [
                Cell(title),
                Cell(f"{part.count:,}", part.count),
                Cell(str(places), places),
                Cell(f"{part.total:,}", part.total),
                Cell(state(part)),
            ]
        )
    for key, total in (("trained", anatomy.trained), ("total", anatomy.total)):
        rows.append([Cell(say(f"frozen.row.{key}")), Cell(""), Cell(""), Cell(f"{total:,}", total), Cell("")])
    return table(columns, rows, name="parts", title=say("frozen.table"), sortable=False)
