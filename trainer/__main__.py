"""Command line, `python -m trainer`: everything that the app does, without a browser."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from trainer.errors import ArgumentError, Cancelled, Problems, UserError, sentence

app = typer.Typer(
    help="Train, compare and question fine-tuning methods for text classification.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

AsJson = Annotated[bool, typer.Option("--json", help="print one JSON document and nothing else")]
Sets = Annotated[
    Optional[list[str]],
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        help="any setting of the recipe or the method, in a suite also METHOD.NAME=VALUE; may be repeated",
    ),
]
Track = Annotated[bool, typer.Option("--track", help="track with Weights & Biases")]
RunName = Annotated[str, typer.Argument(metavar="RUN", help="a run's id, or a beginning of it or a label of one run")]


@app.command()
def suite(
    preset: Annotated[Optional[str], typer.Option(help="quick, report or best")] = None,
    method: Annotated[Optional[list[str]], typer.Option(help="a method; may be repeated (all if not given)")] = None,
    task: Annotated[Optional[str], typer.Option(help="a task's name or a file")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="a backbone's name or a local folder")] = None,
    seed: Annotated[Optional[list[int]], typer.Option(help="a seed; may be repeated")] = None,
    text_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    label_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    group_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    label: Annotated[str, typer.Option(help="your own name for the runs")] = "",
    track: Track = False,
    set_: Sets = None,
) -> None:
    """Train several methods on the same sentences, so that they can be compared."""
    from trainer.runs import recipes
    from trainer.runs.presets import PRESETS

    named = PRESETS.get(preset or "")
    if preset is not None and named is None:
        from trainer.errors import one_of

        raise one_of("a preset", preset, tuple(PRESETS))
    settings = dict(named.settings) if named else {}
    settings |= _columns(text_column, label_column, group_column) | {"track": track} | _settings(set_)
    default_task, default_backbone = _defaults()
    configs = recipes.suite(
        methods_=method or (named.methods if named else recipes.DEFAULT_METHODS),
        seeds=seed or (named.seeds if named else (0,)),
        task=task or (named.task if named else default_task),
        backbone=backbone or (named.backbone if named else default_backbone),
        **settings,
    )
    _train(configs, label)


@app.command()
def run(
    method: Annotated[str, typer.Option(help="full, lora, qlora, adapter or adapter_fusion")],
    task: Annotated[Optional[str], typer.Option(help="a task's name or a file")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="a backbone's name or a local folder")] = None,
    seed: Annotated[int, typer.Option(help="seeds weights, batches and dropout")] = 0,
    text_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    label_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    group_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    parents: Annotated[str, typer.Option(metavar="A,B", help="adapter runs to fuse (trained if not given)")] = "",
    label: Annotated[str, typer.Option(help="your own name for the run")] = "",
    track: Track = False,
    set_: Sets = None,
) -> None:
    """Train one run."""
    from trainer.runs import recipes
    from trainer.runs.store import Store

    default_task, default_backbone = _defaults()
    settings = _columns(text_column, label_column, group_column) | {"track": track} | _settings(set_)
    if parents:
        settings["parents"] = tuple(Store().load(name).id for name in parents.split(","))
    config = recipes.make(
        method=method, task=task or default_task, backbone=backbone or default_backbone, seed=seed, **settings
    )
    _train([config], label)


@app.command("list")
def list_(as_json: AsJson = False) -> None:
    """The runs in the store."""
    from trainer.runs.metrics import METRICS
    from trainer.runs.store import Store

    runs = Store().list()
    if as_json:
        _print_json([run.as_json() | {"folder": str(run.folder)} for run in runs])
        return
    if not runs:
        typer.echo("No runs yet. Train some: python -m trainer suite --preset quick")
        return
    accuracy = METRICS["test_accuracy"]
    rows = [
        (run.id, run.state, run.recipe.method, Path(run.recipe.task).name, accuracy.show(accuracy.of(run)), run.label)
        for run in runs
    ]
    _print_table(("run", "state", "method", "task", accuracy.title, "label"), rows)


@app.command()
def show(run: RunName, as_json: AsJson = False) -> None:
    """One run: its recipe, its figures, or why it failed."""
    from trainer.analysis.tables import per_class
    from trainer.runs import recipes
    from trainer.runs.metrics import METRICS
    from trainer.runs.store import Store

    stored = Store().load(run)
    if as_json:
        _print_json(stored.as_json())
        return
    typer.echo(f"{stored.id}: {stored.state}" + (f" ({stored.label})" if stored.label else ""))
    if stored.error:
        typer.echo(stored.error)
    for name, value in stored.recipe.model_dump(mode="json", exclude_none=True).items():
        typer.echo(f"  {name}: {value}")
    if stored.lineage.learning_rate:
        typer.echo(f"Learning rate {recipes.rate_text(stored)}.")
    if stored.result:
        typer.echo("")
        figures = [(metric.title, metric.show(metric.of(stored))) for metric in METRICS.values()]
        _print_table(("figure", "value"), [row for row in figures if row[1] != "–"])
        typer.echo("")
        typer.echo(per_class(stored).to_string(index=False, float_format=lambda value: f"{value:.4f}"))


@app.command()
def compare(
    as_json: AsJson = False,
    csv: Annotated[Optional[Path], typer.Option(help="write the table to this file")] = None,
    peft: Annotated[
        Optional[Path], typer.Option(metavar="FOLDER", help="write files for PEFT's method comparison to this folder")
    ] = None,
) -> None:
    """The finished runs side by side."""
    from trainer.analysis import method_comparison
    from trainer.analysis.parents import other_tasks
    from trainer.analysis.tables import comparable, runs_table
    from trainer.runs.metrics import METRICS
    from trainer.runs.store import Store

    runs = [run for run in Store().list() if run.state == "finished"]
    table = runs_table(runs)
    if csv is not None:
        table.join(method_comparison.columns(runs)).to_csv(csv, index=False)
        typer.echo(f"{len(table)} runs written to {csv}", err=as_json)
    if peft is not None:
        files, left_out = method_comparison.write(runs, peft)
        typer.echo(f"{len(files)} runs written to {peft}", err=as_json)
        for run in left_out:
            typer.echo(f"{run.id} is left out: it has no GPU memory to compare with that of the others.", err=True)
    if as_json:
        _print_json(json.loads(table.to_json(orient="records", double_precision=12)))
    elif csv is None and peft is None:
        keys = ["test_accuracy", "validation_accuracy", "f1", "train_minutes", "trainable", "peak_memory", "file_size"]
        more = ("parents_minutes", "parents_parameters", "latency", "calibration_error")
        keys += [key for key in more if table[key].notna().any()]
        heading = ("run", "method", "task", *(METRICS[key].title for key in keys))
        rows = [
            (
                run.id,
                run.recipe.method,
                Path(run.recipe.task).name,
                *(METRICS[key].show(METRICS[key].of(run)) for key in keys),
            )
            for run in runs
        ]
        _print_table(heading, rows)
        for warning in comparable(runs) + other_tasks(runs):
            typer.echo(warning)


@app.command()
def report(
    out: Annotated[Path, typer.Option(help="the HTML file to write")],
    runs: Annotated[str, typer.Option(metavar="A,B", help="which runs (all finished ones if not given)")] = "",
) -> None:
    """Write a lab report: figures, statistical significance of the differences, and how each run was made."""
    from trainer.publish import report as reports
    from trainer.runs.store import Store

    store = Store()
    selected = [store.load(name) for name in runs.split(",") if name] or store.list()
    finished = [run for run in selected if run.state == "finished"]
    if not finished:
        raise UserError(
            expected="a finished run to report", got="none", fix="train one: python -m trainer suite --preset quick"
        )
    out.write_text(reports.html(store, finished), encoding="utf-8")
    typer.echo(f"{len(finished)} runs reported in {out}")


@app.command()
def predict(
    text: Annotated[Optional[str], typer.Argument(help="one sentence")] = None,
    runs: Annotated[str, typer.Option(metavar="A,B", help="which runs predict (all finished ones if not given)")] = "",
    file: Annotated[Optional[Path], typer.Option(help="a file of sentences instead")] = None,
    out: Annotated[Optional[Path], typer.Option(help="where to write every run's predictions (CSV)")] = None,
    text_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    calibrated: Annotated[
        bool, typer.Option("--calibrated", help="scale each run's probabilities by its temperature from validation")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Predict the label of one sentence, or of each sentence of a file, with trained runs."""
    from trainer.runs.store import Store

    if (text is None) == (file is None):
        raise ArgumentError(expected="a sentence or --file", got="both" if text else "neither", fix="give one of them")
    if file is not None and out is None:
        raise ArgumentError(expected="--out with --file", got="none", fix="say where to write the predictions")
    store = Store()
    from trainer.jobs import queue as jobs
    from trainer.serving import predictor as inference

    selected = inference.choose(store, [name for name in runs.split(",") if name])
    if not selected:
        raise UserError(
            expected="a finished run to ask", got="none", fix="train one: python -m trainer suite --preset quick"
        )
    predictor = inference.Predictor(store)
    if calibrated:
        for run in selected:
            if inference.temperature(run) is None:
                typer.echo(f"Not scaled: {run.id}, which has no temperature.", err=True)
    if file is not None:
        _predict_file(predictor, selected, file, out, text_column, as_json, calibrated=calibrated)
        return
    predictions = predictor.predict(text, selected)
    if calibrated:
        predictions = [prediction.calibrated(run) for prediction, run in zip(predictions, selected, strict=True)]
    if not runs:
        for missing, trains in jobs.without_weights(store):
            fix = f"{trains.id} trains" if trains else f"train it: python -m trainer again {missing.id}"
            typer.echo(f"Not asked: {missing.id}, which came without its weights ({fix}).", err=True)
    if as_json:
        _print_json([prediction.__dict__ for prediction in predictions])
        return
    rows = [(p.run_id, p.method, p.predicted, f"{p.confidence:.1%}", f"{p.seconds * 1000:.1f} ms") for p in predictions]
    _print_table(("run", "method", "predicted", "probability", "time"), rows)


