"""The contract that every method of the registry keeps, on a tiny encoder that really trains."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from trainer import methods
from trainer.engine.prepare import Speedups, prepare
from trainer.errors import ArgumentError
from trainer.events import Evaluated, Step
from trainer.machine import device
from trainer.methods import Parent, Setup
from trainer.runs import recipes
from trainer.sources import backbones
from trainer.training import train as training
from trainer.training.request import Request

LABELS = ("bad", "good")
FILES = {
    "full": {"config.json", "model.safetensors", "special_tokens_map.json", "tokenizer.json", "tokenizer_config.json",
             "vocab.txt"},
    "lora": {"README.md", "adapter_config.json", "adapter_model.safetensors"},
    "qlora": {"README.md", "adapter_config.json", "adapter_model.safetensors"},
    "adapter": {"adapter.safetensors", "adapter_config.json", "head_config.json", "model_head.safetensors"},
    "adapter_fusion": {
        *(f"adapters/{name}/adapter.safetensors" for name in ("one", "two")),
        *(f"adapters/{name}/adapter_config.json" for name in ("one", "two")),
        "fusion/adapter_fusion_config.json", "fusion/head_config.json", "fusion/model_adapter_fusion.safetensors",
        "fusion/model_head.safetensors",
    },
}  # fmt: skip
FILES["head_only"] = FILES["bitfit"] = FILES["full"]
SMALL = {
    "gralora": {"r": 8}, "miss": {"r": 16}, "vera": {"r": 16}, "vblora": {"vector_length": 16, "num_vectors": 8},
    "road": {"group_size": 32}, "oft": {"oft_block_size": 16}, "fourierft": {"n_frequency": 50},
    "peanut": {"r": 8, "depth": 1}, "waveft": {"n_frequency": 50}, "c3a": {"block_size": 16},
    "hira": {"r": 8}, "unilora": {"theta_d_length": 64},
    "prompt_tuning": {"num_virtual_tokens": 4}, "p_tuning": {"num_virtual_tokens": 4, "encoder_hidden_size": 16},
    "prefix_tuning": {"num_virtual_tokens": 4},
}  # fmt: skip
"""Options that fit the small encoders here, of methods whose default ones do not."""
LEARNING_RATES = {"full": 2e-3, "qlora": 5e-3, "adapter_fusion": 1e-2}


@pytest.fixture(scope="module")
def trained(tiny_backbone, tiny_file, second_file, tmp_path_factory):
    """Every method trained once, when it is first asked for: name -> (folder, result, events, setup)."""
    root = tmp_path_factory.mktemp("trained")

    def train(name, method, task, parents=(), results=()):
        config = recipes.make(
            method=method, task=str(task), backbone=str(tiny_backbone), epochs=5, batch_size=16, precision="fp32",
            learning_rate=LEARNING_RATES.get(method, 1e-2), seed=1, **SMALL.get(method, {}),
        )  # fmt: skip
        folder, events = root / name, []
        folder.mkdir()
        costs = method in methods.DEFAULT  # measuring what predicting costs takes longer than training
        request = Request(
            config, folder, events.append, parents=tuple(parents), parent_results=tuple(results), costs=costs
        )
        result = training.train(request)
        backbone = backbones.locate(str(tiny_backbone))
        options = methods.get(method).options(**config.options)
        setup = Setup(backbone, LABELS, options, device.detect(), "fp32", tuple(parents))
        return folder, result, events, setup

    class Trained(dict):
        def __missing__(self, name):
            if name in ("one", "two"):
                self[name] = train(name, "adapter", second_file if name == "two" else tiny_file)
            elif methods.get(name).parent_method:
                fused = [self["one"], self["two"]]
                parents = [Parent(one[0].name, one[0].name, one[0] / "model") for one in fused]
                self[name] = train(name, name, tiny_file, parents, [one[1] for one in fused])
            else:
                self[name] = train(name, name, tiny_file)
            return self[name]

    return Trained()


@pytest.fixture(params=list(methods.METHODS))
def method(request):
    return methods.get(request.param)


def parents_for(method, trained):
    return tuple(Parent(n, n, trained[n][0] / "model") for n in ("one", "two")) if method.parent_method else ()


def test_trainable_count_is_what_theory_says(method, trained):
    _, result, _, setup = trained[method.name]
    expected = method.trainable_parameters(setup.backbone.shape, setup.options, len(LABELS))
    assert result.train_info.num_trainable_params == expected


def test_loss_falls_and_progress_is_told(method, trained):
    _, result, events, _ = trained[method.name]
    epochs = result.train_info.metrics
    assert len(epochs) == 5
    assert epochs[-1].train_loss < epochs[0].train_loss
    assert min(row.loss for row in epochs) < epochs[0].loss
    steps = [event for event in events if isinstance(event, Step)]
    assert steps[-1].step == steps[-1].total_steps
    assert steps[-1].seconds_left < 1
    assert [event.split for event in events if isinstance(event, Evaluated)] == ["validation"] * 5 + ["test"]


def test_frozen_weights_stay_bit_equal_and_trained_ones_move(method, trained):
    folder, _, _, setup = trained[method.name]
    torch.manual_seed(0)
    fresh = method.build(setup)
    opened = method.open(folder / "model", setup)
    # The two name a parameter alike; a 4-bit weight is compared as the bytes that it is packed in.
    before, after = dict(fresh.named_parameters()), dict(opened.named_parameters())
    compared = moved = 0
    for name, parameter in before.items():
        if name not in after:
            continue
        if not parameter.requires_grad and "original_module" not in name:
            assert torch.equal(parameter, after[name]), f"{name} is frozen and changed"
            compared += 1
        elif parameter.requires_grad:
            moved += not torch.equal(parameter, after[name])
    assert moved
    assert compared or method.name == "full"


def test_saved_model_opens_with_equal_logits_and_exactly_these_files(method, trained, tiny_file):
    folder, result, _, setup = trained[method.name]
    import pandas as pd
    from scipy.special import softmax

    from trainer.engine.forward import predict_logits, tokenise

    model_folder = folder / "model"
    assert {str(p.relative_to(model_folder)) for p in model_folder.rglob("*") if p.is_file()} == FILES.get(
        method.name, FILES["lora"]
    )
    rows = pd.read_parquet(folder / "predictions.parquet")
    test = rows[rows["split"] == "test"]
    assert len(test) == result.meta_info.dataset_info.sizes.test
    from transformers import AutoTokenizer

    tokeniser = AutoTokenizer.from_pretrained(setup.backbone.folder)
    logits = predict_logits(
        method.open(model_folder, setup), tokenise(tokeniser, test["text"], 128), pad_id=0, batch_size=7,
        device=setup.device, precision="fp32",
    )  # fmt: skip
    stored = torch.tensor(np.stack(test["probabilities"].to_list()))
    assert torch.allclose(torch.from_numpy(softmax(logits, axis=-1)), stored, atol=2e-5)


def library_model(method, folder, tiny_backbone):
    """The saved model, opened as its library's own documentation says, without this project."""
    from transformers import AutoModelForSequenceClassification

    if method.library == "transformers":
        return AutoModelForSequenceClassification.from_pretrained(folder)
    if method.library == "peft":
        from peft import PeftModel

        base = AutoModelForSequenceClassification.from_pretrained(tiny_backbone, num_labels=2)
        return PeftModel.from_pretrained(base, folder)
    if method.library == "peft with bitsandbytes":
        from peft import PeftModel
        from transformers import BitsAndBytesConfig

        quantised = BitsAndBytesConfig(
            load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
            llm_int8_skip_modules=["classifier", "pooler"],
        )  # fmt: skip
        base = AutoModelForSequenceClassification.from_pretrained(
            tiny_backbone, num_labels=2, quantization_config=quantised, dtype=torch.float32
        )
        return PeftModel.from_pretrained(base, folder)
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(tiny_backbone)
    if (folder / "fusion").is_dir():
        for saved in (folder / "adapters").iterdir():
            model.load_adapter(str(saved), with_head=False, load_as=saved.name, use_safetensors=True)
        model.load_adapter_fusion(str(folder / "fusion"), with_head=True, set_active=True, use_safetensors=True)
        return model
    model.load_adapter(str(folder), set_active=True, use_safetensors=True)
    return model


