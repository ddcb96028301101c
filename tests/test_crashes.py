"""Runs that hang, crash, are killed or run out of something; workers that stop or die. No model is trained here."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

import pytest
from conftest import ROOT, app_on
from filelock import FileLock

from trainer import tasks
from trainer.errors import Cancelled, UserError
from trainer.jobs import causes, guard, heartbeat, keeper, leftovers, processes, queue, room, worker
from trainer.machine import cgroup
from trainer.runs import recipes
from trainer.runs.store import Store

FORK = multiprocessing.get_context("fork")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Times of tenths of seconds instead of minutes, and nobody starts a worker."""
    monkeypatch.setattr(heartbeat, "SECONDS_BETWEEN", 0.2)
    monkeypatch.setattr(guard, "SECONDS_TO_STOP", 0.4)
    monkeypatch.setattr(guard, "SECONDS_TO_KILL", 0.4)
    monkeypatch.setattr(queue, "ensure_worker", lambda store: None)


def queued(store: Store, **settings):
    recipe = recipes.make(method="lora", task="movies", backbone="minilm", **settings)
    tasks.extent(recipe)  # read here once, for the processes that are forked from this one
    return store.create(recipe)


def wait(store: Store, run_id: str, condition, seconds: float = 60):
    """Wait until `condition(run)`; the run."""
    end = time.monotonic() + seconds
    while not condition(run := store.load(run_id)):
        assert time.monotonic() < end, f"{run_id} stayed {run.state}: {run.error}"
        time.sleep(0.05)
    return run


def supervise(store, train, *, minutes=None, monkeypatch=None):
    """The run after a worker has trained it with `train`; `minutes` is the time it may make no progress."""
    if minutes is not None:
        monkeypatch.setenv(heartbeat.VARIABLE, str(minutes))
    run = queued(store)
    worker._supervise(store, run, FORK, target=partial(worker.execute, train=train))
    return store.load(run.id)


def stopped(store, run, beating):
    """Fails at once, or ends when it is cancelled."""
    if run.label == "fails":
        raise UserError(expected="nothing", got="this", fix="resume it")
    while not (run.folder / queue.CANCEL_FILE).exists():
        time.sleep(0.02)
    raise Cancelled("Cancelled on request.")


@pytest.mark.parametrize("label", ["fails", "is cancelled"])
@pytest.mark.parametrize("exit_status", [0, 3])
def test_a_run_that_is_resumed_while_its_process_ends_waits_for_the_next(label, exit_status, own_store):
    """Its state is the next attempt's: the process that ends, however it does, must not end the run again."""
    run = own_store.update(queued(own_store).id, label=label)

    def execute(root, run_id):
        worker.execute(root, run_id, train=stopped)
        time.sleep(0.3)  # as while a tracker is closed
        os._exit(exit_status)

    thread = threading.Thread(target=worker._supervise, args=(own_store, run, FORK), kwargs={"target": execute})
    thread.start()
    if label != "fails":
        wait(own_store, run.id, lambda run: run.state == "running")
        queue.cancel(own_store, run.id)
    wait(own_store, run.id, lambda run: run.state in ("failed", "cancelled"))
    queue.resume(own_store, run.id)
    assert thread.is_alive(), "its process is gone before it was resumed"
    thread.join(30)
    resumed = own_store.load(run.id)
    assert (resumed.state, resumed.error) == ("queued", None)


# Causes


def die(number):
    def train(store, run, beating):
        os.kill(os.getpid(), number)
        time.sleep(30)

    return train


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("SIGTERM", "a request to stop from a person, a program or the machine's shutdown; resume it"),
        ("SIGHUP", "a request to stop"),
        ("SIGSEGV", "a crash inside a library or a driver"),
        ("SIGBUS", "a crash inside a library or a driver"),
        ("SIGABRT", "a crash inside a library or a driver"),
        ("SIGFPE", "a crash inside a library or a driver"),
        ("SIGKILL", "most often because memory ran out"),
        ("SIGALRM", "resume it"),
    ],
)
def test_a_signal_has_its_own_sentence(name, says, own_store):
    run = supervise(own_store, die(getattr(signal, name)))
    assert run.state == "failed"
    assert says in run.error
    assert name in run.error
    assert ("batch_size" in run.error) == (name == "SIGKILL"), "only memory is helped by a smaller batch"
    assert own_store.events(run.id)[0][-1]["note"] == run.error


