"""Exact match and F1 of span answers, as the official scorers define them.

Sources: SQuAD's ``evaluate-v2.0.py`` for words, which agrees with its ``evaluate-v1.1.py`` on answers that have words;
CMRC 2018's ``cmrc2018_evaluate.py`` for characters, also used for DRCD.
"""

import re
import string
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from difflib import SequenceMatcher
from itertools import groupby

from tasks.span_qa.data import Question

Score = tuple[float, float]

_LETTERS = re.compile(r"[^\W\d_]+")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")


def choose_scorer(questions: Iterable[Question]) -> str:
    """``characters`` if most letters of the contexts are Han characters, else ``words``; a key of SCORERS."""
    letters = han = 0
    for context in {question.context for question in questions}:
        letters += sum(map(len, _LETTERS.findall(context)))
        han += sum(map(len, _HAN.findall(context)))
    return "characters" if 2 * han > letters else "words"


# -- SQuAD ------------------------------------------------------------------------------------------------------------

_PUNCTUATION = str.maketrans("", "", string.punctuation)
_ARTICLE = re.compile(r"\b(?:a|an|the)\b")


def score_words(prediction: str, golds: Sequence[str]) -> Score:
    """Exact match and F1 over words, without case, ASCII punctuation and English articles.

    The F1 compares bags of words. An empty prediction matches an empty gold answer.

    Args:
        prediction: empty if the question is predicted to be impossible.
        golds: the right answers; empty if the question is impossible.

    Returns:
        The best of each over the golds, from 0 to 1.
    """
    predicted = _normalized_words(prediction)
    # An answer of articles and punctuation alone counts only if there is no other.
    wanted = [words for words in map(_normalized_words, golds) if words] or [[]]
    return float(predicted in wanted), max(_words_f1(predicted, words) for words in wanted)


def _normalized_words(text: str) -> list[str]:
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


def _words_f1(predicted: list[str], gold: list[str]) -> float:
    return _f1((Counter(predicted) & Counter(gold)).total(), predicted, gold)


def _f1(common: int, predicted: Sequence[str], gold: Sequence[str]) -> float:
    """2PR / (P + R) with P = common / len(predicted) and R = common / len(gold); 1 if both are empty."""
    total = len(predicted) + len(gold)
    return 2 * common / total if total else 1.0


# -- CMRC 2018 --------------------------------------------------------------------------------------------------------

# The scorer's own list. It also has "……", which it compares with single characters, so that an ellipsis stays.
_CMRC_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
# Segments by themselves: Chinese characters in the scorer's range, and punctuation as nltk splits it off words; a comma
# before a digit stays inside, and so does a full stop that is not the last before Chinese text or the end.
_CMRC_SINGLE = r'[\u4e00-\u9fa5?!;@#$%&()\[\]{}<>"«»‘„–—―]|,(?!\d)|\.+(?=\s*(?:[\u4e00-\u9fa5]|$))'
_CMRC_SEGMENT = re.compile(rf"{_CMRC_SINGLE}|(?:(?!{_CMRC_SINGLE})\S)+")


def score_characters(prediction: str, golds: Sequence[str]) -> Score:
    """Exact match and F1 over Chinese characters and words of other scripts, without case and punctuation.

    The F1 goes by the longest common run of segments. Arguments and result are those of :func:`score_words`.

    Two differences from the official scorer: it splits other scripts with nltk's ``word_tokenize``, whose
    punctuation rules are followed here, but not its English contractions (``n't``) and abbreviations; and it knows no
    impossible questions, which are treated as in SQuAD: two empty answers have an F1 of 1.
    """
    predicted = _without_punctuation(prediction)
    wanted = [_without_punctuation(gold) for gold in golds] or [""]
    segments = _CMRC_SEGMENT.findall(predicted)
    return float(predicted in wanted), max(_run_f1(segments, _CMRC_SEGMENT.findall(gold)) for gold in wanted)


def _without_punctuation(text: str) -> str:
    return text.lower().strip().translate(_CMRC_PUNCTUATION)


def _run_f1(predicted: list[str], gold: list[str]) -> float:
    longest = SequenceMatcher(None, predicted, gold, autojunk=False).find_longest_match()
    return _f1(longest.size, predicted, gold)


SCORERS: dict[str, Callable[[str, Sequence[str]], Score]] = {"words": score_words, "characters": score_characters}


# -- over a file ------------------------------------------------------------------------------------------------------


def overall(scores: Sequence[Score], impossible: Sequence[bool]) -> dict[str, float]:
    """The metrics of ``evaluate-v2.0.py``, with its names and in percent.

    Args:
        scores: exact match and F1 for each question; a question without a prediction counts as (0, 0).
        impossible: which questions are; if any are, the metrics are also given by kind.

    Returns:
        ``exact``, ``f1`` and ``total``, the number of questions; the same with ``HasAns_`` and ``NoAns_`` before the
        name, if there are such questions and some are impossible.
    """
    metrics = _means(scores)
    if any(impossible):
        for prefix, wanted in (("HasAns", False), ("NoAns", True)):
            part = [score for score, is_impossible in zip(scores, impossible, strict=True) if is_impossible is wanted]
            if part:
                metrics |= {f"{prefix}_{name}": value for name, value in _means(part).items()}
    return metrics


def _means(scores: Sequence[Score]) -> dict[str, float]:
    total = len(scores)
    return {
        "exact": 100 * sum(exact for exact, _ in scores) / total,
        "f1": 100 * sum(f1 for _, f1 in scores) / total,
        "total": total,
    }


def best_thresholds(
    scores: Sequence[Score], impossible: Sequence[bool], null_differences: Sequence[float]
) -> dict[str, float]:
    """The best thresholds: a question is answered if its null difference is at most the threshold.

    Differs from ``evaluate-v2.0.py`` in three ways, so that the threshold gives the metric reported with it. It does
    not stop between questions of equal null difference. It counts an answer to an impossible question as wrong even
    if :func:`score_words` finds no word in it. If answering nothing is best, the threshold is 1 below the lowest null
    difference; the official 0 suits probabilities only.

    Args:
        scores: of the best non-empty answer to each question; at least one.
        impossible: which questions are.
        null_differences: the score of the empty answer less that of the best other one.

    Returns:
        ``best_exact`` and ``best_f1`` in percent, and ``best_exact_thresh`` and ``best_f1_thresh``, each the lowest of
        the best.
    """
    order = sorted(range(len(scores)), key=null_differences.__getitem__)
    metrics: dict[str, float] = {}
    for column, name in enumerate(("exact", "f1")):
        # Nothing is answered yet: impossible questions are right, all others wrong.
        current = best = float(sum(impossible))
        threshold = null_differences[order[0]] - 1
        for difference, answered in groupby(order, key=null_differences.__getitem__):
            current += sum(scores[index][column] - impossible[index] for index in answered)
            if current > best:
                best, threshold = current, difference
        metrics |= {f"best_{name}": 100 * best / len(scores), f"best_{name}_thresh": threshold}
    return metrics
