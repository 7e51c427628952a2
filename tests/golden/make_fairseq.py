"""Makes the fairseq checkpoints in this folder, with reference values by Hugging Face's RoBERTa.

Run from the project's root, with transformers installed (fairseq is not needed):

    PYTHONPATH=.:tests python tests/golden/make_fairseq.py

``fairseq_args`` is laid out as fairseq 0.9 leaves a pre-trained model: settings in a Namespace, ``decoder.`` names,
query, key and value apart. ``fairseq_cfg`` as fairseq 1.0 leaves a fine-tuned one: settings in dictionaries,
``encoder.`` names, a classification head; and, from older layers, query, key and value in one tensor. Each folder also
holds a small vocabulary and ``reference.safetensors``, computed by transformers in fp64 over a padded batch:

    input_ids, attention_mask                  (B, S)
    words                                      (T, V) logits of the language head at the T real tokens
    classes                                    (B, N) logits of the classification head (in fairseq_cfg's model)
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
import transformers
from conftest import padded, ragged_ids, scramble
from safetensors.torch import save_file
from torch import Tensor
from transformers import RobertaConfig, RobertaForMaskedLM, RobertaForSequenceClassification

SEED = 31
LENGTHS = (9, 1, 14, 5)
NUM_CLASSES = 3
HEAD = "news"

# Eight letters and a space as GPT-2 writes it, then the merges.
LETTERS = ["a", "b", "c", "d", "e", "n", "r", "t", "Ġ"]
MERGES = [
    "Ġ t", "r e", "a n", "Ġ a", "e n", "Ġt e", "an d", "Ġ b", "re d", "Ġb e", "c e", "en t", "Ġa n", "e r", "Ġ c",
    "Ġc a", "t e", "Ġca n",
]  # fmt: skip


def vocabulary() -> tuple[dict[str, int], list[str], list[int]]:
    """GPT-2's side: the tokens' ids and the merges; and fairseq's: the ids in an order of its own."""
    # GPT-2 numbers the bytes as they stand in bytes_to_unicode: the printable ones first, the space among the last.
    tokens = [*LETTERS, *(merge.replace(" ", "") for merge in MERGES), "<|endoftext|>"]
    encoder = {token: index for index, token in enumerate(tokens)}
    order = torch.randperm(len(tokens), generator=torch.Generator().manual_seed(SEED)).tolist()
    return encoder, MERGES, order


def write_vocabulary(folder: Path, num_filled: int) -> int:
    """Writes the three files; returns the number of rows, special tokens included."""
    encoder, merges, order = vocabulary()
    filled = [f"madeupword{index:04d} 0" for index in range(num_filled)]
    lines = [f"{index} {1000 - place}" for place, index in enumerate(order)] + filled
    (folder / "dict.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "encoder.json").write_text(json.dumps(encoder), encoding="utf-8")
    (folder / "vocab.bpe").write_text("\n".join(["#version: 0.2", *merges]) + "\n", encoding="utf-8")
    return 4 + len(lines) + 1


# What each of Hugging Face's modules is called by fairseq; written down here apart from the library's own table.
def fairseq_names(state: dict[str, Tensor], *, prefix: str, first_norm: str, fused: bool) -> dict[str, Tensor]:
    body = f"{prefix}.sentence_encoder"
    named = {}
    for name, tensor in state.items():
        parts = name.split(".")
        kind = parts[-1]
        if name.startswith("roberta.encoder.layer."):
            layer = f"{body}.layers.{parts[3]}"
            inner = ".".join(parts[4:-1])
            theirs = {
                "attention.self.query": "self_attn.q_proj",
                "attention.self.key": "self_attn.k_proj",
                "attention.self.value": "self_attn.v_proj",
                "attention.output.dense": "self_attn.out_proj",
                "attention.output.LayerNorm": "self_attn_layer_norm",
                "intermediate.dense": "fc1",
                "output.dense": "fc2",
                "output.LayerNorm": "final_layer_norm",
            }[inner]
            named[f"{layer}.{theirs}.{kind}"] = tensor
        elif name.startswith("roberta.embeddings."):
            table = {"word_embeddings": "embed_tokens", "position_embeddings": "embed_positions"}
            table["LayerNorm"] = first_norm
            if parts[2] in table:
                named[f"{body}.{table[parts[2]]}.{kind}"] = tensor
        elif name.startswith("lm_head.") and "decoder" not in name:
            named[f"{prefix}.{name}"] = tensor
        elif name.startswith("classifier."):
            named[f"classification_heads.{HEAD}.{'.'.join(parts[1:])}"] = tensor
    named[f"{prefix}.lm_head.weight"] = named[f"{body}.embed_tokens.weight"]
    if fused:
        for layer in sorted({name.split(".self_attn.")[0] for name in named if ".q_proj." in name}):
            for kind in ("weight", "bias"):
                apart = [named.pop(f"{layer}.self_attn.{letter}_proj.{kind}") for letter in "qkv"]
                named[f"{layer}.self_attn.in_proj_{kind}"] = torch.cat(apart)
    return named


def make(folder: Path, **sizes: Any) -> tuple[dict[str, Tensor], RobertaConfig]:
    """Two of Hugging Face's models with one encoder, their logits, and all of their weights."""
    folder.mkdir(exist_ok=True)
    config = RobertaConfig(
        vocab_size=write_vocabulary(folder, num_filled=70),
        num_hidden_layers=2, intermediate_size=48, max_position_embeddings=18, type_vocab_size=1, pad_token_id=1,
        layer_norm_eps=1e-5, num_labels=NUM_CLASSES, attn_implementation="eager", **sizes,
    )  # fmt: skip
    words = RobertaForMaskedLM(config).eval()
    classes = RobertaForSequenceClassification(config).eval()
    for seed, model in ((SEED, classes), (SEED + 1, words)):
        scramble(model, seed)
        with torch.no_grad():
            model.roberta.embeddings.token_type_embeddings.weight.zero_()  # fairseq has none
    classes.roberta.load_state_dict(words.roberta.state_dict())
    state = {name: tensor.clone() for name, tensor in {**classes.state_dict(), **words.state_dict()}.items()}

    input_ids = padded(ragged_ids(LENGTHS, config.vocab_size, SEED), 1)
    attention_mask = padded([[1] * length for length in LENGTHS], 0)
    with torch.no_grad():
        reference = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "words": words.double()(input_ids, attention_mask).logits[attention_mask.bool()],
            "classes": classes.double()(input_ids, attention_mask).logits,
        }
    made_with = f"torch {torch.__version__}, transformers {transformers.__version__}, seed {SEED}"
    save_file(
        {name: tensor.contiguous() for name, tensor in reference.items()},
        folder / "reference.safetensors",
        metadata={"made_with": made_with},
    )
    return state, config


