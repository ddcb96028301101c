"""The careful recipe: what a careful person writes from the libraries' documentation, and nothing of this project.

Dynamic padding to multiples of 8, batches grouped by length, autocast in the device's best precision, fused AdamW, and
transformers' own trainer (AdapterHub's for adapters), threads as the libraries have them. The
other yardstick, beside the plain recipe, for `benchmarks.training` and `benchmarks.gpu`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def train(
    *,
    method: str,
    options: Mapping[str, Any],
    backbone: Path,
    splits: Mapping[str, tuple[Sequence[str], Sequence[int]]],
    label_names: Sequence[str],
    parents: Mapping[str, Path],
    output: Path,
    settings: Mapping[str, Any],
    precision: str,
    max_length: int,
) -> dict[str, Any]:
    """Train, evaluate after each epoch, and test the best epoch.

    `splits` has texts and labels of train, validation and test; `settings` are fields of `TrainingArguments`;
    `precision` is bf16, fp16 or fp32. Returns training sentences a second, real and padded tokens, (training seconds,
    accuracy) of each validation, test accuracy, and which test sentences are correct.
    """
    from datasets import Dataset
    from transformers import AutoTokenizer, DataCollatorWithPadding, TrainingArguments, set_seed

    set_seed(settings["seed"])
    tokenizer = AutoTokenizer.from_pretrained(backbone)
    data = {}
    for name, (texts, labels) in splits.items():
        encoded = tokenizer(list(texts), truncation=True, max_length=max_length)
        columns = {"input_ids": encoded["input_ids"], "attention_mask": encoded["attention_mask"]}
        lengths = [len(ids) for ids in encoded["input_ids"]]
        data[name] = Dataset.from_dict(columns | {"labels": list(labels), "length": lengths})
    model, trainer_class = build(method, options, backbone, len(label_names), parents, precision)
    collator = Counting(DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8))
    arguments = TrainingArguments(
        output_dir=str(output), group_by_length=True, optim="adamw_torch_fused", bf16=precision == "bf16",
        fp16=precision == "fp16", save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
        label_names=["labels"], **settings,
    )  # fmt: skip
    trainer = trainer_class(model=model, args=arguments, train_dataset=data["train"], data_collator=collator)
    epochs = _epochs(trainer, data["validation"])
    trainer.add_callback(epochs)
    trainer.train()
    trainer.model.load_state_dict(epochs.state, strict=False)
    correct = _correct(trainer, data["test"])
    return {
        "rate": len(data["train"]) * settings["num_train_epochs"] / epochs.seconds,
        "real": collator.real,
        "padded": collator.padded,
        "validation": epochs.validation,
        "accuracy": sum(correct) / len(correct),
        "right": correct,
    }


class Counting:
    """A collator that counts the real and padded tokens of training batches: those that it lays out before `stop`."""

    def __init__(self, collator: Any) -> None:
        self.collator, self.real, self.padded, self.stopped = collator, 0, 0, False

    def __call__(self, items: list[dict[str, Any]]) -> Any:
        batch = self.collator([{k: v for k, v in item.items() if k != "length"} for item in items])
        if not self.stopped:
            self.real += int(batch["attention_mask"].sum())
            self.padded += batch["attention_mask"].numel()
        return batch


def build(
    method: str, options: Mapping[str, Any], backbone: Path, labels: int, parents: Mapping[str, Path], precision: str
) -> tuple[Any, type]:
    """(the model, the trainer's class) as the libraries' documentation has them."""
    import torch
    from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig, Trainer

    if method in ("full", "lora", "qlora"):
        more: dict[str, Any] = {}
        if method == "qlora":
            compute = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[precision]
            more["quantization_config"] = BitsAndBytesConfig(
                load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True,
                bnb_4bit_compute_dtype=compute, llm_int8_skip_modules=["classifier", "pooler"],
            )  # fmt: skip
        model = AutoModelForSequenceClassification.from_pretrained(backbone, num_labels=labels, **more)
        if method == "full":
            return model, Trainer
        from peft import LoraConfig, get_peft_model, prepare_model_for_kbit_training

        if method == "qlora":
            model = prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)
        config = LoraConfig(
            task_type="SEQ_CLS", r=options["r"], lora_alpha=options["lora_alpha"],
            lora_dropout=options["lora_dropout"], target_modules=list(options["target_modules"]),
        )  # fmt: skip
        return get_peft_model(model, config), Trainer
    from adapters import AdapterTrainer, AutoAdapterModel, SeqBnConfig
    from adapters.composition import Fuse

    model = AutoAdapterModel.from_pretrained(backbone)
    if method == "adapter":
        model.add_adapter("task", config=SeqBnConfig(reduction_factor=options["reduction_factor"]))
        model.add_classification_head("task", num_labels=labels)
        model.train_adapter("task")
        return model, AdapterTrainer
    for name, folder in parents.items():
        model.load_adapter(str(folder), load_as=name, with_head=False, use_safetensors=True)
    fuse = Fuse(*parents)
    model.add_adapter_fusion(fuse)
    model.add_classification_head("fusion", num_labels=labels)
    model.train_adapter_fusion(fuse)
    return model, AdapterTrainer


def _correct(trainer: Any, split: Any) -> list[bool]:
    """Which sentences are predicted correctly, in the order of `split`."""
    counted, trainer.data_collator.stopped = trainer.data_collator.stopped, True
    # Grouping by length would give predictions in another order than the split's: off while the split is predicted.
    grouped, trainer.args.group_by_length = trainer.args.group_by_length, False
    predicted = trainer.predict(split)
    trainer.args.group_by_length, trainer.data_collator.stopped = grouped, counted
    logits = predicted.predictions[0] if isinstance(predicted.predictions, tuple) else predicted.predictions
    # Labels as the predictions' own order has them, whatever that is.
    return (logits.argmax(-1) == predicted.label_ids).tolist()


def _epochs(trainer: Any, validation: Any) -> Any:
    """A callback with training seconds and validation accuracy by epoch, and the trained weights of the best one."""
    from transformers import TrainerCallback

    class Epochs(TrainerCallback):
        seconds, best = 0.0, -1.0

        def __init__(self) -> None:
            self.validation: list[tuple[float, float]] = []
            self.state: dict[str, Any] = {}

        def on_epoch_begin(self, *_: Any, **__: Any) -> None:
            self.since = time.perf_counter()

        def on_epoch_end(self, *_: Any, **__: Any) -> None:
            import torch

            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds += time.perf_counter() - self.since
            correct = _correct(trainer, validation)
            accuracy = sum(correct) / len(correct)
            self.validation.append((self.seconds, accuracy))
            if accuracy > self.best:
                self.best = accuracy
                trains = {name for name, p in trainer.model.named_parameters() if p.requires_grad}
                self.state = {n: t.clone() for n, t in trainer.model.state_dict().items() if n in trains}

    return Epochs()
