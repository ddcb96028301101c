"""The entries of PEFT's other weight-based methods: options, tensors that are added, rates, source.

A new one is an entry in `ENTRIES`; form, command line, estimates, Compare, Live, export and adoption follow from it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import Field

from trainer.engine.prepare import Speedups
from trainer.methods.base import LOW_RANK, ORTHOGONAL, SPECTRAL, UNSWEPT, UNSWEPT_BASE, VECTORS, RateSource
from trainer.methods.peft_method import Target
from trainer.texts import mark

TOKENWISE = Speedups(packing=True, first_token=True, dropout_stock=True)
"""Speed-ups of an update that maps each token for itself and reads or scales the frozen weight."""
BESIDE = Speedups(packing=True, first_token=True, frozen_compute_type=True, prepacked=True, dropout_stock=True)
"""Speed-ups of an update whose output is added to that of the frozen layer, which computes as it is."""

Tensors = dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class Entry:
    """One method of PEFT.

    Attributes:
        name, title, group, summary, paper: as in `Method`.
        peft_type: PEFT's own name.
        options: PEFT's setting -> (type, pydantic's field); `target_modules` is added.
        tensors: (inputs, outputs, options) of a linear layer -> the tensors that are saved beside it.
        shared: the same of the largest adapted layer -> the tensors that are saved once a model.
        frozen: beginnings of the names of tensors that are saved and not trained.
        learning_rates, learning_rate_sources: as in `Method`.
        speedups: the speed-ups that it allows.
        targets: the linear layers that are adapted by default.
        scaled_inputs: layers whose inputs are scaled rather than their outputs: PEFT's `feedforward_modules`.
        divides: an option that must divide a layer's outputs, its inputs too where `both`, and `r` where `rank`.
        most: an option and its largest value for a layer's (inputs, outputs).
        merges: whether PEFT can add the update to the weights.
    """

    name: str
    peft_type: str
    title: str
    group: str
    summary: str
    paper: str
    tensors: Callable[[int, int, Any], Tensors]
    learning_rates: tuple[float, float]
    learning_rate_sources: tuple[RateSource, RateSource]
    options: dict[str, tuple[Any, Any]] = field(default_factory=dict)
    shared: Callable[[int, int, Any], Tensors] = lambda inputs, outputs, options: {}
    frozen: tuple[str, ...] = ()
    speedups: Speedups = TOKENWISE
    targets: tuple[Target, ...] = ("query", "value")
    scaled_inputs: tuple[Target, ...] = ()
    divides: str = ""
    both: bool = False
    rank: bool = False
    most: tuple[str, Callable[[int, int], int]] | None = None
    merges: bool = True


def _rank(default: int, **bounds: Any) -> tuple[Any, Any]:
    text = mark("rank of the update; parameters grow with it")
    return int, Field(default, **{"ge": 1, "le": 256} | bounds, title=mark("Rank (r)"), description=text)


def _size(name: str, default: int, title: str, description: str, *, most: int = 4096) -> dict[str, tuple[Any, Any]]:
    return {name: (int, Field(default, ge=1, le=most, title=title, description=description))}


def _scale(name: str, default: float, title: str, description: str) -> dict[str, tuple[Any, Any]]:
    return {name: (float, Field(default, gt=0, le=10_000, title=title, description=description))}


def _kronecker(inputs: int, outputs: int, rank: int) -> Tensors:
    """LoKr's tensors: each width is cut into its two most equal factors (LyCORIS, appendix)."""
    (a, c), (b, d) = _factors(outputs), _factors(inputs)
    if rank < max(c, d) / 2:
        return {"lokr_w1": (a, b), "lokr_w2_a": (c, rank), "lokr_w2_b": (rank, d)}
    return {"lokr_w1": (a, b), "lokr_w2": (c, d)}


def _factors(width: int) -> tuple[int, int]:
    small = next(size for size in range(math.isqrt(width), 0, -1) if width % size == 0)
    return small, width // small


