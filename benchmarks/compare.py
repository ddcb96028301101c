"""Seconds from a press on Compare, and on each of its sub-pages, to the first result drawn, over many stored runs.

    python -m benchmarks.compare --store adapters_store --out compare.json

The store's finished runs are copied, each copy with an id and a seed of its own, until there are `--runs`; what they
hold besides run.json is linked. The app and a headless Chromium share the machine's cores. Each repeat is a new page;
the server's first drawing, which reads every run.json, is reported apart. Needs what the browser tests need.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from benchmarks import common
from benchmarks.start import ROOT, free_port, wait_until_it_answers

FIRST = {
    "overview": ".lab-conclusion .lab-summary", "table": ".lab-results tbody tr", "significance": ".lab-pairs tbody tr",
    "errors": ".lab-card", "curves": ".lab-chart svg.marks", "costs": ".lab-chart svg.marks",
}  # fmt: skip
"""Sub-page -> its first result."""


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
        "seconds_first": round(seconds[0]["overview"], 2),
        "seconds": {page: round(statistics.median(one[page] for one in seconds[1:]), 2) for page in FIRST},
        "each": [{page: round(value, 2) for page, value in one.items()} for one in seconds],
        "seconds_handler": handler(arguments.store, arguments.runs),
    }
    common.write(arguments.out, figures)


def fill(root: Path, source: Path, count: int) -> None:
    """`count` runs under `root`, copies of the finished ones in `source`."""
    from trainer.runs.store import Store

    runs = [run for run in Store(source).list() if run.state == "finished"]
    for index in range(count):
        run = runs[index % len(runs)]
        content = run.as_json()
        content["id"] = f"{run.id[:100]}-{index:05d}"
        content["queue_order"] += index
        content["recipe"]["seed"] = index // len(runs)
        folder = root / content["id"]
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(content), encoding="utf-8")
        for name in ("events.jsonl", "predictions.parquet"):
            os.symlink((run.folder / name).resolve(), folder / name)


def press(root: Path, repeats: int) -> list[dict[str, float]]:
    """Sub-page -> seconds of a press on it, for each repeat, the server's first at the front."""
    from playwright.sync_api import sync_playwright

    port = free_port()
    environment = os.environ | {
        "ADAPTERS_STORE": str(root),
        "PEFT_LAB_BUNDLED": "0",
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_ANALYTICS_ENABLED": "False",
        "HF_HUB_OFFLINE": "1",
    }
    app = subprocess.Popen([sys.executable, "app.py"], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    try:
        wait_until_it_answers(port)
        _wait_for_the_imports(port)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=common.browser(), args=["--no-sandbox"])
            return [_press(browser, port) for _ in range(repeats)]
    finally:
        app.kill()
        app.wait()


def _wait_for_the_imports(port: int) -> None:
    """Until the app is ready: the imports behind the page are another matter."""
    while True:
        with contextlib.suppress(urllib.error.HTTPError), urllib.request.urlopen(f"http://127.0.0.1:{port}/health"):
            return
        time.sleep(0.5)


def _press(browser, port: int) -> dict[str, float]:
    page = browser.new_page(viewport={"width": 1440, "height": 1000})
    try:
        page.goto(f"http://127.0.0.1:{port}")
        tab = page.get_by_role("tab", name="Compare")
        tab.wait_for()
        seconds = {}
        for name, first in FIRST.items():
            pressed = tab if name == "overview" else page.locator(f'#compare-pages button[data-tab-id="{name}"]').first
            since = time.perf_counter()
            pressed.click()
            page.locator(first).filter(visible=True).first.wait_for(timeout=60_000)
            seconds[name] = time.perf_counter() - since
        return seconds
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
