"""Settings of ``python -m tasks.multiple_choice``."""

from dataclasses import dataclass

from minibert.training.settings import setting
from tasks.settings import DistillationSettings


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceSettings(DistillationSettings):
    about = "Fine-tune an encoder to choose the right answer to a question among several."
    metric_names = ("accuracy",)

    first_number: int | None = setting(
        None,
        "of the choices, where labels are numbers: 0 or 1 (default: as the training file shows)",
        at_least=0,
        at_most=1,
        advanced=True,
        resumable=True,
        scored=True,
    )
