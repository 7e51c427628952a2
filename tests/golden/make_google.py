"""Makes the TensorFlow checkpoints in this folder, and what transformers computes from their weights.

Run from the project's root, in two steps, as TensorFlow need not stand beside transformers:

    PYTHONPATH=.:tests python tests/golden/make_google.py models STAGE         # with torch and transformers
    python tests/golden/make_google.py checkpoints STAGE                       # with tensorflow

The first step draws the weights, writes them under the names that the original programs gave them to ``STAGE``, and
writes each folder's config, vocabulary and ``reference.safetensors``: over a padded batch, in fp64,

    input_ids, attention_mask, token_type_ids   (B, S)
    last_hidden_state                           (T, C) at the T real tokens, in reading order
    pooler_output                               (B, C)
    mlm_logits                                  (T, V)   but for tf2_*, which are encoders alone
    pair_logits                                 (B, 2)   likewise

The second has TensorFlow write the checkpoints and read them back: ``*.json`` beside a checkpoint lists each variable
with its type, its shape and the sha256 of its bytes as TensorFlow's own reader gives them.

    google_bert              BERT as google-research/bert saves it, with the slots of its Adam; GELU in the erf form
    google_albert            ALBERT as google-research/albert saves it, with slots; GELU in the tanh form of its code
    google_albert_groups     the same with two groups of two inner layers over four layers, in two data files, no slots
    google_albert_brightmart ALBERT of brightmart/albert_zh: one "layer_shared", and a projection of the word embedding
                             alone, without bias; LAMB's slots; GELU in the tanh form of its code. The oracle is BERT
                             with the product of both embedding matrices for its own and one layer repeated.
    tf2_bert                 BERT of the TensorFlow model garden, the layout of 2020, with slots of Adam
    tf2_bert_encoder         the same weights in its later layout
    bundles                  one variable of each type; a checkpoint in three data files; a partitioned variable
"""