def test_saved_model_opens_with_its_library_alone(method, trained, tiny_backbone):
    folder, _, _, setup = trained[method.name]
    ids = torch.tensor([[2, 5, 9, 6, 13, 3], [2, 5, 21, 6, 14, 3]])
    ours = method.open(folder / "model", setup)
    theirs = library_model(method, folder / "model", tiny_backbone).eval()
    with torch.no_grad():
        a = ours(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
        b = theirs(input_ids=ids, attention_mask=torch.ones_like(ids)).logits
    # On CPUs with AVX-512 BF16 bitsandbytes evaluates a 4-bit weight with a bf16 kernel; ours stays in fp32.
    tolerance = 3e-2 if "bitsandbytes" in method.library else 1e-5
    assert torch.allclose(a, b, atol=tolerance)


def test_shared_and_prepacked_models_give_the_logits_of_separate_ones(trained):
    """Every method's model as it is asked, beside the others of its backbone, against one opened alone."""
    from trainer.engine.prepacked import PrepackedLinear, supported
    from trainer.engine.sharing import Pool, unique_bytes

    ids = torch.randint(5, 31, (7, 19), generator=torch.manual_seed(0))
    mask = (torch.arange(19) < torch.arange(19, 5, -2)[:, None]).long()
    pool, models, apart = Pool(), [], 0
    for name in methods.METHODS:
        folder, _, _, setup = trained[name]
        method = methods.get(name)
        alone = method.open(folder / "model", setup)
        models.append(method.for_inference(method.open(folder / "model", setup), setup))
        apart += unique_bytes([models[-1]])
        prepared(models[-1], setup, method.speedups, pool=pool)
        if supported(setup.device.kind) and method.speedups.prepacked:
            assert any(isinstance(module, PrepackedLinear) for module in models[-1].modules())
        for grad in (torch.no_grad(), torch.enable_grad()):
            with grad:
                a, b = (model(input_ids=ids, attention_mask=mask).logits for model in (alone, models[-1]))
            assert torch.allclose(a, b, atol=1e-4), name
    assert unique_bytes(models) < 0.7 * apart


def test_fusion_trains_over_parents_that_stay_bit_equal(trained):
    from safetensors.torch import load_file

    folder, result, _, _ = trained["adapter_fusion"]
    for name in ("one", "two"):
        before = load_file(trained[name][0] / "model" / "adapter.safetensors")
        after = load_file(folder / "model" / "adapters" / name / "adapter.safetensors")
        values = zip(sorted(before.items()), sorted(after.items()), strict=True)
        assert all(torch.equal(a[1], b[1]) for a, b in values)
    value = next(
        tensor
        for name, tensor in load_file(folder / "model" / "fusion" / "model_adapter_fusion.safetensors").items()
        if name.endswith("value.weight")
    )
    assert not torch.allclose(value, torch.eye(len(value)) + 1e-6 * (1 - torch.eye(len(value))), atol=1e-5)
    losses = [row.loss for row in result.train_info.metrics]
    assert max(losses) - min(losses) > 0.01
    parents = result.parents
    assert parents.runs == ("one", "two")
    counts = [trained[name][1].train_info.num_trainable_params for name in ("one", "two")]
    assert parents.num_trainable_params == sum(counts)
    assert result.train_info.file_size < parents.file_size + sum(
        path.stat().st_size for path in (folder / "model").rglob("*") if path.is_file()
    )


def test_quantised_gradients_flow_after_an_evaluation(tiny_backbone):
    """bitsandbytes repacks weights at an evaluation on some CPUs, with a kernel that has no backward pass."""
    setup = Setup(backbones.locate(str(tiny_backbone)), LABELS, methods.get("qlora").options(), device.detect(), "fp32")
    model = methods.get("qlora").build(setup)
    ids = torch.tensor([[2, 5, 9, 3]])
    first_layer = next(p for n, p in model.named_parameters() if "layer.0" in n and "lora_B" in n)

    def gradient():
        model.train()
        model.zero_grad()
        model(input_ids=ids, labels=torch.tensor([1])).loss.backward()
        return first_layer.grad.clone()

    torch.manual_seed(1)
    before = gradient()
    model.eval()
    with torch.inference_mode():
        model(input_ids=ids)
    torch.manual_seed(1)
    assert before.abs().sum() > 0
    assert torch.allclose(before, gradient(), atol=1e-6)


def test_published_counts():
    """The report's 0.59M for LoRA on bert-base, and full counts that the models' authors publish."""
    shape = backbones.BACKBONES["bert-base"].shape
    lora = methods.get("lora")
    assert lora.trainable_parameters(shape, lora.options(), 2) == 589_824 + 1_538
    assert shape.encoder_parameters == 109_482_240
    assert backbones.BACKBONES["roberta-base"].shape.encoder_parameters == 124_055_040
    assert backbones.BACKBONES["distilbert"].shape.encoder_parameters == 66_362_880


def small_model(name, family, folder, *, dropout=0.1, **options):
    """A method's model on a small encoder of a family, three labels: (model, setup). The same each time."""
    from transformers import AutoModel, BertConfig, DistilBertConfig, ElectraConfig, RobertaConfig, XLMRobertaConfig

    torch.manual_seed(0)
    located = folder / "config.json"
    if not located.is_file():
        sizes = {"vocab_size": 50, "max_position_embeddings": 40}
        bert = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
        bert |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
        distilbert = {"dim": 64, "n_layers": 2, "n_heads": 2, "hidden_dim": 96, "seq_classif_dropout": dropout}
        distilbert |= {"dropout": dropout, "attention_dropout": dropout}
        config = {
            "bert": BertConfig(**bert, **sizes),
            "roberta": RobertaConfig(type_vocab_size=1, **bert, **sizes),
            "xlm-roberta": XLMRobertaConfig(type_vocab_size=1, **bert, **sizes),
            "electra": ElectraConfig(embedding_size=32, **bert, **sizes),
            "distilbert": DistilBertConfig(**distilbert, **sizes),
        }[family]
        AutoModel.from_config(config).save_pretrained(folder)
    shape = backbones.Shape.from_config(json.loads(located.read_text()))
    backbone = backbones.Located("tiny", folder, shape, "tiny", None)
    method = methods.get(name)
    parents = []
    for parent in ("a", "b") if method.parent_method else ():
        adapter = methods.get(method.parent_method)
        setup = Setup(backbone, LABELS, adapter.options(), device.detect(), "fp32")
        if not (folder / parent).is_dir():
            adapter.save(adapter.build(setup), folder / parent, setup)
        parents.append(Parent(parent, parent, folder / parent))
    torch.manual_seed(0)
    known = {key: value for key, value in (SMALL.get(name, {}) | options).items() if key in method.options.model_fields}
    setup = Setup(backbone, ("a", "b", "c"), method.options(**known), device.detect(), "fp32", tuple(parents))
    return method.build(setup), setup


def prepared(model, setup, speedups, *, pad_id=None, **use):
    """The engine's view of a small model. `use` has `training_ids`, `pool` or `precision`."""
    if pad_id is None:
        pad_id = model.get_input_embeddings().padding_idx or 0
    shape = setup.backbone.shape
    return prepare(
        model, speedups, family=setup.backbone.family, device=setup.device, pad_id=pad_id, longest=shape.longest, **use
    )


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("name", list(methods.METHODS))
def test_counts_hold_for_every_encoder_family(family, name, tmp_path):
    if family not in methods.get(name).families:
        with pytest.raises(ArgumentError, match=f"got {family}; choose another backbone"):
            small_model(name, family, tmp_path)
        return
    model, setup = small_model(name, family, tmp_path)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == methods.get(name).trainable_parameters(setup.backbone.shape, setup.options, 3)


PAIRS = [
    (name, family)
    for name in methods.METHODS
    for family in backbones.FAMILIES
    if family != "xlm-roberta"  # in everything but its name a RoBERTa
    if name in methods.DEFAULT or family == "bert" or name in ("ia3", "bitfit", "ln_tuning")
]
"""Speed-ups look at the encoder's family; the updates of PEFT's other methods all stand beside its linear layers."""
VARIANTS = ("packing", "first_token", "frozen_compute_type", "dropout_stock", "embedding_rows")
"""The speed-ups of training; prepacked layers are for inference."""


def of(method, *names):
    """The method's speed-ups of these names alone."""
    return Speedups(**{name: getattr(method.speedups, name) for name in names})


def logits_and_gradients(ready, items, precision):
    """(sentences, labels), and gradients by parameter name, of one batch of (ids, label) pairs."""
    batch = ready.collator()(items)
    del batch["labels"]
    ready.model.zero_grad()
    with ready.batch(batch), device.autocast(ready.device, precision):
        logits = ready.model(**batch).logits.float()
    logits.square().sum().backward()
    return logits.detach(), {n: p.grad for n, p in ready.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(("method", "family"), PAIRS, indirect=["method"])
def test_each_speedup_of_training_keeps_the_plain_models_logits_and_gradients(method, family, tmp_path):
    """Each that the method declares alone, and all together: to float32's precision, and in bfloat16 within rounding.

    Dropout is 0, so that training and evaluation compute the same; its own distribution is tested in test_engine.py.
    """
    generator = torch.Generator().manual_seed(0)
    lengths = [9, 3, 30, 4, 14, 3, 22]
    items = [(torch.randint(5, 50, (length,), generator=generator).tolist(), i % 3) for i, length in enumerate(lengths)]
    ids = [tokens for tokens, _ in items]

    def run(names, precision, training):
        model, setup = small_model(method.name, family, tmp_path, dropout=0.0, lora_dropout=0.0)
        ready = prepared(model, setup, of(method, *names), training_ids=ids, precision=precision)
        model.train(training)
        return ready, *logits_and_gradients(ready, items, precision)

    for precision in ("fp32", "bf16"):
        plain, logits, gradients = run((), precision, True)
        assert plain.applied == []
        for names in [*((name,) for name in VARIANTS if getattr(method.speedups, name)), VARIANTS]:
            for mode in (True, False):
                ready, other, others = run(names, precision, mode)
                expected = dict(gradients)
                if ready.embeddings and ready.embeddings.active:
                    table = ready.model.get_input_embeddings()
                    name = next(n for n, p in ready.model.named_parameters() if p is table.weight)
                    unused = torch.ones(len(table.table), dtype=torch.bool)
                    unused[table.rows] = False
                    assert not expected[name][unused].any(), "a row that no sentence has gets no gradient"
                    expected[name] = expected[name][table.rows]
                assert others.keys() == expected.keys()
                if precision == "fp32":
                    torch.testing.assert_close(other, logits, atol=1e-5, rtol=1e-5)
                    for name, gradient in others.items():
                        torch.testing.assert_close(gradient, expected[name], atol=2e-5, rtol=1e-4)
                else:
                    torch.testing.assert_close(other, logits, atol=0.02, rtol=0.02)
                    one, two = (torch.cat([g[n].flatten() for n in sorted(g)]) for g in (expected, others))
                    assert (two - one).norm() < 0.05 * one.norm(), (names, precision)
                if names != VARIANTS and not (names == ("frozen_compute_type",) and precision == "fp32"):
                    assert ready.applied == list(names) or method.quantised_from, names
    every = {name for name in VARIANTS if getattr(method.speedups, name)} - {"frozen_compute_type"}
    assert every <= set(ready.applied)


@pytest.mark.parametrize(("method", "family"), PAIRS, indirect=["method"])
def test_each_speedup_of_inference_keeps_the_plain_models_logits_and_gradients(method, family, tmp_path):
    """The gradients are those of the word embeddings' output, which attributions read."""
    from trainer.engine.prepacked import PrepackedLinear, supported
    from trainer.engine.sharing import Pool

    ids = torch.randint(5, 50, (3, 9), generator=torch.Generator().manual_seed(0))
    batch = {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [7]])).long()}

    def run(*names, inference=True):
        model, setup = small_model(method.name, family, tmp_path)
        model.eval()
        if inference:
            model = method.for_inference(model, setup)
        ready = prepared(model, setup, of(method, *names), pool=Pool())
        embedded = []

        def keep(_, inputs, output):
            embedded.append(output.detach().requires_grad_())
            return embedded[-1]

        with model.get_input_embeddings().register_forward_hook(keep):
            logits = model(**batch).logits
        (gradient,) = torch.autograd.grad(logits.square().sum(), embedded)
        return ready, logits.detach(), gradient

    plain, *expected = run(inference=False)
    assert plain.applied == []
    for names in (("first_token",), ("prepacked",), ("first_token", "prepacked")):
        ready, *outputs = run(*names)
        torch.testing.assert_close(outputs, expected, atol=1e-4, rtol=1e-4)
        allowed = [name for name in names if getattr(method.speedups, name)]
        assert ready.applied == [name for name in allowed if name != "prepacked" or supported(ready.device.kind)]
        packed = any(isinstance(module, PrepackedLinear) for module in ready.model.modules())
        assert packed == ("prepacked" in ready.applied)
        with ready.every_token(), torch.no_grad():
            torch.testing.assert_close(ready.model(**batch).logits, expected[0], atol=1e-4, rtol=1e-4)


