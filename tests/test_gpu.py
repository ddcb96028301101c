"""The program for GPUs: it runs whole on this machine, and a step that crashes, hangs or has no time stops no other."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from conftest import ROOT, warm, work_here

from benchmarks.gpu import kit, method
from benchmarks.gpu.__main__ import Program, table
from benchmarks.gpu.steps import METHODS, STEPS, Step
from trainer.jobs import queue


def step_here(name: str, folder: Path) -> None:
    """In a process of its own: what `Program.command` calls. Its queue's worker is a thread, as in the other tests.

    What a library alone opens is tried with one method: test_deploy.py has them all.
    """
    step = next(step for step in STEPS if step.name == name)
    queue.ensure_worker = work_here
    if name != "adapter_fusion":
        method.alone = lambda *_: None
    sys.argv[1:] = [step.module, step.name, str(folder), *step.arguments]
    kit.main()


def test_every_step_runs_on_this_machine_and_what_it_checks_holds(tmp_path):
    """In processes that have the libraries already, but for the first: it is the whole program's."""
    out, folder = tmp_path / "gpu.json", tmp_path / "steps"
    folder.mkdir()
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), "--only", STEPS[0].name, "--minutes", "10"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"HF_HUB_OFFLINE": "1"})
    assert done.returncode == 0, done.stderr[-2000:]
    assert "checks passed" in done.stdout
    checks = {STEPS[0].name: json.loads(out.read_text(encoding="utf-8"))["outcomes"]}
    # The others take the same steps as QLoRA and the fusion, which have 4-bit weights and parents besides.
    left = {"full", "lora", "adapter"} | {f"speed-{name}" for name in METHODS if name != "full"}
    for step in STEPS[1:]:
        if step.name in left:
            continue
        process = warm().Process(target=step_here, args=(step.name, folder))
        process.start()
        process.join(4 * step.seconds)
        process.kill()
        assert process.exitcode == 0, step.name
        lines = (folder / f"{step.name}.jsonl").read_text(encoding="utf-8").splitlines()
        checks[step.name] = [json.loads(line) for line in lines]
    assert all(checks.values())
    assert [row for rows in checks.values() for row in rows if row["passed"] is False] == []
    for name in set(METHODS) - left:
        assert len([row for row in checks[name] if row["passed"]]) >= 6
    assert len(checks["queue"]) == len(METHODS) + 5
    assert not [row for rows in checks.values() for row in rows if "not run" in row["check"]]
    # No model of this machine's own is left behind in the person's folders, and nothing asks the network.
    assert not (ROOT / "backbone").exists()


def test_a_crash_a_hang_and_a_lack_of_time_are_outcomes_of_their_own_step_alone(tmp_path):
    out, folder = tmp_path / "gpu.json", tmp_path / "work"
    folder.mkdir()
    crash, hang = Step("crash", "no_such_module"), Step("hang", "machine", seconds=0.2)
    program = Program(folder, out, minutes=1)
    outcomes = program.run([crash, hang])
    assert [(row["step"], row["passed"]) for row in outcomes] == [("crash", False), ("hang", False)]
    assert outcomes[0]["figure"] == "exit status 1"
    assert "no_such_module" in outcomes[0]["log"]
    assert outcomes[1]["check"] == "ended within 0 s"
    assert json.loads(out.read_text(encoding="utf-8"))["outcomes"] == outcomes
    late = Program(folder, out, minutes=0).run([crash, hang])
    assert [row["passed"] for row in late] == [None, None]
    assert all("not run" in row["check"] for row in late)
    assert "0 of 2 checks passed" in table(outcomes)


def test_a_step_that_is_killed_says_by_which_signal_and_keeps_what_it_had_found(tmp_path):
    """The process kills itself after its first check, as the kernel would for want of memory."""
    folder = tmp_path / "work"
    folder.mkdir()
    code = (
        "import os, signal, sys; from pathlib import Path; from benchmarks.gpu.kit import Kit; "
        "kit = Kit(sys.argv[1], Path(sys.argv[2])); kit.check('first', True, 1.23456); "
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    program = Program(folder, tmp_path / "gpu.json", minutes=1)
    program.order = ["killed"]
    program.command = lambda step: [sys.executable, "-c", code, step.name, str(folder)]
    program.one(Step("killed", "machine"))
    first, second = program.all()
    assert (first["check"], first["passed"], first["figure"]) == ("first", True, 1.235)
    assert (second["passed"], second["figure"]) == (False, "signal SIGKILL")


def test_a_failed_check_is_the_programs_exit_status(tmp_path):
    """`queue` was not run, so `predict` has no runs and says so: its check fails, and with it the program."""
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--out", str(out), "--only", "predict", "--minutes", "2"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
