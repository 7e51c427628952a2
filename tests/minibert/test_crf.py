"""The CRF against sums over every tag sequence."""

import copy
import functools
import itertools
from typing import NamedTuple
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from conftest import largest_difference
from torch import Tensor

from minibert.crf import LinearChainCRF, _by_tree

LABELS = dict(enumerate(["I-LOC", "O", "B-PER", "B-LOC", "I-PER"]))
LABEL_SETS = {
    "BIO": LABELS,
    "no BIO": dict(enumerate(["NOUN", "VERB", "I", "B-"])),
    "an inside without its begin": dict(enumerate(["O", "I-LOC", "B-PER", "I-PER"])),
    "types with hyphens": dict(enumerate(["I-A-B", "B-A-B", "B-A", "I-A"])),
    "BIOES": dict(enumerate(["E-A", "O", "B-A", "S-A", "I-A"])),
    "BMES": dict(enumerate(["B-A", "M-A", "E-A", "S-B", "O"])),
    "ends without O": dict(enumerate(["B-A", "E-A", "S-A"])),
}
# What may follow what, by hand; every other pair may.
FORBIDDEN = {
    "BIO": ["O I-LOC", "B-PER I-LOC", "I-PER I-LOC", "O I-PER", "B-LOC I-PER", "I-LOC I-PER"],
    "no BIO": [],
    "an inside without its begin": ["O I-PER", "I-LOC I-PER"],
    "types with hyphens": ["B-A I-A-B", "I-A I-A-B", "B-A-B I-A", "I-A-B I-A"],
    "BIOES": [
        "O I-A", "O E-A", "S-A I-A", "S-A E-A", "E-A I-A", "E-A E-A",
        "B-A O", "B-A B-A", "B-A S-A", "I-A O", "I-A B-A", "I-A S-A",
    ],
    "BMES": [
        "O M-A", "O E-A", "S-B M-A", "S-B E-A", "E-A M-A", "E-A E-A",
        "B-A O", "B-A B-A", "B-A S-B", "M-A O", "M-A B-A", "M-A S-B",
    ],
    "ends without O": ["E-A E-A", "S-A E-A"],
}  # fmt: skip
NOT_FIRST = {
    "BIO": ["I-LOC", "I-PER"],
    "no BIO": [],
    "an inside without its begin": ["I-PER"],
    "types with hyphens": ["I-A-B", "I-A"],
    "BIOES": ["I-A", "E-A"],
    "BMES": ["M-A", "E-A"],
    "ends without O": ["E-A"],
}
NOT_LAST = {"BIOES": ["B-A", "I-A"], "BMES": ["B-A", "M-A"]}
LENGTHS = (3, 1, 5, 1, 2)
TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-5}


