"""The benchmarks' programs, each once on next to nothing: they run and write what their page shows."""

from __future__ import annotations

import json
import multiprocessing
import os
import re
import runpy
import subprocess
import sys
import tempfile
from types import SimpleNamespace

import pytest
from conftest import ROOT, warm

from trainer.publish import bundled

STORE = str(bundled.BUNDLED)
LORA = str(bundled.BUNDLED / "lora-movies-minilm-s0-bundled")
TINY = ("--random", "bert-tiny")
RUN = {
    # The plain way is that of the accuracies below.
    "training speed": ("--sentences", "32", "--repeats", "1", "--methods", "lora", "--ways", "careful", "ours", *TINY),
    "training accuracy": ("--sentences", "32", "--epochs", "1", "--seeds", "0", "--methods", "lora", *TINY),
    "serving": ("--run", LORA, "--count", "2"),
    "predicting": ("--store", STORE, "--sentences", "10", "--repeats", "1"),
    "start": ("--repeats", "1"),
    "compare": ("--store", STORE, "--runs", "9", "--repeats", "1"),
    "significance": ("--experiments", "2", "--sentences", "60"),
    "estimates": ("--steps", "2", "--only", "lora", "bert-tiny"),
}
NOT_RUN = {
    "sst2": "trains every method on thousands of sentences that are not in the repository",
    "gpu": "tests/test_gpu.py runs it whole",
    "rates": "tests/test_rates.py runs a small sweep",
    "study": "tests/test_study.py runs it whole",
}
RATIOS = {
    "training speed": lambda found: found["methods"]["lora"]["ratio_to_careful"],
    "training accuracy": lambda found: found["methods"]["lora"]["by_seed"][0]["p_holm"],
    "serving": lambda found: found["weights_ratio"],
    "predicting": lambda found: found["one_sentence"]["ratio"],
    "start": lambda found: found["ratio"],
    "compare": lambda found: min(found["seconds"].values()),
    "significance": lambda found: found["unequal"][0]["true_difference"],
    "estimates": lambda found: found["rows"][0]["memory_ratio"],
}


def program(module: str, arguments: list[str]) -> None:
    """In a process that has the libraries already: `python -m module`. Of `training`, its own processes likewise.

    Those of its accuracies are started as they are: the libraries' imports take longer than all else.
    """
    sys.argv[1:] = arguments
    if arguments[0] == "speed":
        subprocess.run = forked
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def forked(command: list[str], **_: object) -> SimpleNamespace:
    """What `subprocess.run` gives for `python -m module arguments`, from a fork of this process."""
    with tempfile.TemporaryFile("w+") as out:

        def child() -> None:
            os.dup2(out.fileno(), 1)
            program(command[2], command[3:])

        process = multiprocessing.get_context("fork").Process(target=child)
        process.start()
        process.join()
        out.seek(0)
        return SimpleNamespace(returncode=process.exitcode, stdout=out.read(), stderr="see above")


@pytest.mark.parametrize("name", list(RUN))
def test_a_benchmark_runs_and_writes_its_figures(name, tmp_path, request):
    if name == "compare":
        request.getfixturevalue("chromium")
    module, *what = name.split()
    out = tmp_path / "out.json"
    arguments = [*what, *RUN[name], "--out", str(out)]
    if module == "training":  # of its own task it would evaluate thousands of sentences
        arguments += ["--task", str(request.getfixturevalue("tiny_file"))]
    process = warm().Process(target=program, args=(f"benchmarks.{module}", arguments))
    process.start()
    process.join()
    assert process.exitcode == 0
    found = json.loads(out.read_text(encoding="utf-8"))
    assert RATIOS[name](found.get("figures", found)) > 0
    assert "torch-version" in str(found), "a figure without its machine and versions says little"


def test_every_benchmark_of_the_page_is_run():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    told = {(program, what) for program, what in re.findall(r"python -m benchmarks\.(\w+) ?(speed|accuracy|)", text)}
    assert {" ".join(part for part in one if part) for one in told} == {*RUN, *NOT_RUN}
    programs = {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - {"common", "careful"}
    programs |= {path.parent.name for path in (ROOT / "benchmarks").glob("*/__main__.py")}
    assert programs == {program for program, _ in told}
