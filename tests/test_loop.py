"""The training loop: steps, weight decay, clipping, accumulation, fp16, checkpoints, resumption, several processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from conftest import VERSION_1, free_port, warm
from test_methods import small_model
from torch import nn

from trainer import methods
from trainer.config import RunConfig
from trainer.engine import checkpoints
from trainer.errors import Cancelled, TrainingStopped
from trainer.events import Evaluated, Saved, Step
from trainer.machine import device, measure
from trainer.methods import Parent, Setup
from trainer.runs import recipes
from trainer.sources import backbones
from trainer.training import loop as training_loop
from trainer.training import train as training
from trainer.training.loop import Loop
from trainer.training.optimiser import parameter_groups, start_accelerator
from trainer.training.request import Request

RESUMED = ("full", "lora", "adapter_fusion")


@pytest.fixture(scope="module")
def still_backbone(tiny_backbone, tmp_path_factory):
    """The tiny encoder without dropout, so that a step can be computed again."""
    folder = tmp_path_factory.mktemp("still") / "bert"
    shutil.copytree(tiny_backbone, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def parents(tiny_backbone, tmp_path_factory):
    """Two adapters to fuse, as they are before training."""
    root = tmp_path_factory.mktemp("parents")
    adapter = methods.get("adapter")
    setup = Setup(backbones.locate(str(tiny_backbone)), ("bad", "good"), adapter.options(), device.detect(), "fp32")
    for seed, name in enumerate(("one", "two")):
        torch.manual_seed(seed)
        adapter.save(adapter.build(setup), root / name, setup)
    return tuple(Parent(name, name, root / name) for name in ("one", "two"))


def recipe(method, task, backbone, **settings):
    common = {"epochs": 2, "batch_size": 16, "precision": "fp32", "learning_rate": 2e-3}
    return recipes.make(method=method, task=str(task), backbone=str(backbone), **common | settings)


def ready_loop(config, folder, parents=(), emit=lambda event: None, precision="fp32"):
    """A loop before its first step; at bf16 on any CPU."""
    request = Request(config, folder, emit, parents=parents if methods.get(config.method).parent_method else ())
    work = training._load(request, device.detect())
    work = replace(work, setup=replace(work.setup, precision=precision))
    accelerator = start_accelerator(work.device, work.setup.precision)
    model = work.method.build(work.setup)
    prepared = training._speed_up(model, work, training=True)
    meter = measure.Meter(work.device)
    meter.host_start = 0
    model.train()
    return Loop(request, work, prepared, accelerator=accelerator, clock=measure.Clock(), meter=meter)


def step(loop, *groups):
    """Steps over groups of batches of sentences by index."""
    batches = loop.load(list(groups))
    for group in groups:
        loop.step(group, batches)


def weights(loop):
    return checkpoints.snapshot(loop.prepared.model)


# A run that was killed


def run_once(config, folder, parents, every_step, kill):
    """Train in this process, and end it by SIGKILL: `kill` is ("step", N), after step N, or ("write", N), while its
    checkpoint is written. `every_step`: a checkpoint after each step, not at each epoch's end alone."""
    training_loop.SECONDS_BETWEEN_REPORTS = 0.0
    if every_step:
        training_loop.SECONDS_BETWEEN_CHECKPOINTS = 0.0
    commit = checkpoints.commit

    def die_before_the_rename(written, final):
        if kill == ("write", int(final.name.removeprefix("step-") if "step-" in final.name else -1)):
            os.kill(os.getpid(), signal.SIGKILL)
        commit(written, final)

    checkpoints.commit = die_before_the_rename

    def emit(event):
        with (folder / "events.txt").open("a") as file:
            file.write(json.dumps(event.as_dict()) + "\n")
        if isinstance(event, Step) and kill == ("step", event.step):
            os.kill(os.getpid(), signal.SIGKILL)

    costs = {"train_time": 0.0, "file_size": 0, "num_trainable_params": 0}
    results = tuple(SimpleNamespace(train_info=SimpleNamespace(**costs)) for _ in parents)
    result = training.train(Request(config, folder, emit, parents=parents, parent_results=results))
    (folder / "result.json").write_text(result.model_dump_json(by_alias=True))


