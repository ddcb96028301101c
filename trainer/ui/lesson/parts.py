"""The parts of the encoder as text and as a table: name, number of parameters, trained or frozen."""

from __future__ import annotations

from trainer import methods
from trainer.analysis.lesson import Anatomy
from trainer.sources import backbones
from trainer.sources.backbones import Part
from trainer.texts import mark, tr
from trainer.ui.common.tables import Cell, Column, table

NAMES = {
    "embeddings": mark("Embeddings"),
    "query": mark("query"),
    "key": mark("key"),
    "value": mark("value"),
    "attention_output": mark("attention output"),
    "attention_output_norm": mark("layer norm"),
    "intermediate": mark("up-projection"),
    "output": mark("down-projection"),
    "output_norm": mark("layer norm"),
    "pooler": mark("Pooler"),
    "head": mark("Classification head"),
    "lora": mark("LoRA A, B"),
    "lora_a": mark("LoRA A"),
    "bias": mark("bias"),
    "prefix_tuning": mark("prefix"),
    "bottleneck": mark("adapter bottleneck"),
    "fusion": mark("fusion"),
}


def summary(anatomy: Anatomy) -> str:
    """A sentence with the numbers of trained and of all parameters."""
    title = backbones.BACKBONES[anatomy.backbone].title.split(",")[0] if anatomy.backbone in backbones.BACKBONES else ""
    return tr(
        "{method} on {backbone} trains {trained} of {total} parameters, which is {share} of them.",
        method=tr(methods.get(anatomy.method).title),
        backbone=title.split(" (")[0] or anatomy.backbone,
        trained=f"{anatomy.trained:,}",
        total=f"{anatomy.total:,}",
        share=share(anatomy.trained / anatomy.total),
    )


def share(value: float) -> str:
    """A share as a percentage: with two decimals below 10%, else with none."""
    percent = 100 * value
    if percent == 100:
        return "100%"
    return f"{percent:.2f}%" if percent < 10 else f"{percent:.0f}%"


def name(part: Part) -> str:
    """The title of a part; its own name if it is neither in `NAMES` nor a method's."""
    if part.name in NAMES:
        return tr(NAMES[part.name])
    method = methods.METHODS.get(part.name.removesuffix("_shared"))
    if method is None:
        return part.name
    title = tr(method.title)
    return tr("{method}, shared by all layers", method=title) if part.name.endswith("_shared") else title


def count(part: Part) -> str:
    """The parameters of one copy, and the number of copies in a layer."""
    one = f"{part.count:,}"
    return tr("{copies} × {count}", copies=part.copies, count=one) if part.copies > 1 else one


def state(part: Part) -> str:
    """Whether a part trains, and the bits of a quantised weight."""
    if part.trains:
        return tr("trains")
    return tr("frozen, {bits}-bit", bits=part.bits) if part.bits < 32 else tr("frozen")


def parts_table(anatomy: Anatomy) -> str:
    """The drawing's numbers as a table, with the sums."""
    columns = [
        Column.named(mark("Part"), numeric=False),
        Column.named(mark("In one copy")),
        Column.named(mark("Copies")),
        Column.named(mark("In all")),
        Column.named(mark("State"), numeric=False),
    ]
    rows = [_row(part) for part in anatomy.parts]
    rows.append(_sum(tr("All that trains"), anatomy.trained))
    rows.append(_sum(tr("The whole model"), anatomy.total))
    return table(columns, rows, name="parts", title=tr("Parameters of each part"), sortable=False)


def _row(part: Part) -> list[Cell]:
    copies = max(part.layers, 1) * part.copies
    title = name(part)
    if part.beside:
        title = tr("{part} at {layer}", part=title, layer=name(Part(part.beside, 0)))
    return [
        Cell(title),
        Cell(f"{part.count:,}", part.count),
        Cell(str(copies), copies),
        Cell(f"{part.total:,}", part.total),
        Cell(state(part)),
    ]


def _sum(title: str, total: int) -> list[Cell]:
    return [Cell(title), Cell(""), Cell(""), Cell(f"{total:,}", total), Cell("")]