def test_a_kill_that_the_kernel_counted_for_memory_is_said_to_be_one(own_store, monkeypatch):
    count = iter([4, 5])
    monkeypatch.setattr(cgroup, "memory_kills", lambda: next(count))
    run = supervise(own_store, die(signal.SIGKILL))
    assert run.error.startswith("Expected the run to fit in memory, got SIGKILL from the system, which had none left")


def test_a_kill_for_memory_long_ago_is_not_that_of_a_run_now(monkeypatch):
    monkeypatch.setattr(cgroup, "memory_kills", lambda: 4)
    monkeypatch.setattr(causes, "WINDOW", -1.0)
    kills = causes.MemoryKills()
    monkeypatch.setattr(cgroup, "memory_kills", lambda: 5)
    assert kills.any()
    kills.look()
    kills.look()
    assert not kills.any()


def test_a_crash_leaves_where_it_was_in_the_log(own_store):
    def crash(store, run, beating):
        os.abort()

    run = supervise(own_store, crash)
    assert "SIGABRT" in run.error
    assert "in crash" in (run.folder / "log.txt").read_text()


def test_an_exit_without_a_state_names_its_status(own_store):
    assert "got exit status 3" in supervise(own_store, lambda *_: os._exit(3)).error


def fail(error):
    def train(store, run, beating):
        raise error

    return train


FULL = "Expected room on the disk, got a full disk; free some space"
MEMORY = "Expected the run to fit in memory, got an out-of-memory error"
GPU = "Expected the run to fit in the GPU's memory, got an out-of-memory error"


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), FULL),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), FULL),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), FULL),
        (MemoryError(), MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9"), MEMORY),
        (RuntimeError("std::bad_alloc"), MEMORY),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), GPU),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), GPU),
        (ValueError("other"), "Something unexpected went wrong (ValueError: other); the log has the details."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)  # fmt: skip
def test_an_error_has_its_own_sentence(error, says, own_store):
    run = supervise(own_store, fail(error))
    assert (run.state, run.error.startswith(says)) == ("failed", True), run.error


def test_a_run_that_fills_the_disk_can_still_record_it(own_store, monkeypatch):
    """The disk is full until the run's reserve is freed."""
    write = Store._write

    def full(self, run):
        if (run.folder / queue.RESERVE).exists() and run.state == "failed":
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, run)

    monkeypatch.setattr(Store, "_write", full)
    run = supervise(own_store, fail(OSError(errno.ENOSPC, "No space left on device")))
    assert run.error.startswith(FULL)
    assert not (run.folder / queue.RESERVE).exists()


def test_what_a_killed_run_leaves_is_removed(own_store):
    def train(store, run, beating):
        for name in (".model", ".old-model", "checkpoints/.writing", "checkpoints/.old-step-3", "checkpoints/step-4"):
            (run.folder / name).mkdir(parents=True)
            (run.folder / name / "file").touch()
        os.kill(os.getpid(), signal.SIGKILL)

    run = supervise(own_store, train)
    left = {str(path.relative_to(run.folder)) for path in run.folder.rglob("*") if path.is_dir()}
    assert left == {"model", "checkpoints", "checkpoints/step-4"}, "the older model was not yet replaced"
    assert {path.name for path in run.folder.iterdir() if path.name[0] == "."} <= {".working"}


def test_what_a_killed_deletion_and_launch_leave_is_removed_by_the_next_worker(own_store):
    old, new = own_store.root / ".new-old", own_store.root / ".new-now"
    for folder in (old, new, own_store.root / ".deleted-run"):
        (folder / "model").mkdir(parents=True)
    os.utime(old, (1, 1))
    assert worker.work(own_store)
    assert [path.name for path in own_store.root.iterdir() if path.is_dir()] == [".new-now"]


# Hangs

TOO_LONG = 1.5 / 60
"""Minutes without progress."""


