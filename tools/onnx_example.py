"""Answers texts by ``padded.onnx`` of an exported classification run, without PyTorch and minibert.

python tools/onnx_example.py FOLDER "a text" "another"
"""

import json
import sys

import numpy as np
import onnxruntime
from tokenizers import Tokenizer

folder, *texts = sys.argv[1:]
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
tokenizer.enable_padding()
rows = tokenizer.encode_batch(texts)
inputs = {"input_ids": [row.ids for row in rows], "attention_mask": [row.attention_mask for row in rows]}
session = onnxruntime.InferenceSession(f"{folder}/padded.onnx")
if len(session.get_inputs()) == 3:
    inputs["token_type_ids"] = [row.type_ids for row in rows]
(logits,) = session.run(None, {name: np.array(values, dtype=np.int64) for name, values in inputs.items()})
powers = np.exp(logits - logits.max(axis=1, keepdims=True))
with open(f"{folder}/config.json", encoding="utf-8") as file:
    labels = json.load(file)["id2label"]
for text, row in zip(texts, powers / powers.sum(axis=1, keepdims=True), strict=True):
    print(json.dumps({"text": text, "label": labels[str(row.argmax())], "probability": float(row.max())}))