@app.command()
def estimate(
    method: Annotated[str, typer.Option(help="full, lora, qlora, adapter or adapter_fusion")],
    task: Annotated[Optional[str], typer.Option(help="a task's name or a file")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="a backbone's name or a local folder")] = None,
    set_: Sets = None,
    as_json: AsJson = False,
) -> None:
    """Estimated cost of a run: parameters, memory, time."""
    from trainer.machine.device import detect, reuse_freed_memory
    from trainer.runs import estimate as estimates
    from trainer.runs import recipes
    from trainer.runs.metrics import METRICS
    from trainer.runs.store import Store
    from trainer.training import simulate

    default_task, default_backbone = _defaults()
    config = recipes.make(
        method=method, task=task or default_task, backbone=backbone or default_backbone, **_settings(set_)
    )
    earlier, device = Store().list(), detect()
    reuse_freed_memory()
    simulate.ensure([config], earlier=earlier, device=device)
    cost = estimates.estimate(config, earlier=earlier, device=device)
    if as_json:
        _print_json(cost.__dict__)
        return
    rows = [
        (METRICS["trainable"].title, f"{cost.trainable_parameters:,}"),
        ("Parameters in all", f"{cost.total_parameters:,}"),
        (METRICS["peak_memory"].title, f"about {cost.memory / 1e6:,.0f}"),
        (METRICS["train_minutes"].title, f"about {cost.seconds / 60:.1f}"),
    ]
    if cost.parents_seconds:
        rows.append((METRICS["parents_minutes"].title, f"about {cost.parents_seconds / 60:.1f}"))
    _print_table(("figure", "estimate"), rows)
    if cost.based_on == cost.memory_based_on:
        typer.echo(f"Time and memory are estimated from {cost.based_on}.")
    else:
        typer.echo(f"Time is estimated from {cost.based_on}, memory from {cost.memory_based_on}.")