@pytest.mark.parametrize("name", RESUMED)
def test_a_run_killed_at_several_steps_ends_as_an_unbroken_one_to_the_bit(
    name, tiny_backbone, tiny_file, parents, tmp_path
):
    """Killed within an epoch, while a checkpoint is written, and in the next epoch; dropout is on."""
    config = recipe(name, tiny_file, tiny_backbone, gradient_accumulation_steps=2 if name == "lora" else 1)
    parents = parents if methods.get(name).parent_method else ()

    def train(folder, kill=None, every_step=True):
        folder.mkdir(exist_ok=True)
        process = warm().Process(target=run_once, args=(config, folder, parents, every_step, kill))
        process.start()
        process.join(120)
        assert process.exitcode == (-signal.SIGKILL if kill else 0)

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    train(unbroken, every_step=False)
    events = [json.loads(line) for line in (unbroken / "events.txt").read_text().splitlines()]
    total = next(event["total_steps"] for event in events if event["type"] == "started")
    kills = [("step", 2), ("write", total // 2 - 1), ("step", total // 2 + 2), ("step", total // 2 + 3)]
    for number, kill in enumerate(kills):
        train(broken, kill, every_step=number != 2)
    train(broken)
    resumed = [
        event["resumed_at_step"]
        for event in map(json.loads, (broken / "events.txt").read_text().splitlines())
        if event["type"] == "started"
    ]
    assert resumed == [0, 1, total // 2 - 2, total // 2, total // 2 + 2]
    one, two = (json.loads((folder / "result.json").read_text()) for folder in (unbroken, broken))
    timed = ("seconds", "train_seconds", "memory")
    rows = [
        [{k: v for k, v in row.items() if k not in timed} for row in r["train_info"]["metrics"]] for r in (one, two)
    ]
    assert rows[0] == rows[1]
    assert one["test"] == two["test"]
    for key in ("steps", "real_tokens", "padded_tokens", "best_epoch"):
        assert one["train_info"][key] == two["train_info"][key]
    files = [path.relative_to(unbroken) for path in (unbroken / "model").rglob("*.safetensors")]
    assert files
    for path in files:
        assert (unbroken / path).read_bytes() == (broken / path).read_bytes(), path


@pytest.mark.parametrize(("epochs", "evaluated"), [(0.3, [0.3]), (1.5, [1.0, 1.5]), (0.01, [0.05]), (2.0, [1.0, 2.0])])
def test_a_part_of_an_epoch_is_trained_and_evaluated_at_its_end(epochs, evaluated, tiny_backbone, tiny_file, tmp_path):
    """192 training sentences in batches of 10 are 20 steps, the last of 2 sentences."""
    seen, config = [], recipe("lora", tiny_file, tiny_backbone, epochs=epochs, batch_size=10)
    loop = ready_loop(config, tmp_path, emit=seen.append)
    assert len(loop.dataset) == 192
    assert loop.total_steps == round(20 * evaluated[-1])
    loop.run()
    assert [event.epoch for event in seen if isinstance(event, Evaluated)] == evaluated
    whole, part = divmod(loop.total_steps, 20)
    assert loop.progress.step == loop.total_steps
    assert loop.samples() == 192 * whole + 10 * part
    assert loop.collator.real_tokens == sum(
        len(loop.work.ids["train"][i])
        for epoch in range(len(evaluated)) for group in loop.groups(epoch) for batch in group for i in batch
    )  # fmt: skip
    assert set(loop.schedule.get_last_lr()) == {0.0}, "the schedule ends where training does"
    assert json.loads(config.model_dump_json())["epochs"] == epochs
    assert ("." in json.dumps(config.model_dump(mode="json")["epochs"])) == (epochs < 2), (
        "a whole number is stored as one"
    )


def test_a_part_of_an_epoch_is_resumed_to_the_bit(tiny_backbone, tiny_file, tmp_path, monkeypatch):
    config = recipe("lora", tiny_file, tiny_backbone, epochs=1.5)
    unbroken = ready_loop(config, tmp_path / "unbroken")
    torch.manual_seed(0)
    unbroken.run()
    broken = ready_loop(config, tmp_path / "broken")
    monkeypatch.setattr(training_loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    broken.request = replace(broken.request, should_stop=lambda: broken.progress.step == 14)
    torch.manual_seed(0)
    with pytest.raises(Cancelled):
        broken.run()
    resumed = ready_loop(config, tmp_path / "broken")
    resumed.resume_if_possible()
    assert resumed.progress.step == 13, "the last checkpoint, in the second epoch"
    resumed.run()
    assert resumed.progress.step == unbroken.progress.step == resumed.total_steps == 18
    for name, values in weights(unbroken).items():
        assert torch.equal(values, weights(resumed)[name]), name


def test_long_epochs_have_checkpoints_within_them(tiny_backbone, tiny_file, tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(training_loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    loop = ready_loop(recipe("lora", tiny_file, tiny_backbone), tmp_path, emit=events.append)
    loop.run()
    saved = [event.step for event in events if isinstance(event, Saved)]
    assert saved == list(range(1, loop.total_steps)), "each step once, and none after the last"
    kinds = [type(event) for event in events]
    assert kinds[-1] is Evaluated
    # At the end of an epoch the checkpoint has its evaluation.
    at = next(i for i, e in enumerate(events) if isinstance(e, Saved) and e.step == loop.steps_per_epoch)
    assert kinds[at - 1] is Evaluated
    kept = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert kept == {f"step-{step}" for step in saved[-2:]}, "the one before the last helps if the last is damaged"


# What a step is


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("name", list(methods.DEFAULT))
def test_weight_decay_spares_what_transformers_spares(name, family, tmp_path):
    from transformers import Trainer, TrainingArguments

    model, _ = small_model(name, family, tmp_path)
    arguments = TrainingArguments(output_dir=str(tmp_path / "out"), use_cpu=True, report_to=[], weight_decay=0.1)
    theirs = Trainer(model=model, args=arguments).create_optimizer().param_groups
    ours = parameter_groups(model, 0.1, rate=1e-3)
    assert [group["weight_decay"] for group in ours] == [0.1, 0.0]
    for one, two in zip(ours, theirs, strict=True):
        assert one["weight_decay"] == two["weight_decay"]
        assert [id(p) for p in one["params"]] == [id(p) for p in two["params"]]
    assert all(group["params"] for group in ours)


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_a_step_is_what_torch_and_transformers_do_by_hand(schedule, still_backbone, tiny_file, tmp_path):
    """Clipped gradients of the mean loss, AdamW with two groups, the schedule with its warm-up."""
    from transformers import AutoModelForSequenceClassification, get_scheduler

    config = recipe("full", tiny_file, still_backbone, max_grad_norm=0.5, weight_decay=0.1, lr_scheduler=schedule)
    loop = ready_loop(config, tmp_path)
    loop.prepared.embeddings.restore()  # the optimiser has the smaller table: compare the rest
    model = loop.prepared.model
    plain = AutoModelForSequenceClassification.from_pretrained(
        still_backbone, num_labels=2, attn_implementation="eager"
    )
    plain.load_state_dict(model.state_dict())
    trained = {n: p for n, p in plain.named_parameters() if "word_embeddings" not in n}
    model.get_input_embeddings().requires_grad_(False)
    plain.get_input_embeddings().requires_grad_(False)
    loop.parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = [p for n, p in trained.items() if "bias" not in n and "LayerNorm" not in n]
    spared = [p for n, p in trained.items() if "bias" in n or "LayerNorm" in n]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": spared, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=config.learning_rate)
    warmup = -(-loop.total_steps * 6 // 100)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    by_hand = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=loop.total_steps)
    plain.train()
    clipped = 0
    for group in loop.groups(0)[:4]:
        step(loop, group)
        ids = [loop.work.ids["train"][i] for i in group[0]]
        from trainer.engine.forward import pad

        input_ids, mask = pad(ids, loop.work.pad_id)
        labels = torch.tensor([loop.work.data.train.labels[i] for i in group[0]])
        plain(input_ids=input_ids, attention_mask=mask, labels=labels).loss.backward()
        clipped += float(nn.utils.clip_grad_norm_(trained.values(), 0.5)) > 0.5
        optimizer.step()
        by_hand.step()
        optimizer.zero_grad()
        assert loop.schedule.get_last_lr() == by_hand.get_last_lr()
    assert clipped
    ours = dict(model.named_parameters())
    for name, parameter in trained.items():
        if "key.bias" not in name:  # its gradient is 0 but for rounding, which AdamW divides by its own size
            torch.testing.assert_close(ours[name], parameter, atol=2e-4, rtol=1e-3, msg=name)


@pytest.mark.parametrize("name", ["full", "adapter_fusion"])
@pytest.mark.parametrize("sizes", [(8, 8), (16, 3), (5, 5, 1)])
def test_accumulated_gradients_are_those_of_one_batch(name, sizes, still_backbone, tiny_file, parents, tmp_path):
    """Of all sentences alike, however uneven the batches; the extra loss of a fusion counts once."""

    def gradients(group):
        config = recipe(name, tiny_file, still_backbone, max_grad_norm=1e9, learning_rate=1e-3, warmup_ratio=0)
        loop = ready_loop(config, tmp_path, parents)
        seen = []
        loop.optimizer.step = lambda: seen.extend(p.grad.clone() for p in loop.parameters)
        step(loop, group)
        (pending,) = loop.pending
        return seen, pending

    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    several = [list(range(start, start + size)) for start, size in zip(starts, sizes, strict=True)]
    (one, (loss, count)), (two, (losses, counts)) = gradients([list(range(sum(sizes)))]), gradients(several)
    assert count == counts == sum(sizes)
    torch.testing.assert_close(loss, losses)
    for a, b in zip(one, two, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_accumulation_makes_fewer_steps_of_more_sentences(tiny_backbone, tiny_file, tmp_path):
    loop = ready_loop(recipe("lora", tiny_file, tiny_backbone, gradient_accumulation_steps=4), tmp_path)
    sentences, batches = len(loop.dataset), -(-len(loop.dataset) // 16)
    assert loop.steps_per_epoch == -(-batches // 4)
    groups = loop.groups(0)
    assert len(groups) == loop.steps_per_epoch
    assert {len(group) for group in groups[:-1]} == {4}
    assert sorted(index for group in groups for batch in group for index in batch) == list(range(sentences))
    loop.run()
    assert loop.progress.step == loop.total_steps == 2 * loop.steps_per_epoch


def test_a_step_that_fp16_skips_does_not_advance_the_schedule(still_backbone, tiny_file, parents, tmp_path):
    """The scaler on a CPU, from a scale that overflows: skipped until it fits; then the gradients are the unscaled
    ones, those of the fusion's regulariser too."""
    config = recipe("adapter_fusion", tiny_file, still_backbone, max_grad_norm=1e9, warmup_ratio=0)
    # A fused optimiser is called for a skipped step too, and accelerate takes that for a step.
    fused = {
        p: ready_loop(config, tmp_path, parents, precision=p).optimizer.defaults["fused"] for p in ("fp16", "fp32")
    }
    assert fused == {"fp16": False, "fp32": True}
    plain = ready_loop(config, tmp_path, parents)
    loop = ready_loop(config, tmp_path, parents)
    optimizer = torch.optim.AdamW(parameter_groups(loop.prepared.model, 0.01, rate=1e-3), lr=1e-3)
    from transformers import get_scheduler

    loop.schedule = get_scheduler("linear", optimizer, num_warmup_steps=0, num_training_steps=100)
    # As accelerate sets itself up for fp16 on a GPU.
    loop.accelerator.state._mixed_precision = "fp16"
    loop.accelerator.native_amp = True
    loop.accelerator.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**24, growth_interval=1000)
    for parameter in loop.parameters:  # the range of fp16, which a GPU computes in
        parameter.register_hook(lambda gradient: gradient.half().float())
    loop.accelerator._optimizers.clear()
    loop.optimizer = loop.accelerator.prepare(optimizer)
    group = [list(range(16))]
    before, rate = weights(loop), loop.schedule.get_last_lr()
    step(loop, group)
    assert loop.accelerator.scaler.get_scale() == 2.0**23
    assert loop.schedule.get_last_lr() == rate
    assert all(torch.equal(values, before[name]) for name, values in weights(loop).items())
    assert loop.progress.step == 1, "it is a step all the same, or the epoch would not end"
    seen = []
    skipped = 0
    clip = loop.accelerator.clip_grad_norm_

    def look(parameters, norm):
        clip(parameters, norm)
        seen[:] = [p.grad.clone() for p in loop.parameters]

    loop.accelerator.clip_grad_norm_ = look
    while loop.schedule.get_last_lr() == rate and skipped < 24:
        step(loop, group)
        skipped += 1
    assert skipped < 24
    assert not all(torch.equal(values, before[name]) for name, values in weights(loop).items())
    expected = []
    plain.prepared.model.load_state_dict(plain.prepared.model.state_dict() | before)
    plain.optimizer.step = lambda: expected.extend(p.grad.clone() for p in plain.parameters)
    step(plain, group)
    for a, b in zip(seen, expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-2)


# Losses that are not numbers


def test_a_loss_that_is_no_number_is_named_by_its_step_and_nothing_of_it_is_saved(
    tiny_backbone, tiny_file, tmp_path, monkeypatch
):
    """Losses are read at reports; here at none, and a checkpoint or an evaluation comes first."""
    monkeypatch.setattr(training_loop, "SECONDS_BETWEEN_REPORTS", 1e9)
    for after in ("checkpoint", "evaluate"):
        loop = ready_loop(recipe("lora", tiny_file, tiny_backbone), tmp_path / after)
        loop.started, loop.first_step = time.perf_counter(), 0
        groups = loop.groups(0)
        step(loop, *groups[:3])
        with torch.no_grad():
            loop.parameters[0].fill_(float("nan"))
        step(loop, *groups[3:6])
        with pytest.raises(TrainingStopped, match=r"at step 4, got nan"):
            getattr(loop, after)()
        assert loop.best_state is None
        assert not (tmp_path / after / "checkpoints").exists()


def test_weights_that_are_no_numbers_are_never_saved(tiny_backbone, tiny_file, tmp_path):
    """The last loss may be a number and the step after it not."""
    loop = ready_loop(recipe("lora", tiny_file, tiny_backbone), tmp_path)
    step(loop, *loop.groups(0)[:2])
    with torch.no_grad():
        loop.parameters[0].fill_(float("nan"))
    loop.checkpoint()
    assert not (tmp_path / "checkpoints").exists()
    with pytest.raises(TrainingStopped, match="validation loss that is a number after step 2"):
        loop.evaluate()
    assert loop.best_state is None


# The machine


def test_runs_of_several_precisions_follow_one_another_and_threads_stay(tiny_backbone, tiny_file, tmp_path):
    threads = torch.get_num_threads()
    for precision in ("fp32", "bf16", "fp32"):
        accelerator = start_accelerator(device.detect(), precision)
        assert accelerator.mixed_precision == {"fp32": "no"}.get(precision, precision)
    model = ready_loop(recipe("lora", tiny_file, tiny_backbone), tmp_path)
    model.run()
    assert torch.get_num_threads() == threads


def test_the_model_is_its_own_again_after_training(tiny_backbone, tiny_file, tmp_path):
    """accelerate wraps the forward for bf16; what is saved and tested is the library's."""
    loop = ready_loop(recipe("full", tiny_file, tiny_backbone), tmp_path, precision="bf16")
    assert "forward" in vars(loop.prepared.model)
    loop.run()
    training._save_best(loop.request, loop.work, loop)
    model = loop.prepared.model
    assert model.forward.__func__ is type(model).forward


def test_batches_of_like_length_are_packed_too(tiny_backbone, tiny_file, tmp_path):
    from trainer.engine.batching import PackingCollator

    for like in (False, True):
        loop = ready_loop(recipe("lora", tiny_file, tiny_backbone, group_by_length=like), tmp_path)
        assert loop.sampler.similar is like
        assert type(loop.collator) is PackingCollator


def test_old_recipes_keep_their_fingerprints():
    """Hashes that were computed before recipes had `gradient_accumulation_steps`."""
    for method, expected in (("lora", "c91cfa5a5d558d44"), ("full", "b66721a47afad289")):
        path = VERSION_1 / f"{method}-movies-minilm-s0-bundled" / "run.json"
        stored = json.loads(path.read_text())["recipe"]
        stored.pop("gradient_accumulation_steps", None)
        config = RunConfig(**stored)
        assert config.gradient_accumulation_steps == 1
        assert config.fingerprint() == expected
        assert config.model_copy(update={"gradient_accumulation_steps": 2}).fingerprint() != expected


def train_beside(folder, config, environment):
    """In a process of its own, one of several that torchrun's environment describes."""
    os.environ |= environment
    torch.set_num_threads(1)
    events: list = []
    result = training.train(Request(config, folder, events.append))
    told = {"events": [event.kind for event in events], "result": result.model_dump(mode="json", by_alias=True)}
    (folder / f"{environment['RANK']}.json").write_text(json.dumps(told))


def test_two_processes_train_as_one(still_backbone, tiny_file, tmp_path):
    """They share each batch; the main one alone reports and writes."""
    config = recipe("lora", tiny_file, still_backbone, lora_dropout=0.0, batch_size=32, gradient_accumulation_steps=2)

    alone, shared = tmp_path / "alone", tmp_path / "shared"
    alone.mkdir()
    shared.mkdir()
    events: list = []
    one = training.train(Request(config, alone, events.append)).train_info.model_dump(mode="json", by_alias=True)
    environment = {"ACCELERATE_USE_CPU": "true", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    environment |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    ranks = [environment | {"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(2)]
    processes = [warm().Process(target=train_beside, args=(shared, config, rank)) for rank in ranks]
    for process in processes:
        process.start()
    for process in processes:
        process.join(180)
    assert [process.exitcode for process in processes] == [0, 0]
    main, other = (json.loads((shared / f"{rank}.json").read_text()) for rank in range(2))
    assert set(main["events"]) == {event.kind for event in events}
    assert other["events"] == []
    two = main["result"]["train_info"]
    assert one["real_tokens"] == two["real_tokens"]
    for a, b in zip(one["metrics"], two["metrics"], strict=True):
        assert a["loss"] == pytest.approx(b["loss"], abs=1e-4)
        assert a["train_loss"] == pytest.approx(b["train_loss"], abs=1e-4)
    from safetensors.torch import load_file

    first, second = (load_file(path / "model" / "adapter_model.safetensors") for path in (alone, shared))
    for name, values in first.items():
        torch.testing.assert_close(second[name], values, atol=2e-3, rtol=1e-2, msg=name)
    assert Path(shared / "predictions.parquet").is_file()
