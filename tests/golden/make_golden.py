"""Makes the reference files in this folder from Hugging Face's own models.

Run from the project's root, with transformers installed:

    PYTHONPATH=.:tests python tests/golden/make_golden.py

Each folder holds a tiny checkpoint as transformers saves it and ``reference.safetensors``, computed by transformers in
fp64 (eager attention, evaluation mode) over a padded batch:

    input_ids, attention_mask, token_type_ids   (B, S)
    hidden_states                               (1 + layers, T, C) at the T real tokens, in reading order
    pooler_output                               (B, C)
    cotangent.last_hidden_state, cotangent.pooler_output
    gradient.NAME                               of sum(cotangent * output) with respect to every parameter
"""

from pathlib import Path
from typing import Any

import torch
import transformers
from conftest import padded, ragged_ids, ragged_types, scramble
from safetensors.torch import save_file
from transformers import AlbertConfig, AutoModel, BertConfig, PreTrainedConfig, RobertaConfig

SEED = 20
LENGTHS = (7, 1, 11, 4)

SIZES: dict[str, Any] = {
    "vocab_size": 80,
    "hidden_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "intermediate_size": 32,
    "max_position_embeddings": 16,
}
CONFIGS: dict[str, PreTrainedConfig] = {
    "bert_gelu": BertConfig(**SIZES, hidden_act="gelu"),
    "bert_relu": BertConfig(**{**SIZES, "num_hidden_layers": 2}, hidden_act="relu", layer_norm_eps=1e-3),
    # Five layers over three groups (0 0 1 1 2), two layers in each.
    "albert": AlbertConfig(
        **{**SIZES, "num_hidden_layers": 5, "intermediate_size": 24}, embedding_size=16, num_hidden_groups=3,
        inner_group_num=2, hidden_act="gelu_new",
    ),
    "roberta": RobertaConfig(
        **{**SIZES, "max_position_embeddings": max(LENGTHS) + 2}, pad_token_id=1, type_vocab_size=1,
        layer_norm_eps=1e-5,
    ),
}  # fmt: skip


def make(folder: Path, config: PreTrainedConfig) -> None:
    model = AutoModel.from_config(config, attn_implementation="eager").eval()
    scramble(model, SEED)
    model.save_pretrained(folder)

    model = model.double()
    input_ids = padded(ragged_ids(LENGTHS, config.vocab_size, SEED), config.pad_token_id)
    token_type_ids = padded(ragged_types(LENGTHS, config.type_vocab_size), 0)
    attention_mask = padded([[1] * length for length in LENGTHS], 0)
    real = attention_mask.bool()
    output = model(
        input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids, output_hidden_states=True
    )
    generator = torch.Generator().manual_seed(SEED)
    outputs = {"last_hidden_state": output.last_hidden_state[real], "pooler_output": output.pooler_output}
    cotangents = {
        name: torch.randn(value.shape, generator=generator, dtype=torch.float64) for name, value in outputs.items()
    }
    torch.autograd.backward(list(outputs.values()), list(cotangents.values()))
    reference = {
        "input_ids": input_ids,
        "attention_mask": attention_mask,
        "token_type_ids": token_type_ids,
        "hidden_states": torch.stack([states[real] for states in output.hidden_states]),
        "pooler_output": output.pooler_output,
        **{f"cotangent.{name}": cotangent for name, cotangent in cotangents.items()},
        **{f"gradient.{name}": parameter.grad for name, parameter in model.named_parameters()},
    }
    # One entry: safetensors writes several in an order that changes from run to run.
    made_with = f"torch {torch.__version__}, transformers {transformers.__version__}, seed {SEED}"
    save_file(
        {name: tensor.detach().contiguous() for name, tensor in reference.items()},
        folder / "reference.safetensors",
        metadata={"made_with": made_with},
    )


if __name__ == "__main__":
    for name, config in CONFIGS.items():
        make(Path(__file__).parent / name, config)
