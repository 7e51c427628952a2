"""The page, in Chromium: typed into, clicked and driven by keys alone."""

import base64
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from chromium import Browser, chromium, needs_chromium
from serving import serving
from tiny_runs import make_run

from tasks.predict import Answerer, load
from tasks.serve.models import describe
from tasks.serve.page import PAGE, PAGE_HEADERS

EVIL = "<img src=x onerror=alert(1)>"
TEXT = "😀 Ann went to Rome and saw Bob ."


def add_errors(run: str, *texts: object) -> None:
    """What a run records of its worst errors on dev."""
    errors = [{"text": text, "gold": "", "predicted": "", "place": "", "loss": 1.0, "marks": []} for text in texts]
    record = {"details": {"test": {"errors": []}, "dev": {"errors": errors}}}
    (Path(run) / "metrics.json").write_text(json.dumps(record), encoding="utf-8")


@pytest.fixture(scope="module")
def own_runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("page")
    found = {name: make_run(folder / name, name) for name in ("ner", "classification", "span_qa", "fill_mask")}
    add_errors(found["ner"], f"Ann {EVIL}", "王 went 😀 .", "", 7)
    add_errors(found["span_qa"], "Who saw Bob ?\nAnn saw Bob .")
    (Path(found["classification"]) / "metrics.json").write_text("[[[", encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def own_models(own_runs: dict[str, str]) -> dict[str, Answerer]:
    found = {name: load(run, device="cpu", precision="fp32") for name, run in own_runs.items()}
    return {EVIL if name == "classification" else name: model for name, model in found.items()}


@pytest.fixture(scope="module")
def browser(
    own_runs: dict[str, str], own_models: dict[str, Answerer], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Browser, str]]:
    runs = {**own_runs, EVIL: own_runs["classification"]}
    with serving(own_models, runs) as url, chromium(tmp_path_factory.mktemp("profile"), "--lang=en-US") as found:
        yield found, url


@pytest.fixture
def page(browser: tuple[Browser, str]) -> Iterator[Browser]:
    found, url = browser
    found.problems.clear()
    found.open(f"{url}/")
    found.wait_for("document.activeElement.tagName === 'TEXTAREA'")
    yield found
    assert found.problems == []
    assert {request for request in found.requests if not request.startswith((url, "data:"))} == set()


def ask(page: Browser, text: str) -> None:
    """Types a text in place of what is there, and asks by the keyboard."""
    page.press("a", control=True)
    page.type(text)
    page.evaluate("document.getElementById('answer').replaceChildren()")
    page.press("Enter", control=True)
    page.wait_for("document.getElementById('answer').children.length")


def choose(page: Browser, name: str) -> None:
    chosen = f"document.getElementById('model').value = {json.dumps(name)}"
    page.evaluate(f"{chosen}; document.getElementById('model').dispatchEvent(new Event('change'))")


def texts(page: Browser, selector: str) -> list[str]:
    found: list[str] = page.evaluate(f"[...document.querySelectorAll('{selector}')].map(part => part.textContent)")
    return found


def widths(page: Browser) -> list[float]:
    return [
        float(width.removesuffix("%"))
        for width in page.evaluate("[...document.querySelectorAll('.bar')].map(part => part.style.width)")
    ]


@pytest.mark.slow
@needs_chromium
def test_entities_are_marked_where_they_stand(page: Browser, own_models: dict[str, Answerer]) -> None:
    """A character beyond the first 65,536 counts once, as in Python."""
    ask(page, TEXT)
    entities = own_models["ner"](TEXT)["entities"]
    assert entities
    assert texts(page, "mark") == [each["text"] + each["type"] for each in entities]
    plain = page.evaluate(
        "(box => { box.querySelectorAll('small').forEach(part => part.remove()); return box.textContent; })"
        "(document.querySelector('#answer .text').cloneNode(true))"
    )
    assert plain == TEXT
    assert widths(page) == pytest.approx([100 * each["probability"] for each in entities], abs=0.01)


