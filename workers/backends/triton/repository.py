"""Writes the model repository that a Triton of one profile serves."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from workers.backends.triton.fraud.train import MODEL_PATH
from workers.backends.triton.hatesonar import write_hatesonar
from workers.backends.weights import packaged_file

MODELS = Path(__file__).parent / "models"
VECTORS = "wordllama_vectors.py"
FRAUD_ROWS_MAX = 4_096
"""Of a call, and of calls that Triton merges: no call is merged with one that is as large."""
TEXTS_MAX = 256
DOCUMENTS_MAX = 1_000
"""As many as a call may have (router/ingress/faces/rerank.py)."""
INPUTS_MAX = 1_000
"""As many as a call may have (router/ingress/faces/moderations.py)."""


@dataclass(frozen=True, slots=True)
class Profile:
    """How a Triton is set up: what makes one pool faster than another."""

    instances: int
    threads: int
    dynamic_batching: bool


PROFILES = {
    "batched": Profile(instances=2, threads=2, dynamic_batching=True),
    "single": Profile(instances=1, threads=1, dynamic_batching=False),
}


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor without its batch dimension."""

    name: str
    data_type: str
    dims: int


def write_repository(folder: Path, profile: Profile) -> None:
    """Replace ``folder`` by a repository of all models."""
    shutil.rmtree(folder, ignore_errors=True)
    fraud = _write_model(
        folder,
        "fraud_scorer",
        profile,
        rows_max=FRAUD_ROWS_MAX,
        inputs=[Tensor("FEATURES", "TYPE_FP32", 8)],
        outputs=[Tensor("FRAUD_PROBABILITY", "TYPE_FP32", 1)],
        parameters={"threads": str(profile.threads)},
    )
    shutil.copy(MODEL_PATH, fraud)
    wordllama = {
        "tokenizer": str(packaged_file("wordllama", "l2_supercat_tokenizer_config.json")),
        "weights": str(packaged_file("wordllama", "l2_supercat_256.safetensors")),
    }
    _write_model(
        folder,
        "wordllama_256",
        profile,
        rows_max=TEXTS_MAX,
        inputs=[Tensor("TEXT", "TYPE_STRING", 1)],
        outputs=[Tensor("EMBEDDING", "TYPE_FP32", 256), Tensor("TOKENS", "TYPE_INT32", 1)],
        parameters=wordllama,
        beside=VECTORS,
    )
    _write_model(
        folder,
        "wordllama_rerank",
        replace(profile, instances=1),
        rows_max=DOCUMENTS_MAX,
        inputs=[Tensor("QUERY", "TYPE_STRING", 1), Tensor("DOCUMENT", "TYPE_STRING", 1)],
        outputs=[Tensor("SCORE", "TYPE_FP32", 1), Tensor("TOKENS", "TYPE_INT32", 1)],
        parameters=wordllama,
        beside=VECTORS,
    )
    hatesonar = _write_model(
        folder,
        "hatesonar",
        replace(profile, instances=1),
        rows_max=INPUTS_MAX,
        inputs=[Tensor("TEXT", "TYPE_STRING", 1)],
        outputs=[
            Tensor("HATE", "TYPE_FP32", 1),
            Tensor("OFFENSIVE_LANGUAGE", "TYPE_FP32", 1),
            Tensor("TOKENS", "TYPE_INT32", 1),
        ],
        parameters={},
    )
    write_hatesonar(hatesonar / "hatesonar.onnx")


def model_config(
    name: str,
    profile: Profile,
    *,
    rows_max: int,
    inputs: list[Tensor],
    outputs: list[Tensor],
    parameters: dict[str, str],
) -> str:
    """Triton's ``config.pbtxt`` in protobuf text format."""
    warm_up = (f"inputs {{ {_zeros(tensor)} }}" for tensor in inputs)
    lines = [
        f'name: "{name}"',
        'backend: "python"',
        f"max_batch_size: {rows_max}",
        *(f"input {_tensor(tensor)}" for tensor in inputs),
        *(f"output {_tensor(tensor)}" for tensor in outputs),
        # A first inference before the server calls itself ready: it is slower than all later ones.
        f'model_warmup {{ name: "one row" batch_size: 1 {" ".join(warm_up)} }}',
        f"instance_group {{ count: {profile.instances} kind: KIND_CPU }}",
        *(_parameter(key, value) for key, value in parameters.items()),
    ]
    if profile.dynamic_batching:
        lines.append("dynamic_batching { max_queue_delay_microseconds: 500 }")
    return "\n".join(lines) + "\n"


def _write_model(
    folder: Path,
    name: str,
    profile: Profile,
    *,
    rows_max: int,
    inputs: list[Tensor],
    outputs: list[Tensor],
    parameters: dict[str, str],
    beside: str = "",
) -> Path:
    version = folder / name / "1"
    version.mkdir(parents=True)
    config = model_config(
        name,
        profile,
        rows_max=rows_max,
        inputs=inputs,
        outputs=outputs,
        parameters=parameters,
    )
    (folder / name / "config.pbtxt").write_text(config)
    shutil.copy(MODELS / f"{name}.py", version / "model.py")
    if beside:
        shutil.copy(MODELS / beside, version)
    return version


def _tensor(tensor: Tensor) -> str:
    return f'{{ name: "{tensor.name}" data_type: {tensor.data_type} dims: [ {tensor.dims} ] }}'


def _zeros(tensor: Tensor) -> str:
    value = f"data_type: {tensor.data_type} dims: [ {tensor.dims} ] zero_data: true"
    return f'key: "{tensor.name}" value {{ {value} }}'


def _parameter(key: str, value: str) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }}'
