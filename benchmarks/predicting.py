"""Five runs predict together, against five models one after another, each opened and used as its own library does it.

    python -m benchmarks.predicting --store FOLDER --out predicting.json

FOLDER holds finished runs of every method on `minilm`; the first of each method predicts. One sentence: both ways in
turn, medians. A file: embedded film reviews and their siblings in the order in which they were published, through each
run in turn, at batch 32 padded to the longest of the batch on the plain side. What is loaded stays loaded.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from pathlib import Path

from benchmarks import common
from trainer.machine.device import share_cores

TEXT = "It is not a bad film, and never a dull one, but the ending is poor."
BATCH = 32


def main() -> None:
    """Measure both and write seconds, ratios and the largest differences."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", required=True, type=Path)
    parser.add_argument("--out", required=True, type=Path)
    parser.add_argument("--repeats", type=int, default=60)
    parser.add_argument("--sentences", type=int, default=10_000)
    arguments = parser.parse_args()
    share_cores()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from trainer.runs.store import Store
    from trainer.serving import predictor as inference

    predictor = inference.Predictor(Store(arguments.store))
    runs = list({run.recipe.method: run for run in reversed(inference.choose(predictor.store))}.values())[::-1]
    ways = {run.recipe.method: Plain(run) for run in runs}
    figures = {
        "one_sentence": one_sentence(predictor, runs, ways, arguments.repeats),
        "logits": logits(predictor, runs),
        "file": file(predictor, runs, ways, texts(arguments.sentences)) if arguments.sentences else None,
    }
    common.write(arguments.out, figures)


class Plain:
    """One run's model as its library's documentation opens it, in float32, with its own tokeniser."""

    def __init__(self, run) -> None:
        from transformers import AutoTokenizer

        from trainer.sources import backbones

        folder = backbones.locate(run.recipe.backbone).folder
        self.tokeniser = AutoTokenizer.from_pretrained(folder)
        self.model = opened(run.recipe.method, run.model_folder, folder, len(run.label_names)).eval()

    def predict(self, texts: list[str]):
        """Probabilities (texts, labels) of one batch."""
        import torch

        with torch.no_grad():
            batch = self.tokeniser(texts, return_tensors="pt", padding=True, truncation=True, max_length=128)
            return self.model(**batch).logits.softmax(-1)

    def predict_many(self, texts: list[str]):
        """Probabilities (texts, labels), in batches in the order given."""
        import torch

        return torch.cat([self.predict(texts[at : at + BATCH]) for at in range(0, len(texts), BATCH)])


def opened(method: str, folder: Path, backbone: Path, labels: int):
    """What the README of each library does."""
    import torch
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig

    if method == "full":
        return AutoModelForSequenceClassification.from_pretrained(folder)
    if method in ("lora", "qlora"):
        from peft import PeftModel

        more = {}
        if method == "qlora":
            more["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type="nf4",
                bnb_4bit_use_double_quant=True,
                llm_int8_skip_modules=["classifier", "pooler"],
            )
        base = AutoModelForSequenceClassification.from_pretrained(
            backbone, num_labels=labels, dtype=torch.float32, **more
        )
        return PeftModel.from_pretrained(base, folder)
    from adapters import AutoAdapterModel

    model = AutoAdapterModel.from_pretrained(backbone)
    if method == "adapter":
        model.load_adapter(str(folder), set_active=True, use_safetensors=True)
        return model
    for saved in sorted((folder / "adapters").iterdir()):
        model.load_adapter(str(saved), with_head=False, load_as=saved.name, use_safetensors=True)
    model.load_adapter_fusion(str(folder / "fusion"), with_head=True, set_active=True, use_safetensors=True)
    return model


