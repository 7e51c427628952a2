"""Training: the loop, the optimizer, exact resume, devices and precisions."""

from typing import TYPE_CHECKING

from minibert.lazy import lazy_attributes

if TYPE_CHECKING:
    from minibert.training.checks import check_finite, collapse_warning
    from minibert.training.data import Examples, LabelledBatch, Metric
    from minibert.training.distillation import class_distance, label_distance, state_distance
    from minibert.training.loop import Callbacks, Trainer
    from minibert.training.precision import autocast, choose_device, choose_precision
    from minibert.training.prediction import predict
    from minibert.training.regularisation import class_divergence, divergence_of_rows
    from minibert.training.settings import PRECISIONS, TrainingSettings
    from minibert.training.signals import Interrupted, Paused
    from minibert.training.state import Progress
    from minibert.training.step import Divergence
else:
    __getattr__ = lazy_attributes(
        __name__,
        checks=("check_finite", "collapse_warning"),
        data=("Examples", "LabelledBatch", "Metric"),
        distillation=("class_distance", "label_distance", "state_distance"),
        loop=("Callbacks", "Trainer"),
        precision=("autocast", "choose_device", "choose_precision"),
        prediction=("predict",),
        regularisation=("class_divergence", "divergence_of_rows"),
        settings=("PRECISIONS", "TrainingSettings"),
        signals=("Interrupted", "Paused"),
        state=("Progress",),
        step=("Divergence",),
    )

__all__ = [
    "PRECISIONS",
    "Callbacks",
    "Divergence",
    "Examples",
    "Interrupted",
    "LabelledBatch",
    "Metric",
    "Paused",
    "Progress",
    "Trainer",
    "TrainingSettings",
    "autocast",
    "check_finite",
    "choose_device",
    "choose_precision",
    "class_distance",
    "class_divergence",
    "collapse_warning",
    "divergence_of_rows",
    "label_distance",
    "predict",
    "state_distance",
]
