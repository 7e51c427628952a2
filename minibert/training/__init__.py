"""Fine-tuning: the loop, the optimizer, exact resume, and the devices and precisions it runs on."""

from minibert.training.checks import check_finite, collapse
from minibert.training.data import Examples, LabelledBatch, Metric
from minibert.training.loop import fit
from minibert.training.precision import PRECISIONS, autocast, choose_device, choose_precision
from minibert.training.prediction import predict
from minibert.training.regularisation import class_divergence
from minibert.training.settings import FREE, TrainingSettings
from minibert.training.signals import Interrupted
from minibert.training.state import Progress
from minibert.training.step import Divergence

__all__ = [
    "FREE",
    "PRECISIONS",
    "Divergence",
    "Examples",
    "Interrupted",
    "LabelledBatch",
    "Metric",
    "Progress",
    "TrainingSettings",
    "autocast",
    "check_finite",
    "choose_device",
    "choose_precision",
    "class_divergence",
    "collapse",
    "fit",
    "predict",
]
