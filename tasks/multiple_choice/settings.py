"""Settings of ``python -m tasks.multiple_choice``."""

from dataclasses import dataclass

from tasks.settings import DistillationSettings


@dataclass(frozen=True, kw_only=True)
class MultipleChoiceSettings(DistillationSettings):
    about = "Fine-tune an encoder to choose the right answer to a question among several."
    metric_names = ("accuracy",)