def test_what_a_run_left_that_died_with_its_worker_is_removed_by_the_next_worker(own_store):
    """As after `docker stop` or a power cut: no worker saw its end. Of a run that trains nothing is removed."""
    dead, training = queued(own_store), queued(own_store, seed=1)
    for run in (dead, training):
        own_store.update(run.id, state="running")
        (run.folder / "checkpoints" / ".writing").mkdir(parents=True)
        for name in (queue.RESERVE, ".run.json.123", ".heartbeat"):
            (run.folder / name).touch()
            os.utime(run.folder / name, (1, 1))
    with own_store.at_work(training.id):
        leftovers.remove_of_store(own_store)
    names = {run.id: {path.name for path in run.folder.rglob(".*")} for run in (dead, training)}
    assert names[dead.id] <= {".working"}
    assert names[training.id] >= {".writing", queue.RESERVE, ".run.json.123", ".heartbeat"}


def sleeps(store, run, beating):
    time.sleep(20)


def computes_without_a_step(store, run, beating):
    beating.step()
    end = time.monotonic() + 20
    while time.monotonic() < end:
        sum(range(1000))


def ignores_requests(store, run, beating):
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(20)


def stops(store, run, beating):
    os.kill(os.getpid(), signal.SIGSTOP)
    time.sleep(20)


def waits_for_a_child(store, run, beating):
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(20)"
    child = subprocess.Popen([sys.executable, "-c", code])
    (run.folder / "child").write_text(str(child.pid))
    while True:
        child.wait()


HANGS = [sleeps, computes_without_a_step, ignores_requests, stops, waits_for_a_child]


def gone(pid: int) -> bool:
    """Whether a process has ended; a zombie has."""
    import psutil

    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@pytest.mark.parametrize("train", HANGS, ids=lambda train: train.__name__)
def test_a_run_that_hangs_is_ended_and_says_so(train, own_store, monkeypatch):
    run = supervise(own_store, train, minutes=TOO_LONG, monkeypatch=monkeypatch)
    assert run.state == "failed"
    assert run.error.startswith("Expected progress within 0.025 minutes, got none, and the run was ended")
    assert heartbeat.VARIABLE in run.error
    if train is not stops:
        assert f"in {train.__name__}" in (run.folder / "log.txt").read_text(), "the log has where it was"
    if train is waits_for_a_child:
        assert gone(int((run.folder / "child").read_text()))


@pytest.mark.parametrize("train", HANGS[1:], ids=lambda train: train.__name__)
def test_a_run_is_cancelled_whatever_it_does(train, own_store):
    def cancel():
        while not (found := list(own_store.root.glob("*/child" if train is waits_for_a_child else "*/begun"))):
            time.sleep(0.05)
        time.sleep(0.3)
        queue.cancel(own_store, found[0].parent.name)

    def begin(store, run, beating):
        (run.folder / "begun").touch()
        train(store, run, beating)

    threading.Thread(target=cancel).start()
    run = supervise(own_store, begin)
    assert (run.state, run.error) == ("cancelled", "Cancelled on request.")
    if train is waits_for_a_child:
        assert gone(int((run.folder / "child").read_text()))


def test_cancelling_takes_less_than_ten_seconds_as_it_is_set(monkeypatch):
    monkeypatch.undo()
    assert guard.SECONDS_TO_STOP + guard.SECONDS_TO_KILL + guard.SECONDS_TO_DIE < 10


def test_the_guard_gives_up_on_a_process_that_cannot_be_killed(tmp_path, monkeypatch):
    monkeypatch.setattr(guard, "SECONDS_TO_DIE", 0.1)
    watched = guard.Guard(tmp_path, lambda: None, limit=0.0)
    (tmp_path / heartbeat.FILE).touch()
    watched.look()
    time.sleep(0.01)
    watched.look()
    assert watched.cause == "hung"
    assert not watched.gave_up
    time.sleep(0.8)
    assert watched.gave_up


def steps_slowly(store, run, beating):
    for _ in range(5):
        beating.step()
        time.sleep(0.5)
    raise UserError(expected="this", got="that", fix="it came to its end")


def loads_slowly(store, run, beating):
    """As a download that writes, and then a computation, before the first step."""
    end = time.monotonic() + 1.5
    with (run.folder / "download").open("wb", buffering=0) as file:
        while time.monotonic() < end:
            file.write(b"0")
            time.sleep(0.2)
    while time.monotonic() < end + 1.5:
        sum(range(1000))
    raise UserError(expected="this", got="that", fix="it came to its end")


@pytest.mark.parametrize("train", [steps_slowly, loads_slowly])
def test_a_run_that_is_slow_but_goes_on_is_left_alone(train, own_store, monkeypatch):
    run = supervise(own_store, train, minutes=TOO_LONG, monkeypatch=monkeypatch)
    assert "it came to its end" in run.error


