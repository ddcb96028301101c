"""The contract that every method of the registry keeps, on a tiny encoder that really trains."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
import torch
from conftest import leave_out

from trainer import methods
from trainer.events import Evaluated, Step
from trainer.machine import device
from trainer.methods import Parent, Setup
from trainer.runs import recipes
from trainer.sources import backbones
from trainer.training import train as training
from trainer.training.loop import Request

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
LEARNING_RATES = {"full": 2e-3, "qlora": 5e-3, "adapter_fusion": 1e-2}


@pytest.fixture(scope="module")
def trained(tiny_backbone, tiny_file, second_file, tmp_path_factory):
    """Every method trained once: name -> (folder, result, events, setup)."""
    found = {}
    root = tmp_path_factory.mktemp("trained")

    def train(name, method, task, parents=(), results=()):
        config = recipes.make(
            method=method, task=str(task), backbone=str(tiny_backbone), epochs=5, batch_size=16, precision="fp32",
            learning_rate=LEARNING_RATES.get(method, 1e-2), seed=1,
        )  # fmt: skip
        folder, events = root / name, []
        folder.mkdir()
        request = Request(config, folder, events.append, parents=tuple(parents), parent_results=tuple(results))
        result = training.train(request)
        backbone = backbones.locate(str(tiny_backbone))
        options = methods.get(method).options(**config.options)
        setup = Setup(backbone, LABELS, options, device.detect(), "fp32", tuple(parents))
        found[name] = (folder, result, events, setup)
        return Parent(name, name, folder / "model"), result

    for name in methods.METHODS:
        if methods.get(name).parent_method is None:
            train(name, name, tiny_file)
    one, first = train("one", "adapter", tiny_file)
    two, second = train("two", "adapter", second_file)
    train("adapter_fusion", "adapter_fusion", tiny_file, (one, two), (first, second))
    return found


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
    assert {str(p.relative_to(model_folder)) for p in model_folder.rglob("*") if p.is_file()} == FILES[method.name]
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
    from trainer.engine.prepacked import PrepackedLinear, possible
    from trainer.engine.sharing import Pool, unique_bytes

    ids = torch.randint(5, 31, (7, 19), generator=torch.manual_seed(0))
    mask = (torch.arange(19) < torch.arange(19, 5, -2)[:, None]).long()
    pool, models, apart = Pool(), [], 0
    for name in methods.METHODS:
        folder, _, _, setup = trained[name]
        method = methods.get(name)
        alone = method.open(folder / "model", setup)
        models.append(method.for_asking(method.open(folder / "model", setup), setup))
        apart += unique_bytes([models[-1]])
        pool.share(models[-1])
        if possible(setup.device.kind):
            assert any(isinstance(module, PrepackedLinear) for module in models[-1].modules())
        for grad in (torch.no_grad(), torch.enable_grad()):
            with grad:
                a, b = (model(input_ids=ids, attention_mask=mask).logits for model in (alone, models[-1]))
            assert torch.allclose(a, b, atol=1e-4), name
    assert unique_bytes(models) < 0.7 * apart


def test_gradients_through_a_prepacked_map_are_the_linear_maps_own():
    from trainer.engine import prepacked

    if not prepacked.possible("cpu"):
        leave_out("this machine's torch has no oneDNN")
    linear = torch.nn.Linear(96, 80)
    ours = prepacked.PrepackedLinear(linear, prepacked.PrepackedWeight(linear.weight))
    x = torch.randn(2, 5, 96, requires_grad=True)
    (theirs,) = torch.autograd.grad(linear(x).square().sum(), x)
    (found,) = torch.autograd.grad(ours(x).square().sum(), x)
    assert torch.allclose(theirs, found, atol=1e-4)
    assert torch.equal(ours.weight, linear.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert torch.allclose(ours(x), linear(x), atol=2e-2)


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


def small_model(name, family, folder):
    """A method's model on a small encoder of a family, three labels: (model, setup)."""
    from transformers import AutoModel, BertConfig, DistilBertConfig, RobertaConfig

    sizes = {"vocab_size": 50, "max_position_embeddings": 40}
    config = {
        "bert": BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, **sizes),
        "roberta": RobertaConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=48, type_vocab_size=1, **sizes
        ),
        "distilbert": DistilBertConfig(dim=32, n_layers=2, n_heads=2, hidden_dim=48, **sizes),
    }[family]
    AutoModel.from_config(config).save_pretrained(folder)
    shape = backbones.Shape.from_config(json.loads((folder / "config.json").read_text()))
    located = backbones.Located("tiny", folder, shape, "tiny", None)
    method = methods.get(name)
    parents = []
    for parent in ("a", "b") if method.parent_method else ():
        adapter = methods.get(method.parent_method)
        setup = Setup(located, LABELS, adapter.options(), device.detect(), "fp32")
        adapter.save(adapter.build(setup), folder / parent, setup)
        parents.append(Parent(parent, parent, folder / parent))
    setup = Setup(located, ("a", "b", "c"), method.options(), device.detect(), "fp32", tuple(parents))
    return method.build(setup), setup


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("name", list(methods.METHODS))
def test_counts_hold_for_every_encoder_family(family, name, tmp_path):
    model, setup = small_model(name, family, tmp_path)
    trainable = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert trainable == methods.get(name).trainable_parameters(setup.backbone.shape, setup.options, 3)


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_quick_dropout_drops_scales_and_passes_gradients_as_dropout_does(p):
    import torch

    from trainer.engine.dropout import QuickDropout

    torch.manual_seed(0)
    layer, ones = QuickDropout(p), torch.ones(1001, 999, requires_grad=True)
    out = layer(ones)
    out.sum().backward()
    dropped = (out == 0).double().mean().item()
    assert dropped == pytest.approx(p, abs=4 * (p * (1 - p) / ones.numel()) ** 0.5 + 1 / 131072)
    assert out[out != 0].unique().tolist() == pytest.approx([1 / (1 - p)], rel=1e-4)
    assert torch.equal(ones.grad, out.detach()), "what was dropped gets no gradient, the rest the same scale"
    # Neighbours share a random number, and two masks a stock: neither shares a fate.
    kept = (out.detach() != 0).double().flatten()[: 4 * (ones.numel() // 4)].view(-1, 4)
    assert (torch.corrcoef(kept.T) - torch.eye(4)).abs().max() < 0.01
    again = (layer(ones).detach() != 0).double().flatten()[: kept.numel()].view(-1, 4)
    assert torch.corrcoef(torch.stack([kept.flatten(), again.flatten()]))[0, 1].abs() < 0.01
    layer.eval()
    assert torch.equal(layer(ones), ones)
    first = []
    for _ in range(2):
        torch.manual_seed(1)
        layer.train().masks.renew()
        first.append(layer(ones))
    assert torch.equal(*first)


def test_a_stock_of_masks_is_renewed_as_it_is_used():
    from trainer.engine.dropout import USES, Masks

    masks = Masks(1 << 12)
    like = torch.ones(1 << 11)
    seen = [masks.cut(like.shape, like.dtype, 0.5) for _ in range(2 * USES)]
    stocks = {mask.untyped_storage().data_ptr() for mask in seen}
    assert len(stocks) == 1
    masks.cut(like.shape, like.dtype, 0.5)
    assert masks.cut(like.shape, like.dtype, 0.5).untyped_storage().data_ptr() not in stocks
    # A tensor larger than the stock gets a larger stock, not a mask that repeats.
    wide = masks.cut((1 << 14,), like.dtype, 0.5)
    assert not torch.equal(wide[: 1 << 12], wide[1 << 12 : 1 << 13])


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("name", list(methods.METHODS))
def test_the_last_layer_at_the_first_token_alone_changes_no_logit_and_no_gradient(family, name, tmp_path):
    from trainer.engine.first_token import FirstToken
    from trainer.sources.backbones import encoder_layers

    model, setup = small_model(name, family, tmp_path)
    model.eval()
    ids = torch.randint(2, 50, (3, 9))
    batch = {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [7]])).long()}
    last, rows = encoder_layers(model, setup.backbone.family)[-1], []
    last.register_forward_hook(lambda _, inputs, output: rows.append(output[0].shape[1]))

    def logits_and_gradients():
        model.zero_grad()
        logits = model(**batch).logits
        logits.square().sum().backward()
        return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    (whole, wholly), first = logits_and_gradients(), FirstToken(model, setup.backbone.family)
    found, gradients = logits_and_gradients()
    torch.testing.assert_close(found, whole, atol=1e-5, rtol=1e-5)
    assert gradients.keys() == wholly.keys()
    for place, gradient in gradients.items():
        torch.testing.assert_close(gradient, wholly[place], atol=1e-5, rtol=1e-4)
    with first.whole():
        assert torch.equal(model(**batch).logits, whole)
    model(**batch)
    assert rows == [9, 1, 9, 1]


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("name", list(methods.METHODS))
@pytest.mark.parametrize("quick", [False, True])
def test_sentences_packed_in_rows_have_the_logits_and_gradients_of_padded_ones(family, name, quick, tmp_path):
    from trainer.engine.batching import PackingCollator, PaddingCollator
    from trainer.engine.dropout import quicken
    from trainer.engine.first_token import FirstToken
    from trainer.engine.packing import Packing

    model, setup = small_model(name, family, tmp_path)
    torch.manual_seed(0)
    pad_id = model.get_input_embeddings().padding_idx
    lengths = [9, 3, 30, 4, 14, 3, 22]
    items = [(torch.randint(5, 50, (length,)).tolist(), i % 2) for i, length in enumerate(lengths)]
    padded, packed = PaddingCollator(pad_id)(items), PackingCollator(pad_id, setup.backbone.shape.longest)(items)
    shape = setup.backbone.family
    packing = Packing(model, shape, FirstToken(model, shape))
    if quick:
        quicken(model)
    model.eval()
    assert packed.pop("labels").equal(padded.pop("labels"))
    assert packed["input_ids"].numel() < padded["input_ids"].numel() / 1.5

    def logits_and_gradients(batch):
        model.zero_grad()
        with packing.of(batch):
            logits = model(**batch).logits
            logits.square().sum().backward()
        return logits.detach(), {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}

    (one, ones), (other, others) = logits_and_gradients(padded), logits_and_gradients(packed)
    torch.testing.assert_close(other, one, atol=1e-5, rtol=1e-5)
    assert ones.keys() == others.keys()
    for place, gradient in others.items():
        torch.testing.assert_close(gradient, ones[place], atol=2e-5, rtol=1e-4)


