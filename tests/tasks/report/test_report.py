"""The report pages: parsed as a browser would, compared with what they were made from, and opened in Chromium."""

import html
import json
import re
import shutil
import subprocess
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from report_pages import CONFUSION, Page, needs_matplotlib

from tasks.data import Details, ErrorCase, Mark
from tasks.report.comparison import write_comparison_report
from tasks.report.page import write_run_report

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not here")

EVIL = """<script>alert("1")</script>&amp;'"""
BASELINE = {"name": "TF-IDF + SVM", "dev": {"accuracy": 0.61}, "test": {"accuracy": 0.86}}


def details(errors: Sequence[ErrorCase] = (), confusion: Mapping[str, Mapping[str, int]] = CONFUSION) -> Details:
    figures = {"precision": 0.5, "recall": 0.25, "f1-score": 1 / 3, "support": 40.0}
    rows = {**dict.fromkeys(confusion, figures), "macro avg": figures, "accuracy": {"f1-score": 0.8}}
    return Details(title=f"by hand {EVIL}", rows=rows, table="", confusion=confusion, errors=errors)


def case(value: str, *marks: Mark) -> ErrorCase:
    return ErrorCase(place=f"{EVIL}, line 7", text=value, gold=f"gold {EVIL}", predicted="", loss=2.5, marks=marks)


def metrics(**changes: Any) -> dict[str, Any]:
    split = {
        "path": f"a b/{EVIL}.csv", "sha256": "ab" * 32, "sentences": 1200, "entities": {"PER": 3, EVIL: 4},
        "tokens": {"median": 9, "p90": 20, "p99": 40, "longest": 77}, "duplicates": 2,
    }  # fmt: skip
    epoch = {
        "train_loss": 0.5,
        "accuracy": 0.8,
        "train_accuracy": 0.9,
        "train_seconds": 75.2,
        "tokens_per_second": 5120,
    }
    return {
        "task": "ner", "arch": "albert", "weights": EVIL, "origin": f"from {EVIL}", "seed": 42,
        "command": f"python -m tasks.ner --train '{EVIL}'", "settings": {"lr": 5e-5, "train": EVIL, "dev": None},
        "precision": "fp32", "device": "a CPU", "versions": {"torch": "2.13"},
        "started": "2026-03-01T10:00:00+00:00", "finished": "2026-03-01T11:05:00+00:00",
        "metric": "accuracy", "metric_higher_is_better": True,
        "data": {"train": split, "dev": {**split, "also_in_train": 17}, "test": split},
        "epochs": [{"epoch": 1, "loss": 0.75, **epoch, "best": True}, {"epoch": 2, "loss": 0.7, **epoch, "best": True},
                   {"epoch": 3, "loss": 0.9, **epoch, "best": False}],
        "final": {"dev": {"loss": 0.7, "accuracy": 0.8}, "test": {"loss": 0.6, "accuracy": 0.875, "report": {}}},
        "baseline": BASELINE,
        "resources": {"train_seconds": 225.6, "tokens_per_second": 5120, "peak_memory_bytes": 2**30 + 2**29,
                      "parameters": 4_045_575},
        "warnings": [f"17 examples stand in train, {EVIL}"],
        **changes,
    }  # fmt: skip


def run_page(folder: Path, **changes: Any) -> str:
    marks = [Mark(start=0, end=3, kind="gold", label="PER"), Mark(start=2, end=5, kind="predicted", label=EVIL)]
    shown = details([case(f"ab\u200bde{EVIL}", *marks)])
    names = [f"a rather long name of class {index}" for index in range(12)]
    wide = details(confusion={gold: dict.fromkeys(names, 7) for gold in names})
    write_run_report(folder, metrics(**changes), {"dev": wide, "test": shown})
    return (folder / "report.html").read_text(encoding="utf-8")


def comparison(**changes: Any) -> dict[str, Any]:
    def line(arch: str, values: list[float], **more: Any) -> dict[str, Any]:
        return {
            "arch": arch, "weights": EVIL, "origin": EVIL, "seeds": [42, 43], "runs": [f"{arch} #0", f"{arch} #1"],
            "values": values, "mean": sum(values) / 2, "std": 0.0125, "worst": min(values), "train_seconds": 61.0,
            **more,
        }  # fmt: skip

    shared = {key: metrics()[key] for key in ("task", "command", "metric", "data", "settings", "versions", "warnings")}
    baseline = {"name": f"SVM {EVIL}", "mean": 0.75, "std": 0.0, "worst": 0.75, "values": [0.75, 0.75]}
    rows = [line("bert", [0.75, 0.875]), line("albert", [0.5, 0.75], collapsed=1)]
    return {**shared, "metric_higher_is_better": True, "baseline": baseline, "rows": rows, **changes}


