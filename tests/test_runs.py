"""Runs from launch to result through the command line and the worker: real processes, a tiny encoder."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from conftest import trainer
from markupsafe import escape

from trainer.analysis import intervals
from trainer.analysis import tables as analysis
from trainer.analysis.paired import holm
from trainer.jobs import queue as jobs
from trainer.jobs import worker
from trainer.runs import recipes
from trainer.runs.metrics import METRICS
from trainer.runs.store import Store
from trainer.serving import predictor as inference

ROOT = Path(__file__).resolve().parent.parent


def tiny(task, backbone, **settings) -> dict:
    return {"task": str(task), "backbone": str(backbone), "epochs": 2, "batch_size": 16, "precision": "fp32"} | settings


def wait(store: Store, run_id: str, condition, seconds: float = 120):
    """Wait until `condition(run)`; the run."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run = store.load(run_id)
        if condition(run):
            return run
        time.sleep(0.1)
    raise AssertionError(f"{run_id} stayed {run.state}: {run.error}")


def test_a_suite_trains_every_method_and_shares_the_splits(suite):
    store, done = suite
    runs = store.list()
    assert {run.state for run in runs} == {"finished"}, [run.error for run in runs]
    assert len(runs) == 6, "five methods, and one parent that was not in the suite already"
    asked = [run for run in runs if run.recipe.task == runs[0].recipe.task]
    assert {run.recipe.method for run in asked} == {"full", "lora", "qlora", "adapter", "adapter_fusion"}
    assert len({run.split_fingerprint for run in asked}) == 1
    assert "left" in done.stdout
    assert "test accuracy" in done.stdout
    fusion = next(run for run in runs if run.recipe.method == "adapter_fusion")
    assert len(fusion.lineage.parents) == 2
    for run in runs:
        assert not (run.folder / "checkpoints").exists()
        info = run.result.train_info
        assert info.host_memory_peak >= info.host_memory_start > 0
        assert 1 <= info.padded_tokens / info.real_tokens < 1.3
        assert info.train_time > 0
        assert info.file_size > 0
        assert info.sentences_per_second * info.train_time == pytest.approx(
            run.recipe.epochs * run.result.meta_info.dataset_info.sizes.train
        )
        told = [event["seconds"] for event in store.events(run.id)[0] if event["type"] == "step"]
        assert told == sorted(told)
        assert told[-1] <= info.train_time, "evaluations and checkpoints are no training time"


def test_list_show_and_compare_print_json_and_nothing_else(suite, tmp_path):
    store, _ = suite
    listed = json.loads(trainer("list", "--json", store=store).stdout)
    assert len(listed) == 6
    run = next(run for run in store.list() if run.recipe.method == "lora")
    shown = json.loads(trainer("show", run.id, "--json", store=store).stdout)
    assert shown == json.loads((run.folder / "run.json").read_text())
    compared = json.loads(trainer("compare", "--json", store=store).stdout)
    row = next(row for row in compared if row["run"] == run.id)
    assert row["test_accuracy"] == pytest.approx(100 * run.result.test.accuracy)
    table = tmp_path / "table.csv"
    trainer("compare", "--csv", str(table), store=store)
    assert len(table.read_text().splitlines()) == 7
    assert run.id in trainer("list", store=store).stdout
    assert "reduction_factor" not in trainer("show", run.id, store=store).stdout


def test_predict_answers_in_the_order_of_the_methods(suite):
    store, _ = suite
    answers = json.loads(trainer("predict", "the film is warm and the cast is funny", "--json", store=store).stdout)
    assert [answer["method"] for answer in answers][:2] == ["full", "lora"]
    assert all(sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5) for answer in answers)
    assert {answer["predicted"] for answer in answers} <= {"good", "bad"}


def test_predict_file_keeps_columns_and_adds_two_per_run(suite, tmp_path):
    import pandas as pd

    store, _ = suite
    run = next(run for run in store.list() if run.recipe.method == "lora")
    rows = store.predictions(run.id).query("split == 'test'")
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    pd.DataFrame({"note": range(len(rows)), "text": rows["text"].to_list()}).to_csv(path, index=False)
    trainer("predict", "--file", str(path), "--out", str(out), "--runs", run.id, store=store)
    got = pd.read_csv(out)
    assert list(got.columns) == ["note", "text", run.id, f"{run.id}:probability"]
    expected = [run.label_names[i] for i in rows["predicted"]]
    agree = sum(a == b for a, b in zip(got[run.id], expected, strict=True))
    assert agree >= len(rows) - 1, "predictions in fp32 agree with those of the test, made at the run's precision"


