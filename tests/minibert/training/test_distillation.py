"""The distance from a teacher, against the formula as others write it."""

import pytest
import torch
from torch import Tensor, nn

from minibert.training import class_distance, label_distance

TEMPERATURES = (0.5, 1.0, 2.0, 10.0)


def logits(*shape: int) -> tuple[Tensor, Tensor]:
    """Of a model, with gradients, and of its teacher."""
    generator = torch.Generator().manual_seed(3)
    own, teacher = (4 * torch.randn(shape, generator=generator, dtype=torch.float32) for _ in range(2))
    return own.requires_grad_(), teacher


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_the_distance_over_classes_and_its_gradient_are_those_of_the_usual_code(temperature: float) -> None:
    """``KLDivLoss`` of log-probabilities and probabilities times T², as in Hugging Face's examples of distillation; and
    the gradient of Hinton et al. 2015, equation 2, times T²: T (q - p)."""
    own, teacher = logits(7, 5)
    kl = nn.KLDivLoss(reduction="sum")((own / temperature).log_softmax(-1), (teacher / temperature).softmax(-1))
    found = class_distance(own, teacher, temperature)
    assert found.shape == (7,)
    torch.testing.assert_close(found.sum(), kl * temperature**2)
    (gradient,) = torch.autograd.grad(found.sum(), own)
    expected = temperature * ((own / temperature).softmax(-1) - (teacher / temperature).softmax(-1))
    torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_each_of_several_labels_is_a_choice_of_two_classes(temperature: float) -> None:
    own, teacher = logits(7, 5)
    as_classes = [torch.stack([each, torch.zeros_like(each)], -1).view(-1, 2) for each in (own, teacher)]
    expected = class_distance(*as_classes, temperature).view(7, 5).mean(-1)
    torch.testing.assert_close(label_distance(own, teacher, temperature), expected, atol=1e-5, rtol=1e-4)


def test_the_teacher_itself_is_at_no_distance() -> None:
    _, teacher = logits(4, 3)
    for distance in (class_distance, label_distance):
        torch.testing.assert_close(distance(teacher, teacher, 2.0), torch.zeros(4))


def test_half_precision_is_compared_in_single() -> None:
    own, teacher = logits(4, 3)
    found = class_distance(own.bfloat16(), teacher.bfloat16(), 2.0)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, class_distance(own.bfloat16().float(), teacher.bfloat16().float(), 2.0))
