"""The server's own addresses: what predict answers, several at once, and a sentence for what cannot be answered."""

import http.client
import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest
from serving import serving, wait_for
from starlette.testclient import TestClient
from tiny_runs import TEXTS, close, make_run

from tasks.predict import Answerer, load
from tasks.serve.app import Service, build_app
from tasks.serve.limits import Limits
from tasks.serve.models import names

LIMITS = Limits(max_body=20_000, max_text=2_000, queue=50, batch_tokens=64, deadline=20)


@pytest.fixture(scope="module")
def client(models: dict[str, Answerer], runs: dict[str, str]) -> Iterator[TestClient]:
    with TestClient(build_app(Service(models, runs, LIMITS)), raise_server_exceptions=False) as found:
        yield found


def without_times(answers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: value for name, value in answer.items() if name != "milliseconds"} for answer in answers]


@pytest.mark.parametrize("name", ["ner", "classification", "span_qa", "fill_mask"])
def test_answers_are_those_of_predict(name: str, client: TestClient, models: dict[str, Answerer]) -> None:
    inputs: list[Any] = [{"text": text, "id": 7} for text in TEXTS[:12]] + TEXTS[12:20]
    if name == "span_qa":
        inputs = [{"question": "Who?", "context": text, "id": [1, None]} for text in TEXTS[:12]]
    if name == "fill_mask":
        inputs = [{"text": f"{text} [MASK]", "top_k": 3} for text in TEXTS[:12]]
    expected = without_times(models[name](inputs))
    many = client.post("/answer", params={"model": name}, json=inputs)
    assert (many.status_code, many.headers["content-type"]) == (200, "application/json")
    assert close(without_times(many.json()), expected)
    assert close(without_times([client.post(f"/answer?model={name}", json=inputs[0]).json()]), expected[:1])
    assert client.post(f"/answer?model={name}", json=[]).json() == []
    assert client.post(f"/models/{name}", json={"inputs": []}).json() == []


def test_each_client_gets_its_own_answer(client: TestClient, models: dict[str, Answerer]) -> None:
    expected = without_times(models["ner"](TEXTS))
    with ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda text: client.post("/answer", json=text).json(), TEXTS * 2))
    assert close(without_times(answers), expected * 2)


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        (b"", 400, "the body is not JSON"),
        (b"{", 400, "the body is not JSON"),
        (b'{"text": "Ann"', 400, "the body is not JSON"),
        (b"\xff\xfe", 400, "byte 0 of the body (0xff) is not UTF-8"),
        (b'{"text": "Ann", "n": NaN}', 400, "NaN is no number"),
        (b'{"text": "Ann", "n": -Infinity}', 400, "-Infinity is no number"),
        (b'{"text": "Ann", "n": 1e999}', 400, "is too large a number"),
        (b'{"text": "Ann", "n": ' + b"9" * 5000 + b"}", 400, "the body is not JSON"),
        (b'{"text": "Ann", "n": ' + b"[" * 9000 + b"]" * 9000 + b"}", 400, "nested"),
        (b'{"text": "Ann", "n": ' + b"[" * 100 + b"]" * 100 + b"}", 400, "nested more than 64 deep"),
        (rb'{"text": "Ann", "n": "\ud800"}', 400, "stands alone"),
        (rb'{"text": "Ann", "\uDC00": 1}', 400, "stands alone"),
        (b"null", 422, "the input: is a NoneType"),
        (b"7", 422, "the input: is a int"),
        (b"[[]]", 422, "the input: is a list"),
        (b'["Ann", {"text": 7}]', 422, "input 2: needs text"),
        (b"{}", 422, "the input: needs text"),
        (b'{"text": "' + b"a" * 2001 + b'"}', 413, "the input has 2,005 characters, and the most is 2,000"),
        (b'"' + b"a" * 20_000 + b'"', 413, "the body has 20,002 bytes, and the most is 20,000"),
        (json.dumps(["Ann"] * 51).encode(), 413, "the request has 51 inputs, and the most is 50"),
        (json.dumps([[]] * 51).encode(), 413, "the request has 51 inputs"),  # none of which is read
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", ["/answer", "/"])
def test_bad_bodies_are_refused(body: bytes, status: int, message: str, path: str, client: TestClient) -> None:
    if path == "/" and status != 400:
        if len(body) > 20_000:
            pytest.skip("the same")
        body = b'{"inputs": ' + body + b"}"
    response = client.post(path, content=body)
    assert response.status_code == status
    assert message in response.json()["error"]
    assert client.post("/answer", json="Ann").status_code == 200


def test_other_requests_are_refused(client: TestClient) -> None:
    assert client.post("/", json={"text": "Ann"}).status_code == 422
    assert client.post("/", json={"inputs": "Ann", "parameters": 3}).status_code == 422
    assert client.post("/answer", json="Ann", headers={"Content-Encoding": "gzip"}).status_code == 415
    assert client.post("/answer?model=x", json="Ann").status_code == 404
    for method, path, status in (
        ("GET", "/answer", 405), ("GET", "/nothing", 404), ("PUT", "/", 405), ("POST", "/answer/", 404),
    ):  # fmt: skip
        response = client.request(method, path, follow_redirects=False)
        assert response.status_code == status
        assert "POST /answer" in response.json()["error"]


