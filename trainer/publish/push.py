"""Upload of a run to the Hugging Face Hub as a model, with a model card and code that loads it without PEFT Lab."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

from trainer import methods, tasks
from trainer.analysis.tables import per_class
from trainer.engine.forward import HEAD
from trainer.errors import ArgumentError, UserError
from trainer.runs import lengths
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.sources import backbones, hub
from trainer.texts import tr

MARK = "peft-lab"
"""Tag of the repositories that this program pushed."""
LIBRARIES = {"adapters": "adapter-transformers"}
"""Package -> the Hub's name of the library, where they differ."""
FIGURES = {"accuracy": "Accuracy", "f1": "Macro F1", "precision": "Macro precision", "recall": "Macro recall"}
EXACT_MATCH = {"accuracy": ("exact_match", "Exact match")}
"""The Hub's names of figures that multi-label runs have in another meaning."""


def push(
    store: Store, name: str, repository: str, *, private: bool | None = None, licence: str | None = None
) -> tuple[str, list[str]]:
    """Upload a finished run's `model/` with a card; (its address, the files). A second push updates the repository.

    Raises `ArgumentError` for a run without weights, an adopted run, a wrong name or a repository with other files;
    `UserError` without a token, for a public repository with `private`, and for a refusal of the Hub; `Unreachable`.
    """
    from huggingface_hub import HfApi, get_token

    run = store.load(name)
    _check(run, repository)
    if not get_token():
        raise UserError(
            expected=tr("a Hugging Face token that can write"),
            got=tr("none"),
            fix=tr("run `hf auth login`, or set HF_TOKEN"),
        )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = stage(run, repository, folder, licence=licence)
        api = HfApi()
        with hub.writing(tr("create {repository}", repository=repository)):
            api.create_repo(repository, private=private, exist_ok=True)
            # An existing repository keeps its visibility, whatever `private` is.
            public = bool(private) and not api.repo_info(repository).private
            others = set(api.list_repo_files(repository)) - {*files, ".gitattributes"}
        if public:
            raise UserError(
                expected=tr("a private repository"),
                got=tr("{repository}, which is public", repository=repository),
                fix=tr("make it private in its settings, or choose another"),
                option_fix=tr("make it private in its settings, or leave out --private"),
            )
        if others:
            raise ArgumentError(
                expected=tr("a new repository, or one with an earlier push of this method"),
                got=tr("{repository} with {file}", repository=repository, file=sorted(others)[0]),
                fix=tr("choose another owner/name"),
            )
        with hub.writing(tr("upload the model")):
            api.upload_folder(repo_id=repository, folder_path=folder, commit_message=f"Push {run.id}")
        return f"{api.endpoint}/{repository}", files


def stage(run: Run, repository: str, folder: Path, *, licence: str | None = None) -> list[str]:
    """Write the files to upload into a folder; their names. Paths on this machine are removed from them."""
    shutil.copytree(run.model_folder, folder, dirs_exist_ok=True)
    (folder / "README.md").write_text(card(run, repository, licence=licence), encoding="utf-8")
    base = run.result.meta_info.model_info.hub_id
    if Path(base).is_absolute():
        for path in folder.rglob("*.json"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(base, Path(base).name), encoding="utf-8")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def card(run: Run, repository: str, *, licence: str | None = None) -> str:
    """Model card in English: metadata with test figures; then description, figures, data and how to load the model."""
    from huggingface_hub import EvalResult, ModelCard, ModelCardData

    method, model = methods.get(run.recipe.method), run.result.meta_info.model_info
    task = tasks.TASKS.get(run.recipe.task)
    source = getattr(task, "repository", None)
    base = None if Path(model.hub_id).is_absolute() else model.hub_id
    known = backbones.BACKBONES.get(run.recipe.backbone)
    named = EXACT_MATCH if run.multi_label else {}
    library, test = method.library.split()[0], run.result.test
    results = [
        EvalResult(
            task_type="text-classification",
            dataset_type=source or run.task_name,
            dataset_name=run.task_name,
            dataset_split="test",
            metric_type=(named.get(kind) or (kind,))[0],
            metric_name=(named.get(kind) or (kind, title))[1],
            metric_value=getattr(test if kind == "accuracy" else test.macro, kind),
        )
        for kind, title in FIGURES.items()
    ]
    data = ModelCardData(
        base_model=base,
        library_name=LIBRARIES.get(library, library),
        license=licence or (known.licence.lower() if known else None),
        pipeline_tag="text-classification",
        tags=[MARK, run.recipe.method.replace("_", "-")],
        datasets=[source] if source else None,
        metrics=[(named.get(kind) or (kind,))[0] for kind in FIGURES],
        model_name=repository.partition("/")[2],
        eval_results=results,
    )
    return str(ModelCard(f"---\n{data.to_yaml()}\n---\n\n{_text(run, repository)}"))