@app.command()
def cancel(run: RunName) -> None:
    """Cancel a run that waits or trains. The files it has written stay."""
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    typer.echo(f"{jobs.cancel(Store(), run).id} is being cancelled.")


@app.command()
def resume(run: RunName) -> None:
    """Continue a failed or cancelled run from its last checkpoint."""
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    store = Store()
    _watch(store, [jobs.resume(store, run)])


@app.command()
def again(run: RunName) -> None:
    """Train a new run with the recipe of an ended one."""
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    store = Store()
    _watch(store, [jobs.retrain(store, run)])


@app.command()
def delete(run: RunName, yes: Annotated[bool, typer.Option("--yes", "-y", help="do not ask")] = False) -> None:
    """Remove a run and its files."""
    from trainer.runs.store import Store

    store = Store()
    stored = store.load(run)
    if not yes and not typer.confirm(f"Delete {stored.id} and its files?"):
        raise Cancelled("Nothing was deleted.")
    store.delete(stored.id)
    typer.echo(f"{stored.id} is deleted.")


@app.command()
def export(run: RunName, out: Annotated[Path, typer.Argument(metavar="OUT.zip", help="the file to write")]) -> None:
    """Write a run to a zip file."""
    from trainer.runs import archive
    from trainer.runs.store import Store

    typer.echo(f"Written to {archive.export(Store(), run, out)}")


