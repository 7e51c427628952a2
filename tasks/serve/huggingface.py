"""Hugging Face's inference protocol, as ``huggingface_hub.InferenceClient(model=URL)`` speaks it.

A request is ``{"inputs": ..., "parameters": {...}}``; ``inputs`` is one input or a list of them. A parameter that would
be without effect here is refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tasks.serve.errors import Refusal

TEXTS, TOKENS, SPANS, MASKS = "text-classification", "token-classification", "question-answering", "fill-mask"
CHOICES = "multiple-choice"
"""Which the protocol does not have."""
_KIND_OF_TASK = {"ner": TOKENS, "span_qa": SPANS, "fill_mask": MASKS, "multiple_choice": CHOICES}
_PARAMETERS = {
    TEXTS: ("top_k", "function_to_apply"),
    TOKENS: ("aggregation_strategy", "ignore_labels"),
    SPANS: ("top_k", "handle_impossible_answer"),
    MASKS: ("top_k", "targets"),
}


def kind_of(task: str) -> str:
    """Hugging Face's name of what a task does."""
    return _KIND_OF_TASK.get(task, TEXTS)


def inputs_of(body: Any, kind: str) -> tuple[list[Any], bool, dict[str, Any]]:
    """What a request asks for: inputs as :class:`~tasks.predict.Answerer` takes them, whether they came as a list, and
    the parameters.

    Raises:
        Refusal: it does not follow the protocol, or a parameter is not known here.
    """
    if kind == CHOICES:
        raise Refusal(422, "Hugging Face's protocol has no questions with choices; use /answer.")
    if not isinstance(body, dict) or "inputs" not in body:
        raise Refusal(422, 'send {"inputs": ...}, or use /answer.')
    parameters = body.get("parameters") or {}
    if not isinstance(parameters, dict):
        raise Refusal(422, "parameters must be an object.")
    parameters = {name: value for name, value in parameters.items() if value is not None}
    known = _PARAMETERS[kind]
    if unknown := [name for name in parameters if name not in known]:
        raise Refusal(
            422, f"the parameter {unknown[0]} has no effect here; leave it out (there are {', '.join(known)})."
        )
    top_k = parameters.get("top_k", 1)
    if type(top_k) is not int or top_k < 1:
        raise Refusal(422, "top_k must be a whole number of 1 or more.")
    given, many = body["inputs"], isinstance(body["inputs"], list)
    inputs = [_fields(each) for each in (given if many else [given])]
    if kind == MASKS:
        inputs = [{**each, **parameters} if isinstance(each, dict) else each for each in inputs]
    return inputs, many, parameters


def _fields(given: Any) -> Any:
    """An input's fields; that of a pair is ``text_pair`` in transformers."""
    if isinstance(given, str):
        return {"text": given}
    if isinstance(given, dict) and "text_pair" in given:
        return {**{name: value for name, value in given.items() if name != "text_pair"}, "pair": given["text_pair"]}
    return given


def response(
    answers: Sequence[Mapping[str, Any]], kind: str, many: bool, parameters: Mapping[str, Any], *, num_labels: int
) -> Any:
    """The answers as the protocol has them.

    Args:
        answers: those of the model.
        kind, many, parameters: of the request.
        num_labels: how many the model has.

    Raises:
        Refusal: a parameter asks for what the model does not have.
    """
    found = [_WRITERS[kind](answer, parameters) for answer in answers]
    if kind == TEXTS and found and len(found[0]) < min(num_labels, parameters.get("top_k", 0)):
        raise Refusal(422, f"top_k: {len(found[0])} labels are listed here at most; give a lower one.")
    # A pipeline of transformers with top_k gives a list for each text, even for a single one.
    return found if many or kind == TEXTS else found[0]


def _labels(answer: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    if "probabilities" in answer:
        pairs = list(answer["probabilities"].items())
        function = "sigmoid" if "labels" in answer else "softmax"
    elif "answers" in answer:
        pairs = [(each["label"], each["probability"]) for each in answer["answers"]]
        function = "softmax"
    elif "score" in answer:
        pairs, function = [("score", answer["score"])], "none"
    else:
        pairs, function = [(answer["label"], answer["probability"])], "softmax"
    asked = parameters.get("function_to_apply", function)
    if asked != function:
        raise Refusal(422, f"function_to_apply: this model has {function} alone; leave it out.")
    return [{"label": label, "score": score} for label, score in pairs[: parameters.get("top_k")]]


def _entities(answer: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
    strategy, ignored = parameters.get("aggregation_strategy", "simple"), parameters.get("ignore_labels", [])
    if strategy not in ("simple", "first", "average", "max"):
        raise Refusal(422, "aggregation_strategy: entities are always whole here; use simple.")
    if not isinstance(ignored, list):
        raise Refusal(422, "ignore_labels must be a list of labels.")
    return [
        {
            "entity_group": entity["type"],
            "score": entity["probability"],
            "word": entity["text"],
            "start": entity["start"],
            "end": entity["end"],
        }
        for entity in answer["entities"]
        if entity["type"] not in ignored
    ]


def _spans(answer: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    """The best span; a list for ``top_k`` above 1. For no answer: an empty one, if the run knows impossible questions
    and ``handle_impossible_answer`` is not false."""
    best = [
        {"answer": span["text"], "score": span["probability"], "start": span["start"], "end": span["end"]}
        for span in answer["n_best"]
    ]
    empty = {"answer": "", "score": answer["probability"], "start": 0, "end": 0}
    if not best or (answer["start"] is None and parameters.get("handle_impossible_answer", True) is not False):
        best.insert(0, empty)
    top_k = parameters.get("top_k", 1)
    return best[:top_k] if top_k > 1 else best[0]


def _masks(answer: Mapping[str, Any], parameters: Mapping[str, Any]) -> Any:
    text = answer["text"]
    of_masks = [
        [
            {
                "score": word["probability"],
                "token": word["token"],
                "token_str": word["text"],
                "sequence": text[: mask["start"]] + word["text"].strip().removeprefix("##") + text[mask["end"] :],
            }
            for word in mask["words"]
        ]
        for mask in answer["masks"]
    ]
    return of_masks if len(of_masks) > 1 else of_masks[0]


_WRITERS: dict[str, Callable[[Mapping[str, Any], Mapping[str, Any]], Any]] = {
    TEXTS: _labels,
    TOKENS: _entities,
    SPANS: _spans,
    MASKS: _masks,
}
