"""The geometry of the encoder's drawing as plain data, for the template."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from trainer import methods
from trainer.analysis.lesson import Anatomy
from trainer.markup import render
from trainer.sources.backbones import Part
from trainer.texts import mark, tr
from trainer.ui.lesson.papers import linked
from trainer.ui.lesson.parts import count, name, parts_table, state, summary

WIDTH, EDGE, GAP = 340, 2, 6
LINE, STATE = 18, 207
"""Sizes in the drawing's units; on a phone one unit is about a pixel."""
ROWS = (("query", "key", "value"), ("attention_output",), ("attention_output_norm",),
        ("intermediate",), ("output",), ("output_norm",))  # fmt: skip
"""A layer from top to bottom; parts in one row work side by side."""
HEADINGS = {"query": mark("Attention"), "intermediate": mark("Feed-forward")}
"""The heading above the row that begins with a part."""
WAISTED = ("lora", "bottleneck")
"""Parts that are drawn narrow in the middle, like their matrices."""
PARALLEL = ("lora",)
"""Parts that get the same input as the linear layer they belong to, and whose output is added to its own; they are
drawn beside it. Others work on its output and are drawn below it."""
LINEAR, PLUS = 172, 20
"""The widths of a linear layer with such a part, and of the gap between the two."""


@dataclass(frozen=True)
class Text:
    """A text at a point; `anchor` is SVG's text-anchor, `kind` a CSS class."""

    text: str
    x: float
    y: float
    anchor: str = "middle"
    kind: str = ""
    shape: str = "text"


@dataclass(frozen=True)
class Arrow:
    """A short arrow down from a point."""

    x: float
    y: float
    shape: str = "arrow"


@dataclass(frozen=True)
class Frame:
    """The outline of a layer, from `top` on."""

    top: float
    height: float
    shape: str = "frame"


@dataclass(frozen=True)
class Box:
    """A part of the model: the points of its outline, whether it trains, whether it is quantised, its texts."""

    points: Sequence[tuple[float, float]]
    trains: bool
    quantised: bool
    texts: Sequence[Text]
    shape: str = "box"


@dataclass(frozen=True)
class Wire:
    """A line through points."""

    points: Sequence[tuple[float, float]]
    shape: str = "wire"


@dataclass(frozen=True)
class Plus:
    """The sign of an addition, at a point."""

    x: float
    y: float
    shape: str = "plus"


@dataclass
class Sheet:
    """The shapes drawn so far, from top to bottom; `y` is where the next one begins."""

    y: float = 4
    shapes: list[Text | Arrow | Frame | Box | Wire | Plus] = field(default_factory=list)

    @property
    def adds(self) -> bool:
        """Whether the outputs of two parts are added."""
        return any(shape.shape == "plus" for shape in self.shapes)

    def text(self, text: str, *, x: float = WIDTH / 2, anchor: str = "middle", kind: str = "") -> None:
        self.y += LINE
        self.shapes.append(Text(text, x, self.y - 4, anchor, kind))

    def arrow(self) -> None:
        self.shapes.append(Arrow(WIDTH / 2, self.y + 2))
        self.y += 18


def drawing(anatomy: Anatomy) -> str:
    """The model as an SVG, with its summary and a table of the same numbers, as HTML."""
    return render(
        "lesson/drawing.html",
        summary=summary(anatomy),
        sheet=layout(anatomy),
        width=WIDTH,
        edge=EDGE,
        table=parts_table(anatomy),
        paper=linked(
            tr(
                "Method: {paper}. The encoder: Vaswani et al. 2017, https://arxiv.org/abs/1706.03762.",
                paper=methods.get(anatomy.method).paper,
            )
        ),
    )


def layout(anatomy: Anatomy) -> Sheet:
    """The drawing's shapes: the sentence, the embeddings, one layer, the parts after the layers, the label."""
    sheet = Sheet()
    outside = [part for part in anatomy.parts if not part.layers]
    sheet.text(tr("a sentence, as tokens"))
    for part in outside:
        if "embeddings" in (part.name, part.beside):
            if not part.beside:
                sheet.arrow()
            _row(sheet, [part], x=EDGE, width=WIDTH - 2 * EDGE)
    sheet.arrow()
    _layer(sheet, [part for part in anatomy.parts if part.layers], layers=anatomy.layers)
    for part in outside:
        if "embeddings" not in (part.name, part.beside):
            sheet.arrow()
            _row(sheet, [part], x=EDGE, width=WIDTH - 2 * EDGE)
    sheet.arrow()
    sheet.text(tr("a label"))
    return sheet


