"""Scores of span answers against the official definitions, worked by hand, and against other ways to compute them."""

import string
from collections.abc import Callable, Sequence

import pytest
from conftest import SHARED
from hypothesis import given
from hypothesis import strategies as st

from tasks.span_qa.data import Question, read_span_qa
from tasks.span_qa.scores import SCORERS, best_thresholds, choose_scorer, overall, score_characters, score_words

DATA = SHARED / "data" / "span_qa"
needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="../shared/data/span_qa is not here")

# -- worked by hand ---------------------------------------------------------------------------------------------------

WORDS: list[tuple[str, list[str], float, float]] = [
    ("The Iron  Tower!", ["iron tower"], 1, 1),  # case, punctuation, article, white space
    ("an apple a day", ["apple day"], 1, 1),
    ("U.S.", ["us"], 1, 1),  # punctuation goes without leaving a gap
    ("well-known", ["well known"], 0, 0),
    ("rome—the—north", ["rome— —north"], 1, 1),  # an article leaves a gap
    ("“Rome”", ["Rome"], 0, 0),  # only ASCII punctuation goes
    ("in the 5th century", ["5th century"], 0, 2 * (2 / 3) * 1 / (2 / 3 + 1)),
    ("new new york", ["new york york"], 0, 4 / 6),  # a word counts as often as both have it
    ("york new", ["new york"], 0, 1),  # order counts for exact match only
    ("Rome", ["Paris", "Rome, Italy"], 0, 2 / 3),  # the best of several
    ("Rome", ["Paris", "the rome"], 1, 1),
    ("", ["Rome"], 0, 0),
    ("", [], 1, 1),  # impossible, and held to be
    ("Rome", [], 0, 0),
    ("the", [], 1, 1),  # no word is left of it
    ("", ["the", "Rome"], 0, 0),  # an answer without words does not count beside others
    ("a", ["The"], 1, 1),
]


@pytest.mark.parametrize(("prediction", "golds", "exact", "f1"), WORDS)
def test_words(prediction: str, golds: list[str], exact: float, f1: float) -> None:
    assert score_words(prediction, golds) == pytest.approx((exact, f1))


CHARACTERS: list[tuple[str, list[str], float, float]] = [
    ("北京大学", ["《北京大学》。"], 1, 1),
    ("约翰·史密斯", ["约翰史密斯"], 1, 1),
    ("在北京", ["北京"], 0, 4 / 5),
    ("北大京", ["北京"], 0, 2 / 5),  # a run is without gaps
    ("京北", ["北京"], 0, 2 / 4),
    ("北京和上海", ["北京", "上海和北京"], 0, 2 * (2 / 5) * 1 / (2 / 5 + 1)),  # the best of several
    ("北京", ["上海", "北京"], 1, 1),
    ("1990年", ["1990 年"], 0, 1),  # a space parts no Chinese characters, but counts for exact match
    (" 北京 ", ["北京"], 1, 1),
    ("IPHONE 6手机", ["iphone手机"], 0, 4 / 7),  # iphone 6 手 机
    ("2-3", ["23"], 1, 1),  # a removed mark leaves no gap
    ("o’brien", ["OBrien"], 1, 1),
    ("北京" * 200, ["京" + "北京" * 200], 0, 800 / 801),
    ("3.5%", ["3.5"], 0, 2 / 3),
    ("1,000元", ["000元"], 0, 2 / 4),
    ("u.s.", ["u.s"], 0, 2 / 3),  # u.s and a point
    ("st. john", ["st john"], 0, 2 / 4),  # st. john
    ("(甲)", ["甲"], 0, 2 / 4),
    ("北京,上海", ["北京，上海"], 0, 4 / 9),  # the half-width comma is not on the list
    ("北京……", ["北京"], 0, 4 / 5),  # nor, in effect, is the ellipsis
    ("，。", ["北京"], 0, 0),
    ("", ["北京"], 0, 0),
    ("", [], 1, 1),
    ("北京", [], 0, 0),
]


