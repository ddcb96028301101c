"""Speed-ups: which ones a model gets, and their hooks around a batch, an epoch and a save."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from trainer.machine.device import Device
from trainer.sources.backbones import Family

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

    from trainer.engine.batching import PaddingCollator
    from trainer.engine.dropout import MaskStock
    from trainer.engine.embedding_rows import EmbeddingRows
    from trainer.engine.first_token import FirstToken
    from trainer.engine.packing import Packing
    from trainer.engine.sharing import Pool


@dataclass(frozen=True)
class Speedups:
    """The speed-ups that a method allows. Logits and gradients stay the plain model's, up to rounding.

    Attributes:
        packing: a row of a training batch has several sentences. Not for a method whose modules mix the tokens
            of a row, or add positions or tokens of their own.
        first_token: the last layer computes the first token alone. Not for a method that reads other tokens.
        frozen_compute_type: frozen linear layers are stored in the type of autocast in training. Not for a method that
            computes with them in float32, or that unfreezes them later.
        prepacked: linear layers are packed for oneDNN in inference on a CPU. Not for a method whose modules read or
            change their weights at every pass.
        dropout_stock: dropout masks are cut from a stock in training on a CPU. Not for a method that relies on
            masks being independent of one another.
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
    """A model with its speed-ups, and the calls that they need for batches, logits, epochs, saving and resuming."""

    model: nn.Module
    pad_id: int
    device: Device
    precision: str
    longest: int
    """The most tokens in a row of a packed batch."""
    applied: list[str] = field(default_factory=list)
    """The names of the speed-ups in use, as in `Speedups`."""
    first_token: FirstToken | None = None
    packing: Packing | None = None
    dropout: MaskStock | None = None
    embeddings: EmbeddingRows | None = None

    def collator(self) -> PaddingCollator:
        """A collator that makes a training batch, packed or padded, of (ids, label) pairs."""
        from trainer.engine.batching import PackingCollator, PaddingCollator

        return PackingCollator(self.pad_id, self.longest) if self.packing else PaddingCollator(self.pad_id)

    def batch(self, batch: dict[str, Any]) -> AbstractContextManager[None]:
        """A context in which `model(**batch)` takes a batch of the collator."""
        return self.packing.batch(batch) if self.packing else nullcontext()

    def logits(
        self,
        ids: Sequence[Sequence[int]],
        *,
        batch_size: int,
        precision: str | None = None,
        on_batch: Callable[[int], None] | None = None,
        is_sorted: bool = False,
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
            is_sorted=is_sorted,
        )

    @contextmanager
    def every_token(self) -> Iterator[None]:
        """A context in which the last layer computes every token, for a caller that reads more than logits."""
        with self.first_token.every_token() if self.first_token else nullcontext():
            yield

    def start_epoch(self) -> None:
        """Draw new dropout bits; call before the first batch of each epoch, so that no mask is repeated in the next."""
        if self.dropout:
            self.dropout.renew()

    def keep_masks(self) -> None:
        """Let the next step use the dropout bits that there are: steps then differ in nothing but their batch."""
        if self.dropout:
            self.dropout.keep()

    def restore(self) -> None:
        """Restore the whole word embeddings; call after training, before the model is saved."""
        if self.embeddings:
            self.embeddings.restore()

    def shared(self) -> list[torch.Tensor]:
        """Tensors of the speed-ups that all steps share and that are not the model's: the stock of dropout masks."""
        return self.dropout.tensors() if self.dropout else []

    def state_dict(self) -> dict[str, Any]:
        """State that a checkpoint needs beside weights and random generators to resume bit-equal."""
        return self.dropout.state_dict() if self.dropout else {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore a `state_dict`, to resume in the middle of an epoch."""
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
    """The model with the speed-ups that its method allows and that help on this machine, in training or inference.

    `training_ids` are the token ids of the training split, for a model that will be trained. `pool` shares the weights
    of a model for inference with others of its backbone. A model for one evaluation has neither. In this order:

    1. `first_token`, always: it skips work in every pass.
    2. `packing`, in training, which has the most batches and thus the most padding. After 1, which `Packing` tells
       where first tokens are. An encoder with relative positions or pruned heads gets padded batches.
    3. `frozen_compute_type`, in training below float32. Inference is in float32, and rounded weights would change it.
    4. `dropout_stock`, in training on a CPU. A GPU draws its masks in the kernel.
    5. `embedding_rows`, in training, after all steps that read the model's own embeddings, before the optimiser.
    6. `prepacked`, in inference on a CPU, where weights no longer change. Part of sharing: packed weights are shared
       too.
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