def _layer(sheet: Sheet, parts: Sequence[Part], *, layers: int) -> None:
    """Draw one layer in its frame, with the method's own parts beside or below what they belong to."""
    top, x, width = sheet.y, 10, WIDTH - 20
    whole = sum(part.count * part.copies for part in parts)
    sheet.y += 4
    sheet.text(tr("One of {layers} equal layers", layers=layers))
    sheet.text(tr("{count} parameters in each", count=f"{whole:,}"), kind="lab-state-word")
    own = {part.name: part for part in parts if not part.beside}
    for row in ROWS:
        if row[0] in HEADINGS:
            sheet.text(tr(HEADINGS[row[0]]), x=x, anchor="start")
            sheet.y += 2
        parallel = {part.beside: part for part in parts if part.beside in row and part.name in PARALLEL}
        if parallel:
            _pairs(sheet, [(own[name], parallel.get(name)) for name in row], x=x, width=width)
        else:
            _row(sheet, [own[name] for name in row], x=x, width=width)
        added = [[part for part in parts if part.beside == name and part.name not in PARALLEL] for name in row]
        for depth in range(max(map(len, added))):
            _row(sheet, [column[depth] if depth < len(column) else None for column in added], x=x, width=width)
    sheet.y += 4
    sheet.shapes.append(Frame(top, sheet.y - top))


def _row(sheet: Sheet, parts: Sequence[Part | None], *, x: float, width: float) -> None:
    """Draw a row of boxes; None leaves a gap as wide as a box."""
    each = (width - GAP * (len(parts) - 1)) / len(parts)
    lines = 3 if len(parts) > 1 else 2 if parts[0] is not None and parts[0].name in WAISTED else 1
    height = LINE * lines + 8
    for column, part in enumerate(parts):
        if part is not None:
            sheet.shapes.append(_box(part, x=x + column * (each + GAP), y=sheet.y, width=each, height=height))
    sheet.y += height + GAP


def _pairs(sheet: Sheet, pairs: Sequence[tuple[Part, Part | None]], *, x: float, width: float) -> None:
    """Draw linear layers of one row below one another, each with its parallel part on its right, if it has one.

    A wire at the left edge shows that all of them get the same input.
    """
    height, first = 2 * LINE + 8, sheet.y
    for linear, parallel in pairs:
        middle = sheet.y + height / 2
        sheet.shapes.append(_narrow_box(linear, x=x, y=sheet.y, width=LINEAR, height=height))
        if parallel is not None:
            right = x + LINEAR + PLUS
            sheet.shapes += [
                Wire([(x + LINEAR, middle), (right, middle)]),
                Plus(x + LINEAR + PLUS / 2, middle),
                _narrow_box(parallel, x=right, y=sheet.y, width=width - LINEAR - PLUS, height=height),
            ]
        if len(pairs) > 1:
            sheet.shapes.append(Wire([(x - 4, first - 2), (x - 4, middle), (x, middle)]))
        sheet.y += height + GAP


def _narrow_box(part: Part, *, x: float, y: float, width: float, height: float) -> Box:
    """A box of two lines: the name; the count and the state."""
    waist = 6 if part.name in WAISTED else 0
    left, right = x + 8, x + width - 8
    texts = [
        Text(name(part), left, y + LINE, "start"),
        Text(count(part), left, y + 2 * LINE, "start"),
        Text(state(part), right, y + 2 * LINE, "end", "lab-state-word"),
    ]
    points = _outline(x=x, y=y, width=width, height=height, waist=waist)
    return Box(points, trains=part.trains, quantised=part.bits < 32, texts=texts)


def _outline(*, x: float, y: float, width: float, height: float, waist: float) -> list[tuple[float, float]]:
    """The corners of a box, which is narrower by `waist` on each side in the middle."""
    return [(x, y), (x + width, y), (x + width - waist, y + height / 2), (x + width, y + height), (x, y + height),
            (x + waist, y + height / 2)]  # fmt: skip


def _box(part: Part, *, x: float, y: float, width: float, height: float) -> Box:
    waist = (8 if width < WIDTH / 2 else 12) if part.name in WAISTED else 0
    points = _outline(x=x, y=y, width=width, height=height, waist=waist)
    left, right, middle = x + 8 + waist, x + width - 8 - waist, x + width / 2
    if width < WIDTH / 2:
        texts = [
            Text(name(part), middle, y + LINE),
            Text(count(part), middle, y + 2 * LINE),
            Text(state(part), middle, y + 3 * LINE, kind="lab-state-word"),
        ]
    else:
        texts = [Text(name(part), left, y + LINE, "start"), Text(count(part), right, y + LINE, "end")]
        if waist:  # name and count leave no room between them
            texts.append(Text(state(part), left, y + 2 * LINE, "start", "lab-state-word"))
        else:
            texts.append(Text(state(part), STATE, y + LINE, kind="lab-state-word"))
    return Box(points, trains=part.trains, quantised=part.bits < 32, texts=texts)