import hashlib
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GOLDEN = Path(__file__).parent
SEED = 21
LENGTHS = (7, 1, 11, 4)
VOCABULARY = [
    "[PAD]", *(f"[unused{i}]" for i in range(4)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *".,?",
    *"abcdefghijklmnopqrstuvwxyz", *(f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"),
    *"的一是在不了有和人这中大为上个国我以要他时来用们生到作地于出",
]  # fmt: skip
SIZES: dict[str, Any] = {
    "vocab_size": len(VOCABULARY),
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 16,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
}
ALBERT_SIZES = {**SIZES, "num_hidden_layers": 3, "embedding_size": 16}
# What the published configs say beside the sizes.
BERT_CONFIG = {"attention_probs_dropout_prob": 0.1, "hidden_act": "gelu", "hidden_dropout_prob": 0.1}
ALBERT_CONFIG = {
    "attention_probs_dropout_prob": 0, "hidden_act": "gelu", "hidden_dropout_prob": 0, "net_structure_type": 0,
    "gap_size": 0, "num_memory_blocks": 0, "inner_group_num": 1, "num_hidden_groups": 1, "down_scale_factor": 1,
}  # fmt: skip
BRIGHTMART_CONFIG = {
    "attention_probs_dropout_prob": 0.0, "directionality": "bidi", "hidden_act": "gelu", "hidden_dropout_prob": 0.0,
    "pooler_fc_size": 32, "pooler_num_attention_heads": 4, "pooler_num_fc_layers": 3, "pooler_size_per_head": 8,
    "pooler_type": "first_token_transform",
}  # fmt: skip

Arrays = dict[str, NDArray[Any]]


# ---- First step: weights, and what transformers computes from them


def make_models(stage: Path) -> None:
    import torch
    from conftest import scramble
    from transformers import AlbertConfig, AlbertForPreTraining, BertConfig, BertForPreTraining

    def write(folder: str, config_name: str, settings: dict[str, Any], variables: Arrays) -> None:
        (GOLDEN / folder).mkdir(exist_ok=True)
        text = json.dumps(settings, indent=2, sort_keys=True) + "\n"
        (GOLDEN / folder / config_name).write_text(text, encoding="utf-8")
        np.savez(stage / folder, **variables)

    def bert(**changes: Any) -> Any:
        config = BertConfig(**{**SIZES, **changes})
        model = BertForPreTraining._from_config(config, attn_implementation="eager").eval()
        scramble(model, SEED)
        return model

    stage.mkdir(parents=True, exist_ok=True)
    model = bert()
    variables = {tf1_bert_name(name): as_tf(name, value) for name, value in model.named_parameters()}
    write("google_bert", "bert_config.json", {**SIZES, **BERT_CONFIG}, with_slots(variables, "adam"))
    (GOLDEN / "google_bert" / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    write_reference("google_bert", model)

    for folder, changes in (
        ("google_albert", {}),
        ("google_albert_groups", {"num_hidden_layers": 4, "num_hidden_groups": 2, "inner_group_num": 2}),
    ):
        settings = {**ALBERT_SIZES, **ALBERT_CONFIG, **changes}
        config = AlbertConfig(**{**settings, "hidden_act": "gelu_new"})
        model = AlbertForPreTraining._from_config(config, attn_implementation="eager").eval()
        scramble(model, SEED)
        variables = {tf1_albert_name(name): as_tf(name, value) for name, value in model.named_parameters()}
        write(folder, "albert_config.json", settings, variables if changes else with_slots(variables, "adam"))
        write_reference(folder, model)

    model = bert(num_hidden_layers=3, hidden_act="gelu_new")
    generator = torch.Generator().manual_seed(SEED)
    narrow = 0.7 * torch.randn(SIZES["vocab_size"], 16, generator=generator)
    projection = 0.25 * torch.randn(16, SIZES["hidden_size"], generator=generator)
    variables = {
        tf1_bert_name(name).replace("layer_0", "layer_shared"): as_tf(name, value)
        for name, value in model.named_parameters()
        if "layer.1." not in name and "layer.2." not in name
    }
    variables["bert/embeddings/word_embeddings"] = narrow.numpy()
    variables["bert/embeddings/word_embeddings_2"] = projection.numpy()
    settings = {**ALBERT_SIZES, **BRIGHTMART_CONFIG}
    write("google_albert_brightmart", "albert_config_base.json", settings, with_slots(variables, "lamb"))
    model = model.double()
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight.copy_(narrow.double() @ projection.double())
    for layer in model.bert.encoder.layer[1:]:
        layer.load_state_dict(model.bert.encoder.layer[0].state_dict())
    write_reference("google_albert_brightmart", model)

    model = bert()
    for folder, later in (("tf2_bert", False), ("tf2_bert_encoder", True)):
        variables = {
            name: value
            for theirs, parameter in model.bert.named_parameters()
            for name, value in [tf2_variable(theirs, as_tf(theirs, parameter), later=later)]
        }
        write(folder, "bert_config.json", {**SIZES, **BERT_CONFIG}, variables)
        write_reference(folder, model, heads=False)


def as_tf(name: str, value: Any) -> NDArray[Any]:
    """TensorFlow's dense layers keep their kernel the other way round; embeddings and the pair head do not."""
    array = value.detach().numpy()
    plain = value.dim() == 1 or "embeddings." in name or "seq_relationship" in name or "sop_classifier" in name
    return array if plain else np.ascontiguousarray(array.T)


def tf1_bert_name(name: str) -> str:
    """google-research/bert, modeling.py and run_pretraining.py."""
    name = name.replace(".", "/").replace("encoder/layer/", "encoder/layer_")
    name = name.replace("LayerNorm/weight", "LayerNorm/gamma").replace("LayerNorm/bias", "LayerNorm/beta")
    name = name.replace("_embeddings/weight", "_embeddings").replace("predictions/bias", "predictions/output_bias")
    name = name.replace("seq_relationship/weight", "seq_relationship/output_weights")
    name = name.replace("seq_relationship/bias", "seq_relationship/output_bias")
    return re.sub("/weight$", "/kernel", name)


def tf1_albert_name(name: str) -> str:
    """google-research/albert, modeling.py and run_pretraining.py."""
    name = re.sub(r"^albert\.", "bert.", name).replace("pooler.", "pooler.dense.")
    name = re.sub(r"albert_layer_groups\.(\d+)\.albert_layers\.(\d+)\.", r"transformer.group_\1.inner_group_\2.", name)
    name = name.replace("attention.LayerNorm", "LayerNorm").replace("full_layer_layer_norm", "LayerNorm_1")
    name = re.sub(r"attention\.(query|key|value)", r"attention_1.self.\1", name)
    name = name.replace("attention.dense", "attention_1.output.dense")
    name = name.replace("ffn_output", "ffn_1.intermediate.output.dense").replace(".ffn.", ".ffn_1.intermediate.dense.")
    name = re.sub(r"^predictions\.(dense|LayerNorm)", r"cls.predictions.transform.\1", name)
    name = name.replace("sop_classifier.classifier", "cls.seq_relationship")
    name = re.sub(r"^predictions\.", "cls.predictions.", name)
    name = re.sub(r"LayerNorm_1\.weight$", "LayerNorm_1.gamma", name)
    return tf1_bert_name(re.sub(r"LayerNorm_1\.bias$", "LayerNorm_1.beta", name))


def tf2_variable(name: str, value: NDArray[Any], *, later: bool) -> tuple[str, NDArray[Any]]:
    """TensorFlow model garden, official/nlp: BertEncoder over Transformer (2020) or TransformerEncoderBlock (later).

    Attention's kernels have an axis for the heads.
    """
    heads, layers = SIZES["num_attention_heads"], SIZES["num_hidden_layers"]
    attention_output = "_attention_layer._output_dense" if later else "_attention_output_dense"
    if re.search(r"self\.\w+\.weight", name):
        value = value.reshape(value.shape[0], heads, -1)
    elif re.search(r"self\.\w+\.bias", name):
        value = value.reshape(heads, -1)
    elif "attention.output.dense.weight" in name:
        value = value.reshape(heads, -1, value.shape[1])
    number = {"word": 0, "position": 1, "token_type": 2, "LayerNorm": 3}
    name = re.sub(
        r"embeddings\.(\w+?)(?:_embeddings\.weight)?(\.\w+)?$",
        lambda match: f"layer_with_weights-{number[match[1]]}{match[2] or '.embeddings'}",
        name,
    )
    name = re.sub(r"encoder\.layer\.(\d+)", lambda match: f"layer_with_weights-{int(match[1]) + 4}", name)
    name = name.replace("pooler.dense", f"layer_with_weights-{layers + 4}")
    for theirs, ours in (
        ("attention.self.query", "_attention_layer._query_dense"),
        ("attention.self.key", "_attention_layer._key_dense"),
        ("attention.self.value", "_attention_layer._value_dense"),
        ("attention.output.dense", attention_output),
        ("attention.output.LayerNorm", "_attention_layer_norm"),
        ("intermediate.dense", "_intermediate_dense"),
        (".output.dense", "._output_dense"),
        (".output.LayerNorm", "._output_layer_norm"),
    ):
        name = name.replace(theirs, ours)
    is_norm = "norm" in name or "weights-3" in name
    name = name.replace(".weight", ".gamma" if is_norm else ".kernel")
    return (name.replace(".bias", ".beta") if is_norm else name), value


def with_slots(variables: Arrays, optimizer: str) -> Arrays:
    """The variables, and what the optimizer keeps of each."""
    random = np.random.default_rng(SEED)
    slots: Arrays = {"global_step": np.array(125000, np.int64)}
    for name, value in variables.items():
        slots[f"{name}/{optimizer}_m"] = random.standard_normal(value.shape).astype(np.float32)
        slots[f"{name}/{optimizer}_v"] = random.random(value.shape).astype(np.float32)
    return {**variables, **slots}


def write_reference(folder: str, model: Any, *, heads: bool = True) -> None:
    import torch
    import transformers
    from conftest import padded, ragged_ids, ragged_types
    from safetensors.torch import save_file

    batch = {
        "input_ids": padded(ragged_ids(LENGTHS, SIZES["vocab_size"], SEED), 0),
        "attention_mask": padded([[1] * length for length in LENGTHS], 0),
        "token_type_ids": padded(ragged_types(LENGTHS, SIZES["type_vocab_size"]), 0),
    }
    real = batch["attention_mask"].bool()
    with torch.no_grad():
        output = model.double().base_model(**batch)
        outputs = {"last_hidden_state": output.last_hidden_state[real], "pooler_output": output.pooler_output}
        if heads:
            logits = model(**batch)
            pair = logits.seq_relationship_logits if "seq_relationship_logits" in logits else logits.sop_logits
            outputs |= {"mlm_logits": logits.prediction_logits[real], "pair_logits": pair}
    model.float()
    made_with = f"torch {torch.__version__}, transformers {transformers.__version__}, seed {SEED}"
    save_file(
        {name: tensor.contiguous() for name, tensor in {**batch, **outputs}.items()},
        GOLDEN / folder / "reference.safetensors",
        metadata={"made_with": f"{made_with}, hidden_act {model.config.hidden_act}"},
    )


# ---- Second step: the checkpoints


def make_checkpoints(stage: Path) -> None:
    save_graph(GOLDEN / "google_bert" / "bert_model.ckpt", load(stage, "google_bert"))
    save_graph(GOLDEN / "google_albert" / "model.ckpt-best", load(stage, "google_albert"))
    save_graph(GOLDEN / "google_albert_groups" / "model.ckpt-best", load(stage, "google_albert_groups"), devices=2)
    save_graph(GOLDEN / "google_albert_brightmart" / "albert_model.ckpt", load(stage, "google_albert_brightmart"))
    save_objects(GOLDEN / "tf2_bert" / "bert_model.ckpt", load(stage, "tf2_bert"), "model", optimizer=True)
    save_objects(GOLDEN / "tf2_bert_encoder" / "bert_model.ckpt", load(stage, "tf2_bert_encoder"), "encoder")

    bundles = GOLDEN / "bundles"
    bundles.mkdir(exist_ok=True)
    random = np.random.default_rng(SEED)
    save_graph(bundles / "types", typed_arrays())
    save_graph(
        bundles / "shards",
        {f"part_{i}/kernel": random.standard_normal((5, i)).astype(np.float32) for i in range(8)},
        devices=3,
    )
    save_partitioned(bundles / "sliced")


def load(stage: Path, folder: str) -> Arrays:
    with np.load(stage / f"{folder}.npz") as file:
        return dict(file)


def typed_arrays() -> Arrays:
    import tensorflow as tf

    random = np.random.default_rng(SEED)
    arrays: Arrays = {
        name: (100 * random.standard_normal((3, 5))).astype(name)
        for name in ("float32", "float64", "float16", "int32", "int64", "int16", "int8", "bool", "complex64")
    }
    arrays["uint8"] = random.integers(0, 256, (3, 5)).astype(np.uint8)
    arrays["bfloat16"] = random.standard_normal((3, 5)).astype(tf.bfloat16.as_numpy_dtype)
    arrays["string"] = np.array([b"some", b"", b"text"], dtype=object)
    arrays["special"] = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1e-45], np.float32)
    arrays["scalar"] = np.array(3.5, np.float32)
    arrays["empty"] = np.zeros((0, 4), np.float32)
    return arrays


def save_graph(prefix: Path, variables: Arrays, *, devices: int = 1) -> None:
    """Writes variables as programs of TensorFlow 1 do, each device's to a data file of its own."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default():
        for number, (name, value) in enumerate(variables.items()):
            with tf.device(f"/cpu:{number % devices}"):
                tf.get_variable(name, initializer=tf.constant(value), use_resource=False)
        save_session(tf, prefix, devices)
    describe(prefix, variables)


def save_partitioned(prefix: Path) -> None:
    """Writes a variable of ten rows in three slices, and a whole one."""
    import tensorflow.compat.v1 as tf

    with tf.Graph().as_default():
        tf.get_variable("plain", initializer=tf.ones([6]), use_resource=False)
        partitioner = tf.fixed_size_partitioner(3)
        tf.get_variable(
            "table", [10, 4], initializer=tf.ones_initializer(), partitioner=partitioner, use_resource=False
        )
        save_session(tf, prefix, 1)
    describe(prefix, {"plain": np.ones(6, np.float32), "table": np.ones((10, 4), np.float32)})


def save_session(tf: Any, prefix: Path, devices: int) -> None:
    saver = tf.train.Saver(sharded=devices > 1)
    with tf.Session(config=tf.ConfigProto(device_count={"CPU": devices})) as session:
        session.run(tf.global_variables_initializer())
        saver.save(session, str(prefix), write_meta_graph=False, write_state=False)


def save_objects(prefix: Path, variables: Arrays, root: str, *, optimizer: bool = False) -> None:
    """Writes variables as attributes of objects, which is how programs of TensorFlow 2 save theirs."""
    import tensorflow as tf

    model = tf.Module()
    made = []
    for name, value in variables.items():
        *path, last = name.split(".")
        owner = model
        for step in path:
            if not hasattr(owner, step):
                setattr(owner, step, tf.Module())
            owner = getattr(owner, step)
        made.append(tf.Variable(value))
        setattr(owner, last, made[-1])
    objects = {root: model}
    if optimizer:
        adam = tf.compat.v1.train.AdamOptimizer(learning_rate=0.0)
        adam.apply_gradients((tf.ones_like(variable), variable) for variable in made)
        objects["optimizer"] = adam
    written = Path(tf.train.Checkpoint(**objects).save(str(prefix)))
    (prefix.parent / "checkpoint").unlink()
    ending = ".ATTRIBUTES/VARIABLE_VALUE"
    describe(written, {f"{root}/{name.replace('.', '/')}/{ending}": value for name, value in variables.items()})


def describe(prefix: Path, variables: Arrays) -> None:
    """Reads a checkpoint with TensorFlow, compares it with what was written, and lists it."""
    import tensorflow as tf

    reader = tf.train.load_checkpoint(str(prefix))
    types = reader.get_variable_to_dtype_map()
    listed = {}
    for name, shape in sorted(reader.get_variable_to_shape_map().items()):
        value = np.asarray(reader.get_tensor(name))
        digest = None if value.dtype == object else hashlib.sha256(value.tobytes()).hexdigest()
        if digest and name in variables:
            assert value.tobytes() == variables[name].tobytes(), name
        listed[name] = {"dtype": types[name].name, "shape": shape, "sha256": digest}
    assert variables.keys() <= listed.keys()
    lines = ",\n".join(f"    {json.dumps(name)}: {json.dumps(facts)}" for name, facts in listed.items())
    made_with = json.dumps(f"tensorflow {tf.__version__}, seed {SEED}")
    content = f'{{\n  "made_with": {made_with},\n  "variables": {{\n{lines}\n  }}\n}}\n'
    (prefix.parent / f"{prefix.name}.json").write_text(content, encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("models", "checkpoints"):
        sys.exit(__doc__)
    {"models": make_models, "checkpoints": make_checkpoints}[sys.argv[1]](Path(sys.argv[2]))