@pytest.fixture(scope="module")
def with_plots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both pages and their plots, drawn once: ``run`` and ``comparison``."""
    folder = tmp_path_factory.mktemp("reports")
    for name in ("run", "comparison"):
        (folder / name).mkdir()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # such as of a glyph that no font has
        run_page(folder / "run")
        write_comparison_report(folder / "comparison", comparison())
    return folder


def read(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


# -- the page as a whole ---------------------------------------------------------------------------------------------


def check(source: str) -> Page:
    """What holds for every page, whatever is in the data."""
    page = Page(source)
    assert source.startswith('<!DOCTYPE html>\n<html lang="en">')
    assert {"charset": "utf-8"} in page.attributes
    assert any(given.get("name") == "viewport" for given in page.attributes)
    assert not {"script", "b", "link", "iframe", "object"} & set(page.tags)
    assert len(page.ids) == len(set(page.ids))
    inside = {link[1:] for link in page.links if link.startswith("#")}
    assert inside <= set(page.ids)
    outside = [link for link in page.links if not link.startswith(("#", "data:image/png;base64,"))]
    assert all(re.fullmatch(r"(bert|albert)%20%23[01]/report\.html", link) for link in outside)
    assert not re.search("@import|@font-face|<metadata", source)
    assert EVIL in page.text
    return page


@pytest.mark.slow
@needs_matplotlib
@pytest.mark.parametrize(("name", "plots_"), [("run", 4), ("comparison", 1)])
def test_a_page_stands_alone(with_plots: Path, name: str, plots_: int) -> None:
    page = check(read(with_plots / name))
    assert page.tags.count("svg") == plots_
    assert "matplotlib" not in page.text
    files = [path.read_bytes() for path in (with_plots / name / "plots").glob("*.png")]
    assert len(files) == plots_
    assert all(content.startswith(b"\x89PNG\r\n") for content in files)
    for path in (with_plots / name / "plots").glob("*.png"):
        assert path.with_suffix(".pdf").read_bytes().startswith(b"%PDF-")
        drawing = ElementTree.parse(path.with_suffix(".svg"))  # outlines, which look the same without the fonts
        assert not list(drawing.iter("{http://www.w3.org/2000/svg}text"))
        assert list(drawing.iter("{http://www.w3.org/2000/svg}path"))


@pytest.mark.usefixtures("without_matplotlib")
def test_a_page_is_complete_but_for_the_plots_without_matplotlib(tmp_path: Path) -> None:
    write_comparison_report(tmp_path, comparison())
    for source in (read(tmp_path), run_page(tmp_path)):
        page = check(source)
        assert "svg" not in page.tags
        assert "pip install -e '.[report]' in minibert's folder" in page.text
    assert not (tmp_path / "plots").exists()
    assert {"learning", "classes-test", "confusion-test", "worst-errors-test", "classes-dev", "data"} <= set(page.ids)


def test_a_page_needs_no_more_than_the_figures(tmp_path: Path) -> None:
    bare = {"task": "qa", "arch": "bert", "command": "python -m tasks.qa", "final": {"dev": {"loss": 1.25}}}
    write_run_report(tmp_path, bare, {})
    assert "loss, dev1.2500" in Page(read(tmp_path)).text
    write_run_report(tmp_path, {**bare, "epochs": [{"epoch": 1, "train_loss": 0.5}]}, {})
    assert ["1", "0.5000"] in Page(read(tmp_path)).rows


@pytest.mark.usefixtures("without_matplotlib")
def test_the_command_can_be_copied(tmp_path: Path) -> None:
    command = "python -m tasks.ner --train 'a\tb\u200b.txt' --dev \udcff"
    page = run_page(tmp_path, command=command)
    copied = html.unescape(re.findall(r"<pre[^>]*><code>(.*?)</code></pre>", page, re.DOTALL)[0])
    assert copied == command.replace("\udcff", "\\udcff")  # a byte that is not UTF-8 cannot be in a page


# -- figures ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("without_matplotlib")
def test_it_leads_with_the_last_split_beside_the_baseline(tmp_path: Path) -> None:
    page = Page(run_page(tmp_path))
    head = page.text[: page.text.index("To know before")]
    assert "accuracy, test0.8750TF-IDF + SVM0.8600difference+0.0150" in head
    assert ["test", "0.6000", "0.8750"] in page.rows
    assert ["test, TF-IDF + SVM", "", "0.8600"] in page.rows
    assert ["dev, TF-IDF + SVM", "", "0.6100"] in page.rows
    assert "2026-03-01 10:00 UTC · 1 h 5 min · a CPU · fp32 · seed 42" in page.text


@pytest.mark.usefixtures("without_matplotlib")
@pytest.mark.parametrize(
    ("metric", "final", "shown"),
    [
        ("loss", {"loss": 0.5, "strict_f1": 0.25}, "strict F1, dev0.2500"),
        ("default_f1", {"loss": 0.5, "strict_f1": 0.25, "default_f1": 0.75}, "default F1, dev0.7500"),
    ],
)
def test_it_leads_with_a_figure_rather_than_the_loss(
    tmp_path: Path, metric: str, final: dict[str, float], shown: str
) -> None:
    write_run_report(tmp_path, metrics(metric=metric, final={"dev": final}, baseline=None), {})
    assert shown in Page(read(tmp_path)).text


@pytest.mark.usefixtures("without_matplotlib")
def test_a_baseline_without_splits_is_of_the_last_one(tmp_path: Path) -> None:
    page = Page(run_page(tmp_path, baseline={"name": "SVM", "accuracy": 0.5}))
    assert ["test, SVM", "", "0.5000"] in page.rows
    assert not [row for row in page.rows if row[0] == "dev, SVM"]


@pytest.mark.usefixtures("without_matplotlib")
def test_the_tables_hold_the_record(tmp_path: Path) -> None:
    page = Page(run_page(tmp_path))
    # Of the epochs that were the best so far, the last is the best.
    names = ["epoch", "train loss", "dev loss", "dev accuracy", "train accuracy", "train time", "tokens a second"]
    assert names in page.rows
    assert ["2, best", "0.5000", "0.7000", "0.8000", "0.9000", "1 min 15 s", "5,120"] in page.rows
    assert ["also in train", "", "17", ""] in page.rows
    assert ["tokens: longest", "77", "77", "77"] in page.rows
    assert [f"entities: {EVIL}", "4", "4", "4"] in page.rows
    assert ["人名", "0.5000", "0.2500", "0.3333", "40"] in page.rows
    assert ["accuracy", "", "", "0.8000", ""] in page.rows
    assert ["人名", "30", "10"] in page.rows
    assert ["地名<b>", "0", "50"] in page.rows
    for shown in ("sha256 " + "ab" * 32, "3 min 46 s", "1.50 GiB", "4,045,575", "5e-05", "not set"):
        assert shown in page.text


@pytest.mark.usefixtures("without_matplotlib")
def test_many_classes_are_sorted_and_their_confusions_listed(tmp_path: Path) -> None:
    classes = [f"class {index}" for index in range(40)]
    matrix = {gold: {other: 20 if gold == other else 0 for other in classes} for gold in classes}
    for index in range(30):
        matrix[classes[index]][classes[index + 1]] = index + 1
    rows = {name: {"f1-score": index % 10 / 10, "support": 1.0} for index, name in enumerate(classes)}
    shown = Details(title="x", rows=rows, table="", confusion=matrix)
    write_run_report(tmp_path, metrics(final={"dev": {"loss": 1.0}}), {"dev": shown})
    page = Page(read(tmp_path))
    listed = [row for row in page.rows if len(row) == 4 and row[1].startswith("class ")]
    assert len(listed) == 25
    assert listed[0] == ["class 29", "class 30", "30", "0.6000"]
    assert listed[-1] == ["class 5", "class 6", "6", "0.2308"]
    figures = [float(row[1]) for row in page.rows if len(row) == 3 and row[0].startswith("class ")]
    assert len(figures) == 40
    assert figures == sorted(figures)


@pytest.mark.usefixtures("without_matplotlib")
def test_a_comparison_shows_the_best_and_links_every_run(tmp_path: Path) -> None:
    page = Page(write_comparison_report(tmp_path, comparison()).read_text(encoding="utf-8"))
    assert f"accuracy, bert, mean of 2 seeds0.8125 ± 0.0125SVM {EVIL}0.7500 ± 0.0000difference+0.0625" in page.text
    assert [f"bert{EVIL}", "0.8125 ± 0.0125", "0.7500", "0.75000.8750"] in page.rows
    assert [f"albert{EVIL}", "0.6250 ± 0.0125", "0.50001 collapsed", "0.50000.7500"] in page.rows
    assert [f"SVM {EVIL}", "0.7500 ± 0.0000", "0.7500", "0.75000.7500"] in page.rows
    runs = [link for link in page.links if link.endswith("report.html")]
    assert runs == [f"{arch}%20%23{seed}/report.html" for arch in ("bert", "albert") for seed in (0, 1)]
    losses = comparison(metric="loss", metric_higher_is_better=False)
    page = Page(write_comparison_report(tmp_path, losses).read_text(encoding="utf-8"))
    assert "loss, albert, mean of 2 seeds0.6250" in page.text


@pytest.mark.usefixtures("without_matplotlib")
def test_several_labels_have_counts_of_their_own(tmp_path: Path) -> None:
    by_label = {
        "a": {"true_positives": 2, "false_positives": 0, "false_negatives": 1, "true_negatives": 1},
        "b": {"true_positives": 1, "false_positives": 2, "false_negatives": 1, "true_negatives": 0},
    }
    matrix = {"a": {"a": 2, "b": 1, "none": 0}, "b": {"a": 0, "b": 1, "none": 1}, "none": {"a": 0, "b": 1, "none": 1}}
    shown = Details(title="x", rows={}, table="", confusion=matrix, confusion_note="A text may have several labels.",
                    by_label=by_label, counted="texts", errors=[case("x")], loss="squared error")  # fmt: skip
    write_run_report(tmp_path, metrics(final={"dev": {"loss": 1.0}}), {"dev": shown})
    page = Page(read(tmp_path))
    assert ["label", "true positives", "false positives", "false negatives", "true negatives"] in page.rows
    assert ["b", "1", "2", "1", "0"] in page.rows
    assert ["none", "0", "1", "1"] in page.rows
    assert "over all 4 texts" in page.text
    assert "A text may have several labels." in page.text
    assert "The loss is squared error." in page.text


# -- in a browser ----------------------------------------------------------------------------------------------------

_MEASURE = """<script>
document.querySelectorAll("details").forEach(part => { part.open = true; });
const boxes = name => Array.from(document.querySelectorAll(name), part => part.getBoundingClientRect());
const sizes = name => boxes(name).map(box => [box.width, box.height]);
const found = {svg: sizes("svg"), table: sizes("table"), page: [document.documentElement.scrollWidth, innerWidth]};
document.body.innerHTML = "<pre></pre>";
document.querySelector("pre").append(JSON.stringify(found));
</script>"""


def browse(page: Path, profile: Path, *options: str) -> tuple[str, list[str]]:
    """What Chromium writes, and its console's lines."""
    command = [
        CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--hide-scrollbars",
        f"--user-data-dir={profile}", "--enable-logging=stderr", "--v=0", "--virtual-time-budget=3000",
        *options, page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line]