def training_state(tensors: dict[str, Tensor]) -> dict[str, Any]:
    """What a run of fairseq leaves in the file beside the model."""
    first = next(iter(tensors.values()))
    return {
        "optimizer_history": [
            {
                "criterion_name": "MaskedLmLoss",
                "optimizer_name": "FairseqAdam",
                "lr_scheduler_state": {"best": 2.25},
                "num_updates": 500,
            }
        ],
        "extra_state": {"train_iterator": {"epoch": 3, "iterations_in_epoch": 0, "shuffle": True}, "val_loss": 2.5},
        "last_optimizer_state": {"state": {0: {"step": 500, "exp_avg": torch.zeros_like(first)}}, "param_groups": []},
    }


def settings(config: RobertaConfig) -> dict[str, Any]:
    return {
        "encoder_layers": config.num_hidden_layers,
        "encoder_embed_dim": config.hidden_size,
        "encoder_ffn_embed_dim": config.intermediate_size,
        "encoder_attention_heads": config.num_attention_heads,
        "activation_fn": "gelu",
        "pooler_activation_fn": "tanh",
        "dropout": 0.1,
        "attention_dropout": 0.05,
        "pooler_dropout": 0.2,
        "max_positions": config.max_position_embeddings - 2,
        "encoder_layers_to_keep": None,
    }


def main() -> None:
    here = Path(__file__).parent
    state, config = make(here / "fairseq_args", hidden_size=32, num_attention_heads=4)
    tensors = fairseq_names(
        {name: tensor for name, tensor in state.items() if not name.startswith("classifier.")},
        prefix="decoder", first_norm="emb_layer_norm", fused=False,
    )  # fmt: skip
    args = argparse.Namespace(arch="roberta_base", task="masked_lm", lr=[0.0005], **settings(config))
    torch.save({"args": args, "model": tensors, **training_state(tensors)}, here / "fairseq_args" / "model.pt")

    state, config = make(here / "fairseq_cfg", hidden_size=32, num_attention_heads=2)
    tensors = fairseq_names(state, prefix="encoder", first_norm="layernorm_embedding", fused=True)
    tensors["encoder.sentence_encoder.version"] = torch.tensor([3.0])
    cfg = {
        "_name": None,
        "common": {"seed": 1, "fp16": False},
        "task": {"_name": "sentence_prediction", "num_classes": NUM_CLASSES},
        "model": {"_name": "roberta_base", **settings(config)},
    }
    content = {"args": None, "cfg": cfg, "model": tensors, **training_state(tensors)}
    torch.save(content, here / "fairseq_cfg" / "model.pt")


if __name__ == "__main__":
    main()