def test_attention_with_dropout_has_the_gradients_of_its_formula():
    from trainer.engine.attention import _Attention

    torch.manual_seed(0)
    rows, heads, queries, keys = 2, 3, 4, 5
    query, key, value = (
        torch.randn(rows * heads, count, 6, dtype=torch.double, requires_grad=True) for count in (queries, keys, keys)
    )
    bias = torch.zeros(rows, queries, keys, dtype=torch.double)
    bias[0, :, 3:] = bias[1, 1:, :2] = -torch.inf
    keep = (torch.rand(rows * heads, queries, keys) < 0.7).double() / 0.7
    for mask in (None, keep):
        found = _Attention.apply(query, key, value, bias, mask)
        weights = (query @ key.mT / 6**0.5 + bias.repeat_interleave(heads, 0)).softmax(-1)
        torch.testing.assert_close(found, (weights if mask is None else weights * mask) @ value)
        assert torch.autograd.gradcheck(lambda *x, m=mask: _Attention.apply(*x, bias, m), (query, key, value))


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_packed_sentences_train_in_bfloat16_as_padded_ones_do(name, tmp_path):
    """Logits and gradients within bfloat16's rounding, and a padded batch after a packed one is what it was before."""
    from trainer.engine.batching import PackingCollator, PaddingCollator
    from trainer.engine.dropout import quicken
    from trainer.engine.first_token import FirstToken, hold_frozen
    from trainer.engine.packing import Packing

    model, setup = small_model(name, "bert", tmp_path)
    torch.manual_seed(0)
    items = [(torch.randint(5, 50, (length,)).tolist(), 0) for length in (9, 3, 30, 4, 14)]
    shape = setup.backbone.family
    packing = Packing(model, shape, FirstToken(model, shape))
    assert packing.possible
    hold_frozen(model, shape, "bf16")
    quicken(model)
    model.eval()
    pad_id = model.get_input_embeddings().padding_idx

    def logits_and_gradients(collator):
        batch = collator(items)
        del batch["labels"]
        model.zero_grad()
        with packing.of(batch), device.autocast(setup.device, "bf16"):
            logits = model(**batch).logits.float()
        logits.square().sum().backward()
        gradients = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        return logits.detach(), gradients

    one, ones = logits_and_gradients(PaddingCollator(pad_id))
    other, others = logits_and_gradients(PackingCollator(pad_id, 64))
    torch.testing.assert_close(other, one, atol=0.02, rtol=0.02)
    assert (others - ones).norm() < 0.05 * ones.norm()
    again, _ = logits_and_gradients(PaddingCollator(pad_id))
    assert torch.equal(again, one)


