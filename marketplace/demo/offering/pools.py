"""The providers of the demo, and their pools."""

from marketplace.demo.offering.entries import CENT, USD, DemoPool, DemoProvider

PROVIDERS = (
    DemoProvider(
        "northyard",
        "Northyard Compute",
        "Fast pools: more threads, more slots, dynamic batching. Dearer, and quick to answer.",
    ),
    DemoProvider(
        "lakeside",
        "Lakeside AI",
        "Small pools at low prices, for work that can wait a moment.",
    ),
    DemoProvider(
        "emulated-cloud",
        "Emulated Cloud (emulated)",
        "No hardware stands behind it: emulated workers answer synthetically, after a delay "
        "computed from published figures, so that routing over unlike accelerators can be seen.",
        emulated=True,
    ),
)

# Worker costs are round figures of the magnitude of on-demand rents, not quotes.
POOLS = (
    DemoPool("llama-fast", "CPU, 2 threads, 2 slots", "llama.cpp", "northyard", 6 * CENT),
    DemoPool("llama-small", "CPU, 1 thread, 1 slot", "llama.cpp", "lakeside", 2 * CENT),
    DemoPool(
        "triton-batched",
        "CPU, 2 instances, dynamic batching",
        "Triton Inference Server",
        "northyard",
        6 * CENT,
    ),
    DemoPool(
        "triton-single", "CPU, 1 instance, no batching", "Triton Inference Server", "lakeside", CENT
    ),
    DemoPool(
        "emulated-h100",
        "2 × NVIDIA H100 (emulated)",
        "emulator",
        "emulated-cloud",
        6 * USD,
        emulated=True,
    ),
    DemoPool(
        "emulated-a100",
        "2 × NVIDIA A100 (emulated)",
        "emulator",
        "emulated-cloud",
        360 * CENT,
        emulated=True,
    ),
    DemoPool(
        "emulated-rtx4090",
        "NVIDIA RTX 4090 (emulated)",
        "emulator",
        "emulated-cloud",
        40 * CENT,
        emulated=True,
    ),
    DemoPool(
        "emulated-tpu-v5e",
        "8 × Google TPU v5e (emulated)",
        "emulator",
        "emulated-cloud",
        960 * CENT,
        emulated=True,
    ),
    DemoPool(
        "emulated-cpu",
        "Intel Xeon 8480+ (emulated)",
        "emulator",
        "emulated-cloud",
        150 * CENT,
        emulated=True,
    ),
)
