"""QLoRA: LoRA over a backbone whose frozen linear layers are stored in 4-bit NormalFloat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic import Field

from trainer.errors import ArgumentError
from trainer.machine.device import Device, compute_type
from trainer.methods.base import QUANTISED, TUNED, RateSource, Setup, load_classifier
from trainer.methods.lora import Lora, LoraOptions
from trainer.sources.backbones import FAMILIES, Part, Shape
from trainer.texts import mark, tr


class QloraOptions(LoraOptions):
    """QLoRA's options (Dettmers et al. 2023, section 3)."""

    double_quantisation: bool = Field(
        True, title=mark("Double quantisation"), description=mark("quantise the quantisation constants too")
    )


class Qlora(Lora):
    """bitsandbytes' NF4 under PEFT's LoRA, on a CPU and on CUDA. The head is not quantised."""

    name = "qlora"
    peft_type = "LORA"
    title = mark("QLoRA (4-bit)")
    summary = mark("LoRA over a backbone in 4 bits: the least memory for weights, at some cost in time.")
    paper = "Dettmers et al. 2023, QLoRA, https://arxiv.org/abs/2305.14314"
    group = QUANTISED
    library = "peft with bitsandbytes"
    quantised_from = "lora"
    learning_rates = (2e-3, 5e-4)
    learning_rate_sources = (
        TUNED,
        RateSource("published", "LoRA's, Hu et al. 2021, table 9: RoBERTa base on SST-2"),
    )
    options = QloraOptions
    merges = False
    speedups = Lora.speedups

    def runs_on(self, device: Device) -> bool:
        return device.kind in ("cpu", "cuda")

    def base_model(self, setup: Setup):
        import torch
        from bitsandbytes.nn import Linear4bit
        from peft import prepare_model_for_kbit_training
        from transformers import BitsAndBytesConfig

        if not self.runs_on(setup.device):
            raise ArgumentError(
                expected=tr("a CPU or a CUDA device for 4-bit"), got=setup.device.name, fix=tr("use lora")
            )
        compute = compute_type(setup.precision)
        quantised = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=setup.options.double_quantisation,
            bnb_4bit_compute_dtype=compute,
            # The head is trained; the pooler feeds it and is small.
            llm_int8_skip_modules=[*setup.backbone.family.head, "pooler"],
        )
        device_map = {"": "cpu" if setup.device.kind == "cpu" else torch.cuda.current_device()}
        model = load_classifier(setup, quantization_config=quantised, device_map=device_map, dtype=torch.float32)
        for module in model.modules():
            if isinstance(module, Linear4bit):
                # On CPUs with AVX-512 BF16 bitsandbytes repacks a weight at the first evaluation for a kernel that has
                # no backward pass, and training after that would lack these gradients.
                module.support_avx512bf16_for_cpu = False
                # The backward pass dequantises to this type; with another one it would cast afterwards.
                module.weight.quant_state.dtype = compute
                module.register_forward_pre_hook(_cast_as_autocast_does)
                module.register_forward_hook(_make_gradients_contiguous)
        return prepare_model_for_kbit_training(model, use_gradient_checkpointing=False)

    def for_inference(self, model, setup: Setup):
        """On a CPU the 4-bit linear layers become float32 ones of the same values.

        Otherwise every pass dequantises them, which takes longer than the rest; runs of one backbone share them.
        """
        import torch
        from bitsandbytes.functional import dequantize_4bit
        from bitsandbytes.nn import Linear4bit

        if setup.device.kind != "cpu":
            return model
        for parent in list(model.modules()):
            for name, module in list(parent.named_children()):
                if isinstance(module, Linear4bit):
                    dense = torch.nn.Linear(module.in_features, module.out_features, bias=False, device="meta")
                    values = dequantize_4bit(module.weight.data, module.weight.quant_state)
                    dense.weight = torch.nn.Parameter(values.to(torch.float32), requires_grad=False)
                    dense.bias = module.bias
                    setattr(parent, name, dense.eval())
        return model

    def merge(self, model) -> None:
        """None: the sum would have to be rounded to 4 bits again, and the logits would be others."""

    def loading(self, *, base: str, labels: int, options: QloraOptions, head: tuple[str, ...]) -> str:
        return (
            "from peft import PeftModel\n"
            "from transformers import AutoModelForSequenceClassification, BitsAndBytesConfig\n\n"
            "quantised = BitsAndBytesConfig(\n"
            '    load_in_4bit=True, bnb_4bit_quant_type="nf4",\n'
            f"    bnb_4bit_use_double_quant={options.double_quantisation}, "
            f"llm_int8_skip_modules={[*head, 'pooler']},\n)\n"
            "base = AutoModelForSequenceClassification.from_pretrained(\n"
            f"    {base}, num_labels={labels}, quantization_config=quantised, dtype=torch.float32\n)\n"
            "model = PeftModel.from_pretrained(base, folder)"
        )

    def parts(
        self, shape: Shape, options: QloraOptions, labels: int, *, parents: Sequence[Any] = ()
    ) -> tuple[Part, ...]:
        quantised = FAMILIES[shape.family].linears
        return tuple(
            replace(part, bits=4) if part.name in quantised else part
            for part in super().parts(shape, options, labels, parents=parents)
        )

    def weight_bytes(self, shape: Shape) -> float:
        linears = shape.layers * sum(i * o for i, o in map(shape.linear, FAMILIES[shape.family].linears))
        # 4 bits a weight, and about 0.127 bits for the doubly quantised constants (section 3).
        return 4.0 * (shape.encoder_parameters - linears) + linears * (4 + 0.127) / 8


def _cast_as_autocast_does(module: Any, inputs: tuple) -> tuple:
    """Cast a 4-bit layer's input to its compute type: autocast ignores these layers, and they would return float32."""
    import torch

    return (inputs[0].to(module.compute_dtype),) if torch.is_autocast_enabled(inputs[0].device.type) else inputs


def _make_gradients_contiguous(_: Any, inputs: tuple, output: Any) -> None:
    """Make the gradient of a layer's output contiguous: that of keys is a view of the attention's gradient, for which
    torch would copy the weight for each row."""
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient.contiguous())


METHOD = Qlora()
