"""The methods beside the first five: what each brings, beside the contract in test_methods.py.

As a program it writes docs/methods.md.
"""

from __future__ import annotations

import json
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from conftest import finished_run, sentences

from trainer import methods
from trainer.analysis import colours
from trainer.errors import ArgumentError, Problems, UserError
from trainer.events import Started, Step
from trainer.jobs import adoption
from trainer.methods import Setup, peft_family
from trainer.runs import lengths, recipes
from trainer.serving.predictor import Predictor
from trainer.sources import backbones
from trainer.training import loop
from trainer.training import train as training
from trainer.training.request import Request
from trainer.ui.train import form as train_form

sys.path.insert(0, str(Path(__file__).parent))
from test_methods import LABELS, SMALL, small_model

DOCUMENT = Path(__file__).parents[1] / "docs" / "methods.md"
FAMILY = [method.name for method in peft_family.METHODS]
OTHERS = [name for name in methods.METHODS if name not in methods.DEFAULT]
ADOPTED = [name for name in OTHERS if methods.get(name).library == "peft" and name != "lora_all"]
"""An adapter of LoRA from elsewhere is `lora`, whatever it adapts."""
ABOUT = """# Methods

A run's `--method`, by group. The first five (`full`, `lora`, `qlora`, `adapter`, `adapter_fusion`) are those of a suite
that names none; their options stand in [the command line](command-line.md#settings). `head_only` and `bitfit` train a
part of transformers' own classifier; the others are PEFT's, under its own names of types and settings. This page is
made from the methods, see [contributing](contributing.md#add-a-method).

- Trained: parameters on MiniLM with the default options and two labels, the head of 770 included.
- Merges: the update can be added to the backbone's weights, so that predicting costs nothing more.
- Encoders: the kinds that the method works on; a run on another one is refused before it is queued.
- Speed-ups: those that a model of the method trains and predicts with; all keep its logits and gradients. Those that
  are absent are not used with the method.
- Rates: its own peak learning rates on small and on other encoders. Those of the first five are
  [tuned in one sweep](../benchmarks/README.md). **Those of the others are not swept yet**: a comparison between them
  and the five says little before you have tried rates of your own (`--set vera.learning_rate=...`). `run`, which names
  its method, takes an option with or without that name.
"""
ABSENT = """
## Not here

Types of PEFT that are no method here, and why.

| Type | Why |
| --- | --- |
"""
OPTIONS = """
## Options

Of the methods beside the first five.

| Option | Default | What it is |
| --- | --- | --- |
"""


def generated() -> str:
    """The page of methods."""
    shape, parts = backbones.BACKBONES["minilm"].shape, [ABOUT]
    for group, title in methods.GROUPS.items():
        rows = []
        for name, method in methods.METHODS.items():
            if method.group != group:
                continue
            count = method.trainable_parameters(shape, method.options(), 2, parents=_parents(method))
            allowed = [one for one, allows in vars(method.speedups).items() if allows]
            rates = " / ".join(f"{rate:g}" for rate in method.learning_rates)
            cells = [f"`{name}`", method.title, method.summary, f"{count:,}", rates, "yes" if method.merges else "no"]
            every = method.families == tuple(backbones.FAMILIES)
            cells.append("all" if every else ", ".join(f"`{family}`" for family in method.families))
            rows.append([*cells, ", ".join(f"`{one}`" for one in allowed), method.paper])
        heading = ["Method", "Name", "What trains", "Trained", "Rates", "Merges", "Encoders", "Speed-ups", "Paper"]
        lines = [heading, ["---"] * len(heading), *rows]
        parts.append(f"\n## {title}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines))
    parts.append(ABSENT)
    parts += [f"| `{name}` | {why} |\n" for name, why in methods.ABSENT.items()]
    parts.append(OPTIONS)
    for name in OTHERS:
        for option, field in methods.get(name).options.model_fields.items():
            value = ",".join(field.default) if isinstance(field.default, tuple) else f"{field.default}"
            parts.append(f"| `{name}.{option}` | `{value}` | {field.description} |\n")
    return "".join(parts)


def _parents(method: methods.Method) -> tuple:
    return recipes.options_of_parents(method, "movies", method.options())


def test_the_page_of_methods_is_what_the_methods_say():
    assert DOCUMENT.read_text(encoding="utf-8") == generated(), "PYTHONPATH=. python tests/test_peft_family.py"


def plain(name: str, folder: Path, backbone: Path, **changes: object):
    """An adapter of this type as PEFT alone makes and saves it, its weights moved: (model, folder)."""
    from peft import get_peft_config, get_peft_model
    from transformers import AutoModelForSequenceClassification

    torch.manual_seed(0)
    method = methods.get(name)
    base = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=2)
    own = {key: value for key, value in SMALL.get(name, {}).items() if key in method.options.model_fields}
    if name == "c3a":
        own.setdefault("block_size", 16)
    targets = {"target_modules": ["query", "value"]}
    if name == "ia3":
        # "output.dense" alone would adapt the attention's output too.
        targets = {"target_modules": ["key", "query"], "feedforward_modules": []}
    if name == "ln_tuning":
        targets = {"target_modules": ["LayerNorm"]}
    if method.group == methods.PROMPTS:
        targets = {}
    made = {"peft_type": method.peft_type, "task_type": "SEQ_CLS", "modules_to_save": ["classifier"], **targets}
    model = get_peft_model(base, get_peft_config(made | own | changes))
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.05 * torch.randn_like(parameter)
    model.save_pretrained(folder, save_embedding_layers=False)
    return model.eval(), folder


