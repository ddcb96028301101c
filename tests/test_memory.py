"""Memory of a training step, counted and simulated; the processor's energy; estimates in one table."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import sentences
from torch import nn

from trainer import methods
from trainer.analysis import tables
from trainer.engine import checkpoints, dry
from trainer.engine.accounting import LiveBytes
from trainer.engine.dry import Dry
from trainer.machine import measure
from trainer.machine.device import Device, detect
from trainer.methods import Parent, Setup
from trainer.runs import estimate, lengths, recipes, steps, ways
from trainer.runs.lengths import Lengths
from trainer.runs.result import Lineage, Memory
from trainer.sources import backbones
from trainer.training import simulate
from trainer.training import train as training
from trainer.training.request import Request

MEMORY = dict.fromkeys(measure.FIGURES) | {"host_memory_start": 100, "host_memory_peak": 350}


def recipe(method, task, backbone, **settings):
    common = {"epochs": 1, "batch_size": 16, "precision": "fp32", "validation_size": 16, "test_size": 16}
    return recipes.make(method=method, task=str(task), backbone=str(backbone), **common | settings)


def parents_of(config, folder):
    """Untrained adapters for a fusion, as the recipe would have them; () for other methods."""
    method, made = methods.get(config.method), []
    for number, options in enumerate(recipes.fused_options(config, [])):
        lender = methods.get(method.parent_method)
        setup = Setup(backbones.locate(config.backbone), ("bad", "good"), options, detect(), "fp32")
        lender.save(lender.build(setup), folder / f"p{number}", setup)
        made.append(Parent(f"p{number}", f"p{number}", folder / f"p{number}"))
    return tuple(made)


def trained(config, folder):
    """The result of a short training, and its predictions."""
    parents = parents_of(config, folder)
    untrained = SimpleNamespace(train_info=SimpleNamespace(train_time=0.0, file_size=0, num_trainable_params=0))
    results = (untrained,) * len(parents)
    result = training.train(Request(config, folder, lambda event: None, parents=parents, parent_results=results))
    return result, pd.read_parquet(folder / "predictions.parquet")


# Counting


class Two(nn.Module):
    """A frozen and a trained linear layer of 1,000 by 1,000."""

    def __init__(self):
        super().__init__()
        self.frozen, self.trained = nn.Linear(1000, 1000, bias=False), nn.Linear(1000, 1000, bias=False)
        self.frozen.requires_grad_(False)

    def forward(self, x):
        return self.trained(torch.relu(self.frozen(x)))


def test_each_part_of_a_step_is_what_theory_says():
    """4 million bytes a matrix; a batch of 500 rows is 2 million."""
    model = Two()
    optimizer = torch.optim.AdamW(model.trained.parameters(), fused=True)
    prepared = SimpleNamespace(model=model, shared=list)

    def update():
        model(torch.ones(500, 1000)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()

    update()
    with LiveBytes(prepared, optimizer) as live:
        update()
        # At the first moment with the most bytes: the loss's gradient, and the gradient of the trained weight.
        assert live.peak["weights"] == 8_000_000
        assert live.peak["optimizer_states"] == pytest.approx(8_000_000, abs=100)
        # relu's result, which is the trained layer's input, and the square's base.
        assert live.peak["activations"] == 4_000_000
        assert sum(live._bytes.values()) == pytest.approx(16_000_000, abs=100), "nothing of a step is left"
        live.restart()
        with torch.no_grad():
            kept = [model.frozen.weight.view(-1), model.frozen.weight.t(), torch.ones(250_000)]
        assert live.peak["temporary"] == 1_000_000, "views are no memory"
        del kept
        live.restart()
        model(torch.ones(500, 1000)).square().sum().backward()
        live.restart()
        optimizer.step()
        assert live.peak["gradients"] == 4_000_000
        assert live.peak["activations"] == 0


@pytest.fixture(scope="module")
def runs(tiny_backbone, tiny_file, tmp_path_factory):
    """Method -> its result after a few steps."""
    found = {}
    for method in methods.DEFAULT:
        config = recipe(method, tiny_file, tiny_backbone, train_size=48)
        found[method] = trained(config, tmp_path_factory.mktemp(method))[0]
    return found


def test_the_order_of_methods_is_right_and_the_parts_sum(runs):
    memory = {method: result.train_info.step_memory for method, result in runs.items()}
    for method, one in memory.items():
        parts = (one.weights, one.gradients, one.optimizer_states, one.activations, one.temporary)
        assert sum(parts) == one.peak, method
        trainable = runs[method].train_info.num_trainable_params
        assert one.optimizer_states >= 8 * trainable * (method != "full"), method
        assert one.steps == 3
    # The stock of dropout masks, which is as large for the smallest encoder, is temporary.
    assert memory["lora"].peak - memory["lora"].temporary < memory["full"].peak - memory["full"].temporary
    assert memory["qlora"].weights < memory["lora"].weights
    assert memory["qlora"].peak < memory["lora"].peak
    extra = memory["adapter_fusion"].weights - memory["adapter"].weights
    parents = runs["adapter_fusion"].train_info.num_total_params - runs["adapter"].train_info.num_total_params
    assert extra == pytest.approx(4 * parents, rel=0.02), "a fusion's frozen parents take memory"


def test_it_is_the_same_whatever_ran_before_and_changes_nothing(runs, tiny_backbone, tiny_file, tmp_path, monkeypatch):
    config = recipe("lora", tiny_file, tiny_backbone, train_size=48)
    first = runs["lora"].train_info.step_memory
    junk = [torch.ones(3_000_000) for _ in range(20)]
    (tmp_path / "after").mkdir()
    after, predicted = trained(config, tmp_path / "after")
    del junk[::2]
    gc.collect()
    monkeypatch.setattr(training.watch, "step_memory", lambda *_: None)
    (tmp_path / "unwatched").mkdir()
    unwatched, as_predicted = trained(config, tmp_path / "unwatched")
    assert after.train_info.step_memory.peak == pytest.approx(first.peak, rel=0.02)
    assert unwatched.train_info.step_memory is None
    assert unwatched.train_info.peak == unwatched.train_info.process_growth
    pd.testing.assert_frame_equal(predicted, as_predicted)
    for name in ("real_tokens", "padded_tokens", "steps"):
        assert getattr(after.train_info, name) == getattr(unwatched.train_info, name)
    weights = [checkpoints.load_state(next((tmp_path / name / "model").glob("*.safetensors"))) for name in
               ("after", "unwatched")]  # fmt: skip
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_a_run_from_before_keeps_its_figure_and_is_not_compared_silently(runs):
    old = Memory(**MEMORY)
    assert (old.peak, old.process_growth) == (250, 250)
    new = Memory(**MEMORY, step_memory=runs["lora"].train_info.step_memory)
    assert new.peak == runs["lora"].train_info.step_memory.peak

    def run(memory):
        info = SimpleNamespace(precision="fp32", batch_size=16, peak=memory.peak, step_memory=memory.step_memory)
        named = SimpleNamespace(backbone="minilm")
        result = SimpleNamespace(train_info=info)
        return SimpleNamespace(
            result=result,
            split_fingerprint="a",
            recipe=named,
            device_name="a CPU",
            adopted=None,
            lineage=Lineage(parents=()),
        )

    assert tables.comparable([run(new), run(new)]) == tables.comparable([run(old), run(old)]) == []
    (warning,) = tables.comparable([run(old), run(new)])
    assert "do not compare their peak memory" in warning


# Simulating


def test_what_is_not_computed_has_the_shapes_aliases_and_results_of_what_is(monkeypatch):
    monkeypatch.setattr(dry, "SMALL", 10)
    with Dry() as simulated:
        x = torch.empty(30, 20)
        assert x.t().data_ptr() == x.data_ptr()
        assert (x @ x.t()).shape == (30, 30)
        assert x.mul_(2) is x
        assert torch.nn.functional.layer_norm(x, (20,)).dtype == torch.float32
        assert int(torch.arange(4).sum()) == 6, "small tensors are computed"
        assert x.to(torch.bfloat16).dtype == torch.bfloat16
        values, indices = x.max(dim=1)
        assert (values.shape, indices.dtype) == ((30,), torch.int64)
    assert simulated.work.products == 2 * 30 * 30 * 20
    assert simulated.work.operations >= 6


@pytest.mark.parametrize("method", list(methods.DEFAULT))
def test_a_simulated_step_takes_what_a_real_one_takes(method, runs, tiny_backbone, tiny_file, monkeypatch):
    monkeypatch.setattr(dry, "SMALL", 1024)
    config = recipe(method, tiny_file, tiny_backbone, train_size=48)
    known, before = lengths.of(config), torch.get_rng_state()
    with tempfile.TemporaryDirectory() as folder:
        step = simulate.simulate(
            config, recipes.fused_options(config, []), 2, known, device=detect(), folder=Path(folder)
        )
    assert torch.equal(before, torch.get_rng_state())
    real = runs[method].train_info.step_memory
    assert step.memory.peak == pytest.approx(real.peak, rel=0.05)
    for part in ("weights", "optimizer_states"):
        assert getattr(step.memory, part) == pytest.approx(getattr(real, part), rel=0.1, abs=2000), part
    assert step.products > 0 < step.moved


def test_lengths_are_those_of_the_sentences(tiny_backbone, tiny_file, tmp_path):
    texts = [text for text, _ in sentences(240)]
    known = lengths.of(recipe("lora", tiny_file, tiny_backbone))
    assert known.mean == pytest.approx(np.mean([len(text.split()) + 2 for text in texts]), rel=0.01)
    assert 20 < known.distinct < 32
    assert max(lengths.of(recipe("lora", tiny_file, tiny_backbone, max_length=8)).sample) == 8
    assert len(known.all()) == known.sentences
    assert lengths.of(recipes.make(method="lora", task="sst2", backbone="minilm")).mean == pytest.approx(28, rel=0.1)


def test_one_table_is_estimated_one_way(tiny_backbone, tiny_file, tmp_path, monkeypatch):
    """Where one of the methods has a simulated step and the other has none, neither is estimated from it."""
    monkeypatch.setattr(steps, "_steps", {})
    monkeypatch.setattr(steps, "_path", lambda kind, content: tmp_path / f"{kind}-{hash(str(content))}.json")
    here = Device("cpu", "a processor", 10**9, ("fp32",))
    lora, full = (recipe(method, tiny_file, tiny_backbone) for method in ("lora", "full"))
    key = steps.key_of(lora, fused=(), labels=2, lengths=lengths.of(lora), device="cpu", precision="fp32")
    memory = {"peak": 10, "weights": 10, "gradients": 0, "optimizer_states": 0, "activations": 0, "temporary": 0}
    step = steps.Step(memory=memory | {"steps": 1}, tokens=16 * 16, products=1e6, moved=1e6, operations=100)
    steps.store(key, step)
    steps.store_speed(here.name, "fp32", steps.Speed(operation=1e-3, product=0, byte=0))
    (alone,) = estimate.estimates([lora], device=here)
    updates = -(-lengths.of(lora).sentences // 16)
    assert (alone.memory, alone.seconds) == (10, pytest.approx(updates * 0.1))
    assert alone.based_on == "a simulated step and a probe of this machine's speed"
    assert alone.memory_based_on == "a simulated step"
    both = estimate.estimates([lora, full], device=here)
    assert {one.based_on for one in both} | {one.memory_based_on for one in both} == {"the shapes alone"}
    assert steps.Speed(operation=1, product=2, byte=3).seconds(step, share=0.5) == 100 + 0.5 * (2e6 + 3e6)
    other = steps.key_of(lora, fused=(), labels=2, lengths=Lengths(9, (5,), 3), device="cpu", precision="fp32")
    assert steps.stored(other) is None


def test_earlier_runs_correct_a_probe_that_was_too_slow(suite, tmp_path, monkeypatch):
    """With one earlier run of the same recipe the estimate is what that run took, whatever the probe."""
    monkeypatch.setattr(steps, "_steps", {})
    monkeypatch.setattr(steps, "_path", lambda kind, content: tmp_path / f"{kind}-{hash(str(content))}.json")
    here = Device("cpu", "a processor", 10**9, ("fp32",))
    lora, full = (next(run for run in suite[0].list() if run.recipe.method == name) for name in ("lora", "full"))
    memory = {"peak": 10, "weights": 10, "gradients": 0, "optimizer_states": 0, "activations": 0, "temporary": 0}
    step = steps.Step(memory=memory | {"steps": 1}, tokens=16 * 16, products=1e6, moved=1e6, operations=100)
    config = lora.recipe.model_copy(update={"precision": "fp32"})
    known = lengths.of(config)
    steps.store(steps.key_of(config, fused=(), labels=2, lengths=known, device="cpu", precision="fp32"), step)
    monkeypatch.setattr(type(here), "choose", lambda self, asked: "fp32")
    for seconds in (1e-3, 3e-3):
        steps.store_speed(here.name, "fp32", steps.Speed(operation=seconds, product=0, byte=0))
        alone, basis = ways.time_of_step(config, earlier=[], device=here)
        assert basis == "a simulated step and a probe of this machine's speed"
        corrected, basis = ways.time_of_step(config, earlier=[], device=here, runs=[lora, full])
        assert corrected == pytest.approx(lora.result.train_info.train_time) != alone
        assert basis == "a simulated step and 1 earlier run", "full has no simulated step"


# Energy


def package(folder, name, value, wraps=1_000_000_000):
    folder.mkdir(exist_ok=True)
    for file, content in (("name", name), ("energy_uj", value), ("max_energy_range_uj", wraps)):
        (folder / file).write_text(f"{content}\n")


def test_energy_of_all_packages_is_summed_and_wraps_around(tmp_path):
    package(tmp_path / "intel-rapl:0", "package-0", 999_000_000)
    package(tmp_path / "intel-rapl:1", "package-1", 5_000_000)
    package(tmp_path / "intel-rapl:0:0", "core", 1)
    package(tmp_path / "intel-rapl:2", "psys", 1)
    meter = measure.Rapl(tmp_path)
    assert meter.read() == 0
    package(tmp_path / "intel-rapl:0", "package-0", 2_000_000)
    package(tmp_path / "intel-rapl:1", "package-1", 9_000_000)
    assert meter.read() == pytest.approx(3 + 4)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("what")
    assert meter.read() is None
    assert measure.Rapl(tmp_path / "none").read() is None


@pytest.mark.parametrize(
    ("bases", "text"),
    [((), ""), (("5 earlier runs",) * 3, "5 earlier runs"), (("5 runs", "20 runs"), "5 runs or 20 runs, by method")],
)
def test_what_several_methods_figures_stand_on_is_one_phrase(bases, text):
    assert estimate.bases(bases) == text