def one_sentence(predictor, runs, ways, repeats: int) -> dict:
    """Milliseconds for one sentence through all runs, both ways in turn; and each run alone."""
    figures = timed(
        {
            "plain": lambda: [way.predict([TEXT]) for way in ways.values()],
            "ours": lambda: predictor.predict(TEXT, runs),
        },
        repeats,
    )
    figures["tokens"] = len(next(iter(ways.values())).tokeniser(TEXT)["input_ids"])
    for run in runs:
        way = ways[run.recipe.method]
        figures[run.recipe.method] = timed(
            {"plain": lambda way=way: way.predict([TEXT]), "ours": lambda run=run: predictor.predict_one(TEXT, run)},
            max(repeats // 3, 5),
        )
    return figures


def timed(ways: dict, repeats: int) -> dict:
    """Medians in milliseconds of each way, in turn, and the ratio of ours to plain."""
    seconds = {name: [] for name in ways}
    for number in range(repeats + 3):
        for name, way in ways.items():
            since = time.perf_counter()
            way()
            if number >= 3:  # the first ones allocate
                seconds[name].append(time.perf_counter() - since)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {name: round(value * 1000, 2) for name, value in medians.items()} | {
        "ratio": round(medians["ours"] / medians["plain"], 3)
    }


def logits(predictor, runs) -> dict:
    """The largest difference of a logit in float32: as it predicts here, against the method's model opened alone."""
    import torch

    from trainer import methods
    from trainer.engine import forward
    from trainer.serving import predictor as inference

    largest = {}
    for run in runs:
        setup = inference.open_setup(run, predictor._device)
        loaded = predictor._models[run.id]
        pair = [methods.get(run.recipe.method).open(run.model_folder, setup), loaded.model]
        ids = forward.tokenise(loaded.tokeniser, texts(200), run.recipe.max_length)
        a, b = (
            forward.predict_logits(
                model, ids, pad_id=loaded.pad_id, batch_size=BATCH, device=predictor._device, precision="fp32"
            )
            for model in pair
        )
        largest[run.recipe.method] = float(torch.tensor(a - b).abs().max())
    return largest


def file(predictor, runs, ways, sentences: list[str]) -> dict:
    """Seconds for every sentence through each run, the two ways in turn; how far labels and probabilities differ."""
    import pandas as pd

    from trainer.serving import files

    seconds, by_method = {"plain": [], "ours": []}, {}
    for run in runs:
        table = pd.DataFrame({"text": sentences})
        since = time.perf_counter()
        for _ in files.predict(table, "text", [run], predictor):
            pass
        seconds["ours"].append(time.perf_counter() - since)
        since = time.perf_counter()
        plain = ways[run.recipe.method].predict_many(sentences).numpy()
        seconds["plain"].append(time.perf_counter() - since)
        exact = predictor.predict_many(sentences, run)
        quick = predictor.predict_many(sentences, run, quick=True)
        by_method[run.recipe.method] = {
            "plain": round(seconds["plain"][-1], 1),
            "ours": round(seconds["ours"][-1], 1),
            "ratio": round(seconds["ours"][-1] / seconds["plain"][-1], 3),
            "other_labels_than_float32": int((exact.argmax(1) != quick.argmax(1)).sum()),
            "largest_probability_difference_to_float32": round(float(abs(exact - quick).max()), 4),
            "other_labels_than_plain": int((plain.argmax(1) != quick.argmax(1)).sum()),
        }
        print(run.recipe.method, by_method[run.recipe.method], flush=True)
    total = {name: round(sum(values), 1) for name, values in seconds.items()}
    ratio = round(sum(seconds["ours"]) / sum(seconds["plain"]), 3)
    return {"sentences": len(sentences), **total, "ratio": ratio, "methods": by_method}


def texts(count: int) -> list[str]:
    """Film reviews, then products, tweets and news, in the order in which they were published."""
    from trainer.sources import assets
    from trainer.tasks.embedded import read_ratings

    sentences = []
    for path in sorted(assets.sentences().glob("*GroundTruth.txt"), key=lambda path: "movie" not in path.name):
        sentences += read_ratings(path)[0].texts
    return sentences[:count]


if __name__ == "__main__":
    main()
