"""The models, pools and prices of the demo. Real models run on this machine; emulated ones say so.

Prices are the demo's own, of the magnitude that such models cost on public markets.
"""

from dataclasses import dataclass, field
from typing import Any

from marketplace.demo.schemas import (
    CHAT_INPUT,
    EMBEDDINGS_INPUT,
    FRAUD_INPUT,
    IMAGE_INPUT,
    MODERATION_INPUT,
    PROMPT_INPUT,
    RECORDING_INPUT,
    RERANK_INPUT,
    SPEECH_INPUT,
)
from router.domain.pricing import Price

USD = 1_000_000_000
"""Nano-USD in a dollar."""
CENT = USD // 100


@dataclass(frozen=True, slots=True)
class DemoProvider:
    slug: str
    name: str
    description: str
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class DemoPool:
    """``worker_cost_nano_per_hour`` is what the provider pays for one worker."""

    name: str
    hardware: str
    engine: str
    provider: str
    worker_cost_nano_per_hour: int
    emulated: bool = False


@dataclass(frozen=True, slots=True)
class DemoModel:
    """``prices`` maps each pool that may serve it to the price there.

    ``upstream_model`` is the model's name at its workers.
    """

    name: str
    display_name: str
    task: str
    description: str
    license: str
    version: str
    upstream_model: str
    prices: dict[str, Price]
    source_url: str = ""
    context_tokens_max: int = 0
    completion_tokens_max: int = 0
    quantization: str = ""
    supported_parameters: tuple[str, ...] = ()
    tensors: dict[str, Any] = field(default_factory=dict)
    input_schema: dict[str, Any] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        return self.name.startswith("emulated/")


def _tokens(prompt_cents: float, completion_cents: float = 0.0) -> Price:
    """A price in cents per million tokens; cached prompt tokens cost half."""
    prompt = round(prompt_cents * CENT)
    completion = round(completion_cents * CENT)
    return Price(
        id=0,
        prompt_nano_per_million=prompt,
        cached_nano_per_million=prompt // 2,
        completion_nano_per_million=completion,
        reasoning_nano_per_million=completion,
    )


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


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

_LLAMA_CPP_PARAMETERS = (
    "frequency_penalty",
    "logit_bias",
    "logprobs",
    "max_completion_tokens",
    "max_tokens",
    "min_p",
    "n",
    "presence_penalty",
    "response_format",
    "seed",
    "stop",
    "temperature",
    "tool_choice",
    "tools",
    "top_k",
    "top_logprobs",
    "top_p",
)

