"""A tiny causal language model of transformers with random weights, made from a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.sentence_model import write_tokenizer


def write_causal_model(folder: Path, seed: int = 0) -> Path:
    """Write a Llama of 16 values and three layers over the letters of a byte tokenizer; return its folder."""
    import torch
    import transformers

    tokenizer = write_tokenizer(folder)
    torch.manual_seed(seed)
    config: Any = transformers.LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=3, num_attention_heads=2, num_key_value_heads=2,
        intermediate_size=32, max_position_embeddings=128,
    )  # fmt: skip
    transformers.LlamaModel(config).save_pretrained(folder / "model")
    tokenizer.save_pretrained(folder / "model")
    return folder / "model"
