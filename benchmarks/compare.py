"""Seconds from the press on Compare to its last chart drawn in the browser, over many stored runs.

    python -m benchmarks.compare --store adapters_store --out compare.json

The store's finished runs are copied, each copy with an id and a seed of its own, until there are `--runs`; what they
hold besides run.json is linked. The app and a headless Chromium share the machine's cores. Each repeat is a new page;
the server's first drawing, which reads every run.json, is told apart. Needs what the browser tests need.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import common
from benchmarks.start import ROOT, free_port, wait_until_it_answers

DRAWN = """() => {
  const charts = [...document.querySelectorAll('.lab-chart')].filter(chart => chart.offsetParent);
  return charts.length >= 9 && charts.every(chart => chart.querySelector('canvas, svg.marks, .vega-embed svg'))
    && document.querySelector('.lab-results table');
}"""
"""Nine charts: four of bars, the scatter and four of curves."""


def main() -> None:
    """Copy runs, start the app, and time a press on Compare in several new pages."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), arguments.store, arguments.runs)
        seconds = press(Path(folder), arguments.repeats + 1)
    figures = {
        "runs": arguments.runs,
        "seconds_first": round(seconds[0], 2),
        "seconds": round(statistics.median(seconds[1:]), 2),
        "each": [round(value, 2) for value in seconds],
        "seconds_handler": handler(arguments.store, arguments.runs),
    }
    common.write(arguments.out, figures)


def fill(root: Path, source: Path, count: int) -> None:
    """`count` runs under `root`, copies of the finished ones in `source`."""
    from trainer.runs.store import Store

    runs = [run for run in Store(source).list() if run.state == "finished"]
    for place in range(count):
        run = runs[place % len(runs)]
        told = run.as_json()
        told["id"] = f"{run.id[:100]}-{place:05d}"
        told["queue_order"] += place
        told["recipe"]["seed"] = place // len(runs)
        folder = root / told["id"]
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(told), encoding="utf-8")
        for name in ("events.jsonl", "predictions.parquet"):
            os.symlink((run.folder / name).resolve(), folder / name)


def press(root: Path, repeats: int) -> list[float]:
    """Seconds of each press, the server's first at the front."""
    from playwright.sync_api import sync_playwright

    port = free_port()
    environment = os.environ | {
        "ADAPTERS_STORE": str(root),
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until_it_answers(port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=shutil.which("chromium") or shutil.which("google-chrome"), args=["--no-sandbox"]
            )
            return [_press(browser, port) for _ in range(repeats)]
    finally:
        app.kill()
        app.wait()


def _press(browser, port: int) -> float:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    try:
        page.goto(f"http://127.0.0.1:{port}")
        tab = page.get_by_role("tab", name="Compare")
        tab.wait_for()
        page.wait_for_timeout(12_000)  # the imports behind the page are another matter
        since = time.perf_counter()
        tab.click()
        page.wait_for_function(DRAWN, timeout=60_000)
        return time.perf_counter() - since
    finally:
        page.close()


def handler(source: Path, count: int) -> float:
    """Median seconds of the server's part alone, without a browser beside it."""
    import gradio as gr

    from trainer.runs.store import Store
    from trainer.ui.common.lab import Lab
    from trainer.ui.compare import draw as compare_draw
    from trainer.ui.compare import view as compare_view

    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), source, count)
        lab, seconds = Lab.open(Store(folder)), []
        with gr.Blocks():
            view = compare_view.build()
        for _ in range(6):
            since = time.perf_counter()
            compare_draw.draw(lab, view)
            seconds.append(time.perf_counter() - since)
    return round(statistics.median(seconds[1:]), 2)


if __name__ == "__main__":
    main()