WAYS = {"recursion": False, "tree": True}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the likelihood is computed: CUDA takes the tree."""
    monkeypatch.setattr("minibert.crf._by_tree", lambda device, lengths, num_labels: WAYS[request.param])
    return str(request.param)


class Sentence(NamedTuple):
    """Every tag sequence of one sentence, ``(P, n)``, and its score, ``(P,)``."""

    paths: Tensor
    scores: Tensor


def random_crf(labels: dict[int, str]) -> LinearChainCRF:
    crf = LinearChainCRF(labels)
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_()
    return crf


def random_emissions(lengths: tuple[int, ...], num_labels: int, scale: float = 2.0) -> Tensor:
    return scale * torch.randn(sum(lengths), num_labels)


def joined(paths: list[list[int]]) -> Tensor:
    return torch.tensor(list(itertools.chain.from_iterable(paths)))


def allowed(path: tuple[int, ...], name: str, *, whole: bool) -> bool:
    words = [LABEL_SETS[name][tag] for tag in path]
    pairs = [" ".join(pair) for pair in itertools.pairwise(words)]
    if set(pairs) & set(FORBIDDEN[name]):
        return False
    return not whole or (words[0] not in NOT_FIRST[name] and words[-1] not in NOT_LAST.get(name, []))


@functools.cache
def all_paths(name: str, length: int, *, whole: bool) -> Tensor:
    """Every allowed path through a (whole) sentence, ``(P, n)``."""
    tags = itertools.product(range(len(LABEL_SETS[name])), repeat=length)
    return torch.tensor([path for path in tags if allowed(path, name, whole=whole)])


def enumerated(crf: LinearChainCRF, emissions: Tensor, name: str, *, whole: bool) -> Sentence:
    """All allowed paths through the emissions of a (whole) sentence, and the sum of what each collects on its way."""
    length = len(emissions)
    paths = all_paths(name, length, whole=whole)
    scores = crf.start[paths[:, 0]] + crf.end[paths[:, -1]]
    scores = scores + emissions[torch.arange(length), paths].sum(1)
    return Sentence(paths, scores + crf.transitions[paths[:, :-1], paths[:, 1:]].sum(1))


# -- against brute force -----------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", LABEL_SETS)
def test_the_likelihood_and_its_gradients_equal_brute_force(name: str, dtype: torch.dtype) -> None:
    crf = random_crf(LABEL_SETS[name])
    emissions = random_emissions(LENGTHS, len(LABEL_SETS[name]))
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0, 1.5], dtype=torch.float64)

    exact = copy.deepcopy(crf).double()
    exact_emissions = emissions.double().requires_grad_()
    tags, expected = [], []
    for piece in exact_emissions.split(LENGTHS):
        paths, scores = enumerated(exact, piece, name, whole=False)
        chosen = int(torch.randint(len(paths), ()))
        tags.append(paths[chosen])
        expected.append(scores[chosen] - scores.logsumexp(0))
    (torch.stack(expected) * weights).sum().backward()

    crf, emissions = crf.to(dtype), emissions.to(dtype).requires_grad_()
    computed = crf.log_likelihood(emissions, torch.cat(tags), LENGTHS)
    assert computed.dtype == dtype
    assert largest_difference(computed, torch.stack(expected)) <= TOLERANCES[dtype]
    (computed * weights).sum().backward()
    assert emissions.grad is not None
    assert exact_emissions.grad is not None
    assert largest_difference(emissions.grad, exact_emissions.grad) <= TOLERANCES[dtype]
    for ours, theirs in zip(crf.parameters(), exact.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        assert theirs.grad.abs().max() > 0.1
        assert largest_difference(ours.grad, theirs.grad) <= TOLERANCES[dtype]


@pytest.mark.slow
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("name", LABEL_SETS)
def test_viterbi_and_marginals_equal_brute_force(name: str, dtype: torch.dtype) -> None:
    num_labels = len(LABEL_SETS[name])
    for _ in range(6):
        crf, emissions = random_crf(LABEL_SETS[name]), random_emissions(LENGTHS, num_labels)
        exact = copy.deepcopy(crf).double()
        best, probabilities = [], []
        for piece in emissions.double().split(LENGTHS):
            paths, scores = enumerated(exact, piece, name, whole=True)
            best.append(paths[scores.argmax()].tolist())
            probabilities.append((scores.softmax(0)[:, None, None] * F.one_hot(paths, num_labels)).sum(0))
        crf, emissions = crf.to(dtype), emissions.to(dtype)
        assert crf.viterbi(emissions, LENGTHS) == best
        marginals = crf.marginals(emissions, LENGTHS)
        assert marginals.dtype == dtype
        assert largest_difference(marginals, torch.cat(probabilities)) <= TOLERANCES[dtype]


@pytest.mark.parametrize("name", LABEL_SETS)
def test_log_marginals_and_their_gradients_equal_brute_force(name: str) -> None:
    """Over all sequences that the likelihood knows: a window may begin and end inside an entity."""
    num_labels = len(LABEL_SETS[name])
    crf, emissions = random_crf(LABEL_SETS[name]).double(), random_emissions(LENGTHS, num_labels).double()
    emissions.requires_grad_()
    expected = []
    for piece in emissions.split(LENGTHS):
        paths, scores = enumerated(crf, piece, name, whole=False)
        tags = F.one_hot(paths, num_labels).bool()
        by_tag = scores[:, None, None].masked_fill(~tags, -torch.inf).logsumexp(0)
        expected.append(by_tag - scores.logsumexp(0))
    computed, weights = crf.log_marginals(emissions, LENGTHS), torch.randn(len(emissions), num_labels)
    assert computed.isfinite().all()
    torch.testing.assert_close(computed, torch.cat(expected))
    of = (emissions, *crf.parameters())
    gradients = [torch.autograd.grad((each * weights).sum(), of) for each in (computed, torch.cat(expected))]
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_window_may_begin_inside_an_entity_and_a_sentence_may_not() -> None:
    crf = LinearChainCRF(LABELS)
    inside = torch.tensor([[20.0, 0.0, 0.0, 0.0, 0.0]] * 2)  # I-LOC, all but certain
    assert crf.log_likelihood(inside, torch.tensor([0, 0]), (2,)).item() == pytest.approx(0.0, abs=1e-6)
    assert crf.viterbi(inside, (2,)) == [[3, 0]]  # B-LOC I-LOC
    assert crf.marginals(inside, (2,))[0, 0] == 0


@pytest.mark.usefixtures("way")
def test_tags_with_a_forbidden_transition_are_impossible() -> None:
    crf = LinearChainCRF(LABELS)
    computed = crf.log_likelihood(torch.zeros(4, 5), torch.tensor([1, 0, 3, 0]), (2, 2))  # O I-LOC, B-LOC I-LOC
    assert computed.isneginf().tolist() == [True, False]


@pytest.mark.parametrize("lengths", [(), (2, 0, 3), (-1, 6)])
def test_an_empty_sequence_is_refused(lengths: tuple[int, ...]) -> None:
    emissions = torch.zeros(5, 5)
    with pytest.raises(ValueError, match="lengths"):
        LinearChainCRF(LABELS).viterbi(emissions, lengths)


# -- numbers -----------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("way")
def test_fp32_holds_for_long_sentences_and_large_emissions() -> None:
    lengths = (400, 3, 250)
    crf = random_crf(LABELS)
    emissions = 100 * torch.rand(sum(lengths), 5) - 50
    exact = copy.deepcopy(crf).double()
    paths = exact.viterbi(emissions.double(), lengths)
    assert crf.viterbi(emissions, lengths) == paths
    tags = joined(paths)

    results = []
    for model, values in ((crf, emissions), (exact, emissions.double())):
        values.requires_grad_()
        likelihood = model.log_likelihood(values, tags, lengths)
        of_words = model.log_marginals(values, lengths)
        gradients = [torch.autograd.grad(each, values)[0] for each in (likelihood.sum(), of_words.exp()[:, 1].sum())]
        results.append((likelihood.detach(), *gradients, model.marginals(values, lengths), of_words.detach().exp()))
    for ours, theirs in zip(*results, strict=True):
        assert largest_difference(ours, theirs) <= 2e-4
    assert largest_difference(results[0][3].sum(1), torch.ones(sum(lengths))) <= 1e-5


def likelihood_and_gradients(
    model: LinearChainCRF, emissions: Tensor, tags: Tensor, lengths: tuple[int, ...], way: str
) -> list[Tensor]:
    """With the gradients of the emissions and of the three kinds of scores, in that order."""
    emissions = emissions.clone().requires_grad_()
    with mock.patch("minibert.crf._by_tree", return_value=WAYS[way]):
        likelihood = model.log_likelihood(emissions, tags, lengths)
    return [likelihood.detach(), *torch.autograd.grad(likelihood.sum(), [emissions, *model.parameters()])]


@pytest.mark.parametrize("lengths", [(1,), (2, 1), (3, 1, 4), (17, 64, 33, 1), (65,)])
def test_the_tree_computes_what_the_recursion_computes(lengths: tuple[int, ...]) -> None:
    model, emissions = random_crf(LABELS).double(), random_emissions(lengths, 5).double()
    tags = joined(model.viterbi(emissions, lengths))
    results = [likelihood_and_gradients(model, emissions, tags, lengths, way) for way in WAYS]
    for ours, theirs in zip(*results, strict=True):
        assert largest_difference(ours, theirs) <= 1e-10


@pytest.mark.parametrize("scale", [0.1, 3.0, 10.0])
def test_the_tree_is_as_precise_as_the_recursion_in_a_sentence_of_2000_words(scale: float) -> None:
    model, emissions = random_crf(LABELS), random_emissions((2000,), 5, scale)
    tags = torch.randint(1, 3, (2000,))  # O and B-PER, which may follow each other: not the likeliest, but allowed
    exact = likelihood_and_gradients(copy.deepcopy(model).double(), emissions.double(), tags, (2000,), "recursion")
    errors = {
        way: [
            largest_difference(ours, theirs)
            for ours, theirs in zip(likelihood_and_gradients(model, emissions, tags, (2000,), way), exact, strict=True)
        ]
        for way in WAYS
    }
    rounding = torch.finfo(torch.float32).eps * float(exact[0].abs())
    assert errors["tree"][0] <= max(errors["recursion"][0], 2 * rounding)
    for tree, recursion in zip(errors["tree"][1:], errors["recursion"][1:], strict=True):
        assert tree <= max(recursion, 1e-6)


def test_the_tree_is_for_cuda_and_needs_memory() -> None:
    lengths = (95,) * 32
    assert not _by_tree(torch.device("cpu"), lengths, 7)
    assert [_by_tree(torch.device("cuda"), lengths, num_labels) for num_labels in (7, 37, 60)] == [True, True, False]


@pytest.mark.parametrize("whole_model_in_bf16", [False, True])
def test_everything_is_in_fp32_under_bf16_autocast(whole_model_in_bf16: bool) -> None:
    crf = random_crf(LABELS)
    if whole_model_in_bf16:
        crf.bfloat16()
    same_in_fp32 = copy.deepcopy(crf).float()
    emissions = random_emissions(LENGTHS, 5).bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        paths, marginals = crf.viterbi(emissions, LENGTHS), crf.marginals(emissions, LENGTHS)
        log_marginals = crf.log_marginals(emissions, LENGTHS)
        likelihood = crf.log_likelihood(emissions, joined(paths), LENGTHS)
    assert paths == same_in_fp32.viterbi(emissions.float(), LENGTHS)
    assert likelihood.dtype == marginals.dtype == log_marginals.dtype == torch.float32
    assert torch.equal(log_marginals, same_in_fp32.log_marginals(emissions.float(), LENGTHS))
    assert torch.equal(likelihood, same_in_fp32.log_likelihood(emissions.float(), joined(paths), LENGTHS))
    assert torch.equal(marginals, same_in_fp32.marginals(emissions.float(), LENGTHS))


def test_inference_mode_changes_nothing() -> None:
    crf = random_crf(LABELS)
    emissions = random_emissions(LENGTHS, 5)
    paths = crf.viterbi(emissions, LENGTHS)
    with torch.inference_mode():
        made_inside = emissions * 1
        assert crf.viterbi(made_inside, LENGTHS) == paths
        assert torch.equal(crf.marginals(made_inside, LENGTHS), crf.marginals(emissions, LENGTHS))
        likelihood = crf.log_likelihood(made_inside, joined(paths), LENGTHS)
    assert torch.equal(likelihood, crf.log_likelihood(emissions, joined(paths), LENGTHS))