@pytest.mark.slow
@needs_chromium
@needs_matplotlib
@pytest.mark.parametrize(("width", "name"), [(1280, "run"), (500, "run"), (500, "comparison")])
def test_chromium_gives_tables_and_pictures_a_size(with_plots: Path, tmp_path: Path, width: int, name: str) -> None:
    source = read(with_plots / name)
    measured = tmp_path / "measured.html"
    measured.write_text(source.replace("</body>", f"{_MEASURE}</body>"), encoding="utf-8")
    dump, console = browse(measured, tmp_path / "profile", f"--window-size={width},900", "--dump-dom")
    assert console == []
    found = json.loads(re.findall("<pre>(.*)</pre>", dump)[0])
    assert len([box for box in found["svg"] if min(box) > 100]) == source.count("<svg") > 0
    assert len([box for box in found["table"] if min(box) > 40]) == source.count("<table") > 0
    needed, window = found["page"]
    assert needed <= window  # a wide table scrolls by itself, the page does not


@pytest.mark.slow
@needs_chromium
@needs_matplotlib
@pytest.mark.parametrize("dark", [False, True])
def test_chromium_paints_the_curves_in_the_colours_of_the_page(with_plots: Path, tmp_path: Path, dark: bool) -> None:
    from matplotlib.image import imread

    style = read(with_plots / "run")
    only_figures = tmp_path / "figures.html"
    hidden = "body * { visibility: hidden; } figure * { visibility: visible; }</style>"
    only_figures.write_text(style.replace("</style>", hidden), encoding="utf-8")
    picture = tmp_path / "shot.png"
    options = (f"--blink-settings=preferredColorScheme={0 if dark else 1}", "--window-size=1280,1400")
    _, console = browse(only_figures, tmp_path / "profile", *options, f"--screenshot={picture}")
    assert console == []
    pixels = imread(picture)[..., :3] * 255
    for variable in ("one", "two"):
        light_and_dark = re.findall(rf"--{variable}: #(\w+);", style)
        assert len(light_and_dark) == 2
        colour = list(bytes.fromhex(light_and_dark[dark]))
        assert (abs(pixels - colour).max(-1) < 3).sum() > 100


@needs_chromium
def test_the_console_is_heard(tmp_path: Path) -> None:
    broken = tmp_path / "broken.html"
    broken.write_text("<!DOCTYPE html><script>missing()</script>", encoding="utf-8")
    assert browse(broken, tmp_path / "profile", "--dump-dom")[1]
