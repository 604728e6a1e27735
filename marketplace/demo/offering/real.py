"""The models of the demo that run on this machine."""

from marketplace.demo.offering.entries import DemoModel, tensor, tokens_price
from marketplace.demo.schemas import (
    CHAT_INPUT,
    EMBEDDINGS_INPUT,
    FRAUD_INPUT,
    MODERATION_INPUT,
    RERANK_INPUT,
)
from router.domain.pricing import Price

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
        prices={"llama-fast": tokens_price(3, 6), "llama-small": tokens_price(1.5, 3)},
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
            "inputs": [tensor("FEATURES", "FP32", -1, 8)],
            "outputs": [tensor("FRAUD_PROBABILITY", "FP32", -1, 1)],
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
            "inputs": [tensor("TEXT", "BYTES", -1, 1)],
            "outputs": [
                tensor("EMBEDDING", "FP32", -1, 256),
                tensor("TOKENS", "INT32", -1, 1),
            ],
        },
        prices={"triton-batched": tokens_price(0.4), "triton-single": tokens_price(0.2)},
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
            "inputs": [tensor("QUERY", "BYTES", -1, 1), tensor("DOCUMENT", "BYTES", -1, 1)],
            "outputs": [tensor("SCORE", "FP32", -1, 1), tensor("TOKENS", "INT32", -1, 1)],
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
            "inputs": [tensor("TEXT", "BYTES", -1, 1)],
            "outputs": [
                tensor("HATE", "FP32", -1, 1),
                tensor("OFFENSIVE_LANGUAGE", "FP32", -1, 1),
                tensor("TOKENS", "INT32", -1, 1),
            ],
        },
        prices={
            "triton-batched": Price(id=0, row_nano=4_000),
            "triton-single": Price(id=0, row_nano=2_000),
        },
    ),
)
