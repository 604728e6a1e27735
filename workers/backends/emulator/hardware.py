"""Published figures of the hardware and models that are emulated, with their sources.

Nothing here was measured by this project. Peaks are dense (without sparsity). ``url`` is where the
figures were read, often a page that reports the maker's datasheet. Not looked up: the Xeon's base
clock and memory speed, memory sizes, and the models' sizes and shapes, which are those of the
papers named.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of chip (or CPU socket). ``source`` says what the two speeds are made of.

    ``memory_bytes`` is what the makers name (of the Xeon, what a socket is taken to have).
    """

    name: str
    bytes_per_s: float
    flop_per_s: float
    memory_bytes: float
    source: str
    url: str


@dataclass(frozen=True, slots=True)
class EmulatedModel:
    """A model's size. ``active_parameters`` are those that one token uses (mixtures use fewer).

    ``flop_per_item`` replaces the parameter count where work is not per token (an image). A token's
    keys and values take ``kv_bytes`` of 16 bits: two of each layer's heads that keep some.
    """

    name: str
    task: str
    parameters: float
    active_parameters: float
    bytes_per_parameter: float
    source: str
    flop_per_item: float = 0.0
    kv_bytes: int = 0


H100 = Hardware(
    "NVIDIA H100 SXM",
    3.35e12,
    989e12,
    80e9,
    "Reported from NVIDIA's datasheet: 3,350 GB/s HBM3, 1,979 TFLOPS BF16 with sparsity, half of "
    "it dense; read 2026-11",
    "https://archive-lib.hpctech.co.jp/gpuproduct/nvidia-h100.html",
)
A100 = Hardware(
    "NVIDIA A100 80GB SXM",
    2.039e12,
    312e12,
    80e9,
    "Reported from NVIDIA's datasheet: 2,039 GB/s HBM2e, 312 TFLOPS BF16; read 2026-11",
    "https://glennklockwood.com/garden/processors/A100",
)
RTX_4090 = Hardware(
    "NVIDIA GeForce RTX 4090",
    1.008e12,
    165.15e12,
    24e9,
    "Reported: 1,008 GB/s GDDR6X, 165.15 TFLOPS FP16 on tensor cores; read 2026-11",
    "https://waredb.com/processor/nvidia-geforce-rtx-4090",
)
TPU_V5E = Hardware(
    "Google TPU v5e",
    0.819e12,
    197e12,
    16e9,
    "Google Cloud documentation, TPU v5e: 819 GBps HBM2, 197 TFLOPs bf16 a chip; read 2026-11",
    "https://cloud.google.com/tpu/docs/v5e",
)
XEON_8480 = Hardware(
    "Intel Xeon Platinum 8480+",
    307.2e9,
    114.7e12,
    256e9,
    "Reported: 56 cores, 8 channels of DDR5; AMX does 1,024 BF16 operations a cycle and core. "
    "Not looked up: 4,800 MT/s (307.2 GB/s) and 2.0 GHz",
    "https://servethehome.com/intel-xeon-max-9480-deep-dive-"
    "intel-has-64gb-hbm2e-onboard-like-a-gpu-or-ai-accelerator/3",
)

READ_WHOLE = ("embeddings", "rerank", "moderation")
"""Tasks whose calls are over once their text is read."""

MODELS = {
    model.name: model
    for model in (
        EmulatedModel(
            "emulated/llama-2-70b-chat",
            "chat",
            70e9,
            70e9,
            1,
            "Touvron et al. 2023; 8-bit weights; 80 layers, 8 heads of 128 with keys and values",
            kv_bytes=2 * 2 * 80 * 8 * 128,
        ),
        EmulatedModel(
            "emulated/mixtral-8x7b-instruct",
            "chat",
            46.7e9,
            12.9e9,
            1,
            "Jiang et al. 2024; 8-bit weights; 32 layers, 8 heads of 128 with keys and values",
            kv_bytes=2 * 2 * 32 * 8 * 128,
        ),
        EmulatedModel(
            "emulated/gpt-j-6b",
            "chat",
            6.05e9,
            6.05e9,
            2,
            "EleutherAI 2021; bfloat16; 28 layers of width 4,096",
            kv_bytes=2 * 2 * 28 * 4096,
        ),
        EmulatedModel(
            "emulated/bge-large", "embeddings", 335e6, 335e6, 2, "Xiao et al. 2023; bfloat16"
        ),
        EmulatedModel(
            "emulated/bge-reranker-large",
            "rerank",
            560e6,
            560e6,
            2,
            "Xiao et al. 2023: XLM-RoBERTa large, 560 million parameters; bfloat16",
        ),
        EmulatedModel(
            "emulated/deberta-moderation",
            "moderation",
            184e6,
            184e6,
            2,
            "He et al. 2021: DeBERTaV3 base, 184 million parameters; bfloat16",
        ),
        EmulatedModel(
            "emulated/stable-diffusion-xl",
            "image",
            2.6e9,
            2.6e9,
            2,
            "Podell et al. 2023: a UNet of 2.6e9 parameters; 30 steps with guidance of about 6e12 "
            "multiply-adds at 1024x1024",
            flop_per_item=2 * 6e12 * 2 * 30,
        ),
        EmulatedModel(
            "emulated/kokoro-82m",
            "speech",
            82e6,
            82e6,
            2,
            "Hexgrad 2025: 82 million parameters; the arithmetic of a character is assumed",
            flop_per_item=4e9,
        ),
        EmulatedModel(
            "emulated/whisper-large-v3",
            "transcription",
            1.55e9,
            1.55e9,
            2,
            "Radford et al. 2022: 1.55e9 parameters, of which 0.64e9 encode 50 frames a second; "
            "3 tokens a second are assumed",
            flop_per_item=2 * 0.64e9 * 50 + 2 * 0.9e9 * 3,
        ),
        EmulatedModel(
            "emulated/resnet-50",
            "vision",
            25.6e6,
            25.6e6,
            2,
            "He et al. 2015: 3.8e9 multiply-adds an image at 224x224",
            flop_per_item=7.6e9,
        ),
    )
}