@app.command()
def push(
    run: RunName,
    repo: Annotated[str, typer.Option(metavar="OWNER/NAME", help="the model's repository on the Hub")],
    private: Annotated[Optional[bool], typer.Option(help="who may see it, when it is created")] = None,
    licence: Annotated[
        Optional[str], typer.Option("--license", help="such as mit (the backbone's if not given)")
    ] = None,
) -> None:
    """Upload a finished run to the Hugging Face Hub as a model, with a card."""
    from trainer.publish import push as pushing
    from trainer.runs.store import Store

    address, files = pushing.push(Store(), run, repo, private=private, licence=licence)
    typer.echo(f"{len(files)} files are at {address}")


@app.command()
def load(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="a zip file that export wrote, or a folder of runs")],
) -> None:
    """Add a run from a zip file, or the runs in a folder, to the store."""
    from trainer.runs import archive
    from trainer.runs.store import Store

    if not path.is_dir():
        typer.echo(f"{archive.load(Store(), path).id} is in the store.")
        return
    loaded, left_out = archive.load_folder(Store(), path)
    for run in loaded:
        typer.echo(f"{run.id} is in the store.")
    for reason in left_out:
        typer.echo(reason, err=True)
    if left_out and not loaded:
        raise typer.Exit(1)


@app.command()
def adopt(
    source: Annotated[str, typer.Argument(help="a local folder, or owner/name on the Hub")],
    task: Annotated[Optional[str], typer.Option(help="the task to evaluate it on")] = None,
    backbone: Annotated[Optional[str], typer.Option(help="the backbone it was trained on")] = None,
    labels: Annotated[
        str, typer.Option(metavar="A,B", help="the labels in the adapter's order, if it is another")
    ] = "",
    label: Annotated[str, typer.Option(help="your own name for the run")] = "",
    text_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    label_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
    group_column: Annotated[Optional[str], typer.Option(help="for a file")] = None,
) -> None:
    """Evaluate a plain PEFT or AdapterHub adapter here, so that it can be compared and can predict."""
    from trainer.jobs import adoption
    from trainer.runs.store import Store

    store, (default_task, default_backbone) = Store(), _defaults()
    order = [name.strip() for name in labels.split(",") if name.strip()]
    run = adoption.adopt(
        store, source, task=task or default_task, backbone=backbone or default_backbone, label=label,
        label_order=order, text_column=text_column, label_column=label_column,
        group_column=group_column,
    )  # fmt: skip
    _watch(store, [run])


