"""Fine-tuning: the loop, the optimizer, and the devices and precisions it runs on."""

from minibert.training.loop import Examples, LabelledBatch, Metric, TrainingSettings, check_finite, fit, predict
from minibert.training.precision import PRECISIONS, autocast, choose_device, choose_precision

__all__ = [
    "PRECISIONS",
    "Examples",
    "LabelledBatch",
    "Metric",
    "TrainingSettings",
    "autocast",
    "check_finite",
    "choose_device",
    "choose_precision",
    "fit",
    "predict",
]
