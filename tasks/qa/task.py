"""Question answering by label: ``python -m tasks.qa --arch bert``.

Assigns a question to a department, an intent or an answer: classification with many labels. Prompts are templates for
the question. The model is trained on every question in every prompt, and predicts by the mean of its probabilities over
the prompts, the vote.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

import numpy as np

from tasks.classification.data import LabelledText
from tasks.classification.prediction import TextPrediction
from tasks.classification.task import ClassificationTask
from tasks.classification.weighted import share_of
from tasks.data import Details, Split
from tasks.qa.settings import QUESTION, QaSettings
from tasks.statistics import Figures

UNKNOWN = "unknown"


class QaTask(ClassificationTask):
    """Answers that are labels."""

    name = "qa"
    settings_class = QaSettings
    settings: QaSettings

    def __init__(self, settings: Any) -> None:
        super().__init__(settings)
        self._top_k = settings.top_k

    @property
    def prompts(self) -> tuple[str, ...]:
        """The bare question, and the templates."""
        return (QUESTION, *self.settings.prompt)

    def prompted(self, item: LabelledText) -> list[str]:
        return [prompt.replace(QUESTION, item.text) for prompt in self.prompts]

    def compute_metrics(self, items: Sequence[LabelledText], outputs: Sequence[TextPrediction]) -> dict[str, float]:
        """Those of classification, for the vote; how often the right answer is among the best ``top_k``; with prompts,
        the accuracy of each, how often two of them agree, and how often all do."""
        metrics = super().compute_metrics(items, outputs)
        gold = [item.label for item in items]
        k = self.settings.top_k
        among = [label in [name for name, _ in o.ranked()[:k]] for label, o in zip(gold, outputs, strict=True)]
        metrics[f"top_{k}_accuracy"] = float(np.mean(among))
        if self.settings.unknown:
            answered = [output.mean.max() >= self.settings.unknown for output in outputs]
            right = [label == o.prediction for label, o in zip(gold, outputs, strict=True)]
            metrics["answered"] = float(np.mean(answered))
            if any(answered):
                metrics["accuracy_of_answered"] = float(np.mean(right, where=answered))
        if self.settings.prompt:
            chosen = np.array([output.values.argmax(axis=1) for output in outputs])  # (questions, prompts)
            right_index = np.array([o.names.index(str(label)) for label, o in zip(gold, outputs, strict=True)])
            for number, column in enumerate(chosen.T):
                metrics[f"accuracy_prompt_{number}"] = float(np.mean(column == right_index))
            pairs = [np.mean(a == b) for a, b in combinations(chosen.T, 2)]
            metrics["agreement_of_two"] = float(np.mean(pairs))
            metrics["agreement_of_all"] = float(np.mean((chosen == chosen[:, :1]).all(axis=1)))
        return metrics

    def weighted_metrics(self, records: Sequence[Mapping[str, Any]]) -> Figures:
        k, figures = self.settings.top_k, super().weighted_metrics(records)
        if "probabilities" not in records[0]:  # of the linear model, which ranks nothing
            return figures
        among = share_of([record["gold"] in list(record["probabilities"])[:k] for record in records])
        return lambda weights: {**figures(weights), f"top_{k}_accuracy": among(weights)}

    def details(
        self, split: Split[LabelledText], outputs: Sequence[TextPrediction], losses: Sequence[float]
    ) -> Details:
        details = super().details(split, outputs, losses)
        metrics = self.compute_metrics(split.items, outputs)
        lines = [details.table]
        if self.settings.prompt:
            lines += ["", "accuracy of each prompt"]
            for number, prompt in enumerate(self.prompts):
                lines.append(f"  {metrics[f'accuracy_prompt_{number}']:.4f}  {prompt}")
            agreement = (
                f"two prompts agree on {metrics['agreement_of_two']:.1%}, all on {metrics['agreement_of_all']:.1%}"
            )
            lines.append(f"  {metrics['accuracy']:.4f}  the vote (mean probability); {agreement}")
        if self.settings.unknown:
            said = "none is answered"
            if "accuracy_of_answered" in metrics:
                said = (
                    f"{metrics['answered']:.1%} are answered, {metrics['accuracy_of_answered']:.4f} of them correctly"
                )
            lines += ["", f"with --unknown {self.settings.unknown:g}, {said}"]
        return dataclasses.replace(details, table="\n".join(lines))

    def format_answer(self, item: LabelledText, output: TextPrediction) -> dict[str, Any]:
        best = output.ranked()[: self._top_k]
        label, probability = best[0]
        return {
            "question": item.as_given[0],
            "label": label if probability >= self.settings.unknown else UNKNOWN,
            "probability": probability,
            "answers": [{"label": name, "probability": value} for name, value in best],
        }