@app.command()
def fetch() -> None:
    """Fetch the embedded backbone and sentences now, so that later no network is needed."""
    from trainer.sources import assets

    for asset in (assets.MINILM, assets.SENTENCES):
        cached = assets.is_cached(asset)
        typer.echo(f"{asset.name}: " + ("already here" if cached else f"fetching {asset.megabytes} MB"))
        assets.fetch(asset)
    typer.echo(f"Kept in {assets.cache_folder()}")


@app.command()
def remake(
    names: Annotated[Optional[list[str]], typer.Argument(metavar="[RUN]...", help="which; all if not given")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="put all of them in the place of those there")] = False,
    folder: Annotated[
        Optional[Path], typer.Option("--store", help="train there and keep it, so that a stopped remake goes on")
    ] = None,
) -> None:
    """Retrain the runs that come with the program and check that their figures agree."""
    import tempfile
    from contextlib import nullcontext

    from trainer.jobs import queue as jobs
    from trainer.publish import bundled
    from trainer.runs.store import Store

    stored = bundled.shipped()
    if replace and names:
        raise ArgumentError(expected="no names beside --replace", got=", ".join(names), fix="leave them out")
    if names:
        known = Store(bundled.BUNDLED)
        stored = [run for run in map(known.load, names) if run.bundled]
    if not stored and not replace:
        raise UserError(expected="runs that came with the program", got="none", fix="make them with --replace")
    with nullcontext(folder) if folder else tempfile.TemporaryDirectory() as root:
        store = Store(root)
        configs = bundled.configs() if replace else [bundled.recipe(run) for run in stored]
        _watch(store, jobs.launch(store, bundled.missing(configs, store)))
        checks = [
            check
            for run in stored
            if (retrained := bundled.counterpart(run, store))
            for check in bundled.compare(run, retrained)
        ]
        if replace:
            for run_id in bundled.replace([run for run in store.list() if run.state == "finished"]):
                typer.echo(f"{run_id} written to {bundled.BUNDLED}")
    _print_table(
        ("run", "figure", "kept", "again", ""),
        [(c.run_id, c.figure, c.stored, c.retrained, "agrees" if c.agrees else "DIFFERS") for c in checks],
    )
    if not all(check.agrees for check in checks):
        raise UserError(
            expected="figures that agree", got="some that differ", fix="look at the table; other versions may be why"
        )


@app.command(hidden=True)
def worker() -> None:
    """Train the queued runs, then exit. The app and the other commands start this process."""
    from trainer.jobs.worker import work
    from trainer.runs.store import Store

    work(Store())


# Helpers


def _settings(pairs: Sequence[str] | None) -> dict[str, Any]:
    """Settings by name, from NAME=VALUE pairs. A value is parsed as JSON if it can be; a list may be written a,b.

    Raises `Problems` for pairs without a name or "=", and for settings that have an argument of their own.
    """
    from trainer.runs import recipes

    settings: dict[str, Any] = {}
    problems = []
    for pair in pairs or ():
        name, equals, value = pair.partition("=")
        name = name.strip()
        if not equals or not name:
            problems.append(f"Expected NAME=VALUE after --set, got {pair!r}; write, say, learning_rate=3e-4.")
            continue
        try:
            settings[name] = json.loads(value)
        except ValueError:
            settings[name] = tuple(value.split(",")) if "," in value else value
        if name.rpartition(".")[2] in ("target_modules", "parent_tasks", "parents") and isinstance(settings[name], str):
            settings[name] = (settings[name],)
    if problems:
        raise Problems(problems)
    recipes.refuse_own_arguments(settings)
    return settings


