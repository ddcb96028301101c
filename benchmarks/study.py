"""Statements of the published course report, each against its own numbers and against runs here.

    python -m benchmarks.study [--store adapters_store] [--task movies] [--page docs/published-study.md]

Writes the tables of docs/published-study.md from the finished runs of a store on one task: a recipe a method, all of
its seeds. Trains nothing. Differences in accuracy are tested over seeds and sentences (`trainer.analysis.seeds`), the
p-values adjusted for the number of comparisons of a statement (Holm 1979).
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainer import methods
from trainer.analysis import intervals, paired, published, seeds
from trainer.publish import bundled
from trainer.runs.metrics import METRICS
from trainer.runs.run import Run
from trainer.runs.store import Store
from trainer.sources import backbones

PAGE = Path(__file__).resolve().parents[1] / "docs" / "published-study.md"
BEGIN, END = "<!-- Written by python -m benchmarks.study -->", "<!-- End of what the command writes -->"
COMPARE, REPORT = "`python -m trainer compare`", "`python -m trainer report --out report.html`"
ESTIMATE, SHOW = (
    "`python -m trainer estimate --method lora --backbone bert-base`",
    "`python -m trainer show RUN --json`",
)


@dataclass(frozen=True)
class Statement:
    """One statement of the report: its own figures, those measured here, whether it holds, on how much, and how."""

    text: str
    there: str
    here: str
    holds: str
    basis: str
    command: str


class Study:
    """The runs of one task that are compared: method -> runs of one recipe, in the order of their seeds."""

    def __init__(self, store: Store, task: str) -> None:
        finished = [run for run in store.list() if run.result and run.task_name == task and not run.adopted]
        splits = Counter(run.split_fingerprint for run in finished).most_common(1)
        recipes: dict[str, dict[str, list[Run]]] = defaultdict(lambda: defaultdict(list))
        for run in finished:
            if run.split_fingerprint == splits[0][0]:
                key = run.recipe.model_copy(update={"seed": 0, "parents": ()}).fingerprint()
                recipes[run.recipe.method][key].append(run)
        self.runs = {
            method: sorted(max(groups.values(), key=len), key=lambda run: run.recipe.seed)
            for method, groups in recipes.items()
        }
        if missing := [name for name in methods.DEFAULT if name not in self.runs]:
            raise SystemExit(f"Expected finished runs of every method on {task}, got none of {', '.join(missing)}.")
        self.correct = {method: np.stack([_correct(store, run) for run in own]) for method, own in self.runs.items()}

    @property
    def all(self) -> list[Run]:
        """The runs of all methods."""
        return [run for own in self.runs.values() for run in own]

    @property
    def sentences(self) -> int:
        """Number of test sentences."""
        return self.correct["full"].shape[1]

    @property
    def devices(self) -> list[str]:
        """Names of the devices that the runs are from."""
        return sorted({run.device_name for run in self.all})

    def basis(self, *names: str) -> str:
        """Test sentences and seeds that accuracies of these methods are from."""
        return f"{self.sentences:,} test sentences, {self.seeds(*names)}"

    def seeds(self, *names: str) -> str:
        """Number of seeds of these methods."""
        numbers = sorted({len(self.runs[name]) for name in names})
        return f"{' or '.join(map(str, numbers))} {'seed' if numbers == [1] else 'seeds'}"

    def differences(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[str, seeds.Difference, float]]:
        """(text, difference, p by Holm) of each pair of methods."""
        results = []
        for one, other in pairs:
            numbers = [[run.recipe.seed for run in self.runs[name]] for name in (one, other)]
            matched = numbers[0] == numbers[1] and len(numbers[0]) > 1
            results.append(seeds.difference(self.correct[one], self.correct[other], matched=matched))
        adjusted = paired.holm([result.p for result in results])
        texts = [
            f"{_title(one)} less {_title(other)} {100 * d.difference:+.1f} points "
            f"({100 * d.low:+.1f} to {100 * d.high:+.1f}, p {p:.2f})"
            for (one, other), d, p in zip(pairs, results, adjusted, strict=True)
        ]
        return list(zip(texts, results, adjusted, strict=True))

    def mean(self, name: str, metric: str) -> float:
        """Mean of a metric over a method's seeds, in its unit."""
        return float(np.mean([METRICS[metric].of(run) for run in self.runs[name]]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, default=bundled.BUNDLED)
    parser.add_argument("--task", default="movies")
    parser.add_argument("--page", type=Path, default=PAGE)
    arguments = parser.parse_args()
    text = arguments.page.read_text(encoding="utf-8")
    before, _, rest = text.partition(f"{BEGIN}\n")
    _, _, after = rest.partition(f"{END}\n")
    written = tables(Study(Store(arguments.store), arguments.task))
    arguments.page.write_text(f"{before}{BEGIN}\n{written}{END}\n{after}", encoding="utf-8")
    print(f"Written to {arguments.page}")


def tables(study: Study) -> str:
    """The page's part that is written by the command, as Markdown."""
    first = study.runs["full"][0]
    sizes, recipe = first.result.meta_info.dataset_info.sizes, first.recipe
    counts = ", ".join(f"{_title(name)} {len(own)}" for name, own in study.runs.items())
    lines = [
        "## Against its own numbers", "",
        *(f"- {text}" for text in published.disagreements()), "",
        "## Against runs here", "",
        f"`{first.task_name}` on `{recipe.backbone}`: {sizes.train:,} training, {sizes.validation:,} validation and "
        f"{sizes.test:,} test sentences, {recipe.epochs} epochs of batches of {recipe.batch_size}. "
        f"Seeds: {counts}. Device: {', '.join(study.devices)}.", "",
        "| statement | in the report | here | holds here | on | command |", "|---" * 6 + "|",
        *("| " + " | ".join((s.text, s.there, s.here, s.holds, s.basis, s.command)) + " |" for s in statements(study)),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def statements(study: Study) -> list[Statement]:
    """The report's statements in order: accuracy, cost, procedure."""
    return [
        _most_accurate(study), _as_accurate(study), _parameters(study), _faster(study), _fastest(study),
        _least_memory(study), _fusion(study), _same_splits(study), _best_checkpoint(study), _evaluated_on(study),
    ]  # fmt: skip


def _most_accurate(study: Study) -> Statement:
    compared = study.differences([("full", "lora"), ("full", "qlora")])
    if all(p < paired.BOUND and d.difference > 0 for _, d, p in compared):
        holds = "yes"
    elif any(p < paired.BOUND and d.difference < 0 for _, d, p in compared):
        holds = "no"
    else:
        reach = max(d.detectable(paired.BOUND / len(compared)) for _, d, _ in compared)
        holds = f"not shown; {100 * reach:.1f} points would be found in 80 of 100 repetitions"
    there = ", ".join(_published_accuracy(name) for name in ("full", "lora", "qlora"))
    here = "; ".join(text for text, _, _ in compared)
    return Statement("Full fine-tuning is the most accurate", there, here, holds, study.basis("full", "lora", "qlora"),
                     REPORT)  # fmt: skip


def _as_accurate(study: Study) -> Statement:
    ((text, difference, p),) = study.differences([("qlora", "lora")])
    if p < paired.BOUND:
        holds = f"no: {'more' if difference.difference > 0 else 'less'} accurate"
    else:
        most = max(abs(difference.low), abs(difference.high))
        holds = f"not contradicted; a difference of up to {100 * most:.1f} points is not ruled out"
    there = ", ".join(_published_accuracy(name) for name in ("qlora", "lora"))
    return Statement("QLoRA is as accurate as LoRA", there, text, holds, study.basis("qlora", "lora"), REPORT)


def _parameters(study: Study) -> Statement:
    row, full = _row("lora"), _row("full")
    lora, shape = methods.get("lora"), backbones.shape_of("bert-base")
    trained = lora.trainable_parameters(shape, lora.options(), 2)
    there = f"{row['trainable_parameters']:,} of {full['trainable_parameters']:,}"
    total = shape.encoder_parameters + lora.added_parameters(shape, lora.options(), 2)
    here = (
        f"{trained:,} of {total:,} for BERT base at r 16, of which the head has {shape.head_parameters(2):,}; "
        f"{study.runs['lora'][0].result.train_info.num_trainable_params:,} in the runs here"
    )
    close = abs(trained - shape.head_parameters(2) - row["trainable_parameters"]) < 0.005 * row["trainable_parameters"]
    text = "LoRA trains about half a per cent of the parameters"
    return Statement(text, there, here, "yes" if close else "no", "a count, exact", ESTIMATE)


def _faster(study: Study) -> Statement:
    there = _published_minutes("lora", "qlora", "full")
    here, holds = _times(study, ("lora", "qlora"), "full")
    return Statement("LoRA and QLoRA train faster than full fine-tuning", there, here, holds,
                     study.seeds("lora", "qlora", "full"), COMPARE)  # fmt: skip


def _fastest(study: Study) -> Statement:
    here, holds = _times(study, ("qlora",), "lora")
    there = _published_minutes("qlora", "lora")
    return Statement("QLoRA is the fastest", there, here, holds, study.seeds("qlora", "lora"), COMPARE)


def _least_memory(study: Study) -> Statement:
    names = ("full", "lora", "qlora")
    peaks = {row["method"]: row["peak_memory"] for row in published.table().to_dict("records")}
    there = ", ".join(
        f"{_title(name)} {_row(name)['gpu_mb']:,.0f} MB after an epoch"
        + (f" (peak {peaks[name]:,.0f})" if peaks[name] == peaks[name] else "")
        for name in names
    )
    text, basis = "QLoRA needs the least memory", study.seeds(*names)
    steps = {name: [run.result.train_info.step_memory for run in study.runs[name]] for name in names}
    if any(step is None for own in steps.values() for step in own):
        here = "not measured: these runs have the growth of the process alone, which is not what training needs"
        return Statement(text, there, here, "not measured", basis, COMPARE)
    means = {name: float(np.mean([step.peak for step in own])) for name, own in steps.items()}
    here = "live tensors at the peak of a step: " + ", ".join(f"{_title(n)} {means[n] / 1e6:,.0f} MB" for n in names)
    holds = "yes" if min(means, key=means.__getitem__) == "qlora" else "no"
    return Statement(text, there, here, holds, basis, COMPARE)


def _fusion(study: Study) -> Statement:
    log = published.load()["epochs"]["adapter_fusion"]
    losses, shares = [epoch["validation_loss"] for epoch in log], {epoch["validation_accuracy"] for epoch in log}
    there = (
        f"validation accuracy {' or '.join(f'{share:.2%}' for share in sorted(shares))} after each of {len(log)} epochs"
    )
    there += f", validation loss {min(losses):.4f} to {max(losses):.4f}: nothing trained"
    falls = [
        (run.result.train_info.metrics[0].train_loss, run.result.train_info.metrics[-1].train_loss)
        for run in study.runs["adapter_fusion"]
    ]
    trains = all(last < first for first, last in falls)
    ((text, difference, p),) = study.differences([("adapter_fusion", "adapter")])
    first, last = np.mean(falls, axis=0)
    here = f"training loss {first:.3f} in the first epoch, {last:.3f} in the last; {text}"
    gain = "more accurate than its adapter" if p < paired.BOUND and difference.difference > 0 else (
        "less accurate than its adapter" if p < paired.BOUND else
        f"a gain over its adapter is not shown ({100 * difference.detectable():.1f} points would be found "
        "in 80 of 100 repetitions)"
    )  # fmt: skip
    holds = f"{'it trains' if trains else 'it does not train'}; {gain}"
    return Statement("AdapterFusion learns to combine adapters", there, here, holds,
                     study.basis("adapter_fusion", "adapter"), REPORT)  # fmt: skip


def _same_splits(study: Study) -> Statement:
    known = {name: published.training(name) for name in published.load()["epochs"]}
    there = ", ".join(
        f"{_title(name)} {sizes[0]:,} ({sizes[1]} steps an epoch)" for name, sizes in known.items() if sizes
    )
    same = {run.split_fingerprint for run in study.all}
    here = f"fingerprint {', '.join(sorted(same))} of every sentence and label, in each of {len(study.all)} runs"
    return Statement("All methods had the same splits", there, here, "yes" if len(same) == 1 else "no",
                     f"{len(study.all)} runs", SHOW)  # fmt: skip


def _best_checkpoint(study: Study) -> Statement:
    shares = [epoch["validation_accuracy"] for epoch in published.load()["epochs"]["full"]]
    there = f"full fine-tuning {_row('full')['validation_accuracy']:.2%}, that of its last epoch ({shares[-1]:.2%}); "
    there += f"its best has {max(shares):.2%}"
    kept = 0
    for run in study.all:
        info = run.result.train_info
        best = max(info.metrics, key=lambda epoch: (epoch.accuracy, -epoch.loss))
        kept += (info.best_epoch, info.best_validation_accuracy) == (best.epoch, best.accuracy)
    here = f"the epoch that was kept is the best one in {kept} of {len(study.all)} runs"
    return Statement("The checkpoint with the best validation accuracy is kept", there, here,
                     "yes" if kept == len(study.all) else "no", f"{len(study.all)} runs", SHOW)  # fmt: skip


def _evaluated_on(study: Study) -> Statement:
    equal = sum(
        bool(np.isclose(own.mean(), run.result.test.accuracy, atol=1e-12))
        for name, runs in study.runs.items() for run, own in zip(runs, study.correct[name], strict=True)
    )  # fmt: skip
    size = published.load()["configuration"]
    there = f"figures of {size['test_set']:,} test sentences as those of {size['validation_set']} for validation"
    here = (
        f"both are kept apart; test accuracy counted again from the predictions agrees in {equal} of {len(study.all)}"
    )
    return Statement("The evaluation is of the sentences that it is said to be of", there, f"{here} runs",
                     "yes" if equal == len(study.all) else "no", f"{len(study.all)} runs", SHOW)  # fmt: skip


def _times(study: Study, names: Sequence[str], other: str) -> tuple[str, str]:
    """(minutes of each method, whether these are faster than the other one, run by run)."""
    shown = ", ".join(f"{_title(name)} {study.mean(name, 'train_minutes'):.2f}" for name in (*names, other))
    if len(study.devices) > 1:
        return f"{shown} min of training, on several devices", "not measured on one device"
    faster = [
        METRICS["train_minutes"].of(run) < METRICS["train_minutes"].of(reference)
        for name in names
        for run, reference in zip(study.runs[name], study.runs[other], strict=False)
    ]
    holds = "yes" if all(faster) else "no" if not any(faster) else "not shown"
    return f"{shown} min of training", f"{holds}: faster in {sum(faster)} of {len(faster)} pairs of runs"


def _published_minutes(*names: str) -> str:
    """Training times of methods in the report."""
    return ", ".join(f"{_title(name)} {_row(name)['training_minutes']:.2f}" for name in names) + " min"


def _published_accuracy(name: str) -> str:
    """Test accuracy of a method in the report, with Wilson's interval over its test sentences."""
    share, size = _row(name)["test_accuracy"], published.load()["configuration"]["test_set"]
    low, high = intervals.wilson(share, size)
    return f"{_title(name)} {100 * share:.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def _row(name: str) -> dict:
    return next(row for row in published.load()["summary"] if row["method"] == name)


def _title(name: str) -> str:
    return methods.get(name).title


def _correct(store: Store, run: Run) -> np.ndarray:
    """Whether the run predicts each test sentence's label, in the order of the source: boolean (sentences,)."""
    frame = store.predictions(run.id)
    test = frame[frame["split"] == "test"].sort_values("row")
    return (test["label"] == test["predicted"]).to_numpy()


if __name__ == "__main__":
    main()
