"""RouteLLM's matrix factorisation on given embeddings, by its own training code; run by peers.py in its own environment.

    python peer_routellm.py FOLDER

Reads ``pair.npz`` (train_x, train_y [N, 2] strong and weak, test_x) and writes ``routellm MF.npz`` with P(strong wins) [N] of
the test rows. Settings are those of its training script, on the CPU; rows where the two do as well are no comparison and are
left out.
Its serving code asks OpenAI for the embedding of every prompt, so what is scored is the trained network.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np

STRONG, WEAK = "gpt-4-1106-preview", "mixtral-8x7b-instruct-v0.1"  # two of the names that its code knows


def main() -> None:
    folder = Path(sys.argv[1])
    os.environ.setdefault("OPENAI_API_KEY", "none: its module makes a client when it is imported, which is not used")
    import torch
    from routellm.routers.matrix_factorization import train_matrix_factorization as its

    data = dict(np.load(folder / "pair.npz"))
    torch.manual_seed(42)
    every = np.concatenate([data["train_x"], data["test_x"]])
    np.save(folder / "pair.npy", every)
    decided = np.flatnonzero(data["train_y"][:, 0] != data["train_y"][:, 1])
    decided = np.random.default_rng(42).permutation(decided[~np.isnan(data["train_y"][decided]).any(axis=1)])
    samples = [
        {"model_a": STRONG, "model_b": WEAK, "idx": int(i), "winner": "model_a" if strong > weak else "model_b"}
        for i, (strong, weak) in zip(decided, data["train_y"][decided], strict=True)
    ]
    cut = int(0.95 * len(samples))
    start = time.perf_counter()
    train = its.PairwiseDataset(samples[:cut]).get_dataloaders(batch_size=64, shuffle=True)
    test = its.PairwiseDataset(samples[cut:]).get_dataloaders(1024, shuffle=False)
    network = its.MFModel_Train(
        dim=128, num_models=len(its.MODEL_IDS), num_prompts=len(every), text_dim=every.shape[1], npy_path=folder / "pair.npy"
    )
    its.train_loops(network, train, test, lr=3e-4, weight_decay=1e-5, alpha=0.1, num_epochs=100, device="cpu")
    trained = time.perf_counter() - start
    names = (torch.full((len(data["test_x"]),), its.MODEL_IDS[name]) for name in (STRONG, WEAK))
    with torch.no_grad():
        numbers = torch.arange(len(data["train_x"]), len(every))
        wins = torch.sigmoid(network(*names, numbers, test=True)).numpy()
    np.savez(folder / "routellm MF.npz", wins=wins, train_s=trained)


if __name__ == "__main__":
    main()
