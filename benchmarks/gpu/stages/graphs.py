"""CUDA graphs: losses and gradients as without, also where graphs go and come again, and the time of a step."""

import statistics
import threading
from unittest import mock

import torch
from torch import Tensor

from benchmarks.gpu.heads import head
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report, Skipped
from benchmarks.gpu.runs import Run, train
from minibert import graphs, pack
from minibert.encoder import Encoder
from minibert.errors import InputError
from minibert.graphs import CudaRecorder, EncoderGraphs, require_graphs
from minibert.inference import for_inference
from minibert.training import TrainingSettings

_TOLERANCE = 1e-3  # relative: sums in another order
_UNMOVED = 1e-12  # a learning rate at which the weights stay, so that differences do not add up
_LARGEST_DIFFERENCE = 0.05  # of outputs in bf16, of order 1


def run(report: Report, plan: Plan) -> None:
    _, config = head("words", plan, size=plan.sizes.base)
    try:
        require_graphs(config, plan.device, torch.bfloat16)
    except InputError as reason:
        raise Skipped(str(reason)) from None
    try:
        require_graphs(config, plan.device, torch.float32)
        report.check("fp32 is refused", False, "it was not")
    except InputError:
        report.check("fp32 is refused", True, "")
    eager = _unmoved(plan, cuda_graphs=False)
    _compare(report, plan, "", _unmoved(plan, cuda_graphs=True), eager)
    with mock.patch.object(graphs, "MOST_GRAPHS", 2):
        _compare(report, plan, " with two graphs at most", _unmoved(plan, cuda_graphs=True), eager)
    _answer_in_two_threads(report, plan)
    for cuda_graphs in (False, True):
        timed = _trained(plan, cuda_graphs=cuda_graphs, steps=3 * plan.sizes.steps, lr=5e-5, dropout=0.1)
        name = "with graphs" if cuda_graphs else "without"
        report.figure(f"milliseconds a step, {name}", statistics.median(timed.milliseconds[plan.sizes.steps :]))


def _compare(report: Report, plan: Plan, how: str, replayed: Run, eager: Run) -> None:
    for number in range(plan.sizes.steps):
        loss, expected = replayed.losses[number], eager.losses[number]
        holds = abs(loss - expected) <= _TOLERANCE * abs(expected)
        report.check(f"step {number + 1}{how}: the loss", holds, f"{loss} and {expected}")
        difference = (replayed.gradients[number] - eager.gradients[number]).norm()
        error = float(difference / eager.gradients[number].norm())
        report.check(f"step {number + 1}{how}: the gradient", error <= _TOLERANCE, f"error {error:.1e}")


def _answer_in_two_threads(report: Report, plan: Plan) -> None:
    """Two models, as in a server, each in a thread of its own, whose first batches are recorded at the same time."""
    which, config = head("words", plan, size=plan.sizes.base)
    models = [for_inference(which.model(config).to(plan.device), torch.bfloat16) for _ in range(2)]
    random = torch.Generator().manual_seed(0)
    batches = [
        pack([torch.randint(5, 1000, (length,), generator=random).tolist() for length in lengths]).to(plan.device)
        for lengths in ((5,), (20, 9), (40,), (7, 7, 7), (64,), (5,), (90, 3), (21,))
    ]
    found: dict[int, list[Tensor]] = {}

    @torch.inference_mode()
    def answer(number: int) -> None:
        found[number] = [models[number](batch).float() for batch in batches]

    expected = []
    for number, model in enumerate(models):
        answer(number)
        expected.append(found.pop(number))
        assert isinstance(model.encoder, Encoder)
        EncoderGraphs(model.encoder, lambda: CudaRecorder(plan.device)).install()
    threads = [threading.Thread(target=answer, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(2):
        answers = found.get(number, [])
        apart = [float((ours - theirs).abs().max()) for ours, theirs in zip(answers, expected[number], strict=False)]
        holds = len(apart) == len(batches) and max(apart) <= _LARGEST_DIFFERENCE
        report.check(f"answers of thread {number + 1}", holds, f"{len(apart)} of {len(batches)}; apart by {apart}")


def _unmoved(plan: Plan, *, cuda_graphs: bool) -> Run:
    return _trained(
        plan, cuda_graphs=cuda_graphs, steps=plan.sizes.steps, lr=_UNMOVED, dropout=0.0, keep_gradients=True
    )


def _trained(
    plan: Plan, *, cuda_graphs: bool, steps: int, lr: float, dropout: float, keep_gradients: bool = False
) -> Run:
    return train(
        plan, size=plan.sizes.base, batch=32, steps=steps, dropout=dropout, keep_gradients=keep_gradients,
        settings=TrainingSettings(
            epochs=1, batch_size=32, precision="bf16", lr=lr, warmup_ratio=0.0, cuda_graphs=cuda_graphs
        ),
    )  # fmt: skip