def test_a_method_that_declares_nothing_gets_the_plain_model(tmp_path):
    """Also one that is made of a method with speed-ups: they were not tried for it."""
    from trainer.engine.batching import PaddingCollator
    from trainer.engine.sharing import Pool
    from trainer.methods.lora import Lora

    class Other(Lora):
        name = "other"

    assert Lora.speedups != Speedups()
    model, setup = small_model("lora", "bert", tmp_path)
    modules = [type(module) for module in model.modules()]
    for use in ({"training_ids": [[5, 6]], "precision": "bf16"}, {"pool": Pool()}, {}):
        ready = prepared(model, setup, Other().speedups, **use)
        assert ready.applied == []
        assert type(ready.collator()) is PaddingCollator
        assert [type(module) for module in model.modules()] == modules
        assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def test_a_fusion_computes_what_the_librarys_own_does(tmp_path):
    from adapters.methods.modeling import BertFusion

    from trainer.methods import fusion_arithmetic as fusion

    model, setup = small_model("adapter_fusion", "bert", tmp_path)
    fusions = [module for module in model.modules() if isinstance(module, BertFusion)]
    assert fusions
    assert all(type(module) is fusion.TokenwiseFusion for module in fusions)
    batch = {"input_ids": torch.randint(2, 50, (3, 9))}
    batch |= {"attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [7]])).long()}
    with torch.no_grad():
        for module in fusions:
            for parameter in module.parameters():
                parameter += 0.2 * torch.randn_like(parameter)
    model.eval()

    def outputs():
        model.zero_grad()
        output = model(**batch, output_adapter_fusion_attentions=True)
        output.logits.square().sum().backward()
        ((_, layers),) = output.adapter_fusion_attentions.items()
        shares = [torch.as_tensor(values) for _, places in sorted(layers.items()) for values in places.values()]
        return [output.logits.detach(), *shares], {
            n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad
        }

    shorter = outputs()
    for module in fusions:
        module.forward = BertFusion.forward.__get__(module)
    theirs = outputs()
    for module in fusions:
        del module.forward
    for a, b in zip(shorter[0], theirs[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    for name, gradient in shorter[1].items():
        torch.testing.assert_close(gradient, theirs[1][name], atol=1e-5, rtol=1e-3)
    folded = methods.get("adapter_fusion").for_inference(model, setup)
    with torch.no_grad():
        output = folded(**batch, output_adapter_fusion_attentions=True)
    torch.testing.assert_close(output.logits, theirs[0][0], atol=1e-5, rtol=1e-5)


def test_a_fusions_extra_loss_is_the_librarys_regulariser(tmp_path):
    model, _ = small_model("adapter_fusion", "bert", tmp_path)
    values = [p for n, p in model.named_parameters() if p.requires_grad and ".value." in n and "fusion" in n]
    with torch.no_grad():
        for parameter in values:
            parameter += 0.1 * torch.randn_like(parameter)
    identity = torch.eye(len(values[0]))
    expected = sum(0.01 * (identity - parameter).square().sum() for parameter in values)
    loss = methods.get("adapter_fusion").extra_loss(model)
    torch.testing.assert_close(loss, expected)
    assert loss > 0
    for name in ("full", "lora", "qlora", "adapter"):
        assert methods.get(name).extra_loss(small_model(name, "bert", tmp_path / name)[0]) is None
