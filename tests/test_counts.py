"""What a recipe says of a model against models that are really built: counts, LoRA's variants, foreign adapters."""

from __future__ import annotations

import json
from functools import partial

import pytest
from conftest import sentences
from hypothesis import given as varied
from hypothesis import settings
from hypothesis import strategies as st
from pydantic import ValidationError

from trainer import methods, tasks
from trainer.analysis import lesson
from trainer.errors import ArgumentError
from trainer.jobs import adoption, worker
from trainer.jobs import queue as jobs
from trainer.machine import device
from trainer.methods import Parent, Setup
from trainer.runs import estimate, recipes
from trainer.runs.store import Store
from trainer.sources import backbones
from trainer.training import optimiser

LABELS = ("a", "b", "c")


def located(family: str, folder) -> backbones.Located:
    """A small encoder of a family, with random weights."""
    from transformers import AutoModel, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig, XLMRobertaConfig

    sizes = {"vocab_size": 50, "max_position_embeddings": 40}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}
    config = {
        "bert": lambda: BertConfig(**layers, **sizes),
        "roberta": lambda: RobertaConfig(type_vocab_size=1, **layers, **sizes),
        "xlm-roberta": lambda: XLMRobertaConfig(type_vocab_size=1, **layers, **sizes),
        "electra": lambda: ElectraConfig(embedding_size=16, **layers, **sizes),
        "distilbert": lambda: DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, **sizes),
    }[family]()
    AutoModel.from_config(config).save_pretrained(folder)
    shape = backbones.Shape.from_config(json.loads((folder / "config.json").read_text()))
    return backbones.Located("tiny", folder, shape, "tiny", None)


def counted(model) -> tuple[int, int]:
    """(trainable, all) parameters, without PEFT's frozen copy of the fresh head."""
    found = [p for name, p in model.named_parameters() if "original_module" not in name]
    return sum(p.numel() for p in found if p.requires_grad), sum(p.numel() for p in found)


PARENTS = [
    [{}, {}],
    [{}] * 5,
    [{"reduction_factor": 4}, {"reduction_factor": 16}, {"reduction_factor": 4}],
    [{"placement": "houlsby"}] * 3,
    [{"placement": "houlsby", "reduction_factor": 2}, {"placement": "houlsby"}],
]


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("own", PARENTS)
def test_a_fusion_is_counted_with_the_parents_that_it_fuses(family, own, tmp_path):
    backbone = located(family, tmp_path)
    adapter, fusion = methods.get("adapter"), methods.get("adapter_fusion")
    options, parents = [adapter.options(**values) for values in own], []
    for i, one in enumerate(options):
        setup = Setup(backbone, LABELS, one, device.detect())
        adapter.save(adapter.build(setup), tmp_path / f"p{i}", setup)
        parents.append(Parent(f"p{i}", f"p{i}", tmp_path / f"p{i}"))
    setup = Setup(backbone, LABELS, fusion.options(), device.detect(), parents=tuple(parents))
    trainable, total = counted(fusion.build(setup))
    shape, labels = backbone.shape, len(LABELS)
    assert fusion.trainable_parameters(shape, setup.options, labels, parents=options) == trainable
    assert shape.encoder_parameters + fusion.added_parameters(shape, setup.options, labels, parents=options) == total
    parts = fusion.parts(shape, setup.options, labels, parents=options)
    assert sum(part.total for part in parts) == total
    assert sum(part.total for part in parts if part.trains) == trainable


def test_a_fusion_without_parents_has_no_count():
    fusion, shape = methods.get("adapter_fusion"), backbones.shape_of("minilm")
    with pytest.raises(ValueError, match="give their options"):
        fusion.added_parameters(shape, fusion.options(), 2)


