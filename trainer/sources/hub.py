"""Files from the Hugging Face Hub at pinned revisions, cached; its errors as one sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import ArgumentError, Unreachable, UserError
from trainer.texts import tr

# Weights come as safetensors; pytorch_model.bin is taken only where an allow-listed repository has nothing else,
# and transformers then reads it with weights_only.
_MODEL_FILES = ["config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"]
_MODEL_FILES += ["vocab.txt", "vocab.json", "merges.txt"]
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


def model_folder(repository: str, revision: str | None, *, download: bool = True) -> Path:
    """The folder with a model's configuration, tokenizer and weights. Raises `Unreachable`."""
    from huggingface_hub import snapshot_download

    with _explained(repository):
        for weights in WEIGHTS:
            folder = Path(
                snapshot_download(
                    repository,
                    revision=revision,
                    allow_patterns=[*_MODEL_FILES, weights],
                    local_files_only=not download,
                )
            )
            if (folder / weights).is_file() and (folder / "config.json").is_file():
                return folder
    raise _unreachable(repository, tr("a repository without weights"))


ADAPTER_FILES = (
    "adapter_config.json",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "adapter.safetensors",
    "pytorch_adapter.bin",
    "head_config.json",
    "model_head.safetensors",
    "pytorch_model_head.bin",
)
"""The files that PEFT and AdapterHub write for one adapter. The .bin files are read with weights_only."""


def adapter_folder(repository: str, *, max_bytes: int) -> Path:
    """The folder with an adapter's files. Raises `Unreachable`, and `ArgumentError` for more than `max_bytes`."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.constants import HF_HUB_OFFLINE

    with _explained(repository):
        if not HF_HUB_OFFLINE:  # the size is checked before the download
            files = HfApi().model_info(repository, files_metadata=True).siblings or ()
            size = sum(file.size or 0 for file in files if file.rfilename in ADAPTER_FILES)
            if size > max_bytes:
                raise ArgumentError(
                    expected=tr("an adapter of at most {size} GiB", size=f"{max_bytes / 2**30:.0f}"),
                    got=tr("{size} GiB in {repository}", size=f"{size / 2**30:.1f}", repository=repository),
                    fix=tr("choose another"),
                )
        return Path(snapshot_download(repository, allow_patterns=list(ADAPTER_FILES)))


def dataset_file(repository: str, revision: str, path: str) -> Path:
    """One file of a data set's repository. Raises `Unreachable`."""
    from huggingface_hub import hf_hub_download

    with _explained(repository):
        return Path(hf_hub_download(repository, path, revision=revision, repo_type="dataset"))


@contextmanager
def writing(doing: str) -> Iterator[None]:
    """Turn errors of the Hub's client during creation or upload into one sentence.

    `doing` completes "the Hub to ..." in the process's language.
    """
    import requests
    from huggingface_hub.errors import HfHubHTTPError

    fixes = {
        401: tr("give a token that can write: `hf auth login`, or HF_TOKEN"),
        402: tr("add a payment method at huggingface.co/settings/billing, or choose free hardware"),
        403: tr("use a token that may write there, or choose another owner/name"),
        429: tr("wait some minutes and run the same again"),
    }
    expected = tr("the Hub to {doing}", doing=doing)
    try:
        yield
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else 0
        message = " ".join(str(error.server_message or error).split())[:300].rstrip(".")
        raise UserError(
            expected=expected,
            got=tr("status {status} ({message})", status=status, message=message),
            fix=fixes.get(status, tr("run the same again")),
        ) from None
    except (RuntimeError, ValueError) as error:  # the client's errors for a rejected card or file
        message = " ".join(str(error).split())[:300].rstrip(".")
        raise UserError(expected=expected, got=message or tr("nothing"), fix=tr("mend that, or try again")) from None
    except (requests.RequestException, OSError) as error:
        message = type(error).__name__
        raise Unreachable(expected=expected, got=message, fix=tr("check the network and run it again")) from None


class _explained:
    """A context that turns errors of the Hub's client into `Unreachable`, one sentence."""

    def __init__(self, repository: str) -> None:
        self.repository = repository

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, traceback) -> bool:
        if error is None or not isinstance(error, (OSError, ValueError, RuntimeError)):
            return False
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
            return False  # the disk, not the Hub
        lines = str(error).strip().splitlines() or [""]
        first = lines[0].partition(". ")[0].rstrip(".")
        shown = first if len(first) <= 160 else f"{first[:160].rpartition(' ')[0]} ..."
        raise _unreachable(self.repository, f"{type(error).__name__} ({shown})") from error


def not_here(repository: str) -> Unreachable:
    """The error for files that are not on this machine and are not to be downloaded now."""
    return _unreachable(repository, tr("none"))


def _unreachable(repository: str, got: str) -> Unreachable:
    return Unreachable(
        expected=tr("{repository} from the Hugging Face Hub or its local cache", repository=repository),
        got=got,
        fix=tr(
            "connect to the network, or choose the task movies and the backbone minilm, which need the package index "
            "only, or a local file and folder"
        ),
        option_fix=tr(
            "connect to the network, or use --task movies and --backbone minilm, which need the package index only, "
            "or name a local file and folder"
        ),
    )
