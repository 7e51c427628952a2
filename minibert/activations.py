"""The functions behind ``hidden_act``; the config knows their names, and so needs no torch."""

from collections.abc import Callable
from functools import partial

import torch.nn.functional as F
from torch import Tensor

ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "gelu": F.gelu,  # erf form: Hugging Face's BERT and RoBERTa
    "gelu_new": partial(F.gelu, approximate="tanh"),  # tanh form: Google's ALBERT
    "gelu_pytorch_tanh": partial(F.gelu, approximate="tanh"),
    "relu": F.relu,
    "silu": F.silu,
    "tanh": F.tanh,
}