def _text(run: Run, repository: str) -> str:
    """Markdown of the card, without its metadata."""
    method, data = methods.get(run.recipe.method), run.result.meta_info.dataset_info
    sizes = data.sizes
    figures = [(metric.among({run.multi_label}).title, metric.show(metric.of(run))) for metric in METRICS.values()]
    recipe = run.recipe.model_dump(mode="json", exclude_none=True, exclude={"options", "parents", "track"})
    recipe |= {"task": run.task_name, "backbone": Path(run.recipe.backbone).name}
    recipe |= {name: Path(recipe[name]).name for name in ("validation_file", "test_file") if name in recipe}
    options = {f"{run.recipe.method}.{name}": value for name, value in run.recipe.options.items()}
    options = {name: _without_folder(value) for name, value in options.items()}
    notes = "".join(f"- {note}.\n" for note in data.notes)
    sentences, task = per_class(run), tasks.TASKS.get(run.recipe.task)
    labels = ", ".join(map(_plain, run.label_names))
    tells = f"it tells which of {labels} a sentence has" if run.multi_label else f"it tells {labels} apart"
    return f"""# {repository.partition("/")[2]}

{method.title} of {_base(run)} on {run.task_name}: {tells}. Trained with PEFT
Lab, which compares fine-tuning methods on the same sentences, for teaching and study.

Method: {method.paper}

## Figures

{_table(("Figure", "Value"), [row for row in figures if row[1] != "–"])}

On the test split, by label:

{_table(list(sentences.columns), [[_cell(value) for value in row] for row in sentences.itertuples(index=False)])}

Measured on {run.device_name} in {run.result.train_info.precision}.

## Data

{run.task_name}: {sizes.train:,} training, {sizes.validation:,} validation and {sizes.test:,} test sentences
(fingerprint of the splits `{data.fingerprint}`).

{f"{task.title}. {task.summary}" if task else ""}

{notes}
## How to open it

With {method.library}; nothing of PEFT Lab is needed.

```python
{usage(run, repository)}
```

## Recipe

{_table(("Setting", "Value"), [(f"`{name}`", _cell(value)) for name, value in {**recipe, **options}.items()])}

## Limits

It has seen only sentences like those above; on others its probabilities mean little. The figures are of one seed:
another gives others.
"""


def usage(run: Run, repository: str) -> str:
    """Python code that loads the pushed model with its library alone and predicts the label of a sentence."""
    info = run.result.meta_info.model_info
    base = Path(info.hub_id).name if Path(info.hub_id).is_absolute() else info.hub_id
    method = methods.get(run.recipe.method)
    pinned = f', revision="{info.revision}"' if info.revision else ""
    loading = method.loading(
        base=f'"{base}"{pinned}',
        labels=len(run.label_names),
        options=method.options(**run.recipe.options),
        head=backbones.FAMILIES[backbones.shape_of(run.recipe.backbone).family].head,
    )
    imports, _, statements = loading.partition("\n\n")
    longest, side = lengths.limit(run.recipe), ', truncation_side="left"' if run.recipe.truncation == "tail" else ""
    text = '"One sentence.", "Another."' if run.has_pairs else '"A warm, funny film."'
    encoding = f"""inputs = tokenizer({text}, truncation=True, max_length={longest}, return_tensors="pt")"""
    if run.recipe.truncation == "head_and_tail":
        head = (longest - 2) // HEAD
        encoding = f"""ids = tokenizer("A warm, funny film.")["input_ids"]
if len(ids) > {longest}:  # the first token and {head} of the head, then the tail
    ids = ids[:{1 + head}] + ids[-{longest - 1 - head}:]
inputs = tokenizer.pad({{"input_ids": [ids]}}, return_tensors="pt")"""
    return f"""import torch
from huggingface_hub import snapshot_download
from transformers import AutoTokenizer
{imports}

folder = snapshot_download("{repository}")
tokenizer = AutoTokenizer.from_pretrained("{base}"{pinned}{side})
{statements}
model.eval()
labels = {list(run.label_names)!r}
{encoding}
with torch.no_grad():
    shares = model(**inputs).logits.{"sigmoid()" if run.multi_label else "softmax(-1)"}[0].tolist()
{_printed(run)}"""


def _printed(run: Run) -> str:
    """Python code that prints the probabilities, and of a multi-label run the labels that are predicted."""
    if not run.multi_label:
        return "print(dict(zip(labels, shares)))"
    return f"""thresholds = {list(run.thresholds)!r}
print([label for label, share, least in zip(labels, shares, thresholds) if share >= least])"""


def _check(run: Run, repository: str) -> None:
    """Raise `ArgumentError` for a wrong repository name, and for a run that cannot be pushed."""
    owner, slash, name = repository.partition("/")
    if not (owner and slash and name) or "/" in name:
        raise ArgumentError(
            expected=tr("a repository as owner/name"),
            got=repr(repository),
            fix=tr("write both, with a slash between them"),
            option_fix=tr("write --repo you/name"),
        )
    if not run.can_predict:
        raise ArgumentError(
            expected=tr("a finished run with its weights"),
            got=tr("{run}, which is {state}", run=run.id, state=tr(run.state)),
            fix=tr("choose another run"),
        )
    if run.adopted:
        raise ArgumentError(
            expected=tr("a run that was trained here"),
            got=tr("one from {source}", source=run.adopted.source),
            fix=tr("choose another run"),
        )


def _base(run: Run) -> str:
    """The backbone in the card's words; a local folder by its name alone."""
    base = run.result.meta_info.model_info.hub_id
    return f"a backbone of its author's own ({Path(base).name})" if Path(base).is_absolute() else f"`{base}`"


def _without_folder(value: Any) -> Any:
    """An option's value with each path replaced by the file's name: options may name tasks, which may be files."""
    if isinstance(value, (list, tuple)):
        return [_without_folder(one) for one in value]
    return Path(value).name if isinstance(value, str) and tasks.is_file(value) else value


def _cell(value: Any) -> str:
    """A value as text in a table."""
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0").rstrip(".") if abs(value) >= 0.001 or value == 0 else f"{value:g}"
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)


def _table(heading: Any, rows: Any) -> str:
    """A Markdown table."""
    lines = [heading, ["---"] * len(heading), *rows]
    return "\n".join("| " + " | ".join(_plain(cell) for cell in line) + " |" for line in lines)


def _plain(value: Any) -> str:
    """A value on one line of Markdown, where no sign of it divides cells or begins a tag."""
    return " ".join(str(value).split()).replace("|", "\\|").replace("<", "&lt;")
