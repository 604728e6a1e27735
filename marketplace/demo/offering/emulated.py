"""The models of the demo whose workers are emulated."""

from marketplace.demo.offering.entries import DemoModel, tensor, tokens_price
from marketplace.demo.schemas import (
    CHAT_INPUT,
    EMBEDDINGS_INPUT,
    IMAGE_INPUT,
    MODERATION_INPUT,
    PROMPT_INPUT,
    RECORDING_INPUT,
    RERANK_INPUT,
    SPEECH_INPUT,
)
from router.domain.pricing import Price

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
            "emulated-h100": tokens_price(90, 90),
            "emulated-a100": tokens_price(70, 70),
            "emulated-tpu-v5e": tokens_price(65, 65),
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
            "emulated-h100": tokens_price(54, 54),
            "emulated-a100": tokens_price(45, 45),
            "emulated-tpu-v5e": tokens_price(42, 42),
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
            "emulated-h100": tokens_price(20, 20),
            "emulated-a100": tokens_price(16, 16),
            "emulated-rtx4090": tokens_price(10, 10),
            "emulated-tpu-v5e": tokens_price(14, 14),
            "emulated-cpu": tokens_price(5, 5),
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
            "emulated-h100": tokens_price(3),
            "emulated-a100": tokens_price(2),
            "emulated-rtx4090": tokens_price(1),
            "emulated-tpu-v5e": tokens_price(1.6),
            "emulated-cpu": tokens_price(0.6),
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
            "inputs": [tensor("INPUT", "FP32", -1, 3, 224, 224)],
            "outputs": [tensor("PROBABILITIES", "FP32", -1, 1000)],
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