@pytest.mark.parametrize(
    ("value", "seconds"), [("", 1800), ("soon", 1800), ("1.5", 90), ("0", float("inf")), ("-1", float("inf"))]
)
def test_the_time_without_progress_is_a_setting(value, seconds, monkeypatch):
    monkeypatch.setenv(heartbeat.VARIABLE, value)
    assert heartbeat.limit() == seconds


def test_a_guard_that_was_stopped_itself_does_not_blame_the_run(tmp_path, monkeypatch):
    """As when a laptop sleeps, or all processes are stopped together."""
    now = [0.0]
    monkeypatch.setattr(guard.time, "monotonic", lambda: now[0])
    (tmp_path / heartbeat.FILE).touch()
    watched = guard.Guard(tmp_path, lambda: None, limit=60.0)
    for moment in (0.2, 30.0, 3600.0, 3600.2):
        now[0] = moment
        watched.look()
    assert watched.cause is None
    for moment in (3605.0, 3612.0, 3618.0, 3627.0, 3636.0, 3645.0, 3654.0, 3662.0):
        now[0] = moment
        watched.look()
    assert watched.cause == "hung"


# A worker that died or stands still


def orphan(store, train):
    """A run whose worker is gone."""
    run = queued(store)
    (run.folder / heartbeat.FILE).touch()
    process = FORK.Process(target=partial(worker.execute, train=train), args=(str(store.root), run.id))
    process.start()
    wait(store, run.id, lambda run: run.state == "running" and processes.recorded(run.folder / heartbeat.FILE))
    return run, process


@pytest.mark.parametrize("train", [sleeps, stops])
def test_the_next_worker_ends_what_the_last_one_left_hanging_and_goes_on(train, own_store, monkeypatch):
    monkeypatch.setenv(heartbeat.VARIABLE, str(TOO_LONG))
    run, process = orphan(own_store, train)
    second = queued(own_store, seed=1)
    assert worker._next(own_store).id == second.id
    process.join(10)
    assert own_store.load(run.id).error.startswith("Expected progress within")


def test_the_next_worker_removes_the_temporary_files_of_one_that_was_killed(own_store, tmp_path, monkeypatch):
    """Its own, those of other stores and those of a worker that lives stay."""
    there = tmp_path / "temporary"
    there.mkdir()
    (there / "of-another-program").mkdir()
    # `Popen` is given the environment, so that this process's folder for temporary files stays as it is.
    waits = "import time, tempfile; from trainer.cli import worker; from trainer.jobs import worker as jobs\n"
    waits += "jobs.work = lambda store: (tempfile.mkdtemp(), print(flush=True), time.sleep(60))\nworker.worker()"

    def started(store):
        environment = os.environ | {"TMPDIR": str(there), "ADAPTERS_STORE": str(store.root)}
        process = subprocess.Popen([sys.executable, "-c", waits], env=environment, stdout=subprocess.PIPE)
        process.stdout.readline()
        return process

    store = Store(tmp_path / "another")
    killed, other, alive = started(own_store), started(store), started(own_store)
    for process in (killed, other):
        process.kill()
        process.wait()
    assert len([*there.glob("peft-lab-*/tmp*")]) == 3
    monkeypatch.setattr(tempfile, "tempdir", str(there))
    with leftovers.temporary_folder(own_store):
        leftovers.remove_of_store(own_store)
        own = Path(tempfile.gettempdir())
        assert own.parent == there
        assert own.is_dir()
        owners = [processes.recorded(one / leftovers.OWNER) for one in there.glob("peft-lab-*")]
        assert sorted(owners, key=str) == sorted([None, alive.pid, os.getpid()], key=str), "None: of the other store"
    alive.kill()
    alive.wait()
    leftovers.remove_of_store(own_store)
    leftovers.remove_of_store(store)
    assert [path.name for path in there.iterdir()] == ["of-another-program"]


def test_the_next_worker_cancels_what_the_last_one_left(own_store):
    run, process = orphan(own_store, ignores_requests)
    queue.cancel(own_store, run.id)
    assert worker._next(own_store) is None
    process.join(10)
    assert own_store.load(run.id).state == "cancelled"