def _columns(text_column: str | None, label_column: str | None, group_column: str | None) -> dict[str, str]:
    """Settings for the columns of a file; a column that is None is left out."""
    columns = {"text_column": text_column, "label_column": label_column, "group_column": group_column}
    return {name: value for name, value in columns.items() if value is not None}


def _defaults() -> tuple[str, str]:
    """Default (task, backbone) on this machine: BERT base on SST-2 with CUDA, else those that need no Hub."""
    # Importing torch takes seconds: only on a machine that may have a GPU.
    if _has_nvidia_driver():
        from trainer.machine.device import detect

        if detect().kind == "cuda":
            return "sst2", "bert-base"
    return "movies", "minilm"


def _has_nvidia_driver() -> bool:
    import shutil

    return Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def _train(configs: Sequence[Any], label: str) -> None:
    from trainer.jobs import queue as jobs
    from trainer.runs.store import Store

    store = Store()
    _watch(store, jobs.launch(store, configs, label=label))


def _watch(store: Any, launched: Sequence[Any]) -> None:
    """Print the progress of runs until they end; Ctrl-C cancels those that have not."""
    from trainer.jobs import queue as jobs
    from trainer.jobs.progress import Progress

    runs = jobs.with_parents(store, launched)
    progress = Progress(runs, write=typer.echo, live=sys.stdout.isatty())
    try:
        for run, event in jobs.follow(store, [run.id for run in runs]):
            progress.show(run, event)
    except KeyboardInterrupt:
        typer.echo("\nCancelling; what is trained stays.", err=True)
        for run in runs:
            if store.load(run.id).state in ("queued", "running"):
                jobs.cancel(store, run.id)
        for _ in jobs.follow(store, [run.id for run in runs]):
            pass
    ended = [store.load(run.id) for run in runs]
    for run in ended:
        if run.state != "finished":
            typer.echo(f"{run.id}: {run.state}. {run.error or ''}".strip(), err=True)
    if any(run.state != "finished" for run in ended):
        raise typer.Exit(1)


def _predict_file(
    predictor, runs, file: Path, out: Path, text_column: str | None, as_json: bool, *, calibrated: bool
) -> None:
    from trainer.serving import files

    table = files.read(file)
    column = files.text_column(table, file, text_column)
    for step in files.predict(table, column, runs, predictor, calibrated=calibrated):
        if sys.stderr.isatty():
            last = step.done == step.of
            typer.echo(f"\r{step.run.id}: {step.done:,} of {step.of:,} sentences", nl=last, err=True)
    files.write(table, out)
    if as_json:
        _print_json({"out": str(out), "rows": len(table), "runs": [run.id for run in runs]})
    else:
        typer.echo(f"{len(table):,} sentences through {len(runs)} runs written to {out}")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, default=str))


def _print_table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: columns padded to their widest cell, numbers aligned to the right."""
    widths = [max(len(str(row[i])) for row in [heading, *rows]) for i in range(len(heading))]
    numeric = [all(str(row[i])[:1] in "0123456789–-" for row in rows) for i in range(len(heading))]
    for row in [heading, *rows]:
        cells = (
            str(cell).rjust(width) if is_number else str(cell).ljust(width)
            for cell, width, is_number in zip(row, widths, numeric, strict=True)
        )
        typer.echo("  ".join(cells).rstrip())


def main() -> None:
    """Run the command line; an error is one sentence on standard error and an exit status."""
    from trainer.machine.device import share_cores

    share_cores()
    try:
        app(standalone_mode=True)
    except UserError as error:
        typer.echo(str(error), err=True)
        sys.exit(error.exit_status)
    except (Cancelled, KeyboardInterrupt) as error:
        typer.echo(sentence(error), err=True)
        sys.exit(1)
    except OSError as error:
        typer.echo(sentence(error), err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
