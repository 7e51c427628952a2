"""Hugging Face's own client against the server, and its answers against transformers' pipelines."""

from typing import Any

import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError

from tasks.predict import Answerer


def client(url: str, name: str) -> InferenceClient:
    return InferenceClient(model=f"{url}/models/{name}", token="none")


def pipeline(task: str, run: str, **options: Any) -> Any:
    transformers = pytest.importorskip("transformers", reason="transformers is the oracle of this test")
    return transformers.pipeline(task, model=run, device="cpu", **options)


def test_token_classification(url: str, models: dict[str, Answerer]) -> None:
    text = "Ann went to Rome and saw Bob ."
    found = InferenceClient(model=url, token="none").token_classification(text)  # the first model
    entities = models["ner"](text)["entities"]
    assert entities
    assert [(each.entity_group, each.start, each.end, each.word) for each in found] == [
        (each["type"], each["start"], each["end"], each["text"]) for each in entities
    ]
    assert [each.score for each in found] == pytest.approx([each["probability"] for each in entities], abs=2e-6)
    kinds = {each["type"] for each in entities}
    assert client(url, "ner").token_classification(text, ignore_labels=list(kinds), aggregation_strategy="max") == []


def test_text_classification(url: str, runs: dict[str, str]) -> None:
    text = "Ann saw Bob ."
    found = client(url, "classification").text_classification(text)
    theirs = pipeline("text-classification", runs["classification"])(text, top_k=None)
    assert [(each.label, pytest.approx(each.score, abs=1e-5)) for each in found] == [
        (each["label"], each["score"]) for each in theirs
    ]
    assert len(client(url, "classification").text_classification(text, top_k=1, function_to_apply="softmax")) == 1


def test_question_answering(url: str, models: dict[str, Answerer]) -> None:
    given = {"question": "Who saw Bob ?", "context": "Ann went to Rome and saw Bob ."}
    found: Any = client(url, "span_qa").question_answering(**given)
    own = models["span_qa"](given)
    assert (found.answer, found.start, found.end) == (own["answer"], own["start"], own["end"])
    assert given["context"][found.start : found.end] == found.answer
    several: Any = client(url, "span_qa").question_answering(**given, top_k=3, handle_impossible_answer=False)
    assert [each.answer for each in several] == [each["text"] for each in own["n_best"][:3]]


@pytest.mark.parametrize("options", [{}, {"top_k": 2}, {"targets": ["Ann", "Bob"], "top_k": 1}])
def test_fill_mask(options: dict[str, Any], url: str, runs: dict[str, str]) -> None:
    text = "Ann saw [MASK] ."
    found = client(url, "fill_mask").fill_mask(text, **options)
    theirs = pipeline("fill-mask", runs["fill_mask"])(text, **options)
    assert [each.token for each in found] == [each["token"] for each in theirs]
    assert [each.score for each in found] == pytest.approx([each["score"] for each in theirs], abs=1e-5)
    assert [each.token_str for each in found] == [each["token_str"] for each in theirs]
    assert all(each.sequence == f"Ann saw {each.token_str.removeprefix('##')} ." for each in found)


def test_what_is_without_effect_is_refused(url: str) -> None:
    for call in (
        lambda: client(url, "ner").token_classification("Ann", stride=3),
        lambda: client(url, "ner").token_classification("Ann", aggregation_strategy="none"),
        lambda: client(url, "classification").text_classification("Ann", function_to_apply="sigmoid"),
        lambda: client(url, "classification").text_classification("Ann", top_k=0),
        lambda: client(url, "span_qa").question_answering(question="Who?", context="Ann", max_answer_len=3),
        lambda: client(url, "fill_mask").fill_mask("Ann saw no gap"),
        lambda: client(url, "span_qa").text_classification("Ann"),
    ):
        with pytest.raises(HfHubHTTPError) as error:
            call()
        assert error.value.response.status_code == 422
    with pytest.raises(HfHubHTTPError) as error:
        client(url, "nothing").text_classification("Ann")
    assert error.value.response.status_code == 404
    assert "there are ner, crf, classification, span_qa, fill_mask" in error.value.response.json()["error"]