WORKER = """
import sys, time
from filelock import FileLock
from pathlib import Path
from trainer.jobs import processes, queue
root = Path(sys.argv[1])
with FileLock(root / ".worker.lock"):
    (root / queue.WORKER_FILE).write_text(processes.record())
    print("ready", flush=True)
    time.sleep(120)
"""


@pytest.fixture
def other_worker(own_store):
    """A process that holds the queue as a worker does."""
    own_store.root.mkdir(parents=True)
    code = [sys.executable, "-c", WORKER, str(own_store.root)]
    process = subprocess.Popen(code, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "ready\n"
    yield process
    process.kill()
    process.wait()


def stop(process):
    process.send_signal(signal.SIGSTOP)
    end = time.monotonic() + 10
    while not processes.is_stopped(process.pid) and time.monotonic() < end:
        time.sleep(0.05)


def test_a_stopped_worker_does_not_hold_the_queue(own_store, other_worker):
    assert queue.worker_is_alive(own_store)
    queue.end_stopped_worker(own_store)
    assert other_worker.poll() is None
    stop(other_worker)
    assert not queue.worker_is_alive(own_store)
    queue.end_stopped_worker(own_store)
    assert other_worker.wait(10) == -signal.SIGKILL
    assert worker.work(own_store), "the queue is free"


def test_a_worker_that_goes_on_in_time_is_left_alone(own_store, other_worker):
    stop(other_worker)
    timer = threading.Timer(0.3, other_worker.send_signal, [signal.SIGCONT])
    timer.start()
    queue.end_stopped_worker(own_store, patience=1.5)
    assert other_worker.poll() is None
    assert queue.worker_is_alive(own_store)


@pytest.mark.parametrize(
    "content", ["", "null", "[1]", '{"pid": 1}', '{"pid": "x", "began": 1}', '{"pid": 99, "began": 0}']
)
def test_a_record_that_is_none_names_no_process(content, own_store, other_worker):
    """Nor does that of a process which is gone, whose id another has."""
    stop(other_worker)
    (own_store.root / queue.WORKER_FILE).write_text(content.replace("99", str(other_worker.pid)))
    assert queue.worker_is_alive(own_store)
    queue.end_stopped_worker(own_store)
    assert other_worker.poll() is None


def test_the_keeper_starts_a_missing_worker_at_once_and_again_when_it_died(own_store, monkeypatch):
    started, stop_keeping = [], threading.Event()
    monkeypatch.setattr(queue, "ensure_worker", started.append)
    monkeypatch.setattr(keeper, "SECONDS_BETWEEN", 0.05)
    keeping = threading.Thread(target=keeper.keep, args=(own_store,), kwargs={"stop": stop_keeping})

    def soon(condition):
        end = time.monotonic() + 10
        while not condition() and time.monotonic() < end:
            time.sleep(0.02)
        assert condition()

    run = queued(own_store)
    held = FileLock(own_store.root / ".worker.lock")
    try:
        with held:
            keeping.start()
            time.sleep(0.3)
            assert started == [], "one is at work"
        soon(lambda: len(started) > 1)
        own_store.update(run.id, state="cancelled", error="Cancelled on request.")
        time.sleep(0.2)
        before = len(started)
        time.sleep(0.3)
        assert len(started) == before, "nothing waits"
        reads = iter([OSError("gone for a while")])
        listing = own_store.list

        def list_runs():
            for error in reads:
                raise error
            return listing()

        monkeypatch.setattr(own_store, "list", list_runs)
        queued(own_store, seed=1)
        soon(lambda: len(started) > before)
    finally:
        stop_keeping.set()
        keeping.join(10)


def test_the_app_starts_a_worker_for_what_waits_with_no_page_open(own_store, tmp_path):
    """The run's backbone is gone, so that it ends soon."""
    config = recipes.make(method="lora", task="movies", backbone="minilm")
    run = own_store.create(config.model_copy(update={"backbone": str(tmp_path / "gone")}))
    with app_on(own_store.root):
        ended = wait(own_store, run.id, lambda run: run.state == "failed")
    assert "gone" in ended.error


# Room


def test_a_launch_that_cannot_fit_on_the_disk_is_refused_with_what_is_missing(own_store, monkeypatch):
    configs = [recipes.make(method="full", task="movies", backbone="minilm", seed=seed, epochs=3) for seed in (0, 1)]
    needed = 2 * 4 * 22_713_984 + 2 * 16 * (22_713_984 - 30_522 * 384)  # models, and the checkpoints of one; no head
    monkeypatch.setattr(room, "free_disk", lambda folder: needed - 10**9)
    with pytest.raises(UserError, match=r"got -?\d+\.\d GB, 1\.0 GB too little; free some space"):
        queue.launch(own_store, configs)
    assert own_store.list() == []
    monkeypatch.setattr(room, "free_disk", lambda folder: needed + 10**6)
    assert len(queue.launch(own_store, configs)) == 2


def test_a_run_whose_size_is_not_known_is_not_refused(own_store, tmp_path, monkeypatch):
    """Its backbone cannot be read now: training says what is wrong, if it still is."""
    monkeypatch.setattr(room, "free_disk", lambda folder: 0)
    config = recipes.make(method="lora", task="movies", backbone="minilm")
    room.check(own_store, [config.model_copy(update={"backbone": str(tmp_path / "gone")})])
    with pytest.raises(UserError, match="GB too little"):
        room.check(own_store, [config])


def test_a_run_that_no_longer_fits_on_the_disk_when_its_turn_comes_says_so(own_store, monkeypatch):
    monkeypatch.setattr(room, "free_disk", lambda folder: 1000)
    run = supervise(own_store, sleeps)
    assert "GB free on the store's disk" in run.error


def test_a_launch_is_refused_for_memory_only_beyond_the_margin(own_store, monkeypatch):
    config = recipes.make(method="full", task="movies", backbone="minilm")
    from trainer.runs import estimate

    needed = estimate.estimate(config).memory
    for memory, refused in ((needed, False), (needed / room.MARGIN * 1.01, False), (needed / room.MARGIN * 0.99, True)):
        if refused:
            with pytest.raises(UserError, match="GB more; choose a smaller batch size"):
                room.check_memory([config], earlier=[], memory=int(memory))
        else:
            room.check_memory([config], earlier=[], memory=int(memory))
    monkeypatch.setattr(room, "memory_for_training", lambda: needed // 4)
    with pytest.raises(UserError, match="GB of memory here"):
        queue.launch(own_store, [config])
    assert own_store.list() == []


@pytest.mark.parametrize(
    ("build", "memories", "chosen", "expected"),
    [
        ("2.13.0+cpu", (16,), "", "machine"),
        ("2.13.0+cu126", (), "", "machine"),
        ("2.13.0+cu126", (16,), "cpu", "machine"),
        ("2.13.0+cu126", (16,), "", 16),
        ("2.13.0+cu126", (16, 80), "", 80),  # CUDA may take either
        ("2.13.0+cu126", (None,), "", None),  # known from the kernel alone
    ],
)
def test_the_memory_of_a_launch_is_that_of_the_device_that_trains(build, memories, chosen, expected, monkeypatch):
    from trainer.machine import cuda

    monkeypatch.setattr(room, "version", lambda package: build)
    monkeypatch.setattr(cuda, "cards", lambda: tuple(cuda.Card("T4", "550", memory=one) for one in memories))
    monkeypatch.setenv(cuda.DEVICE, chosen)
    memory = room.memory_for_training()
    assert memory > 10**8 if expected == "machine" else memory == expected


@pytest.mark.parametrize(
    ("groups", "files", "limit", "kills"),
    [
        ("0::/a/b", {"a/memory.max": "500", "a/b/memory.max": "max", "a/b/memory.events": "oom 3\noom_kill 2"}, 500, 2),
        ("0::/", {"memory.max": "7000", "memory.events": "oom_kill 0"}, 7000, 0),
        ("4:memory:/c", {"memory/c/memory.limit_in_bytes": "9", "memory/c/memory.oom_control": "oom_kill 1"}, 9, 1),
        ("4:memory:/host/c\n0::/", {"memory/memory.limit_in_bytes": "8000"}, 8000, None),
        ("4:memory:/", {"memory/memory.limit_in_bytes": "9223372036854771712"}, None, None),
        ("", {}, None, None),
    ],
    ids=["2", "2 at the top", "1", "1 in a container", "1 without a limit", "none"],
)  # fmt: skip
def test_limits_and_kills_of_control_groups(groups, files, limit, kills, tmp_path):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(groups)
    for name, content in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    assert (cgroup.memory_limit(tmp_path), cgroup.memory_kills(tmp_path)) == (limit, kills)
