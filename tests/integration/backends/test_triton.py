"""The real Triton server, through its own client."""

from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc as triton_grpc
import tritonclient.http as triton

from workers.backends.triton.repository import FRAUD_ROWS_MAX

ORDINARY = [20, 14, 3, 300, 1, 0.1, 1, 900]
SUSPICIOUS = [900, 3, 400, 2, 6, 0.6, 0, 20]


@pytest.fixture
def client(triton_url: str) -> triton.InferenceServerClient:
    return triton.InferenceServerClient(triton_url.removeprefix("http://"))


def fraud_input(rows: list[list[float]]) -> triton.InferInput:
    tensor = triton.InferInput("FEATURES", [len(rows), 8], "FP32")
    tensor.set_data_from_numpy(np.array(rows, np.float32))
    return tensor


def test_fraud_is_told_apart(client: triton.InferenceServerClient) -> None:
    answer = client.infer("fraud_scorer", [fraud_input([ORDINARY, SUSPICIOUS])])
    ordinary, suspicious = answer.as_numpy("FRAUD_PROBABILITY").ravel()
    assert ordinary < 0.1
    assert suspicious > 0.9


def test_each_request_of_a_batch_gets_its_own_rows(client: triton.InferenceServerClient) -> None:
    pending = [
        client.async_infer("fraud_scorer", [fraud_input([row] * rows)])
        for row, rows in ((ORDINARY, 1), (SUSPICIOUS, 3), (ORDINARY, 2))
    ]
    answers = [request.get_result().as_numpy("FRAUD_PROBABILITY") for request in pending]
    assert [answer.shape for answer in answers] == [(1, 1), (3, 1), (2, 1)]
    assert answers[0].max() < 0.1 < answers[1].min()


def test_many_rows_are_scored_as_one_is(client: triton.InferenceServerClient) -> None:
    (one,) = client.infer("fraud_scorer", [fraud_input([SUSPICIOUS])]).as_numpy("FRAUD_PROBABILITY")
    rows = [ORDINARY, SUSPICIOUS] * (FRAUD_ROWS_MAX // 2)
    many = client.infer("fraud_scorer", [fraud_input(rows)]).as_numpy("FRAUD_PROBABILITY")
    assert many.shape == (FRAUD_ROWS_MAX, 1)
    np.testing.assert_allclose(many[1::2], one[0], rtol=1e-5)


def test_embeddings_of_like_texts_are_alike(client: triton.InferenceServerClient) -> None:
    texts = np.array(
        [[b"a railway station"], [b"a train platform"], [b"quantum chemistry"]], object
    )
    tensor = triton.InferInput("TEXT", [3, 1], "BYTES")
    tensor.set_data_from_numpy(texts)
    answer = client.infer("wordllama_256", [tensor])
    station, platform, chemistry = answer.as_numpy("EMBEDDING")
    assert station @ platform > 0.3 > station @ chemistry
    assert np.linalg.norm(station) == pytest.approx(1)
    assert answer.as_numpy("TOKENS").min() > 0


def test_an_empty_text_has_the_zero_vector(client: triton.InferenceServerClient) -> None:
    tensor = triton.InferInput("TEXT", [1, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[b""]], object))
    answer = client.infer("wordllama_256", [tensor])
    assert not answer.as_numpy("EMBEDDING").any()
    assert answer.as_numpy("TOKENS").item() == 0


def test_documents_are_ranked_by_how_near_they_are(client: triton.InferenceServerClient) -> None:
    documents = [b"quantum chemistry", b"a train platform", b""]
    tensors = []
    for name, texts in (("QUERY", [b"a railway station"] * 3), ("DOCUMENT", documents)):
        tensor = triton.InferInput(name, [3, 1], "BYTES")
        tensor.set_data_from_numpy(np.array(texts, object).reshape(3, 1))
        tensors.append(tensor)
    answer = client.infer("wordllama_rerank", tensors)
    chemistry, platform, nothing = answer.as_numpy("SCORE").ravel()
    assert platform > 0.3 > chemistry
    assert nothing == 0
    assert answer.as_numpy("TOKENS").ravel()[0] > answer.as_numpy("TOKENS").ravel()[2] > 0


def test_a_text_is_as_bad_as_its_worst_sentence(client: triton.InferenceServerClient) -> None:
    calm = "The committee met in the town hall to speak about the new railway. " * 20
    texts = ["What a lovely day.", "white trash hillbilly", f"{calm} This shit is amazing. {calm}"]
    tensor = triton.InferInput("TEXT", [4, 1], "BYTES")
    tensor.set_data_from_numpy(np.array([[text.encode()] for text in (*texts, "")], object))
    answer = client.infer("hatesonar", [tensor])
    hate, offensive = (answer.as_numpy(name).ravel() for name in ("HATE", "OFFENSIVE_LANGUAGE"))
    assert (hate > 0.5).tolist() == [False, True, False, False]
    assert (offensive > 0.5).tolist() == [False, False, True, False]
    assert answer.as_numpy("TOKENS").ravel().tolist() == [4, 3, 524, 0]


@pytest.mark.parametrize("length", [3, 0])
def test_each_kind_of_number_goes_in_and_out(
    counter_address: tuple[str, Path], length: int
) -> None:
    kinds = {"BOOL": bool, "INT8": "i1", "UINT16": "u2", "INT64": "i8", "FP16": "f2", "FP64": "f8"}
    sent = {kind: np.array([1, 0, 0][:length], dtype) for kind, dtype in kinds.items()}
    inputs = []
    for kind, array in sent.items():
        tensor = triton_grpc.InferInput(kind, [length], kind)
        tensor.set_data_from_numpy(array)
        inputs.append(tensor)
    client = triton_grpc.InferenceServerClient(counter_address[0])
    answer = client.infer("kinds", inputs)
    for kind, array in sent.items():
        assert answer.as_numpy(f"{kind}_BACK").tolist() == array[::-1].tolist()
