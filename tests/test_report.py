"""The lab report: whole HTML that needs no network, and prints on A4 with nothing cut, with few runs and with many."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import html5lib
import pandas as pd
import pytest

from trainer.analysis import colours, figures
from trainer.publish import bundled, report, report_charts
from trainer.runs.metrics import METRICS
from trainer.runs.store import Store

MILLIMETRE = 96 / 25.4
"""In a browser's pixels."""
PRINTABLE = round((210 - 2 * 15) * MILLIMETRE)
"""The width of a page of the size A4 between the report's margins, in pixels."""


def many(root: Path, count: int) -> Store:
    """A store of `count` finished runs on the same sentences: those that come with the program, and more of them with
    other learning rates and seeds, which makes recipes with long names."""
    movies = (run for run in Store(bundled.BUNDLED).list() if run.recipe.task == "movies")
    shipped = sorted(movies, key=lambda run: run.recipe.seed)  # every method before another seed
    for number in range(count):
        run = shipped[number % len(shipped)]
        turn, own = number // len(shipped), run.id
        if turn:
            recipe = run.recipe.model_copy(update={"seed": turn % 2, "learning_rate": 1e-4 * (1 + turn // 2)})
            own = f"{run.recipe.method}-{number:03}"
            run = run.model_copy(update={"id": own, "recipe": recipe, "queue_order": run.queue_order + number})
        shutil.copytree(run.folder, root / own, ignore=shutil.ignore_patterns("model"))
        (root / own / "run.json").write_text(json.dumps(run.as_json(), default=str), encoding="utf-8")
    return Store(root)


@pytest.fixture(scope="module", params=[5, 30])
def page(request, tmp_path_factory) -> str:
    """The report of few and of many runs."""
    store = many(tmp_path_factory.mktemp(f"store-{request.param}"), request.param)
    runs = store.list()
    assert len(runs) == request.param
    return report.html(store, runs)


def test_the_report_is_valid_html(page):
    """html5lib raises at the first error of the HTML standard's parser."""
    html5lib.HTMLParser(strict=True).parse(page)
    assert page.count("<svg") >= 3
    assert not re.search(r"https?://|url\(|@import|<script", page), "it needs no network"


CUT = """() => {
  const wide = [...document.querySelectorAll('body, body *')].filter(one => {
    const box = one.getBoundingClientRect(), style = getComputedStyle(one);
    return box.right > innerWidth + 1 || box.left < -1 || (one.scrollWidth > one.clientWidth + 1 &&
      one.clientWidth && style.display !== 'inline' && !one.closest('svg'));
  });
  return wide.map(one => `${one.tagName} ${one.textContent.trim().slice(0, 60)}`);
}"""
BROKEN = """() => [...document.querySelectorAll('th, td')].flatMap(cell => {
  const walk = document.createTreeWalker(cell, NodeFilter.SHOW_TEXT), broken = [];
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    for (const word of node.data.matchAll(/[A-Za-z0-9.,]+/g)) {
      const range = document.createRange();
      range.setStart(node, word.index);
      range.setEnd(node, word.index + word[0].length);
      if (new Set([...range.getClientRects()].map(box => box.top)).size > 1) broken.push(word[0]);
    }
  }
  return broken;
})"""
SCROLLS = """() => [...document.querySelectorAll('body *')].filter(one => {
  const style = getComputedStyle(one);
  return style.overflowX === 'auto' || style.overflowX === 'scroll' || style.overflowY === 'auto';
}).map(one => one.className)"""
OUTSIDE = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const frame = svg.getBoundingClientRect();
  return [...svg.querySelectorAll('text, rect, circle')].filter(one => {
    const box = one.getBoundingClientRect();
    return box.left < frame.left - 1 || box.right > frame.right + 1 || box.bottom > frame.bottom + 1;
  }).map(one => one.textContent);
})"""


def test_nothing_is_cut_on_a4(browser, page):
    context = browser.new_context(offline=True, viewport={"width": PRINTABLE, "height": 1000})
    opened = context.new_page()
    opened.set_content(page)
    opened.emulate_media(media="print")
    assert opened.evaluate(CUT) == []
    assert opened.evaluate(BROKEN) == [], "a word of a table is broken over two lines"
    assert opened.evaluate(SCROLLS) == []
    assert opened.evaluate(OUTSIDE) == []
    heights = opened.evaluate("[...document.querySelectorAll('figure, tr')].map(one => one.offsetHeight)")
    assert max(height for height in heights if height) < (297 - 30) * MILLIMETRE, "a row or chart is taller than a page"
    small = "[...document.querySelectorAll('td, th, p, li')].map(one => parseFloat(getComputedStyle(one).fontSize))"
    assert min(opened.evaluate(small)) >= 12, "not shrunk to fit"
    pdf = opened.pdf(prefer_css_page_size=True)
    sizes = set(re.findall(rb"/MediaBox ?\[0 0 ([\d.]+) ([\d.]+)\]", pdf))
    assert {tuple(round(float(part)) for part in size) for size in sizes} == {(595, 842)}, "A4 in points"
    opened.emulate_media(media="screen")
    opened.set_viewport_size({"width": 390, "height": 800})
    assert opened.evaluate("document.documentElement.scrollWidth") <= 391
    context.close()


def test_times_are_in_peoples_units_and_small_p_has_a_bound(page):
    assert re.search(r"<td>(\d+ s|\d+ min \d\d s)(</td>| ±)", page)
    assert "(min)" not in page
    assert not re.search(r"<td>0\.000</td>", page)


@pytest.mark.parametrize(
    ("minutes", "shown"),
    [(0.14, "8.4 s"), (0.004, "0.24 s"), (1.5, "1 min 30 s"), (125.2, "2 h 05 min"), (float("nan"), "–"), (None, "–")],
)
def test_a_time_is_shown_as_people_say_it(minutes, shown):
    assert figures.show(METRICS["train_minutes"], minutes) == shown


def test_charts_are_cut_into_pages_and_keep_every_row():
    rows = [(f"LoRA, learning_rate {number}, batch_size 32", report_charts.Figure(80 + number / 9, "80", 79, 99))
            for number in range(60)]  # fmt: skip
    charts = report_charts.with_intervals("Accuracy", rows)
    assert len(charts) > 1
    assert all(chart.height < report_charts.TALLEST + 60 for chart in charts)
    dots = [shape for chart in charts for shape in chart.shapes if shape.shape == "dot"]
    assert len(dots) == 60
    assert all(report_charts.NAMES < dot.x < report_charts.WIDTH for dot in dots)
    alone = report_charts.bars(["Training time"], [("A", [report_charts.Figure(0.0, "0 s")]), ("B", [None])])
    assert alone[0].description == "Training time. A: 0 s; B: –."
    empty = pd.DataFrame({"run": [], "method": [], "epoch": [], "value": []})
    assert report_charts.curves("Accuracy", empty) is None


@pytest.mark.parametrize(("low", "high"), [(79.2, 84.1), (0.0, 1.0), (81.0, 81.0), (50.0, 50.0001), (0.0, 0.0)])
def test_ticks_hold_every_value(low, high):
    ticks = report_charts.ticks_of(low, high)
    assert ticks[0] <= low
    assert ticks[-1] >= high
    assert 2 <= len(ticks) <= 9


def test_a_method_has_one_colour_on_the_page_and_on_paper():
    assert all(report_charts._style(name)[0] == colour for name, colour in colours.COLOURS.items())