@pytest.mark.parametrize("task", [*tasks.TASKS, "file"])
@pytest.mark.parametrize("given", [{}, {"parent_tasks": ("movies", "news", "tweets")}, {"placement": "houlsby"}])
def test_an_estimate_counts_the_adapters_that_are_trained_for_the_task(task, given, tmp_path):
    import pandas as pd

    if task == "file":
        task = str(tmp_path / "mine.csv")
        pd.DataFrame(sentences(40), columns=["sentence", "label"]).to_csv(task, index=False)
    config = recipes.make(method="adapter_fusion", task=task, backbone="minilm", **given)
    parents = recipes.parents_of(config)
    adapter, shape = methods.get("adapter"), backbones.shape_of("minilm")
    options = [adapter.options(**parent.options) for parent in parents]
    assert list(recipes.fused_options(config, [])) == options
    found, (_, labels) = estimate.estimate(config), tasks.extent(config)
    each = adapter.added_parameters(shape, options[0], labels) - shape.head_parameters(labels)
    assert found.total_parameters == shape.encoder_parameters + len(parents) * each + found.trainable_parameters


def test_an_estimate_counts_named_parents_as_they_are(own_store):
    def adapter(task, **given):
        return own_store.create(recipes.make(method="adapter", task=task, backbone="minilm", **given))

    wide, narrow = adapter("movies", reduction_factor=2), adapter("news", reduction_factor=64)
    other = own_store.create(recipes.make(method="lora", task="movies", backbone="minilm"))
    config = recipes.make(
        method="adapter_fusion", task="movies", backbone="minilm", parents=(wide.id, narrow.id, other.id, "gone")
    )
    found = recipes.fused_options(config, own_store.list())
    assert [options.reduction_factor for options in found] == [2, 64, 16, 16]
    total = estimate.estimate(config, earlier=own_store.list()).total_parameters
    assert total > estimate.estimate(config).total_parameters


def test_the_lesson_draws_the_adapters_of_its_own_task():
    parts = lesson.anatomy("adapter_fusion", "minilm").parts
    copies = [part.copies for part in parts if part.name == "bottleneck"]
    assert copies == [len(recipes.parents_of(lesson.recipe("adapter_fusion")))]


VARIANTS = [
    {"use_dora": True},
    {"use_rslora": True},
    {"use_dora": True, "use_rslora": True, "r": 4, "target_modules": ("query", "intermediate", "output")},
    {"lora_bias": True, "target_modules": ("query", "output")},
    {"train_pooler": True, "lora_bias": True, "use_rslora": True},
]


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("name", ["lora", "qlora"])
@pytest.mark.parametrize("given", VARIANTS)
def test_variants_of_lora_are_counted_saved_opened_and_recognised(family, name, given, tmp_path):
    """DoRA has one magnitude an output besides; what is saved gives the same logits and tells its own options."""
    import torch

    from trainer.engine.sharing import Pool

    backbone, method = located(family, tmp_path), methods.get(name)
    setup = Setup(backbone, LABELS, method.options(**given), device.detect())
    if setup.options.train_pooler and not backbone.family.uses_pooler:
        for refused in (method.build, lambda s: method.trainable_parameters(backbone.shape, s.options, len(LABELS))):
            with pytest.raises(ArgumentError, match="turn train_pooler off"):
                refused(setup)
        return
    model = method.build(setup)
    trainable, _ = counted(model)
    off = {"use_dora": False, "lora_bias": False, "train_pooler": False}
    plain = method.trainable_parameters(backbone.shape, method.options(**given | off), len(LABELS))
    outputs = [backbone.shape.linear(target)[1] for target in setup.options.target_modules]
    each = backbone.shape.layers * sum(outputs) * (setup.options.use_dora or setup.options.lora_bias)
    width = backbone.shape.hidden
    more = each + (width * width + width) * setup.options.train_pooler
    assert trainable == method.trainable_parameters(backbone.shape, setup.options, len(LABELS)) == plain + more
    parts = method.parts(backbone.shape, setup.options, len(LABELS))
    assert sum(part.total for part in parts if part.trains) == trainable
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn_like(parameter)
    method.save(model.eval(), tmp_path / "saved", setup)
    opened = method.open(tmp_path / "saved", setup)
    ids = torch.randint(2, 50, (3, 9))
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    with torch.no_grad():
        expected = model(**batch).logits
        assert torch.equal(opened(**batch).logits, expected)
        asked = method.for_inference(opened, setup)
        Pool().add(asked, prepack=method.speedups.prepacked)
        torch.testing.assert_close(asked(**batch).logits, expected, atol=1e-5, rtol=1e-5)
    config = json.loads((tmp_path / "saved" / "adapter_config.json").read_text())
    told = methods.get("lora").recognise(config, backbone.shape)
    assert methods.get("lora").options(**told) == methods.get("lora").options(
        **setup.options.model_dump(exclude={"double_quantisation"})
    )