@pytest.mark.parametrize("change", [{"position_embedding_type": "relative_key"}, {"pruned_heads": {0: [1]}}])
def test_an_encoder_that_packing_does_not_know_gets_padded_batches(change, tmp_path):
    from trainer.engine.first_token import FirstToken
    from trainer.engine.packing import Packing

    model, setup = small_model("full", "bert", tmp_path)
    for name, value in change.items():
        setattr(model.config, name, value)
    shape = setup.backbone.family
    assert not Packing(model, shape, FirstToken(model, shape)).possible


@pytest.mark.parametrize("name", list(methods.METHODS))
def test_only_frozen_weights_of_the_encoder_are_held_in_the_type_of_autocast(name, tmp_path):
    from trainer.engine.first_token import hold_frozen

    model, setup = small_model(name, "bert", tmp_path)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.eval()
    batch = {"input_ids": torch.randint(2, 50, (3, 9)), "attention_mask": torch.ones(3, 9, dtype=torch.long)}
    with device.autocast(setup.device, "bf16"):
        logits = model(**batch).logits
        hold_frozen(model, setup.backbone.family, "bf16")
        assert torch.equal(model(**batch).logits, logits)
    held = {n for n, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert bool(held) == (name not in ("full", "qlora"))
    for place, parameter in model.named_parameters():
        if place in held:
            assert ".layer." in place
            assert not parameter.requires_grad
            assert not {"adapter", "lora"} & set(re.split(r"[._]", place))
        else:
            assert torch.equal(parameter, before[place])


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
def test_rows_of_word_embeddings_that_training_never_reads_stay_to_the_bit(family, tmp_path):
    from trainer.engine.embedding_rows import ReadRows

    model, _ = small_model("full", family, tmp_path)
    table = model.get_input_embeddings()
    before, named = table.weight.detach().clone(), dict(model.named_parameters()).keys()
    read = torch.tensor([[5, 7, 9], [7, 11, table.padding_idx]])
    batch = {"input_ids": read, "attention_mask": (read != table.padding_idx).long()}
    unread = {"input_ids": torch.tensor([[5, 40, 41]]), "attention_mask": torch.ones(1, 3, dtype=torch.long)}
    model.eval()

    def logits(*batches):
        with torch.no_grad():
            return [model(**one).logits for one in batches]

    expected = logits(batch, unread)
    rows = ReadRows(model, read.tolist(), table.padding_idx)
    assert model.get_input_embeddings().weight.shape[0] == len({5, 7, 9, 11, table.padding_idx})
    assert dict(model.named_parameters()).keys() == named
    torch.testing.assert_close(logits(batch, unread), expected)
    # A step moves the rows that were read, and evaluation sees them moved.
    model.train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=0.01, weight_decay=0.5)
    model(**batch).logits.square().sum().backward()
    optimiser.step()
    model.eval()
    expected = logits(batch, unread)
    rows.restore()
    rows.restore()
    assert model.get_input_embeddings() is table
    torch.testing.assert_close(logits(batch, unread), expected)
    moved = (table.weight != before).any(dim=1).nonzero().flatten().tolist()
    assert set(moved) - {table.padding_idx} == {5, 7, 9, 11}


