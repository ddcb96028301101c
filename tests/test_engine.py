"""The engine's parts by themselves; test_methods.py holds each method's speed-ups to the plain model."""

from __future__ import annotations

import re

import pytest
import torch
from conftest import ROOT, leave_out
from test_methods import prepared, small_model

from trainer import methods
from trainer.engine.prepare import Speedups
from trainer.machine import device
from trainer.sources import backbones


def test_only_the_engine_changes_modules_in_place():
    """No other package replaces a forward, swaps a class or rebinds a parameter's data."""
    pattern = re.compile(r"\.forward\s*=[^=]|__class__\s*=[^=]|\.data\s*=[^=]")
    changed = {
        str(path.relative_to(ROOT / "trainer"))
        for path in (ROOT / "trainer").rglob("*.py")
        if pattern.search(path.read_text(encoding="utf-8"))
    }
    assert changed == {f"engine/{name}.py" for name in ("dropout", "frozen", "packing", "sharing")}


@pytest.mark.parametrize("p", [0.05, 0.1, 0.5])
def test_dropout_from_a_stock_drops_scales_and_passes_gradients_as_dropout_does(p):
    import torch

    from trainer.engine.dropout import StockDropout

    torch.manual_seed(0)
    layer, ones = StockDropout(p), torch.ones(1001, 999, requires_grad=True)
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
    from trainer.engine.dropout import USES, MaskStock

    masks = MaskStock(1 << 12)
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
def test_the_last_layer_computes_the_first_token_alone(family, tmp_path):
    from trainer.sources.backbones import encoder_layers

    model, setup = small_model("lora", family, tmp_path)
    model.eval()
    ids = torch.randint(2, 50, (3, 9))
    batch = {"input_ids": ids, "attention_mask": (torch.arange(9) < torch.tensor([[9], [4], [7]])).long()}
    last, tokens = encoder_layers(model, setup.backbone.family)[-1], []
    last.register_forward_hook(lambda _, inputs, output: tokens.append(output[0].shape[1]))
    whole = model(**batch).logits
    ready = prepared(model, setup, Speedups(first_token=True))
    model(**batch)
    with ready.every_token():
        assert torch.equal(model(**batch).logits, whole)
    model(**batch)
    assert tokens == [9, 1, 9, 1]


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


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
@pytest.mark.parametrize("first_token", [True, False])
def test_a_packed_model_takes_padded_batches_as_before(family, first_token, tmp_path):
    """Evaluation is padded: before, between and after packed batches its logits are the same to the bit."""
    from trainer.engine.batching import PackingCollator, PaddingCollator

    model, setup = small_model("full", family, tmp_path)
    model.eval()
    items = [(torch.randint(5, 50, (length,)).tolist(), 0) for length in (9, 3, 30, 4, 14, 3)]
    ids = [tokens for tokens, _ in items]
    ready = prepared(model, setup, Speedups(packing=True, first_token=first_token), training_ids=ids)
    assert type(ready.collator()) is PackingCollator
    before = ready.logits(ids, batch_size=3)
    batch = ready.collator()(items)
    assert batch["input_ids"].numel() < PaddingCollator(0)(items)["input_ids"].numel() / 1.5
    del batch["labels"]
    with ready.batch(batch), torch.no_grad():
        assert torch.allclose(model(**batch).logits, torch.from_numpy(before), atol=1e-5)
    assert (ready.logits(ids, batch_size=3) == before).all()


@pytest.mark.parametrize("change", [{"position_embedding_type": "relative_key"}, {"pruned_heads": {0: [1]}}])
def test_an_encoder_that_packing_does_not_know_gets_padded_batches(change, tmp_path):
    from trainer.engine.batching import PaddingCollator

    model, setup = small_model("full", "bert", tmp_path)
    for name, value in change.items():
        setattr(model.config, name, value)
    ready = prepared(model, setup, Speedups(packing=True, first_token=True), training_ids=[[5]])
    assert ready.applied == ["first_token"]
    assert type(ready.collator()) is PaddingCollator


@pytest.mark.parametrize("name", list(methods.DEFAULT))
def test_only_frozen_weights_of_the_encoder_are_stored_in_the_type_of_autocast(name, tmp_path):
    from trainer.engine.frozen import cast_frozen

    model, setup = small_model(name, "bert", tmp_path)
    before = {n: p.detach().clone() for n, p in model.named_parameters()}
    model.eval()
    batch = {"input_ids": torch.randint(2, 50, (3, 9)), "attention_mask": torch.ones(3, 9, dtype=torch.long)}
    with device.autocast(setup.device, "bf16"):
        logits = model(**batch).logits
        cast = cast_frozen(model, setup.backbone.family, "bf16")
        assert torch.equal(model(**batch).logits, logits)
    stored = {n for n, p in model.named_parameters() if p.dtype == torch.bfloat16}
    assert cast == len(stored)
    assert bool(stored) == (name not in ("full", "qlora"))
    for path, parameter in model.named_parameters():
        if path in stored:
            assert ".layer." in path
            assert not parameter.requires_grad
            assert not {"adapter", "lora"} & set(re.split(r"[._]", path))
        else:
            assert torch.equal(parameter, before[path])


@pytest.mark.parametrize("family", list(backbones.FAMILIES))
def test_rows_of_word_embeddings_that_training_never_uses_stay_to_the_bit(family, tmp_path):
    from trainer.engine.embedding_rows import EmbeddingRows

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
    rows = EmbeddingRows(model, read.tolist(), table.padding_idx)
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


@pytest.mark.parametrize("name", [name for name in methods.DEFAULT if name != "full"])
def test_frozen_word_embeddings_stay_as_they_are(name, tmp_path):
    from trainer.engine.embedding_rows import EmbeddingRows

    model, _ = small_model(name, "bert", tmp_path)
    table = model.get_input_embeddings()
    EmbeddingRows(model, [[5, 7]], 0)
    assert model.get_input_embeddings() is table


def test_gradients_through_a_prepacked_layer_are_the_linear_layers_own():
    from trainer.engine import prepacked

    if not prepacked.supported("cpu"):
        leave_out("this machine's torch has no oneDNN")
    linear = torch.nn.Linear(96, 80)
    ours = prepacked.PrepackedLinear(linear, prepacked.PrepackedWeight(linear.weight))
    x = torch.randn(2, 5, 96, requires_grad=True)
    (theirs,) = torch.autograd.grad(linear(x).square().sum(), x)
    (gradient,) = torch.autograd.grad(ours(x).square().sum(), x)
    assert torch.allclose(theirs, gradient, atol=1e-4)
    assert torch.equal(ours.weight, linear.weight)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.no_grad():
        assert torch.allclose(ours(x), linear(x), atol=2e-2)


def test_a_stock_of_masks_goes_on_from_its_state():
    """With torch's generator: the masks after a checkpoint are those of the stock that went on, renewals too."""
    from trainer.engine.dropout import MaskStock

    torch.manual_seed(0)
    masks = MaskStock(1 << 12)
    for before in (0, 1, 5, 31, 32, 33):  # a stock of this size lasts for 32 such masks
        for _ in range(before):
            masks.cut((1 << 11,), torch.float32, 0.1)
        state, generator = masks.state_dict(), torch.get_rng_state()
        expected = [masks.cut((1 << 11,), torch.float32, 0.1) for _ in range(40)]
        other = MaskStock()
        other.load_state_dict(state)
        torch.set_rng_state(generator)
        for mask in expected:
            assert torch.equal(other.cut((1 << 11,), torch.float32, 0.1), mask)
