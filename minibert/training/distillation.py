"""Distillation: the distance of a model's predictions from those of its teacher (Hinton et al. 2015, section 2), and
that of its states (Sanh et al. 2019, section 2)."""

import torch.nn.functional as F
from torch import Tensor


def class_distance(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² KL(teacher || model)`` of the two distributions over classes, both softened by the temperature T: ``(N,)``,
    in fp32. The factor keeps the size of the gradient, whatever T is.

    Args:
        logits, teacher: ``(N, K)``.
        temperature: divides both.
    """
    own, soft = ((each.float() / temperature).log_softmax(-1) for each in (logits, teacher))
    return temperature**2 * F.kl_div(own, soft, reduction="none", log_target=True).sum(-1)


def label_distance(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """The same for K labels that are choices of their own, averaged over them, as their loss is."""
    own, soft = logits.float() / temperature, teacher.float() / temperature
    probabilities = soft.sigmoid()
    having = probabilities * (F.logsigmoid(soft) - F.logsigmoid(own))
    lacking = (1 - probabilities) * (F.logsigmoid(-soft) - F.logsigmoid(-own))
    return temperature**2 * (having + lacking).mean(-1)


def state_distance(states: Tensor, teacher: Tensor) -> Tensor:
    """1 less the cosine between states: ``(N,)``, in fp32.

    Args:
        states, teacher: ``(N, C)``.
    """
    return 1 - F.cosine_similarity(states.float(), teacher.float(), dim=-1)
