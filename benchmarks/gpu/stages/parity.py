"""Logits and gradients beside transformers', each by its distance from transformers in fp64."""

import dataclasses
import tempfile
from pathlib import Path

import torch

from benchmarks import peers
from benchmarks.contender import gradient_errors, logit_errors
from benchmarks.gpu.plan import Plan
from benchmarks.gpu.report import Report
from benchmarks.ours import OURS, our_predictor, our_trainer

# Of transformers' own error, as in benchmarks.contender; in fp32, an error of rounding is always allowed.
_FACTOR, _FP32_ROUNDING = 3.0, 1e-5


def run(report: Report, plan: Plan) -> None:
    for family in ("bert", "albert", "roberta"):
        work = plan.workload(plan.sizes.base, arch=family, sequences=plan.sizes.checked, precision="fp32")
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            work.random_model().save_pretrained(folder)
            predictor = peers.reference_predictor(folder, work, torch.float64)
            trainer = peers.reference_trainer(folder, work, torch.float64)
            for precision in ("fp32", "bf16"):
                same = dataclasses.replace(work, precision=precision)
                predictors = [our_predictor(folder, same), peers.predictor(peers.BASELINE, folder, same)]
                trainers = [our_trainer(folder, same), peers.trainer(peers.BASELINE, folder, same)]
                for what, errors in (
                    ("logits", logit_errors(predictor, predictors, work.batches[0])),
                    ("gradients", gradient_errors(trainer, trainers)),
                ):
                    floor = _FP32_ROUNDING if precision == "fp32" else 0.0
                    limit = max(_FACTOR * errors[peers.BASELINE], floor)
                    detail = f"error {errors[OURS]:.2e}, transformers' {errors[peers.BASELINE]:.2e}"
                    report.check(f"{family}, {precision}, {what}", errors[OURS] <= limit, detail)
