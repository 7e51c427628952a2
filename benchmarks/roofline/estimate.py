"""The time of an optimizer step on an H200, estimated from the operators that it dispatches, ours and transformers'.

    PYTHONPATH=.:tests python -m benchmarks.roofline

Each operator takes as long as the bytes that it moves at the memory's rate, or its matrix products at a part of the
peak, or its launches at the time of the shortest kernel, whichever is longest. The host launches one kernel after the
other, and a CUDA graph as one; a step takes as long as the device or the host, whichever is longer. Nothing is
measured: the numbers of launches are from reading PyTorch's sources. Means over batches. Prints one JSON line last.
"""

import argparse
import dataclasses
import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.nn.functional as F
from fake_cuda.device import fake_cuda, on_device, on_host
from torch import Tensor

from benchmarks import peers
from benchmarks.clock import Work
from benchmarks.gpu.heads import words
from benchmarks.gpu.plan import UNCUT, Plan
from benchmarks.ours import OURS
from benchmarks.reference import transformers
from benchmarks.roofline.cost import Costs, Device, attend_efficiently
from benchmarks.workload import Ids, Workload, operations
from minibert import EncoderConfig

# Seconds of a fast and of a slow host for a launch of PyTorch's, and for one from Python, as the fused norm's.
_HOST = ((5e-6, 40e-6), (8e-6, 65e-6))
_TOP = 12
_MOST_BATCHES = 8
_GRAPHS = f"{OURS}, graphs"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.roofline",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--lengths", default=UNCUT, help="as of benchmarks.throughput (default: %(default)s)")
    parser.add_argument("--size", default="base")
    parser.add_argument("--operators", action="store_true", help="print the longest operators of each step")
    options = parser.parse_args(argv)
    plan = Plan(device=torch.device("cpu"), lengths=options.lengths)  # the sentences are made before CUDA is traced
    batches = {
        "32 sentences": plan.workload(options.size, sequences=_MOST_BATCHES * 32),
        "16,384 tokens": plan.workload(options.size, sequences=600, batch_tokens=16_384),
    }
    print("| batch | contender | launches | GPU ms | step ms | tokens/s | utilisation |")
    print("|---|---|---|---|---|---|---|")
    found: dict[str, Any] = {}
    for name, work in batches.items():
        contenders: dict[str, Any] = {
            OURS: _our_step,
            _GRAPHS: partial(_our_step, cuda_graphs=True),
            peers.BASELINE: _their_step,
        }
        for contender, prepare in contenders.items():
            every = [_traced(prepare, batch, work.config) for batch in work.batches[:_MOST_BATCHES]]
            found[f"{name}, {contender}"] = _row(name, contender, work, every)
            if options.operators:
                for operator, seconds in every[0].seconds.most_common(_TOP):
                    print(f"  {operator}: {every[0].launches[operator]} launches, {1000 * seconds:.3f} ms")
    print(json.dumps({"device": dataclasses.asdict(Device()), "host_seconds_per_launch": _HOST, "steps": found}))


class _Recorder:
    """In place of CUDA graphs: a replay costs what was recorded, and one launch."""

    def __init__(self, attended: float) -> None:
        self._attended = attended
        self.costs: Costs | None = None  # of the step that is traced

    def record(self, work: Callable[[], Any]) -> tuple[Any, Callable[[], None]]:
        with Costs(Device(), self._attended) as recorded:
            result = work()

        def replay() -> None:
            if self.costs is not None:
                self.costs.seconds.update(recorded.seconds)
                self.costs.launches["graph"] += 1

        return result, replay


def _traced(
    prepare: Callable[[Sequence[Ids], EncoderConfig], Work], batch: Sequence[Ids], config: EncoderConfig
) -> Costs:
    """The second step over a batch."""
    lengths = [len(ids) for ids in batch]
    padded = prepare is _their_step
    attended = 4.0 * config.hidden_size * sum((max(lengths) if padded else length) ** 2 for length in lengths)
    recorder = _Recorder(attended)
    with (
        fake_cuda(),
        mock.patch.object(F, "scaled_dot_product_attention", attend_efficiently),
        mock.patch.object(torch.nn.Module, "to", lambda module, *_: module),  # what has no values is there already
        mock.patch("minibert.training.step.CudaRecorder", return_value=recorder),
        mock.patch("minibert.graphs._warm_up"),
    ):
        step = prepare(batch, config)
        step()
        with Costs(Device(), attended) as costs:
            recorder.costs = costs
            step()
    return costs


def _our_step(batch: Sequence[Ids], config: EncoderConfig, **settings: Any) -> Work:
    head = words([ids.astype("int32") for ids in batch])
    with torch.device("meta"):
        model = head.model(config)
    on_host_head = dataclasses.replace(head, collate=lambda examples: on_host(lambda: head.collate(examples)))
    step, _ = on_host_head.step(on_device(model).train(), "bf16", torch.device("cuda"), **settings)
    return lambda: step(range(len(batch)))


def _their_step(batch: Sequence[Ids], config: EncoderConfig) -> Work:
    theirs = transformers.AutoConfig.for_model(
        config.model_type,
        **{name: getattr(config, name) for name in (
            "vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
        )},
        num_labels=config.num_labels,
    )  # fmt: skip
    with torch.device("meta"):
        model = transformers.AutoModelForTokenClassification.from_config(theirs, attn_implementation="sdpa")
    model = on_device(model)
    shape = len(batch), max(map(len, batch))
    ids, mask, targets = (torch.zeros(shape, dtype=torch.int64, device="cuda") for _ in range(3))

    def loss() -> Tensor:
        logits = model(input_ids=ids, attention_mask=mask).logits
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())

    return peers.plain_loop(peers.BASELINE, model, torch.device("cuda"), "bf16", [loss]).train


def _on_host(costs: Costs, of_pytorch: float, from_python: float) -> float:
    """Seconds in which the host launches a step."""
    ours = sum(count for name, count in costs.launches.items() if name.startswith("minibert::"))
    return (costs.launches.total() - ours) * of_pytorch + ours * from_python


def _row(name: str, contender: str, work: Workload, every: Sequence[Costs]) -> dict[str, Any]:
    """Prints a line of the table; returns its figures."""
    lengths = [len(ids) for batch in work.batches[: len(every)] for ids in batch]
    launches = [costs.launches.total() for costs in every]
    seconds = [sum(costs.seconds.values()) for costs in every]
    # Of all batches, on a fast and on a slow host.
    steps = [sum(map(max, seconds, (_on_host(costs, *host) for costs in every))) for host in _HOST]
    rates = [sum(lengths) / step for step in steps]
    shares = [3 * operations(work.config, lengths) / step / Device().products for step in steps]
    number = len(every)
    print(
        f"| {name} | {contender} | {sum(launches) / number:,.0f} | {1000 * sum(seconds) / number:.1f} | "
        f"{' to '.join(f'{1000 * step / number:.1f}' for step in steps)} | "
        f"{' to '.join(f'{rate:,.0f}' for rate in rates)} | {' to '.join(f'{share:.0%}' for share in shares)} |"
    )
    return {
        "batches": number,
        "tokens": sum(lengths),
        "launches": sum(launches) / number,
        "gpu_seconds": sum(seconds) / number,
        "step_seconds": [step / number for step in steps],
    }
