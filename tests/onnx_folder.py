"""A tiny text model as a folder with ``model.onnx`` and ``tokenizer.json``, whose states can be computed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, pre_tokenizers, processors

BYTES = pre_tokenizers.ByteLevel.alphabet()


def write_onnx(
    folder: Path, seed: int = 0, dim: int = 24, inputs: tuple[str, ...] = ("input_ids", "attention_mask"), pooled: bool = False
) -> Path:
    """Write a model whose state of a token is a row of a table, drawn by ``seed``; each byte of a text is a token.

    ``pooled``: it has a second output, ``sentence_embedding``, which is its first state doubled.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {"[PAD]": 0, "[CLS]": 1, "[SEP]": 2} | {letter: i + 3 for i, letter in enumerate(sorted(BYTES))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair=None, special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.save(str(folder / "tokenizer.json"))
    table = np.random.default_rng(seed).normal(size=(len(vocabulary), dim)).astype(np.float32)
    nodes = [helper.make_node("Gather", ["table", "input_ids"], ["states"])]
    outputs = [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["n", "t", dim])]
    constants: list[Any] = [numpy_helper.from_array(table, "table")]
    if pooled:
        constants += [
            numpy_helper.from_array(np.array(0), "first"),
            numpy_helper.from_array(np.array(2.0, dtype=np.float32), "two"),
        ]
        nodes += [
            helper.make_node("Gather", ["states", "first"], ["one"], axis=1),
            helper.make_node("Mul", ["one", "two"], ["sentence_embedding"]),
        ]
        outputs.append(helper.make_tensor_value_info("sentence_embedding", TensorProto.FLOAT, ["n", dim]))
    given = [helper.make_tensor_value_info(name, TensorProto.INT64, ["n", "t"]) for name in inputs]
    graph = helper.make_graph(nodes, "tiny", given, outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), folder / "model.onnx")
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 64, "pad_token_id": 0}))
    return folder


def states_of(folder: Path, text: str) -> Any:
    """Return the states ``[T, D]`` of a text's tokens."""
    model = onnx.load(folder / "model.onnx")
    table = next(numpy_helper.to_array(one) for one in model.graph.initializer if one.name == "table")
    return table[Tokenizer.from_file(str(folder / "tokenizer.json")).encode(text).ids]
