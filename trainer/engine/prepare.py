"""The one place that decides which speed-ups a model gets, and what they need around a batch, an epoch and a save."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainer.machine.device import Device
from trainer.sources.backbones import Family

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

    from trainer.engine.batching import PaddingCollator
    from trainer.engine.dropout import MaskStock
    from trainer.engine.embedding_rows import EmbeddingRows
    from trainer.engine.first_token import FirstToken
    from trainer.engine.packing import Packing
    from trainer.engine.sharing import Pool


@dataclass(frozen=True)
class Speedups:
    """What the engine may change about a method's model. Logits and gradients stay the plain model's, up to rounding.

    Attributes:
        packing: sentences of a training batch lie side by side in rows. Not for a method whose modules mix the tokens
            of a row, or add positions or tokens of their own.
        first_token: the last layer computes the first token alone. Not for a method that reads other tokens.
        frozen_compute_type: frozen linear layers are stored in the type of autocast in training. Not for a method that
            computes with them in float32, or that unfreezes them later.
        prepacked: linear layers are packed for oneDNN in inference on a CPU. Not for a method whose modules read or
            change their weights at every pass.
        dropout_stock: dropout masks are cut from a stock in training on a CPU. Not for a method that counts on masks
            being independent of one another.
        embedding_rows: only the rows of the word embeddings that occur in training are trained. Not for a method that
            replaces or extends the embeddings.
    """

    packing: bool = False
    first_token: bool = False
    frozen_compute_type: bool = False
    prepacked: bool = False
    dropout_stock: bool = False
    embedding_rows: bool = False


@dataclass
class Prepared:
    """A model with its speed-ups, and all that their users must know: how to batch, run, evaluate, save, go on."""

    model: nn.Module
    pad_id: int
    device: Device
    precision: str
    longest: int
    """Tokens of the longest row of a packed batch."""
    applied: list[str] = field(default_factory=list)
    """The names of the speed-ups in use, as in `Speedups`."""
    first_token: FirstToken | None = None
    packing: Packing | None = None
    dropout: MaskStock | None = None
    embeddings: EmbeddingRows | None = None

    def collator(self) -> PaddingCollator:
        """What makes a training batch of (ids, label) pairs, packed or padded."""
        from trainer.engine.batching import PackingCollator, PaddingCollator

        return PackingCollator(self.pad_id, self.longest) if self.packing else PaddingCollator(self.pad_id)

    def batch(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """Within it `model(**batch)` takes a batch of the collator."""
        return self.packing.batch(batch) if self.packing else nullcontext()

    def logits(
        self,
        ids: Sequence[Sequence[int]],
        *,
        batch_size: int,
        precision: str | None = None,
        on_batch: Callable[[int], None] | None = None,
    ) -> np.ndarray:
        """Logits (sentences, labels) as float32, in the order of `ids`; see `forward.predict_logits`."""
        from trainer.engine import forward

        return forward.predict_logits(
            self.model,
            ids,
            pad_id=self.pad_id,
            batch_size=batch_size,
            device=self.device,
            precision=precision or self.precision,
            on_batch=on_batch,
        )

    @contextmanager
    def every_token(self) -> Iterator[None]:
        """Within it the last layer computes every token, for what reads more than logits."""
        with self.first_token.every_token() if self.first_token else nullcontext():
            yield

    def start_epoch(self) -> None:
        """Call before the first batch of each epoch: no dropout mask of one epoch comes again in the next."""
        if self.dropout:
            self.dropout.renew()

    def restore(self) -> None:
        """Call after training, before the model is saved: its word embeddings are whole again."""
        if self.embeddings:
            self.embeddings.restore()

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must have beside weights and random generators, so that training goes on to the bit."""
        return self.dropout.state_dict() if self.dropout else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a `state_dict` in the middle of an epoch."""
        if self.dropout and state:
            self.dropout.load_state_dict(state)


def prepare(
    model: nn.Module,
    speedups: Speedups,
    *,
    family: Family,
    device: Device,
    pad_id: int,
    longest: int,
    precision: str = "fp32",
    training_ids: Iterable[Iterable[int]] | None = None,
    pool: Pool | None = None,
) -> Prepared:
    """Apply to a model what its method allows and this machine and use have a gain from.

    `training_ids` are the token ids of the training split, for a model that will be trained; `pool` is where a model
    for inference shares its weights with others of its backbone. A model for one evaluation has neither. In this order:

    1. `first_token`, always: it skips work in every pass.
    2. `packing`, in training: where batches are many, padding is the most wasted. After 1, which must learn where a
       packed batch's first tokens are. An encoder with relative positions or pruned heads gets padded batches.
    3. `frozen_compute_type`, in training below float32. Inference stays in float32 and would round.
    4. `dropout_stock`, in training on a CPU. A GPU draws its masks in the kernel.
    5. `embedding_rows`, in training, after all that looks at the model's own embeddings, and before an optimiser.
    6. `prepacked`, in inference on a CPU: with 3 or in training the weights would change under it. It is part of
       sharing: packed weights are shared too.
    """
    from trainer.engine import dropout, embedding_rows, first_token, frozen, packing, prepacked

    prepared = Prepared(model, pad_id, device, precision, longest)
    applied = prepared.applied
    if speedups.first_token:
        prepared.first_token = first_token.FirstToken(model, family)
        applied.append("first_token")
    if training_ids is not None:
        if speedups.packing and packing.packable(model.config):
            prepared.packing = packing.Packing(model, family, prepared.first_token)
            applied.append("packing")
        if speedups.frozen_compute_type and precision != "fp32" and frozen.cast_frozen(model, family, precision):
            applied.append("frozen_compute_type")
        if speedups.dropout_stock and device.kind == "cpu":
            prepared.dropout = dropout.use_stock(model)
            applied.append("dropout_stock")
        if speedups.embedding_rows:
            prepared.embeddings = embedding_rows.EmbeddingRows(model, training_ids, pad_id)
            if prepared.embeddings.active:
                applied.append("embedding_rows")
    elif pool is not None:
        prepack = speedups.prepacked and prepacked.supported(device.kind)
        pool.add(model, prepack=prepack)
        if prepack:
            applied.append("prepacked")
    return prepared