@pytest.mark.parametrize("name", ["lora", "qlora", "lora_all"])
def test_lora_fa_trains_b_alone_and_lora_plus_gives_b_a_rate_of_its_own(name, tmp_path):
    backbone, method = located("bert", tmp_path), methods.get(name)
    setup = Setup(backbone, LABELS, method.options(freeze_a=True, b_rate=16), device.detect())
    model = method.build(setup)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert not [name for name in trained if ".lora_A." in name]
    assert counted(model)[0] == method.trainable_parameters(backbone.shape, setup.options, len(LABELS))
    parts = method.parts(backbone.shape, setup.options, len(LABELS))
    assert sum(part.total for part in parts if part.trains) == counted(model)[0]
    plain = Setup(backbone, LABELS, method.options(), device.detect())
    a = method.trainable_parameters(backbone.shape, plain.options, len(LABELS)) - counted(model)[0]
    inputs = [backbone.shape.linear(target)[0] for target in setup.options.target_modules]
    assert a == backbone.shape.layers * sum(inputs) * setup.options.r
    assert method.added_parameters(backbone.shape, setup.options, len(LABELS)) == method.added_parameters(
        backbone.shape, plain.options, len(LABELS)
    )
    factor = partial(method.rate_factor, options=setup.options)
    groups = optimiser.parameter_groups(model, 0.1, rate=1e-3, factor=factor)
    b = {id(p) for name, p in model.named_parameters() if ".lora_B." in name}
    rates = {id(p) in b: group["lr"] for group in groups for p in group["params"]}
    assert rates == {True: 16e-3, False: 1e-3}
    assert {id(p) for group in groups for p in group["params"]} == {
        id(p) for p in model.parameters() if p.requires_grad
    }


def test_an_adapter_of_a_variant_trains_and_is_taken_from_elsewhere_with_its_switches(
    own_store, tiny_backbone, tiny_file, monkeypatch
):
    monkeypatch.setattr(jobs, "ensure_worker", lambda store: None)
    # In bf16 DoRA's norms are those of rounded weights in training alone: within the type's error, not to the label.
    shared = {"task": str(tiny_file), "backbone": str(tiny_backbone), "precision": "fp32"}
    settings = {"use_dora": True, "use_rslora": True, "r": 4, "epochs": 3, "batch_size": 16, "learning_rate": 1e-2}
    (run,) = jobs.launch(own_store, [recipes.make(method="lora", **shared, **settings)])
    worker._supervise(own_store, run, worker._context())
    run = own_store.load(run.id)
    assert run.state == "finished", run.error
    losses = [row.train_loss for row in run.result.train_info.metrics]
    assert losses[-1] < losses[0]
    cost = estimate.estimate(run.recipe)
    assert cost.trainable_parameters == run.result.train_info.num_trainable_params
    taken = adoption.adopt(own_store, str(run.model_folder), **shared)
    assert taken.recipe.options == run.recipe.options
    worker._supervise(own_store, taken, worker._context())
    taken = own_store.load(taken.id)
    assert taken.state == "finished", taken.error
    assert taken.result.test.confusion_matrix == run.result.test.confusion_matrix
    assert taken.result.train_info.num_trainable_params == run.result.train_info.num_trainable_params


def test_a_scale_by_the_root_of_the_rank_is_another_update(tmp_path):
    """Kalajdzievski 2023: lora_alpha / sqrt(r), against Hu et al.'s lora_alpha / r."""
    from peft.tuners.lora import LoraLayer

    backbone, method = located("bert", tmp_path), methods.get("lora")
    for given, scale in (({}, 32 / 4), ({"use_rslora": True}, 32 / 2)):
        setup = Setup(backbone, LABELS, method.options(r=4, **given), device.detect())
        layers = [module for module in method.build(setup).modules() if isinstance(module, LoraLayer)]
        assert {layer.scaling["default"] for layer in layers} == {scale}