@pytest.mark.parametrize("name", ADOPTED)
def test_an_adapter_that_peft_alone_saved_is_adopted_with_its_logits(name, tiny_backbone, tmp_path):
    model, folder = plain(name, tmp_path / "plain", tiny_backbone)
    config = json.loads((folder / "adapter_config.json").read_text())
    backbone = backbones.locate(str(tiny_backbone))
    recognised, options = adoption.recognise(config, str(tiny_backbone))
    assert recognised == name
    method = methods.get(name)
    from trainer.machine import device

    setup = Setup(backbone, LABELS, method.options(**options), device.detect(), "fp32")
    method.check_source(folder, backbone.shape, setup.options)
    (tmp_path / "own").mkdir()
    method.adopt(folder, tmp_path / "own", setup, ())
    method.check(tmp_path / "own", setup)
    ids = torch.tensor([[2, 5, 9, 6, 13, 3], [2, 5, 21, 6, 14, 3]])
    with torch.no_grad():
        a = model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        ours = method.open(tmp_path / "own", setup)
        b = ours(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        torch.testing.assert_close(b, a, atol=1e-5, rtol=1e-5)
        merged = method.merge(ours)
        assert (merged is not None) == method.merges
        if merged is None:
            return
        c = merged(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    torch.testing.assert_close(c, a, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("name", OTHERS)
def test_a_run_that_was_broken_off_ends_as_an_unbroken_one_to_the_bit(
    name, tiny_backbone, tiny_file, tmp_path, monkeypatch
):
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_CHECKPOINTS", 0.0)
    monkeypatch.setattr(loop, "SECONDS_BETWEEN_REPORTS", 0.0)
    sizes = {"train_size": 64, "validation_size": 16, "test_size": 16, "epochs": 1, "batch_size": 16}
    config = recipes.make(
        method=name, task=str(tiny_file), backbone=str(tiny_backbone), precision="fp32", **sizes, **SMALL.get(name, {})
    )

    class Broken(Exception): ...

    def breaks(event) -> None:
        if isinstance(event, Step) and event.step == 2:
            raise Broken

    seen = []
    for folder, emits in (("whole", [seen.append]), ("broken", [breaks, seen.append])):
        (tmp_path / folder).mkdir()
        for emit in emits:
            with suppress(Broken):
                training.train(Request(config, tmp_path / folder, emit, costs=False))
    assert [event.resumed_at_step for event in seen if isinstance(event, Started)] == [0, 1]
    file = "model.safetensors" if methods.get(name).saves_whole else "adapter_model.safetensors"
    whole, broken = (tmp_path / folder / "model" / file for folder in ("whole", "broken"))
    assert whole.read_bytes() == broken.read_bytes()


@pytest.mark.parametrize(
    ("name", "changes", "named"),
    [
        ("vera", {"projection_prng_key": 5}, "projection_prng_key=5"),
        ("fourierft", {"random_loc_seed": 3}, "random_loc_seed=3"),
        ("loha", {"rank_pattern": {"query": 4}}, "rank_pattern"),
        ("oft", {"block_share": True}, "block_share=true"),
        ("gralora", {"hybrid_r": 4}, "hybrid_r=4"),
        ("lokr", {"decompose_both": True}, "decompose_both=true"),
        ("miss", {"init_weights": "bat"}, 'init_weights="bat"'),
    ],
)
def test_a_setting_that_has_no_option_here_is_refused_by_name(name, changes, named, tiny_backbone, tmp_path):
    _, folder = plain(name, tmp_path / "plain", tiny_backbone, **changes)
    config = json.loads((folder / "adapter_config.json").read_text())
    with pytest.raises(ArgumentError, match=named):
        adoption.recognise(config, str(tiny_backbone))


@pytest.mark.parametrize("name", ["vera", "oft"])
def test_a_saved_folder_with_other_tensors_is_refused(name, tmp_path):
    from safetensors.torch import load_file, save_file

    model, setup = small_model(name, "bert", tmp_path / "encoder")
    method, folder = methods.get(name), tmp_path / "saved"
    method.save(model, folder, setup)
    method.check(folder, setup)
    weights = load_file(folder / "adapter_model.safetensors")
    first = sorted(weights)[0]
    for damaged in ({key: weights[key] for key in weights if key != first}, weights | {first: weights[first][:1]}):
        save_file(damaged, folder / "adapter_model.safetensors")
        with pytest.raises(UserError):
            method.check(folder, setup)


@pytest.mark.parametrize(
    ("name", "options", "named"),
    [
        ("vblora", {"vector_length": 100}, "a divisor of 384 as vector_length, got 100"),
        ("c3a", {"block_size": 256}, "a divisor of 384 as block_size, got 256"),
        ("road", {"group_size": 100}, "a divisor of 384 as group_size, got 100"),
        (
            "oft",
            {"oft_block_size": 7, "target_modules": ("output",)},
            "a divisor of 384, 1536 as oft_block_size, got 7",
        ),
        ("gralora", {"gralora_k": 4, "r": 6}, "a divisor of 6, 384 as gralora_k, got 4; choose another, such as 6"),
        ("fourierft", {"n_frequency": 200_000}, "at most 147,456 as n_frequency"),
    ],
)
def test_options_that_do_not_fit_the_encoder_are_refused_before_anything_is_queued(name, options, named):
    with pytest.raises(Problems, match=named):
        recipes.make(method=name, task="movies", backbone="minilm", **options)


def test_a_rank_beyond_a_small_encoders_width_is_refused(tiny_backbone):
    with pytest.raises(Problems, match="at most 64 as r of this encoder, got 65"):
        recipes.make(method="miss", task="movies", backbone=str(tiny_backbone), r=65)


def test_the_defaults_fit_every_backbone_of_the_list():
    for name in FAMILY:
        for backbone in backbones.BACKBONES:
            recipes.make(method=name, task="movies", backbone=backbone)


def test_the_form_takes_more_methods_and_their_options():
    given = {
        "methods": ["lora"],
        "more_methods": ["vera", "ia3"],
        "more_options": "vera.r=128 ia3.target_modules=key,value",
    }
    configs, _ = train_form.recipes_of(train_form.defaults("quick") | given)
    assert [config.method for config in configs] == ["lora", "vera", "ia3"]
    assert configs[1].options["r"] == 128
    assert tuple(configs[2].options["target_modules"]) == ("key", "value")
    assert configs[0].options["r"] == 16
    for wrong, said in (
        ("vera.q=1", "VeRA: .* got 'q'"),
        ("vera.r", "METHOD.NAME=VALUE, got 'vera.r'; write, say, vera.r=128"),
        ("epochs=7", "METHOD.NAME=VALUE, got 'epochs=7'"),
        ("vera.r=8 vera.r=9", "vera.r: expected once"),
        ("lokr.r=4", "lokr"),
        ("vera.r=0", "VeRA: r: expected"),
    ):
        with pytest.raises(Problems, match=said):
            train_form.recipes_of(train_form.defaults("quick") | given | {"more_options": wrong})


@pytest.mark.parametrize(
    "name", [method.name for method in methods.METHODS.values() if method.group == methods.PROMPTS]
)
def test_a_text_leaves_room_for_the_vectors_before_it(name, tiny_backbone, own_store, tmp_path):
    """The tiny encoder has 64 positions: with 4 vectors a text has 60 tokens, in training as in predicting."""
    rows = [(f"{text} {'and the cast is warm ' * 20}", label) for text, label in sentences(60)]
    file = tmp_path / "long.csv"
    file.write_text("sentence,label\n" + "".join(f"{text},{label}\n" for text, label in rows))
    config = recipes.make(
        method=name, task=str(file), backbone=str(tiny_backbone), epochs=1, max_length=64, num_virtual_tokens=4
    )
    assert lengths.limit(config) == 60
    assert lengths.fit(config).limit == 60
    run = finished_run(own_store, config)
    answer = Predictor(own_store).predict_one(rows[0][0], run)
    assert (answer.tokens_read, answer.cut) == (60, True)
    with pytest.raises(Problems, match="at most 56 as num_virtual_tokens of this encoder, got 57"):
        recipes.make(method=name, task=str(file), backbone=str(tiny_backbone), num_virtual_tokens=57)


def test_every_type_of_peft_is_a_method_or_has_a_reason_why_not():
    from peft import PeftType

    here = {method.peft_type for method in methods.METHODS.values() if "peft" in method.library}
    assert here | set(methods.ABSENT) == {kind.value for kind in PeftType}
    assert not here & set(methods.ABSENT)


def test_every_method_has_a_colour_of_its_own_and_a_group():
    assert len(set(colours.COLOURS.values())) == len(methods.METHODS)
    assert {method.group for method in methods.METHODS.values()} == set(methods.GROUPS)


if __name__ == "__main__":
    DOCUMENT.write_text(generated(), encoding="utf-8")