REAL_MODELS = (
    DemoModel(
        name="huggingfacetb/smollm2-135m-instruct",
        display_name="SmolLM2 135M Instruct",
        task="chat",
        description=(
            "A real language model, small enough to answer on two CPU cores. It follows short "
            "instructions, rewrites and summarises; it knows little, and invents what it does not "
            "know. Here to show routing, streaming and billing with real tokens."
        ),
        license="Apache-2.0",
        source_url="https://huggingface.co/HuggingFaceTB/SmolLM2-135M-Instruct",
        version="1",
        upstream_model="huggingfacetb/smollm2-135m-instruct",
        context_tokens_max=2_048,
        completion_tokens_max=1_024,
        quantization="int4",
        supported_parameters=_LLAMA_CPP_PARAMETERS,
        input_schema=CHAT_INPUT,
        prices={"llama-fast": _tokens(3, 6), "llama-small": _tokens(1.5, 3)},
    ),
    DemoModel(
        name="waypost/fraud-scorer",
        display_name="Fraud scorer",
        task="tabular",
        description=(
            "Scores card transactions: eight features in, the probability of fraud out. Trained "
            "by a script in this repository on synthetic transactions, exported to ONNX and "
            "served by Triton. Speaks the Open Inference Protocol; send many rows in one call."
        ),
        license="Apache-2.0",
        version="1",
        upstream_model="fraud_scorer",
        input_schema=FRAUD_INPUT,
        tensors={
            "inputs": [_tensor("FEATURES", "FP32", -1, 8)],
            "outputs": [_tensor("FRAUD_PROBABILITY", "FP32", -1, 1)],
        },
        prices={
            "triton-batched": Price(id=0, request_nano=2_000, row_nano=500),
            "triton-single": Price(id=0, request_nano=1_000, row_nano=250),
        },
    ),
    DemoModel(
        name="wordllama/wordllama-256",
        display_name="WordLlama 256",
        task="embeddings",
        description=(
            "Sentence embeddings of 256 dimensions, pooled from the token embeddings of a large "
            "language model: no transformer runs, so a text takes well under a millisecond. Good "
            "for deduplication, clustering and a first cut of search."
        ),
        license="MIT",
        source_url="https://github.com/dleemiller/WordLlama",
        version="1",
        upstream_model="wordllama_256",
        context_tokens_max=2_048,
        input_schema=EMBEDDINGS_INPUT,
        tensors={
            "inputs": [_tensor("TEXT", "BYTES", -1, 1)],
            "outputs": [
                _tensor("EMBEDDING", "FP32", -1, 256),
                _tensor("TOKENS", "INT32", -1, 1),
            ],
        },
        prices={"triton-batched": _tokens(0.4), "triton-single": _tokens(0.2)},
    ),
    DemoModel(
        name="wordllama/wordllama-rerank",
        display_name="WordLlama rerank",
        task="rerank",
        description=(
            "Orders documents by how near each is to a query: the cosine of WordLlama's vectors of "
            "256 dimensions. No transformer reads the two together, as a cross-encoder does, so it "
            "ranks a thousand documents in milliseconds, and misses what only a reader would see."
        ),
        license="MIT",
        source_url="https://github.com/dleemiller/WordLlama",
        version="1",
        upstream_model="wordllama_rerank",
        context_tokens_max=2_048,
        input_schema=RERANK_INPUT,
        tensors={
            "inputs": [_tensor("QUERY", "BYTES", -1, 1), _tensor("DOCUMENT", "BYTES", -1, 1)],
            "outputs": [_tensor("SCORE", "FP32", -1, 1), _tensor("TOKENS", "INT32", -1, 1)],
        },
        prices={
            "triton-batched": Price(id=0, row_nano=20_000),
            "triton-single": Price(id=0, row_nano=10_000),
        },
    ),
    DemoModel(
        name="hironsan/hatesonar",
        display_name="HateSonar",
        task="moderation",
        description=(
            "Scores English texts for hate and for offensive language, and for no other category: "
            "a linear classifier of words, trained on 25,000 tweets that people labelled. It knows "
            "no context, so it flags swearing among friends and texts about a slur, and passes "
            "threats and hate in plain words. A text is scored sentence by sentence, and has the "
            "scores of its worst."
        ),
        license="MIT",
        source_url="https://github.com/Hironsan/HateSonar",
        version="0.1.0",
        upstream_model="hatesonar",
        input_schema=MODERATION_INPUT,
        tensors={
            "inputs": [_tensor("TEXT", "BYTES", -1, 1)],
            "outputs": [
                _tensor("HATE", "FP32", -1, 1),
                _tensor("OFFENSIVE_LANGUAGE", "FP32", -1, 1),
                _tensor("TOKENS", "INT32", -1, 1),
            ],
        },
        prices={
            "triton-batched": Price(id=0, row_nano=4_000),
            "triton-single": Price(id=0, row_nano=2_000),
        },
    ),
)

_EMULATED_NOTE = " Emulated: the answers are synthetic, only the timing follows published figures."