def test_a_body_without_its_length_is_cut_off(client: TestClient) -> None:
    def parts() -> Iterator[bytes]:
        while True:
            yield b"a" * 1000

    assert (
        client.post("/answer", content=(part for part, _ in zip(parts(), range(40), strict=False))).status_code == 413
    )


def test_health_models_and_metrics(client: TestClient) -> None:
    client.post("/answer", json=["Ann", "Bob"])
    health = client.get("/health").json()
    assert health["status"] == "ok"
    assert health["models"]["ner"] == {"waiting": 0}
    assert [each["name"] for each in client.get("/models").json()][:2] == ["ner", "crf"]
    text = client.get("/metrics").text
    samples = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    answered = float(samples['minibert_answers_total{model="ner"}'])
    assert answered >= 2
    assert float(samples['minibert_batch_size_sum{model="ner"}']) == answered
    batches = samples['minibert_batch_size_count{model="ner"}']
    assert samples['minibert_batch_size_bucket{model="ner",le="+Inf"}'] == batches
    assert float(samples['minibert_requests_total{path="/answer",status="200"}']) >= 1
    buckets = [float(v) for k, v in samples.items() if k.startswith('minibert_request_seconds_bucket{path="/answer"')]
    assert buckets == sorted(buckets)
    assert 'minibert_waiting{model="ner"} 0' in text
    named = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert {"minibert_requests_total", "minibert_batch_seconds", "minibert_waiting"} <= named


def test_what_a_client_that_has_gone_asked_for_is_not_computed(
    models: dict[str, Answerer], runs: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    answerer, computed = models["ner"], list[int]()
    answer = answerer.answer

    def slowly(parsed: Any) -> Any:
        computed.append(len(parsed))
        time.sleep(0.2)
        return answer(parsed)

    monkeypatch.setattr(answerer, "answer", slowly)
    body = json.dumps(["Ann went to Rome"] * 40).encode()
    head = f"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with serving({"ner": answerer}, {"ner": runs["ner"]}, batch_tokens=8) as url:
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as connection:
            connection.sendall(head.encode() + body)
            wait_for(lambda: computed)
        wait_for(lambda: json.loads(urlopen(f"{url}/health").read())["models"]["ner"]["waiting"] == 0)
        assert sum(computed) < 20
        assert 'status="499"' in urlopen(f"{url}/metrics").read().decode()


def test_a_body_that_does_not_come_is_not_waited_for(models: dict[str, Answerer], runs: dict[str, str]) -> None:
    head = b"POST /answer HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n"
    with (
        serving({"ner": models["ner"]}, {"ner": runs["ner"]}, deadline=0.2) as url,
        socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60) as connection,
    ):
        connection.sendall(head + b'{"text": "Ann')
        response = http.client.HTTPResponse(connection)
        response.begin()
        error = json.loads(response.read())["error"]
    assert (response.status, error) == (408, "the body did not come within 0.2 seconds; send it faster.")


@pytest.mark.parametrize(
    ("failure", "status", "after"),
    [
        (MemoryError(), 503, "5"),
        (RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"), 503, "5"),
        (RuntimeError("shapes differ"), 500, None),
    ],
)
def test_a_model_that_fails_says_whether_to_come_back(
    failure: Exception, status: int, after: str | None, client: TestClient, models: dict[str, Answerer]
) -> None:
    def failing(parsed: Any) -> Any:
        raise failure

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(models["classification"], "answer", failing)
        response = client.post("/answer?model=classification", json="Ann")
    assert (response.status_code, response.headers.get("Retry-After")) == (status, after)
    assert client.post("/answer?model=classification", json="Ann").status_code == 200


def test_a_question_with_choices(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "multiple_choice")
    models = {"choices": load(run, device="cpu", precision="fp32")}
    question = {"context": "Ann went", "question": "Then Ann", "choices": ["saw Bob", "went to Rome"]}
    with TestClient(build_app(Service(models, {"choices": run}, LIMITS))) as client:
        (described,) = client.get("/models").json()
        assert (described["kind"], described["fields"]) == ("multiple-choice", ["context", "question", "choices"])
        assert client.post("/answer", json=question).json()["answer"] in question["choices"]
        refused = client.post("/models/choices", json={"inputs": question})
        assert (refused.status_code, "use /answer" in refused.json()["error"]) == (422, True)


def test_runs_have_short_names_where_these_differ() -> None:
    assert names(["runs/a", "runs/b/", "someone/c"]) == ["a", "b", "c"]
    assert names(["x/bert-42", "y/bert-42"]) == ["x/bert-42", "y/bert-42"]
