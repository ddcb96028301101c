"""A local backbone's first forward pass, which shows what its files alone do not: weights whose products overflow."""

from __future__ import annotations

from pathlib import Path

from trainer.errors import UserError
from trainer.texts import tr

SENTENCES = ("A warm, funny film.", "Dull.")
PASSED = "forward"
"""The file beside a folder whose pass went well; the folder is made again when its files change."""


def forward(folder: Path, *, pad_id: int, shown: str) -> None:
    """Predict two sentences with the encoder in `folder`, once for its files; `shown` names it in a message.

    Raises `UserError` if the encoder cannot be opened, or if its output is not finite.
    """
    passed = folder.parent / PASSED
    if passed.exists():
        return
    import torch
    from tokenizers import Tokenizer
    from transformers import AutoModel

    try:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        tokenizer.no_padding()
        rows = [tokenizer.encode(text).ids for text in SENTENCES]
        length = max(map(len, rows))
        ids = torch.tensor([row + [pad_id] * (length - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (length - len(row)) for row in rows])
        model = AutoModel.from_pretrained(
            folder, local_files_only=True, trust_remote_code=False, use_safetensors=True, dtype=torch.float32
        )
        with torch.inference_mode():
            output = model.eval()(input_ids=ids, attention_mask=mask).last_hidden_state
    except (ValueError, RuntimeError, IndexError, KeyError, TypeError, OSError) as error:
        raise _unfit(
            shown, f"{type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}"
        ) from error
    if not bool(torch.isfinite(output).all()):
        raise _unfit(shown, "NaN, inf")
    passed.touch()


def _unfit(shown: str, got: str) -> UserError:
    return UserError(
        expected=tr("a backbone that reads two sentences and gives finite numbers: {folder}", folder=shown),
        got=got,
        fix=tr("save the model there again, with its own tokenizer"),
    )