def tracked_records(path: Path):
    """The records of a .wandb file: protocol buffers in the framing of LevelDB's log, after a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, parts = path.read_bytes(), 7, b""
    assert data[:4] == b":W&B"
    while place + 7 <= len(data):
        left = 32768 - place % 32768
        if left < 7:
            place += left
            continue
        length, kind = int.from_bytes(data[place + 4 : place + 6], "little"), data[place + 6]
        parts += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            parts = b""
            yield record


def test_offline_tracking_writes_what_the_run_measured(suite):
    """Reads back the file that Weights & Biases would send later."""
    store, _ = suite
    run = next(run for run in store.list() if run.recipe.method == "lora")
    (path,) = run.folder.glob("wandb/offline-run-*/*.wandb")
    history, summary, config = [], {}, {}
    for record in tracked_records(path):
        named = {"/".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        history.append({key: json.loads(value) for key, value in named.items()})
        summary |= {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.summary.update}
        for update in (record.config, record.run.config):
            config |= {item.key: json.loads(item.value_json) for item in update.update}
    epochs = [row for row in history if "validation/accuracy" in row]
    measured = run.result.train_info.metrics
    assert [row["validation/accuracy"] for row in epochs] == pytest.approx([row.accuracy for row in measured])
    assert [row["validation/loss"] for row in epochs] == pytest.approx([row.loss for row in measured])
    assert [row["train/loss"] for row in epochs] == pytest.approx([row.train_loss for row in measured])
    assert all(row["memory_bytes"] >= 0 for row in epochs)
    assert config["learning_rate"] == run.recipe.learning_rate
    assert summary["test/accuracy"] == pytest.approx(run.result.test.accuracy)
    compared = {name: value for name, metric in METRICS.items() if (value := metric.of(run)) is not None}
    assert {name: summary[f"compare/{name}"] for name in compared} == pytest.approx(compared), "all that Compare shows"


def test_a_run_goes_through_a_zip_into_another_store_and_still_answers(suite, own_store, tmp_path):
    store, _ = suite
    run = next(run for run in store.list() if run.recipe.method == "lora")
    path = tmp_path / "run.zip"
    trainer("export", run.id, str(path), store=store)
    trainer("load", str(path), store=own_store)
    (loaded,) = own_store.list()
    assert loaded.result == run.result
    before, after = (
        inference.Predictor(s).predict("the film is warm", [r]) for s, r in ((store, run), (own_store, loaded))
    )
    assert before[0].probabilities == after[0].probabilities
    again = trainer("load", str(path), store=own_store, check=False)
    assert again.returncode == 2
    assert "delete the one here first" in again.stderr


@pytest.mark.parametrize(
    "name", ["../evil/run.json", "/abs/run.json", "a-run/model/x.bin", "a-run/../../x.json", "run.json"]
)
def test_a_hostile_zip_writes_nothing(name, own_store, tmp_path):
    import zipfile

    path = tmp_path / "bad.zip"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(name, "{}")
    done = trainer("load", str(path), store=own_store, check=False)
    assert done.returncode == 2
    assert "export" in done.stderr
    assert not list(own_store.root.glob("*"))
    assert not (tmp_path / "evil").exists()


def test_analysis_reads_the_runs(suite):
    store, _ = suite
    runs = store.list()
    table = analysis.runs_table(runs)
    assert len(table) == 6
    assert table["test_accuracy"].between(0, 100).all()
    assert table.set_index("method")["parents_minutes"].notna().sum() == 1
    points = analysis.curves(store, runs)
    per_run = points[points["curve"] == "validation accuracy"].groupby("run").size()
    assert (per_run == 3).all()
    assert analysis.comparable(runs), "the second file has other sentences"


def test_estimates_are_calibrated_by_earlier_runs(suite, tiny_backbone, tiny_file):
    store, _ = suite
    arguments = ["estimate", "--method", "lora", "--task", str(tiny_file), "--backbone", str(tiny_backbone), "--json"]
    got = json.loads(trainer(*arguments, store=store).stdout)
    run = next(run for run in store.list() if run.recipe.method == "lora")
    assert got["trainable_parameters"] == run.result.train_info.num_trainable_params
    assert got["based_on"] == "1 earlier run"
    assert got["seconds"] > 0


def test_an_estimate_is_of_the_columns_and_files_that_a_run_would_read(suite, tiny_backbone, tiny_file, tmp_path):
    """Options and settings say the same, and each of them changes what is trained on: none is dropped on the way."""
    table = pd.read_csv(tiny_file).rename(columns={"sentence": "words", "label": "mark"})
    table = table.assign(twice=table["words"] + " " + table["words"], source=table.index // 5)
    files = {name: str(tmp_path / f"{name}.csv") for name in ("train", "validation", "test")}
    table[:160].to_csv(files["train"], index=False)
    held_out = table[160:200].assign(source=table.index[:40] % 4)  # four of the groups of the training file
    held_out.to_csv(files["validation"], index=False)
    table[200:].to_csv(files["test"], index=False)
    given = {"text_column": "words", "label_column": "mark", "group_column": "source"}
    given |= {"validation_file": files["validation"], "test_file": files["test"]}

    def asked(*words: str, check: bool = True) -> subprocess.CompletedProcess:
        arguments = ["estimate", "--method", "lora", "--task", files["train"], "--backbone", str(tiny_backbone)]
        return trainer(*arguments, *words, "--set", "batch_size=8", "--json", store=suite[0], check=check)

    def estimated(*words: str) -> dict:
        return json.loads(asked(*words).stdout)

    def options(settings: dict[str, str]) -> list[str]:
        return [word for name, value in settings.items() for word in ("--" + name.replace("_", "-"), value)]

    got = estimated(*options(given))
    assert got == estimated(*(word for name, value in given.items() for word in ("--set", f"{name}={value}")))
    others = [given | {"text_column": "twice"}]
    others += [{name: given[name] for name in given if name != left_out} for left_out in (*given,)[2:]]
    assert got not in [estimated(*options(other)) for other in others]
    refused = asked(*options({name: given[name] for name in given if name != "label_column"}), check=False)
    assert refused.returncode == 2
    assert "label" in refused.stderr


def test_a_changed_backbone_is_refused(suite, tiny_backbone, tmp_path, monkeypatch):
    import shutil

    from safetensors.torch import load_file, save_file

    from trainer.errors import UserError

    store, _ = suite
    run = next(run for run in store.list() if run.recipe.method == "lora")
    other = tmp_path / "other"
    shutil.copytree(tiny_backbone, other)
    weights = load_file(other / "model.safetensors")
    save_file({name: tensor + 1 for name, tensor in weights.items()}, other / "model.safetensors", {"format": "pt"})
    moved = run.recipe.model_copy(update={"backbone": str(other)})
    with pytest.raises(UserError, match="put the original weights back"):
        inference.Predictor(store).predict("a film", [run.model_copy(update={"recipe": moved})])


@pytest.mark.parametrize(
    ("arguments", "status", "part"),
    [
        (["run", "--method", "lorra"], 2, "perhaps you meant lora"),
        (["run", "--method", "lora", "--task", "moovies"], 2, "perhaps you meant movies"),
        (["run", "--method", "lora", "--task", "gone.csv"], 2, "does not exist"),
        (["run", "--method", "lora", "--set", "learning_rate=-1"], 2, "learning_rate"),
        (["suite", "--preset", "fast"], 2, "report"),
        (["show", "nothing"], 2, "run's id"),
        (["predict", "hello"], 1, "train one"),
        (["predict"], 2, "--file"),
        (["run"], 2, "--method"),
    ],
)
def test_a_wrong_argument_is_one_sentence_on_standard_error(arguments, status, part, own_store):
    done = trainer(*arguments, store=own_store, check=False)
    assert done.returncode == status
    assert part in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_bad_file_is_refused_with_a_sentence_and_status_2_before_a_run_is_queued(own_store, tiny_backbone, tmp_path):
    path = tmp_path / "one.csv"
    path.write_text("sentence,label\n" + "".join(f"s {i},same\n" for i in range(30)))
    done = trainer(
        "run", "--method", "lora", "--task", str(path), "--backbone", str(tiny_backbone), store=own_store, check=False
    )
    assert done.returncode == 2
    assert "between 2 and" in done.stderr
    assert "Traceback" not in done.stderr
    assert own_store.list() == []


LONG = {"epochs": 400}


def test_ctrl_c_cancels_and_the_run_stays_readable_and_resumes(own_store, tiny_backbone, tiny_file):
    process = subprocess.Popen(
        [
            sys.executable, "-m", "trainer", "run", "--method", "lora", "--task", str(tiny_file),
            "--backbone", str(tiny_backbone), "--set", "epochs=400", "--set", "batch_size=16",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        env=os.environ | {"ADAPTERS_STORE": str(own_store.root)},
    )  # fmt: skip
    end = time.monotonic() + 60
    while not own_store.list() and time.monotonic() < end:
        time.sleep(0.1)
    run_id = own_store.list()[0].id
    wait(own_store, run_id, lambda run: any((run.folder / "checkpoints").glob("step-*")))
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "Traceback" not in errors
    run = own_store.load(run_id)
    assert run.state == "cancelled"
    events, _ = own_store.events(run_id)
    done = max(event["step"] for event in events if event["type"] == "checkpoint")
    jobs.resume(own_store, run_id)
    wait(own_store, run_id, lambda run: sum(e["type"] == "started" for e in own_store.events(run.id)[0]) == 2)
    jobs.cancel(own_store, run_id)
    wait(own_store, run_id, lambda run: run.state == "cancelled")
    started = [event for event in own_store.events(run_id)[0] if event["type"] == "started"]
    assert started[1]["resumed_at_step"] >= done


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_resumed_run_ends_as_an_unbroken_one(method, own_store, tiny_backbone, tiny_file):
    """Stopped after the first epoch and taken up again: the same losses, to the last digits."""
    from trainer.errors import Cancelled
    from trainer.events import Evaluated
    from trainer.training import train as training

    config = recipes.make(method=method, **tiny(tiny_file, tiny_backbone, epochs=3))

    def losses(folder, stop_after=None):
        folder.mkdir(exist_ok=True)
        seen = []

        def stop():
            return stop_after is not None and sum(isinstance(event, Evaluated) for event in seen) >= stop_after

        try:
            result = training.train(training.Request(config, folder, seen.append, should_stop=stop))
        except Cancelled:
            return None
        return [row.loss for row in result.train_info.metrics]

    unbroken = losses(own_store.root.parent / "unbroken")
    broken = own_store.root.parent / "broken"
    assert losses(broken, stop_after=1) is None
    assert losses(broken) == pytest.approx(unbroken, abs=1e-6)


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_last_good_state(
    own_store, tiny_backbone, tiny_file, monkeypatch
):
    import torch

    from trainer.errors import TrainingStopped
    from trainer.events import Evaluated
    from trainer.training import loop
    from trainer.training import train as training

    config = recipes.make(method="full", **tiny(tiny_file, tiny_backbone, learning_rate=1e-3))
    folder = own_store.root.parent / "nan"
    folder.mkdir()

    def spoil(event):
        if isinstance(event, Evaluated):
            # The weights of the running model, found as the optimiser sees them, are spoilt after the first epoch.
            import gc

            for running in gc.get_objects():
                if isinstance(running, loop.Loop):
                    with torch.no_grad():
                        next(running.prepared.model.parameters()).fill_(float("nan"))

    with pytest.raises(TrainingStopped, match="lower learning_rate"):
        training.train(training.Request(config, folder, spoil))
    from safetensors.torch import load_file

    saved = load_file(folder / "model" / "model.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in saved.values())


def test_a_killed_run_says_so_and_the_queue_goes_on(own_store, tiny_backbone, tiny_file):
    import psutil

    long, short = jobs.launch(
        own_store,
        [
            recipes.make(method="lora", **tiny(tiny_file, tiny_backbone, **LONG)),
            recipes.make(method="lora", **tiny(tiny_file, tiny_backbone, seed=1, epochs=1)),
        ],
    )
    wait(own_store, long.id, lambda run: any(event["type"] == "step" for event in own_store.events(run.id)[0]))
    for process in psutil.process_iter(["pid"]):
        try:
            files = {opened.path for opened in process.open_files()}
        except psutil.Error:
            continue
        if str(long.folder / "log.txt") in files:
            process.kill()
    run = wait(own_store, long.id, lambda run: run.state == "failed" and "SIGKILL" in (run.error or ""))
    assert "resume" in run.error
    wait(own_store, short.id, lambda run: run.state == "finished")


@pytest.fixture
def waiting(own_store, tiny_backbone, tiny_file, monkeypatch):
    """Two queued runs that no worker looks after."""
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)
    configs = [
        recipes.make(method="lora", **tiny(tiny_file, tiny_backbone, seed=seed, epochs=1, train_size=32))
        for seed in (0, 1)
    ]
    return jobs.launch(own_store, configs)


def test_beside_a_gpu_a_run_trains_in_a_process_that_is_not_forked(waiting, own_store, monkeypatch):
    """bitsandbytes starts CUDA when it is imported, and a fork could not use it; the process itself is tried here."""
    monkeypatch.setattr(worker, "_has_gpu", lambda: True)
    context = worker._context()
    assert context.get_start_method() == "spawn"
    worker._supervise(own_store, waiting[0], context)
    run = own_store.load(waiting[0].id)
    assert run.state == "finished", run.error


def test_a_run_that_was_deleted_while_it_began_does_not_end_the_worker(waiting, own_store):
    own_store.delete(waiting[0].id)
    worker._supervise(own_store, waiting[0], worker._context())
    assert worker._next(own_store).id == waiting[1].id


def test_the_queue_waits_for_a_run_whose_worker_was_killed(waiting, own_store):
    import threading

    first, second = waiting
    own_store.update(first.id, state="running")
    found = []
    looking = threading.Thread(target=lambda: found.append(worker._next(own_store)), daemon=True)
    with own_store.at_work(first.id):
        looking.start()
        looking.join(1.5)
        assert found == []
    looking.join(10)
    assert [run.id for run in found] == [second.id]


@pytest.mark.parametrize(("own", "spins"), [(None, ("1000", "10000")), ("7", ("7", None))])
def test_threads_spin_longer_where_a_run_trains_unless_a_person_says_how_long(own, spins):
    code = (
        "import os; from trainer.machine.device import environment_for_training, share_cores; share_cores();"
        "print(os.environ['GOMP_SPINCOUNT'], environment_for_training().get('GOMP_SPINCOUNT'))"
    )
    environment = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    environment |= {"GOMP_SPINCOUNT": own} if own else {}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.stdout.split() == [str(value) for value in spins], done.stderr


def test_a_failing_tracker_never_stops_a_run(own_store, tiny_backbone, tiny_file):
    trainer(
        "run", "--method", "lora", "--task", str(tiny_file), "--backbone", str(tiny_backbone), "--track",
        "--set", "epochs=1", store=own_store, WANDB_MODE="no-such-mode",
    )  # fmt: skip
    (run,) = own_store.list()
    assert run.state == "finished"
    assert "Weights & Biases does not track" in (run.folder / "log.txt").read_text()


def test_delete_asks_and_removes(own_store):
    run = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    own_store.update(run.id, state="cancelled", error="Cancelled on request.")
    declined = subprocess.run(
        [sys.executable, "-m", "trainer", "delete", run.id], input="n\n", capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"ADAPTERS_STORE": str(own_store.root)},
    )  # fmt: skip
    assert declined.returncode == 1
    assert own_store.list()
    trainer("delete", run.id, "--yes", store=own_store)
    assert not own_store.list()


def test_runs_that_another_process_deleted_leave_memory(own_store):
    reader = Store(own_store.root)
    runs = [own_store.create(recipes.make(method="lora", task="movies", backbone="minilm", seed=n)) for n in range(3)]
    (runs[2].folder / "run.json").write_text("{", encoding="utf-8")
    assert [run.id for run in reader.list()] == [runs[0].id, runs[1].id]
    assert [damage.run_id for damage in reader.damaged()] == [runs[2].id]
    own_store.delete(runs[0].id)
    own_store.delete(runs[2].id)
    assert [run.id for run in reader.list()] == [runs[1].id]
    assert reader.damaged() == []
    assert set(reader._parsed) == {runs[1].folder}
    assert not reader._broken


def test_the_report_tells_figures_differences_and_commands(suite, tmp_path):
    store, _ = suite
    trainer("report", "--out", str(tmp_path / "report.html"), store=store)
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    finished = [run for run in store.list() if run.state == "finished"]
    for run in finished:
        assert run.id in page
        assert escape(recipes.command_of(run.recipe)) in page
    assert not re.search(r"(src|href)=|@import|url\(", page), "nothing is fetched"
    accuracy = METRICS["test_accuracy"]
    full = next(run for run in finished if run.recipe.method == "full")
    sentences = full.result.meta_info.dataset_info.sizes.test
    low, high = (100 * end for end in intervals.wilson(full.result.test.accuracy, sentences))
    assert f"<td>{accuracy.show(accuracy.of(full))} ({low:.1f} to {high:.1f})</td>" in page
    assert "not significant" in page


def test_holms_correction_by_hand():
    """The sorted p-values times 3, 2 and 1, never falling, at most 1."""
    assert holm([0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.03, 0.06])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []
