"""A tiny sentence-transformers model with random weights, made from a configuration."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any


def write_model(folder: Path, seed: int = 0) -> Path:
    """Write a BERT of 16 values and one layer over the letters of a byte tokenizer, with mean pooling."""
    import sentence_transformers
    import torch
    import transformers

    tokenizer = write_tokenizer(folder)
    torch.manual_seed(seed)
    config: Any = transformers.BertConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=32,
        max_position_embeddings=64,
    )  # fmt: skip
    transformers.BertModel(config).save_pretrained(folder / "bert")
    tokenizer.save_pretrained(folder / "bert")
    modules = importlib.import_module("sentence_transformers.models")
    words = modules.Transformer(str(folder / "bert"), max_seq_length=64)
    pooling = modules.Pooling(16, "mean")
    sentence_transformers.SentenceTransformer(modules=[words, pooling]).save(str(folder / "model"))
    return folder / "model"


def write_tokenizer(folder: Path) -> Any:
    """Return a tokenizer of transformers whose tokens are bytes."""
    import transformers

    from tests.onnx_folder import write_onnx

    write_onnx(folder / "source")
    return transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "source" / "tokenizer.json"),
        pad_token="[PAD]", cls_token="[CLS]", sep_token="[SEP]", model_max_length=64,
    )  # fmt: skip
