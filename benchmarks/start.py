"""Seconds from `python app.py` to a page that answers, over a bare one-line Gradio app.

    python -m benchmarks.start --out start.json

Both are started in turn, each in a process of its own, and asked for their page until it comes whole; medians, the
ratio's over the pairs. The store is empty unless ADAPTERS_STORE points to one.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

from benchmarks import common

ROOT = Path(__file__).resolve().parent.parent
BARE = ["-c", "import gradio as gr; gr.Interface(lambda text: text, 'text', 'text').launch()"]


def main() -> None:
    """Start both in turn and write their medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=9)
    arguments = parser.parse_args()
    seconds = {"bare": [], "app": []}
    with tempfile.TemporaryDirectory() as store:
        os.environ.setdefault("ADAPTERS_STORE", store)
        for _ in range(arguments.repeats):
            for name, command in (("bare", BARE), ("app", ["app.py"])):
                seconds[name].append(until_it_answers(command))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    figures = {
        "seconds": {name: round(value, 2) for name, value in medians.items()},
        "ratio": round(statistics.median(app / bare for bare, app in zip(*seconds.values(), strict=True)), 2),
        "each": {name: [round(value, 2) for value in values] for name, values in seconds.items()},
    }
    common.write(arguments.out, figures)


def until_it_answers(command: list[str]) -> float:
    """Seconds until the process serves its page."""
    port = free_port()
    environment = os.environ | {"GRADIO_SERVER_PORT": str(port), "GRADIO_ANALYTICS_ENABLED": "False"}
    since = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, *command], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until_it_answers(port)
        return time.perf_counter() - since
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_it_answers(port: int) -> None:
    """Until the page comes whole; ends the program after two minutes."""
    since = time.perf_counter()
    while time.perf_counter() - since < 120:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}", timeout=10).read()
            return
        except OSError:
            time.sleep(0.02)
    raise SystemExit("nothing answered within two minutes")


if __name__ == "__main__":
    main()