def test_a_fusion_that_meets_each_token_once_computes_what_the_library_does(tmp_path):
    from adapters.methods.modeling import BertFusion

    from trainer.methods import fusion_arithmetic as fusion

    model, setup = small_model("adapter_fusion", "bert", tmp_path)
    found = [module for module in model.modules() if isinstance(module, BertFusion)]
    assert found
    assert all(type(module) is not BertFusion for module in found)
    batch = {"input_ids": torch.randint(2, 50, (3, 9))}
    batch |= {"attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [7]])).long()}
    for module in found:
        for parameter in module.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
    model.eval()

    def answers():
        model.zero_grad()
        output = model(**batch, output_adapter_fusion_attentions=True)
        output.logits.square().sum().backward()
        ((_, layers),) = output.adapter_fusion_attentions.items()
        shares = [torch.as_tensor(values) for _, places in sorted(layers.items()) for values in places.values()]
        return [output.logits.detach(), *shares], {
            n: p.grad.clone() for n, p in model.named_parameters() if p.requires_grad
        }

    shorter = answers()
    for module in found:
        module.__class__ = BertFusion
    theirs = answers()
    for a, b in zip(shorter[0], theirs[0], strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)
    for name, gradient in shorter[1].items():
        torch.testing.assert_close(gradient, theirs[1][name], atol=1e-5, rtol=1e-3)
    fusion.shorten(model)
    folded = methods.get("adapter_fusion").for_asking(model, setup)
    with torch.no_grad():
        output = folded(**batch, output_adapter_fusion_attentions=True)
    torch.testing.assert_close(output.logits, theirs[0][0], atol=1e-5, rtol=1e-5)


def test_each_step_of_a_fusion_has_the_gradient_of_its_regulariser(tmp_path):
    from transformers import TrainingArguments, set_seed

    model, setup = small_model("adapter_fusion", "bert", tmp_path)
    arguments = TrainingArguments(
        output_dir=str(tmp_path / "out"), use_cpu=setup.device.kind == "cpu", report_to=[], disable_tqdm=True
    )
    trainer = methods.get("adapter_fusion").trainer_class()(model=model, args=arguments)
    trainer.current_gradient_accumulation_steps = 1  # as in training
    batch = {"input_ids": torch.tensor([[5, 7, 9]]), "labels": torch.tensor([1])}
    batch |= {"attention_mask": torch.ones(1, 3, dtype=torch.long)}
    found = {n: p for n, p in model.named_parameters() if p.requires_grad and ".value." in n and "fusion" in n}
    assert found
    for parameter in found.values():  # away from the identity, where the regulariser has no gradient
        parameter.data += 0.1 * torch.randn_like(parameter)

    def gradients(step):
        model.zero_grad()
        set_seed(0)
        step()
        return {name: parameter.grad.clone() for name, parameter in found.items()}

    model.train()
    plain = gradients(lambda: model(**batch).loss.backward())
    regular = gradients(lambda: model.base_model.get_fusion_regularization_loss().backward())
    together = gradients(lambda: trainer.training_step(model, dict(batch)))
    for name, gradient in together.items():
        assert regular[name].abs().max() > 1e-4
        torch.testing.assert_close(gradient, plain[name] + regular[name], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", [name for name in methods.METHODS if name != "full"])
def test_frozen_word_embeddings_stay_in_their_place(name, tmp_path):
    from trainer.engine.embedding_rows import ReadRows

    model, _ = small_model(name, "bert", tmp_path)
    table = model.get_input_embeddings()
    ReadRows(model, [[5, 7]], 0)
    assert model.get_input_embeddings() is table