@pytest.mark.parametrize(("prediction", "golds", "exact", "f1"), CHARACTERS)
def test_characters(prediction: str, golds: list[str], exact: float, f1: float) -> None:
    assert score_characters(prediction, golds) == pytest.approx((exact, f1))


# -- other ways to the same figures -----------------------------------------------------------------------------------


def slow_words(text: str) -> list[str]:
    """Words by hand: a run of letters and digits that is an article parts words, as white space does."""
    kept = [char for char in text.lower() if char not in string.punctuation]
    out, run = "", ""
    for char in [*kept, " "]:
        if char.isalnum():
            run += char
        else:
            out += (" " if run in ("a", "an", "the") else run) + char
            run = ""
    return out.split()


def common_words(ours: Sequence[str], theirs: Sequence[str]) -> int:
    left = list(theirs)
    for word in ours:
        if word in left:
            left.remove(word)
    return len(theirs) - len(left)


def slow_segments(text: str) -> list[str]:
    """Segments of text without points and commas."""
    out = [""]
    for char in text.lower().strip():
        if char in "-·，。《》":
            continue
        if char.isspace() or char in "北京大%":
            out += [char.strip(), ""]
        else:
            out[-1] += char
    return [segment for segment in out if segment]


def longest_run(ours: Sequence[str], theirs: Sequence[str]) -> int:
    runs = {tuple(theirs[i:j]) for j in range(len(theirs) + 1) for i in range(j)}
    return max((j - i for j in range(len(ours) + 1) for i in range(j) if tuple(ours[i:j]) in runs), default=0)


def slow_f1(ours: list[str], theirs: list[str], common: Callable[[Sequence[str], Sequence[str]], int]) -> float:
    if not ours or not theirs:
        return float(ours == theirs)
    same = common(ours, theirs)
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall) if same else 0.0


words = st.lists(
    st.sampled_from([*" \u00a0—-._'", "the", "The", "a", "an", "rome", "Rome", "é", "5", "x", "的", "İ"]), max_size=7
).map("".join)
characters = st.lists(st.sampled_from([*"北北京京大 -·，。《》%é", "Ab", "12", "\u3000"]), max_size=9).map("".join)
either = st.one_of(
    st.tuples(st.just("words"), words, st.lists(words, max_size=4)),
    st.tuples(st.just("characters"), characters, st.lists(characters, max_size=4)),
)
Case = tuple[str, str, list[str]]


@given(words, st.lists(words, max_size=3))
def test_words_by_hand_and_at_random(prediction: str, golds: list[str]) -> None:
    wanted = [words for words in map(slow_words, golds) if words] or [[]]
    ours = slow_words(prediction)
    f1 = max(slow_f1(ours, theirs, common_words) for theirs in wanted)
    assert score_words(prediction, golds) == pytest.approx((float(ours in wanted), f1))


@given(characters, characters)
def test_characters_by_hand_and_at_random(prediction: str, gold: str) -> None:
    exact, f1 = score_characters(prediction, [gold])
    ours, theirs = slow_segments(prediction), slow_segments(gold)
    assert f1 == pytest.approx(slow_f1(ours, theirs, longest_run))
    assert ours == theirs or not exact


@given(either)
def test_bounds_symmetry_and_order(case: Case) -> None:
    name, prediction, golds = case
    score = SCORERS[name]
    exact, f1 = score(prediction, golds)
    assert exact in (0, 1)
    assert exact <= f1 <= 1
    assert score(prediction, golds[::-1]) == (exact, f1)
    for gold in golds:
        assert score(prediction, [gold]) == score(gold, [prediction])


@pytest.mark.slow
@given(either)
def test_the_gold_answer_scores_full_marks_whatever_the_others(case: Case) -> None:
    name, prediction, golds = case
    for gold in [*golds, prediction + "京"]:
        assert SCORERS[name](gold + "京", [*golds, gold + "京"]) == (1, 1)


# -- over a file ------------------------------------------------------------------------------------------------------