def test_a_recipe_from_before_an_option_says_what_was_done_then(own_store):
    """Its fingerprint is that of today's recipe, so that what was trained then is not trained again."""
    recipe = recipes.make(method="lora", task="movies", backbone="minilm")
    run = own_store.create(recipe)
    path = run.folder / "run.json"
    told = json.loads(path.read_text(encoding="utf-8"))
    del told["recipe"]["options"]["use_dora"], told["recipe"]["options"]["use_rslora"]
    path.write_text(json.dumps(told), encoding="utf-8")
    assert Store(own_store.root).load(run.id).recipe.fingerprint() == recipe.fingerprint()
    told["recipe"]["method"] = "of a plugin"
    path.write_text(json.dumps(told), encoding="utf-8")
    assert Store(own_store.root).load(run.id).recipe.options == told["recipe"]["options"]


# Adapters from elsewhere whose settings no option has


def peft_config(**given) -> dict:
    from peft import LoraConfig

    saved = LoraConfig(task_type="SEQ_CLS", r=4, lora_alpha=8, target_modules=["query", "value"]).to_dict()
    return json.loads(json.dumps(saved | {"peft_type": "LORA", "task_type": "SEQ_CLS"} | given, default=list))


def hub_config(kind: str = "SeqBnConfig", **given) -> dict:
    import adapters

    return {"config": getattr(adapters, kind)().to_dict() | given}


TARGETS = [
    (["query", "value"], ["query", "value"]),
    (["attention.output.dense", "bert.encoder.layer.0.output.dense", "bert.encoder.layer.1.output.dense"],
     ["attention_output", "output"]),
    (r".*\.encoder\.layer\.\d+\.(attention\.self\.key|attention\.self\.value)", ["key", "value"]),
    (r".*\.encoder\.layer\.\d+\.(intermediate\.dense)", ["intermediate"]),
    (["query", "no_such_module"], ["query"]),
]  # fmt: skip


@pytest.mark.parametrize(("targets", "names"), TARGETS)
def test_the_maps_of_a_foreign_lora_are_those_that_peft_adapts(targets, names, tmp_path):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification

    backbone, method = located("bert", tmp_path), methods.get("lora")
    told = method.recognise(peft_config(target_modules=targets), backbone.shape)
    assert sorted(told["target_modules"]) == sorted(names)
    base = AutoModelForSequenceClassification.from_pretrained(tmp_path, num_labels=3)
    theirs = get_peft_model(base, LoraConfig(task_type="SEQ_CLS", r=4, target_modules=targets))
    assert counted(theirs)[0] == method.trainable_parameters(backbone.shape, method.options(**told), 3)


LOST = [
    ("bert", {"rank_pattern": {"query": 8}}),
    ("bert", {"alpha_pattern": {"query": 8}}),
    ("bert", {"layers_to_transform": [0]}),
    ("bert", {"layers_to_transform": 0, "layers_pattern": "layer"}),
    ("bert", {"exclude_modules": ["value"]}),
    ("bert", {"bias": "all"}),
    ("bert", {"bias": "lora_only"}),
    ("bert", {"init_lora_weights": "pissa"}),
    ("bert", {"init_lora_weights": "pissa_niter_16"}),
    ("bert", {"init_lora_weights": "olora"}),
    ("bert", {"init_lora_weights": "corda"}),
    ("bert", {"init_lora_weights": "loftq"}),
    ("bert", {"init_lora_weights": "lora_ga"}),
    ("bert", {"loftq_config": {"loftq_bits": 4}}),
    ("bert", {"modules_to_save": ["classifier", "encoder"]}),
    ("bert", {"task_type": "TOKEN_CLS"}),
    ("bert", {"task_type": "FEATURE_EXTRACTION"}),
    ("bert", {"use_qalora": True}),
    ("bert", {"layer_replication": [[0, 2], [1, 2]]}),
    ("bert", {"trainable_token_indices": [1]}),
    ("bert", {"target_parameters": ["weight"]}),
    ("bert", {"alora_invocation_tokens": [1]}),
    ("bert", {"of_a_later_version": 0.5}),
    ("bert", {"target_modules": ["query", "dense"]}),
    ("bert", {"target_modules": ["word_embeddings", "query"]}),
    ("bert", {"target_modules": ["layer.1.attention.self.query"]}),
    ("bert", {"target_modules": "bert.encoder.layer.0.attention.self.query"}),
    ("roberta", {"target_modules": ["query", "out_proj"]}),
    ("distilbert", {"target_modules": ["q_lin", "pre_classifier"]}),
    ("adapter", {"non_linearity": "gelu"}),
    ("adapter", {"is_parallel": True}),
    ("adapter", {"scaling": 4.0}),
    ("adapter", {"scaling": "learned"}),
    ("adapter", {"inv_adapter": "nice", "inv_adapter_reduction_factor": 2}),
    ("adapter", {"leave_out": [0]}),
    ("adapter", {"ln_before": True}),
    ("adapter", {"ln_after": True}),
    ("adapter", {"original_ln_before": False}),
    ("adapter", {"original_ln_after": False}),
    ("adapter", {"residual_before_ln": False}),
    ("adapter", {"residual_before_ln": "post_add"}),
    ("adapter", {"adapter_residual_before_ln": True}),
    ("adapter", {"use_gating": True}),
    ("adapter", {"phm_layer": True}),
    ("adapter", {"cross_adapter": True}),
    ("adapter", {"output_adapter": False, "mh_adapter": True}),
    ("adapter", {"of_a_later_version": "on"}),
]


