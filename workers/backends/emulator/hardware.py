"""Published figures of the hardware and models that are emulated, with their sources.

Nothing here was measured by this project. Peaks are dense (without sparsity).
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Hardware:
    """One kind of chip (or CPU socket). ``source`` says who published the two figures."""

    name: str
    bytes_per_s: float
    flop_per_s: float
    source: str
    url: str


@dataclass(frozen=True, slots=True)
class EmulatedModel:
    """A model's size. ``active_parameters`` are those that one token uses (mixtures use fewer).

    ``flop_per_item`` replaces the parameter count where work is not per token (an image).
    """

    name: str
    task: str
    parameters: float
    active_parameters: float
    bytes_per_parameter: float
    source: str
    flop_per_item: float = 0.0


H100 = Hardware(
    "NVIDIA H100 SXM",
    3.35e12,
    989e12,
    "NVIDIA H100 Tensor Core GPU datasheet: 3.35 TB/s HBM3, 1,979 TFLOPS BF16 with sparsity, "
    "half of it dense (2023)",
    "https://www.nvidia.com/en-us/data-center/h100/",
)
A100 = Hardware(
    "NVIDIA A100 80GB SXM",
    2.039e12,
    312e12,
    "NVIDIA A100 Tensor Core GPU datasheet: 2,039 GB/s HBM2e, 312 TFLOPS BF16 (2021)",
    "https://www.nvidia.com/en-us/data-center/a100/",
)
RTX_4090 = Hardware(
    "NVIDIA GeForce RTX 4090",
    1.008e12,
    165.2e12,
    "NVIDIA Ada GPU Architecture whitepaper: 1,008 GB/s GDDR6X, 165.2 TFLOPS FP16 with FP32 "
    "accumulation (2022)",
    "https://images.nvidia.com/aem-dam/Solutions/geforce/ada/nvidia-ada-gpu-architecture.pdf",
)
TPU_V5E = Hardware(
    "Google TPU v5e",
    0.819e12,
    197e12,
    "Google Cloud documentation, TPU v5e: 819 GBps HBM2, 197 TFLOPs bf16 a chip (2023)",
    "https://cloud.google.com/tpu/docs/v5e",
)
XEON_8480 = Hardware(
    "Intel Xeon Platinum 8480+",
    307.2e9,
    114.7e12,
    "Intel: 8 channels of DDR5-4800 (307.2 GB/s); 56 cores at 2.0 GHz with AMX, 1,024 BF16 "
    "operations a cycle and core (2023)",
    "https://www.intel.com/content/www/us/en/products/sku/231746/specifications.html",
)

MODELS = {
    model.name: model
    for model in (
        EmulatedModel(
            "emulated/llama-2-70b-chat", "chat", 70e9, 70e9, 1, "Touvron et al. 2023; 8-bit weights"
        ),
        EmulatedModel(
            "emulated/mixtral-8x7b-instruct",
            "chat",
            46.7e9,
            12.9e9,
            1,
            "Jiang et al. 2024; 8-bit weights",
        ),
        EmulatedModel("emulated/gpt-j-6b", "chat", 6.05e9, 6.05e9, 2, "EleutherAI 2021; bfloat16"),
        EmulatedModel(
            "emulated/bge-large", "embeddings", 335e6, 335e6, 2, "Xiao et al. 2023; bfloat16"
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
