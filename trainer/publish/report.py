"""A lab report: the finished runs of a store as one HTML file that needs no network and no program to read."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from trainer.analysis import disputes, paired
from trainer.analysis import tables as analysis
from trainer.analysis.variants import means, one_each, ordered, variants
from trainer.runs import recipes
from trainer.runs.metrics import METRICS
from trainer.runs.store import Run, Store

if TYPE_CHECKING:
    import pandas as pd

SHOWN = ("test_accuracy", "validation_accuracy", "f1", "train_minutes", "trainable", "peak_memory", "file_size")
BARS = ("test_accuracy", "train_minutes", "trainable", "peak_memory")
"""Drawn as bars under the figures, each from zero to the largest."""
STYLE = """
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70em; margin: 2em auto; padding: 0 1em; }
table { border-collapse: collapse; margin: 1em 0; } .wide { overflow-x: auto; }
th, td { padding: 4px 12px; border-bottom: 1px solid #8888; text-align: right; font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, .words { text-align: left; }
th { vertical-align: bottom; } caption { text-align: left; font-weight: 600; }
.bar { display: block; height: 6px; margin: 3px 0 0 auto; background: #0072b2; }
code { font-size: 15px; overflow-wrap: anywhere; } .warning { border-left: 4px solid #d55e00; padding-left: 12px; }
@media print { body { max-width: none; margin: 0; } }
"""


def html(store: Store, runs: Sequence[Run]) -> str:
    """The report of finished runs: figures a task, which differences hold, and how each run was made.

    Runs on the same sentences stand together, runs that differ in their seed alone in one row.
    """
    groups: dict[str, list[Run]] = defaultdict(list)
    for run in ordered(runs):
        groups[run.split_fingerprint].append(run)
    parts = [_group(store, members) for members in groups.values()]
    date = time.strftime("%Y-%m-%d")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Lab report, {date}</title>'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<style>{STYLE}</style></head>\n<body><h1>Lab report</h1>"
        f"<p>{date}. {len(runs)} finished {'run' if len(runs) == 1 else 'runs'} of PEFT Lab, on {len(groups)} "
        f"{'set' if len(groups) == 1 else 'sets'} of sentences. Figures of different sentences do not compare.</p>"
        f"{''.join(parts)}{_made(runs)}{_meanings()}</body></html>\n"
    )


def _group(store: Store, runs: list[Run]) -> str:
    names, about = variants(runs), runs[0].result.meta_info.dataset_info
    table = analysis.runs_table(runs)
    table["variant"] = table["run"].map(names)
    sizes = about.sizes
    warnings = "".join(f'<p class="warning">{escape(text)}</p>' for text in analysis.comparable(runs))
    notes = "".join(f"<li>{escape(note)}</li>" for note in about.notes)
    return (
        f"<h2>{escape(runs[0].task_name)}</h2>"
        f"<p>{sizes.train:,} sentences to train on, {sizes.validation:,} to choose the epoch by, "
        f"{sizes.test:,} to test on; labels {escape(', '.join(about.label_names))}.</p><ul>{notes}</ul>{warnings}"
        f"{_figures(means(table))}{_differences(store, runs, names)}"
    )


def _figures(table: pd.DataFrame) -> str:
    head = "".join(f"<th>{escape(METRICS[key].title)}</th>" for key in SHOWN)
    largest = {key: table[key].max() for key in BARS}
    rows = []
    for row in table.to_dict("records"):
        cells = []
        for key in SHOWN:
            text, spread = METRICS[key].show(row[key]), row[f"{key}:sd"]
            if spread == spread and spread > 0:
                text += f" ± {METRICS[key].show(spread)}"
            share = row[key] / largest[key] if key in BARS and row[key] == row[key] and largest[key] else 0
            bar = f'<span class="bar" style="width:{100 * share:.1f}%"></span>' if share else ""
            cells.append(f"<td>{escape(text)}{bar}</td>")
        rows.append(f"<tr><td>{escape(row['variant'])}</td><td>{row['runs']}</td>{''.join(cells)}</tr>")
    return (
        '<div class="wide"><table><caption>Means over runs that differ in their seed alone, ± one sample standard '
        f"deviation</caption><tr><th>Recipe</th><th>Runs</th>{head}</tr>{''.join(rows)}</table></div>"
    )


def _differences(store: Store, runs: list[Run], names: dict[str, str]) -> str:
    """Each pair of recipes by its first seed; p-values also by Holm's correction for the number of pairs."""
    answers = disputes.collect(store, one_each(runs, names))
    if answers is None or len(answers.runs) < 2:
        return ""
    told = [names[run.id] for run in answers.runs]
    rows = "".join(
        f"<tr><td>{escape(told[pair.first])}</td><td class=words>{escape(told[pair.second])}</td>"
        f"<td>{100 * pair.found.difference:+.1f}</td>"
        f"<td>{100 * pair.found.low:+.1f} to {100 * pair.found.high:+.1f}</td>"
        f"<td>{pair.found.p:.3f}</td><td>{pair.p:.3f}</td>"
        f"<td class=words>{'holds' if pair.holds else 'not shown'}</td></tr>"
        for pair in paired.pairs(answers.right)
    )
    return (
        '<div class="wide"><table><caption>Differences in test accuracy, in points, on the same '
        f"{len(answers.labels):,} sentences</caption><tr><th>First</th><th class=words>Second</th><th>First less second"
        "</th><th>95% interval</th><th>p</th><th>p, Holm</th><th class=words>At 5%</th></tr>"
        f"{rows}</table></div><p>Intervals: paired bootstrap by percentiles (Efron 1979; Koehn 2004). p: McNemar's "
        "exact test (McNemar 1947; Dietterich 1998), then by Holm 1979 for the number of pairs. They speak of other "
        'test sentences, of one seed each; "not shown" is not "equal".</p>'
    )


def _made(runs: Sequence[Run]) -> str:
    rows = []
    for run in ordered(runs):
        versions = run.result.meta_info.package_info
        packages = ", ".join(f"{name.removesuffix('-version')} {v}" for name, v in versions.items() if v)
        how = f"from {run.adopted.source}" if run.adopted else recipes.command_of(run.recipe)
        where = f"{run.created_at}, {run.device_name}, {packages}"
        rows.append(f"<li><b>{escape(run.id)}</b><br><code>{escape(how)}</code><br>{escape(where)}</li>")
    return f"<h2>How each run was made</h2><ol>{''.join(rows)}</ol>"


def _meanings() -> str:
    told = "".join(f"<dt><b>{escape(METRICS[key].title)}</b></dt><dd>{escape(METRICS[key].help)}</dd>" for key in SHOWN)
    return f"<h2>What the figures are</h2><dl>{told}</dl>"