@pytest.mark.parametrize(("family", "given"), LOST)
def test_a_setting_that_no_option_has_is_refused_by_its_name(family, given):
    shape = backbones.shape_of({"roberta": "roberta-base", "distilbert": "distilbert"}.get(family, "minilm"))
    method = methods.get("adapter" if family == "adapter" else "lora")
    config = hub_config(**given) if family == "adapter" else peft_config(**given)
    with pytest.raises(ArgumentError, match="describe in full") as caught:
        method.recognise(config, shape)
    assert f"{next(iter(given))}=" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"init_lora_weights": "gaussian"},
        {"init_lora_weights": "eva", "eva_config": {"rho": 1.0}},
        {"init_lora_weights": False},
        {"modules_to_save": None, "task_type": None},
        {"modules_to_save": ["classifier", "score"], "inference_mode": True, "revision": "main"},
        {"modules_to_save": ["classifier", "pooler"], "lora_bias": True},
        {"fan_in_fan_out": True, "lora_dropout": 0.3, "runtime_config": {"ephemeral_gpu_offload": False}},
        {"of_a_later_version": None, "another": [], "third": False},
    ],
)
def test_what_changes_no_prediction_or_is_an_option_is_no_obstacle(given):
    told = methods.get("lora").recognise(peft_config(**given), backbones.shape_of("minilm"))
    assert methods.get("lora").options(**told).r == 4


@pytest.mark.parametrize(("kind", "placement"), [("SeqBnConfig", "pfeiffer"), ("DoubleSeqBnConfig", "houlsby")])
@pytest.mark.parametrize("given", [{}, {"dropout": 0.1, "init_weights": "mam_adapter", "reduction_factor": 8}])
def test_adapterhubs_own_two_adapters_are_recognised(kind, placement, given):
    told = methods.get("adapter").recognise(hub_config(kind, **given), backbones.shape_of("minilm"))
    assert told == {"reduction_factor": given.get("reduction_factor", 16), "placement": placement}


@settings(max_examples=200, deadline=None)
@varied(st.dictionaries(st.sampled_from(sorted(peft_config())), st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
)))  # fmt: skip
def test_a_foreign_config_of_any_content_is_taken_whole_or_refused_in_a_sentence(given):
    """Whatever JSON its settings hold: an error is one that a person can read, and no setting is misread."""
    shape, method = backbones.shape_of("minilm"), methods.get("lora")
    config = peft_config(**given)
    try:
        told = method.recognise(config, shape)
        options = told and method.options(**told)
    except (ArgumentError, ValidationError):
        return
    if options is not None:
        for name in ("r", "lora_alpha", "lora_dropout", "use_dora", "use_rslora", "lora_bias"):
            if not isinstance(config[name], str):  # pydantic reads "yes" and "0.5" too
                assert getattr(options, name) == (config[name] or 0)