EMULATED_MODELS = (
    DemoModel(
        name="emulated/llama-2-70b-chat",
        display_name="Llama 2 70B Chat (emulated)",
        task="chat",
        description="A 70-billion-parameter chat model on large accelerators." + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/llama-2-70b-chat",
        context_tokens_max=4_096,
        completion_tokens_max=2_048,
        input_schema=CHAT_INPUT,
        prices={
            "emulated-h100": _tokens(90, 90),
            "emulated-a100": _tokens(70, 70),
            "emulated-tpu-v5e": _tokens(65, 65),
        },
    ),
    DemoModel(
        name="emulated/mixtral-8x7b-instruct",
        display_name="Mixtral 8x7B Instruct (emulated)",
        task="chat",
        description="A sparse mixture of eight experts, two at work on each token."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/mixtral-8x7b-instruct",
        context_tokens_max=32_768,
        completion_tokens_max=4_096,
        supported_parameters=("max_tokens", "responses"),
        input_schema=CHAT_INPUT,
        prices={
            "emulated-h100": _tokens(54, 54),
            "emulated-a100": _tokens(45, 45),
            "emulated-tpu-v5e": _tokens(42, 42),
        },
    ),
    DemoModel(
        name="emulated/gpt-j-6b",
        display_name="GPT-J 6B (emulated)",
        task="chat",
        description="Six billion parameters: fits a consumer GPU, and crawls on a CPU."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/gpt-j-6b",
        context_tokens_max=2_048,
        completion_tokens_max=1_024,
        input_schema=CHAT_INPUT,
        prices={
            "emulated-h100": _tokens(20, 20),
            "emulated-a100": _tokens(16, 16),
            "emulated-rtx4090": _tokens(10, 10),
            "emulated-tpu-v5e": _tokens(14, 14),
            "emulated-cpu": _tokens(5, 5),
        },
    ),
    DemoModel(
        name="emulated/bge-large",
        display_name="BGE Large (emulated)",
        task="embeddings",
        description="An embeddings model of 335 million parameters." + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/bge-large",
        context_tokens_max=512,
        input_schema=EMBEDDINGS_INPUT,
        prices={
            "emulated-h100": _tokens(3),
            "emulated-a100": _tokens(2),
            "emulated-rtx4090": _tokens(1),
            "emulated-tpu-v5e": _tokens(1.6),
            "emulated-cpu": _tokens(0.6),
        },
    ),
    DemoModel(
        name="emulated/bge-reranker-large",
        display_name="BGE Reranker Large (emulated)",
        task="rerank",
        description="A cross-encoder of 560 million parameters that orders documents by a query."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/bge-reranker-large",
        context_tokens_max=512,
        input_schema=RERANK_INPUT,
        prices={
            "emulated-h100": Price(id=0, row_nano=2_000_000),
            "emulated-a100": Price(id=0, row_nano=1_500_000),
            "emulated-rtx4090": Price(id=0, row_nano=1_000_000),
            "emulated-tpu-v5e": Price(id=0, row_nano=1_200_000),
            "emulated-cpu": Price(id=0, row_nano=600_000),
        },
    ),
    DemoModel(
        name="emulated/deberta-moderation",
        display_name="DeBERTa moderation (emulated)",
        task="moderation",
        description="A classifier of 184 million parameters in OpenAI's categories."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/deberta-moderation",
        context_tokens_max=512,
        input_schema=MODERATION_INPUT,
        prices={
            "emulated-rtx4090": Price(id=0, row_nano=20_000),
            "emulated-cpu": Price(id=0, row_nano=10_000),
        },
    ),
    DemoModel(
        name="emulated/stable-diffusion-xl",
        display_name="Stable Diffusion XL (emulated)",
        task="image",
        description="Images from a prompt: here plain colours, marked as emulated."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/stable-diffusion-xl",
        input_schema=PROMPT_INPUT,
        prices={
            "emulated-h100": Price(id=0, image_nano=4_000_000),
            "emulated-a100": Price(id=0, image_nano=3_000_000),
            "emulated-rtx4090": Price(id=0, image_nano=2_000_000),
        },
    ),
    DemoModel(
        name="emulated/kokoro-82m",
        display_name="Kokoro 82M (emulated)",
        task="speech",
        description="Speech from a text of up to 4,096 characters: here a low tone, as WAV or PCM."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/kokoro-82m",
        input_schema=SPEECH_INPUT,
        prices={
            "emulated-rtx4090": Price(id=0, row_nano=2_000),
            "emulated-cpu": Price(id=0, row_nano=1_000),
        },
    ),
    DemoModel(
        name="emulated/whisper-large-v3",
        display_name="Whisper Large v3 (emulated)",
        task="transcription",
        description="Recordings become text: here one sentence that says how long they are."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/whisper-large-v3",
        input_schema=RECORDING_INPUT,
        prices={
            "emulated-h100": Price(id=0, row_nano=60_000),
            "emulated-rtx4090": Price(id=0, row_nano=30_000),
        },
    ),
    DemoModel(
        name="emulated/resnet-50",
        display_name="ResNet-50 (emulated)",
        task="vision",
        description="Image classification over 1000 classes, one 224×224 image a row."
        + _EMULATED_NOTE,
        license="none: no weights are used",
        version="1",
        upstream_model="emulated/resnet-50",
        input_schema=IMAGE_INPUT,
        tensors={
            "inputs": [_tensor("INPUT", "FP32", -1, 3, 224, 224)],
            "outputs": [_tensor("PROBABILITIES", "FP32", -1, 1000)],
        },
        prices={
            "emulated-h100": Price(id=0, row_nano=4_000),
            "emulated-a100": Price(id=0, row_nano=3_000),
            "emulated-rtx4090": Price(id=0, row_nano=1_500),
            "emulated-tpu-v5e": Price(id=0, row_nano=2_500),
            "emulated-cpu": Price(id=0, row_nano=800),
        },
    ),
)