@pytest.mark.slow
@needs_chromium
def test_examples_are_the_runs_errors_and_text_stays_text(page: Browser) -> None:
    assert texts(page, "#examples button") == [f"Ann {EVIL}", "王 went 😀 ."]
    page.click("#examples button")
    page.wait_for("!!document.querySelector('#answer .text')")
    assert page.evaluate("document.querySelector('textarea').value") == f"Ann {EVIL}"
    assert EVIL in texts(page, "#answer .text")[0].replace("PER", "").replace("LOC", "")
    assert page.evaluate("document.querySelectorAll('img').length") == 0
    assert EVIL in texts(page, "#model option")


@pytest.mark.slow
@needs_chromium
def test_labels_spans_and_words(page: Browser, own_models: dict[str, Answerer]) -> None:
    choose(page, EVIL)
    assert page.evaluate("document.getElementById('examples').textContent").startswith("Examples:")
    page.click("textarea")
    ask(page, "Ann saw Bob .")
    answer = own_models[EVIL]("Ann saw Bob .")
    assert texts(page, "#answer .given")[0] == answer["label"]
    assert texts(page, ".bars span:first-child")[0] == answer["label"]
    assert widths(page) == pytest.approx([100 * value for value in answer["probabilities"].values()], abs=0.01)

    choose(page, "span_qa")
    page.click("#examples button")
    page.wait_for("!!document.querySelector('#answer mark')")
    span = own_models["span_qa"]({"question": "Who saw Bob ?", "context": "Ann saw Bob ."})
    assert texts(page, "#answer mark") == [span["answer"]]
    assert texts(page, "#answer .text") == ["Ann saw Bob ."]
    assert len(widths(page)) == min(5, len(span["n_best"]))

    choose(page, "fill_mask")
    page.click("textarea")
    ask(page, "Ann saw [MASK] .")
    (mask,) = own_models["fill_mask"]("Ann saw [MASK] .")["masks"]
    assert texts(page, "#answer mark") == [mask["words"][0]["text"]]
    assert widths(page) == pytest.approx([100 * word["probability"] for word in mask["words"]], abs=0.01)


@pytest.mark.slow
@needs_chromium
def test_what_cannot_be_answered_is_said(page: Browser) -> None:
    page.click("#ask")
    page.wait_for("document.getElementById('state').textContent === 'Write something first.'")
    choose(page, "fill_mask")
    page.click("textarea")
    page.type("no gap")
    page.click("#ask")
    assert "holds no [MASK] to fill" in page.wait_for("document.querySelector('.error')?.textContent")
    page.problems[:] = [line for line in page.problems if "422" not in line]  # the browser notes the status


@pytest.mark.slow
@needs_chromium
def test_chinese_and_dark_and_keys_alone(page: Browser) -> None:
    assert page.evaluate("document.documentElement.lang") == "en"
    page.press("Tab", shift=True)  # backwards from the text
    assert page.evaluate("document.activeElement.id") == "language"
    page.press("Enter")
    assert texts(page, "#ask") == ["回答"]
    assert page.evaluate("document.documentElement.lang") == "zh-Hans"
    light = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark"}])
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.call("Emulation.setEmulatedMedia", features=[])
    page.evaluate("document.getElementById('model-row').hidden = true")  # as where there is one model
    assert page.evaluate("document.getElementById('model-row').offsetParent === null")
    assert (light, dark) == ("rgb(255, 255, 255)", "rgb(20, 23, 26)")


def test_the_page_loads_nothing_and_runs_only_itself() -> None:
    source = PAGE.decode()
    assert not re.search(r"""(src|href)=["'](?!data:)|@import|url\(""", source)
    assert "innerHTML" not in source
    policy = PAGE_HEADERS["Content-Security-Policy"]
    for element in ("script", "style"):
        (content,) = re.findall(rf"<{element}>(.*?)</{element}>", source, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'")


def test_pairs_have_two_fields(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", "classification")
    model = load(run, device="cpu", precision="fp32")
    assert describe("x", run, model)["fields"] == ["text"]
    model.predictor.task.settings = dataclasses.replace(model.predictor.task.settings, pair_column="second")
    assert describe("x", run, model)["fields"] == ["text", "pair"]
    add_errors(run, "Ann \u2016 Bob", "x" * 3000)
    described = describe("x", run, model)
    assert described["fields"] == ["text", "pair"]
    assert described["examples"] == [{"text": "Ann", "pair": "Bob"}]