def test_overall_figures_and_their_breakdown() -> None:
    scores = [(1.0, 1.0), (0.0, 0.5), (0.0, 0.0), (1.0, 1.0)]
    assert overall(scores, [False, False, True, True]) == {
        "exact": 50, "f1": 62.5, "total": 4,
        "HasAns_exact": 50, "HasAns_f1": 75, "HasAns_total": 2,
        "NoAns_exact": 50, "NoAns_f1": 50, "NoAns_total": 2,
    }  # fmt: skip
    assert overall(scores, [False] * 4) == {"exact": 50, "f1": 62.5, "total": 4}
    assert "HasAns_total" not in overall(scores, [True] * 4)


def test_thresholds_worked_by_hand() -> None:
    """Answering up to -2 adds 0.5 of F1; up to 1 loses an impossible question and gains a whole answer; 3 loses one."""
    scores = [(0.0, 0.5), (0.0, 0.0), (1.0, 1.0), (0.0, 0.0)]
    figures = best_thresholds(scores, [False, True, False, True], [-2.0, 0.0, 1.0, 3.0])
    assert figures == {"best_exact": 50, "best_exact_thresh": -3, "best_f1": 62.5, "best_f1_thresh": -2}


def test_no_threshold_lies_between_equal_differences() -> None:
    figures = best_thresholds([(1.0, 1.0), (0.0, 0.0)], [False, True], [2.0, 2.0])
    assert figures["best_f1"] == 50


quarters = st.integers(0, 4).map(lambda n: (float(n == 4), n / 4))
scored = st.lists(st.tuples(quarters, st.booleans(), st.integers(-3, 3).map(float)), min_size=1, max_size=8)


@given(scored)
def test_thresholds_by_brute_force(rows: list[tuple[tuple[float, float], bool, float]]) -> None:
    rows = [((0.0, 0.0) if impossible else score, impossible, difference) for score, impossible, difference in rows]
    scores, impossible, differences = map(list, zip(*rows, strict=True))
    figures = best_thresholds(scores, impossible, differences)
    for column, name in enumerate(("exact", "f1")):

        def figure(threshold: float, column: int = column) -> float:
            right = [
                score[column] if difference <= threshold else float(impossible)
                for score, impossible, difference in rows
            ]
            return 100 * sum(right) / len(rows)

        thresholds = sorted({min(differences) - 1, *differences})
        assert figures[f"best_{name}"] == max(map(figure, thresholds))
        assert figures[f"best_{name}_thresh"] == max(thresholds, key=figure)  # the first of equals


# -- which scorer -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("contexts", "name"),
    [
        (["北京是中国的首都。"], "characters"),
        (["臺北 Taipei 是臺灣的首都，人口二百五十萬。"], "characters"),
        (["Beijing (北京) is the capital of China."], "words"),
        (["北京。", "Rome is the capital of Italy."], "words"),
        (["1984 — 2001"], "words"),
    ],
)
def test_the_scorer_follows_the_script_of_most_letters(contexts: list[str], name: str) -> None:
    questions = [Question(str(n), "?", context, [], [], True, 1, "") for n, context in enumerate(contexts)]
    assert choose_scorer(questions) == name


@pytest.mark.slow
@needs_data
@pytest.mark.parametrize(
    ("file", "name"),
    [("DRCD_dev", "characters"), ("cmrc2018_trial", "characters"), ("squad2_dev_half", "words")],
)
def test_gold_answers_of_real_files_score_100(file: str, name: str) -> None:
    questions = read_span_qa(str(DATA / f"{file}.json.gz")).questions
    assert choose_scorer(questions) == name
    impossible = [question.impossible for question in questions]
    predictions = [question.golds[0] if question.golds else "" for question in questions]
    scores = [SCORERS[name](text, question.golds) for text, question in zip(predictions, questions, strict=True)]
    assert all(score == (1, 1) for score in scores)
    assert overall(scores, impossible)["exact"] == overall(scores, impossible)["f1"] == 100
    nothing = [SCORERS[name]("", question.golds) for question in questions]
    assert overall(nothing, impossible)["exact"] == pytest.approx(100 * sum(impossible) / len(questions))