ENTRIES: tuple[Entry, ...] = (
    Entry(
        "loha", "LOHA", "LoHa", LOW_RANK,
        mark("The update is the elementwise product of two low-rank products, so its rank can be the square of r."),
        "Hyeon-Woo et al. 2021, FedPara, https://arxiv.org/abs/2108.06098",
        lambda i, o, x: {
            "hada_w1_a": (o, x.r), "hada_w1_b": (x.r, i), "hada_w2_a": (o, x.r), "hada_w2_b": (x.r, i),
        },
        (3e-2, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(8), **_scale("alpha", 8, "Alpha", mark("the update is scaled by alpha / r"))},
        speedups=BESIDE,
    ),
    Entry(
        "gralora", "GRALORA", "GraLoRA", LOW_RANK,
        mark("LoRA cut into k by k blocks of the weight, each with a low-rank update of its own."),
        "Jung et al. 2025, GraLoRA, https://arxiv.org/abs/2505.20355",
        lambda i, o, x: {
            "gralora_A": (x.gralora_k, i // x.gralora_k, x.r), "gralora_B": (x.gralora_k, x.r, o // x.gralora_k),
        },
        (2e-3, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {
            "r": _rank(16, multiple_of=2),
            **_scale("alpha", 32, "Alpha", mark("the update is scaled by alpha / r")),
            **_size("gralora_k", 2, mark("Blocks (gralora_k)"), mark("blocks a side; divides r and the widths")),
        },
        divides="gralora_k", both=True, rank=True,
    ),
    Entry(
        "hira", "HIRA", "HiRA", LOW_RANK,
        mark("The frozen weight is multiplied element by element with a low-rank product: an update of high rank."),
        "Huang et al. 2025, HiRA, ICLR, https://openreview.net/forum?id=TwJrTz9cRS",
        lambda i, o, x: {"hira_A": (x.r, i), "hira_B": (o, x.r)},
        (3e-2, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(32)},
    ),
    Entry(
        "miss", "MISS", "MiSS", LOW_RANK,
        mark("One small matrix a layer, which all pieces of the input share."),
        "Kang and Yin 2024, MiSS, https://arxiv.org/abs/2409.15371",
        lambda i, o, x: {"miss_block": (x.r, o)},
        (2e-3, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(32)},
        most=("r", lambda i, o: i),
    ),
    Entry(
        "delora", "DELORA", "DeLoRA", LOW_RANK,
        mark("LoRA with a normalised update, whose strength is one trained number a layer."),
        "Bini et al. 2025, DeLoRA, https://arxiv.org/abs/2503.18225",
        lambda i, o, x: {
            "delora_A": (x.r, i), "delora_B": (o, x.r), "delora_lambda": (1,), "delora_w_norm": (i,),
        },
        (2e-3, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {
            "r": _rank(8),
            "delora_lambda": (int, Field(15, ge=0, le=1000, title=mark("Bound (delora_lambda)"),
                                         description=mark("the length of the update at the start"))),
        },
        frozen=("delora_w_norm",),
    ),
    Entry(
        "deft", "DEFT", "DEFT", LOW_RANK,
        mark("Takes r directions out of what the frozen weight writes, and trains what is written there instead."),
        "DEFT, NeurIPS 2025, "
        "https://proceedings.neurips.cc/paper_files/paper/2025/hash/93a34a7138bdad95e874018d5f491cc6-Abstract-Conference.html",
        lambda i, o, x: {"deft_P": (o, x.r), "deft_R": (x.r, i)},
        (5e-3, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(8)},
        most=("r", lambda i, o: o),
    ),
    Entry(
        "glora", "GLORA", "GLoRA", LOW_RANK,
        mark("The frozen weight is scaled and shifted by low-rank products, its bias by two numbers and a vector."),
        "Chavan et al. 2023, GLoRA, https://arxiv.org/abs/2306.07967",
        lambda i, o, x: {
            "glora_A.Xd": (o, x.r), "glora_A.Xu": (x.r, i), "glora_B.Xd": (o, x.r), "glora_B.Xu": (x.r, i),
            "glora_C.Xd": (i, x.r), "glora_C.Xu": (x.r, 1), "glora_D.X": (1,), "glora_E.X": (1,),
        },
        (3e-3, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(8)},
    ),
    Entry(
        "peanut", "PEANUT", "PEANuT", LOW_RANK,
        mark("A small network with a rectifier computes the update from the frozen weight itself."),
        "Zhong et al. 2024, PEANuT, https://arxiv.org/abs/2410.01870",
        lambda i, o, x: {
            "peanut_A.weight": (x.r, o), "peanut_B.weight": (o, x.r),
            **{f"peanut_{side}.{n}.weight": (x.r, x.r) for n in range(x.depth) for side in ("encoders", "decoders")},
        },
        (1e-2, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {
            "r": _rank(32),
            "depth": (int, Field(0, ge=0, le=8, title=mark("Depth"), description=mark("inner layers on each side"))),
        },
    ),
    Entry(
        "lokr", "LOKR", "LoKr", LOW_RANK,
        mark("The update is the Kronecker product of two small matrices."),
        "Yeh et al. 2023, LyCORIS, https://arxiv.org/abs/2309.14859",
        lambda i, o, x: _kronecker(i, o, x.r),
        (3e-2, 5e-4), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(8), **_scale("alpha", 8, "Alpha", mark("the update is scaled by alpha / r"))},
        speedups=BESIDE,
    ),
    Entry(
        "vera", "VERA", "VeRA", VECTORS,
        mark("One pair of random frozen matrices for all layers; two vectors a layer scale them."),
        "Kopiczko et al. 2023, VeRA, https://arxiv.org/abs/2310.11454",
        lambda i, o, x: {"vera_lambda_b": (o,), "vera_lambda_d": (x.r,)},
        (1e-1, 4e-3), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(256, le=2048)},
        shared=lambda i, o, x: {"vera_A": (x.r, i), "vera_B": (o, x.r)},
        frozen=("vera_A", "vera_B"), speedups=BESIDE,
    ),
    Entry(
        "vblora", "VBLORA", "VB-LoRA", VECTORS,
        mark("LoRA whose matrices are put together from one small bank of vectors that all layers share."),
        "Li et al. 2024, VB-LoRA, https://arxiv.org/abs/2405.15179",
        lambda i, o, x: {
            "vblora_logits_A": (x.r, i // x.vector_length, x.num_vectors),
            "vblora_logits_B": (o // x.vector_length, x.r, x.num_vectors),
        },
        (1e-2, 1e-3), (UNSWEPT, UNSWEPT_BASE),
        {
            "r": _rank(4),
            **_size("num_vectors", 90, mark("Vectors in the bank (num_vectors)"), mark("how many there are")),
            **_size("vector_length", 128, mark("Length of a vector (vector_length)"), mark("divides the widths")),
        },
        shared=lambda i, o, x: {"vblora_vector_bank": (x.num_vectors, x.vector_length)},
        divides="vector_length", both=True,
    ),
    Entry(
        "unilora", "UNILORA", "Uni-LoRA", VECTORS,
        mark("All entries of all LoRA matrices are drawn from one trained vector, by a fixed random projection."),
        "Li et al. 2025, Uni-LoRA, https://arxiv.org/abs/2506.00799",
        lambda i, o, x: {},
        (1e-1, 5e-3), (UNSWEPT, UNSWEPT_BASE),
        {
            "r": _rank(4),
            **_size("theta_d_length", 2560, mark("Length (theta_d_length)"), mark("of the trained vector"),
                    most=1_000_000),
        },
        shared=lambda i, o, x: {"unilora_theta_d": (x.theta_d_length,)},
    ),
    Entry(
        "ia3", "IA3", "IA3", VECTORS,
        mark("Scales keys, values and the inner activations of the feed-forward block by one vector each."),
        "Liu et al. 2022, IA3, https://arxiv.org/abs/2205.05638",
        lambda i, o, x: {"ia3_l": (o, 1)},
        (5e-2, 3e-3), (UNSWEPT, RateSource("published", "Liu et al. 2022, T-Few's recipe")),
        targets=("key", "value", "output"), scaled_inputs=("output",),
    ),
    Entry(
        "beft", "BEFT", "BEFT", VECTORS,
        mark("Trains the bias of the value layers: one vector in each encoder layer."),
        "Huang et al. 2025, BEFT, https://arxiv.org/abs/2509.15974",
        lambda i, o, x: {"beft_bias": (1, o)},
        (3e-2, 3e-3), (UNSWEPT, UNSWEPT_BASE),
        targets=("value",), speedups=BESIDE,
    ),
    Entry(
        "road", "ROAD", "RoAd", ORTHOGONAL,
        mark("Rotates and scales pairs of a layer's outputs: two numbers for each pair."),
        "Liao and Monz 2024, RoAd, https://arxiv.org/abs/2409.00119",
        lambda i, o, x: {"road_theta": (o // 2,), "road_alpha": (o // 2,)},
        (5e-2, 3e-3), (UNSWEPT, UNSWEPT_BASE),
        _size("group_size", 64, mark("Group (group_size)"), mark("outputs of which pairs are formed; divides them")),
        divides="group_size",
    ),
    Entry(
        "oft", "OFT", "OFT", ORTHOGONAL,
        mark("Multiplies the frozen weight by a block-diagonal rotation: angles between neurons stay."),
        "Qiu et al. 2023, OFT, https://arxiv.org/abs/2306.07280",
        lambda i, o, x: {
            "oft_R.weight": (i // x.oft_block_size, x.oft_block_size * (x.oft_block_size - 1) // 2),
        },
        (2e-3, 1e-3), (UNSWEPT, UNSWEPT_BASE),
        _size("oft_block_size", 32, mark("Block (oft_block_size)"), mark("side of a rotation; divides the inputs")),
        divides="oft_block_size", both=True,
    ),
    Entry(
        "boft", "BOFT", "BOFT", ORTHOGONAL,
        mark("OFT with rotations in blocks, and a trained scale for each output."),
        "Liu et al. 2023, BOFT, https://arxiv.org/abs/2311.06243",
        lambda i, o, x: {
            "boft_R": (1, i // x.boft_block_size, x.boft_block_size, x.boft_block_size), "boft_s": (o, 1),
        },
        (3e-2, 1e-3), (UNSWEPT, UNSWEPT_BASE),
        _size("boft_block_size", 4, mark("Block (boft_block_size)"), mark("side of a rotation; divides the inputs")),
        divides="boft_block_size", both=True,
    ),
    Entry(
        "hra", "HRA", "HRA", ORTHOGONAL,
        mark("Multiplies the frozen weight by r Householder reflections."),
        "Yuan et al. 2024, HRA, https://arxiv.org/abs/2405.17484",
        lambda i, o, x: {"hra_u": (i, x.r)},
        (3e-2, 1e-3), (UNSWEPT, UNSWEPT_BASE),
        {"r": _rank(8, multiple_of=2)},
    ),
    Entry(
        "fourierft", "FOURIERFT", "FourierFT", SPECTRAL,
        mark("Trains some entries of the update's Fourier spectrum, at random fixed positions."),
        "Gao et al. 2024, FourierFT, https://arxiv.org/abs/2405.03003",
        lambda i, o, x: {"fourierft_spectrum": (x.n_frequency,)},
        (1e-1, 5e-2), (UNSWEPT, UNSWEPT_BASE),
        {
            **_size("n_frequency", 1000, mark("Entries (n_frequency)"), mark("trained a layer"), most=1_000_000),
            **_scale("scaling", 150, mark("Scaling"), mark("the update is multiplied by it")),
        },
        speedups=BESIDE, most=("n_frequency", lambda i, o: i * o),
    ),
    Entry(
        "waveft", "WAVEFT", "WaveFT", SPECTRAL,
        mark("Trains some entries of the update's wavelet transform, at random fixed positions."),
        "Bilican et al. 2025, WaveFT, https://arxiv.org/abs/2505.12532",
        lambda i, o, x: {"waveft_spectrum": (x.n_frequency,)},
        (1e-3, 1e-2), (UNSWEPT, UNSWEPT_BASE),
        {
            **_size("n_frequency", 2592, mark("Entries (n_frequency)"), mark("trained a layer"), most=1_000_000),
            **_scale("scaling", 25, mark("Scaling"), mark("the update is multiplied by it")),
        },
        speedups=BESIDE, most=("n_frequency", lambda i, o: i * o),
    ),
    Entry(
        "c3a", "C3A", "C3A", SPECTRAL,
        mark("The update is a circular convolution in blocks: one kernel a block in place of a matrix."),
        "Chen et al. 2024, C3A, https://arxiv.org/abs/2407.19342",
        lambda i, o, x: {"c3a_kernel": (o // x.block_size, i // x.block_size, x.block_size)},
        (1e-1, 1e-1), (UNSWEPT, UNSWEPT_BASE),
        _size("block_size", 128, mark("Block (block_size)"), mark("length of a kernel; divides the widths")),
        divides="block_size", both=True,
    ),
)  # fmt: skip
"""The methods of the family, by group."""
