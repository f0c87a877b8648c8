"""Side by side with other routers: same machine, embeddings, splits and run; each peer in an environment of its own.

    python benchmarks/peers/peers.py [--sets combined5 llmrouter14] [--seeds 20 21 22] [--prompts-only]
                                     [--environments DIR] [--json FILE]

Environments are made once, from the package registry (torch's CPU build first); a peer that does not install in ``--patience``
seconds a step is reported, and tried again without its dependencies but for those that its routers import. Then, on each set:

- *Quality*: the default router; the original recipe, written plainly below (a sigmoid MLP, one weight an output, the highest P
  at or above a threshold of 0.5, else the highest); llmrouter-lib's kNN, MLP, SVM and MF. Measures as in ``quality.py``; AUC
  and AIQ of routers that only rank models take their scores for probabilities. Decision: one given embedding to a model.
- *Two models*: the best on the training rows and the cheapest; RouteLLM's matrix factorisation by its own code. APGR, CPT.
- *Prompt to route*: semantic-router and tryaii beside ModelRouter, all on the same MiniLM file, with time to the first route.

Every router works on one thread; what encodes a prompt by itself takes the threads that it takes by itself.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from peer_environments import PEERS, Figures, ask, environment
from peers_text import KINDS, from_prompts
from quality import default_router, foreseen, measured
from recorded import DATA, ROOT, SETS, DataSet
from route import default_artifact
from tabulate import tabulate
from threadpoolctl import threadpool_limits
from torch import nn

from auto_router.assess.metrics import recover_gap
from auto_router.data.label_stats import best_single_model
from auto_router.data.records import load_records
from auto_router.data.splits import split_by_group
from auto_router.decide.rule import choose
from auto_router.encode.local import cache_folder
from auto_router.errors import run
from auto_router.files import write_json

sys.path.insert(0, str(ROOT))


def original(x: Any, y: Any, seed: int) -> Any:
    """The original recipe, as one would write it: returns rows -> P(correct) [N, M]."""
    torch.manual_seed(seed)
    known = ~np.isnan(y)
    x, labels, known = torch.from_numpy(x), torch.from_numpy(np.where(known, y, 0)).float(), torch.from_numpy(known).float()
    right = (labels * known).sum(0) / known.sum(0)
    weights = (0.5 / right.clamp(0.05, 0.95)).clamp(0.5, 10)
    layers: list[nn.Module] = []
    for before, after in ((x.shape[1], 512), (512, 256), (256, 128)):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU(), nn.Dropout(0.3)]
    network = nn.Sequential(*layers, nn.Linear(128, y.shape[1]), nn.Sigmoid())
    order, cut = torch.randperm(len(x)), int(0.85 * len(x))
    train, held_out = order[:cut], order[cut:]
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)

    def loss(rows: Any) -> Any:
        each = nn.functional.binary_cross_entropy(network(x[rows]), labels[rows], reduction="none")
        return (each * weights * known[rows]).sum() / known[rows].sum()

    best, state, waited = float("inf"), network.state_dict(), 0
    for _ in range(50):
        network.train()
        for rows in torch.split(train[torch.randperm(cut)], 64)[:-1]:
            optimizer.zero_grad()
            loss(rows).backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            now = float(loss(held_out))
        best, state, waited = (now, deepcopy(network.state_dict()), 0) if now < best else (best, state, waited + 1)
        if waited == 10:
            break
    network.load_state_dict(state)
    return lambda rows: network.eval()(torch.from_numpy(rows)).detach().numpy()


def timed(predict: Any, decide: Any, rows: Any) -> Figures:
    """Return milliseconds of one decision and decisions a second in a batch."""
    start = time.perf_counter()
    decide(predict(rows))
    batch, single = time.perf_counter() - start, []
    for row in rows[:200]:
        start = time.perf_counter()
        decide(predict(row[None]))
        single.append(time.perf_counter() - start)
    return {"decision ms": 1000 * float(np.median(single)), "rows/s": len(rows) / batch}


def quality(data: DataSet, seed: int, peers: dict[str, Figures], environments: Path, folder: Path) -> dict[str, Figures]:
    """Return every router's figures on one split."""
    train, test = split_by_group(data.groups, 0.2, seed)
    best, y, plain = best_single_model(data.y[train]), data.y[test], data.plain.astype(np.float32)
    costs, expected = None if data.costs is None else data.costs[test], foreseen(data, train, test)
    found: dict[str, Figures] = {}

    def add(name: str, p: Any, chosen: Any, figures: Figures) -> None:
        found[name] = measured(p, chosen, y, best, data.names, costs, expected) | figures

    start = time.perf_counter()
    router = default_router(data, train, data.y[train], seed)
    predict, points = router.predict, router.points
    fit_s = time.perf_counter() - start
    penalties = points["accuracy"].penalties(data.names)
    p = predict(data.rows[test])
    figures = timed(predict, lambda p: choose(p, penalties=penalties), data.rows[test])
    add("default router", p, choose(p, penalties=penalties).chosen, {"train s": fit_s} | figures)
    start = time.perf_counter()
    reference = original(plain[train], data.y[train], seed)
    fit_s = time.perf_counter() - start
    p = reference(plain[test])
    figures = timed(reference, lambda p: np.where((p >= 0.5).any(1, keepdims=True) & (p < 0.5), -1, p).argmax(1), plain[test])
    add("original recipe", p, p.argmax(axis=1), {"train s": fit_s} | figures)
    np.savez(folder / "data.npz", train_x=plain[train], train_y=data.y[train].astype(np.float32), test_x=plain[test])
    for path in folder.glob("llmrouter *.npz"):
        path.unlink()
    ask(peers, environments, "llmrouter-lib", "peer_llmrouter.py", str(folder))
    for path in sorted(folder.glob("llmrouter *.npz")):  # those that were done, where one of them fails
        its = dict(np.load(path))
        names = {"train_s": "train s", "decision_ms": "decision ms", "rows_per_s": "rows/s"}
        add(path.stem, its["scores"], its["scores"].argmax(axis=1), {to: float(its[of]) for of, to in names.items()})
    return found


def pair(data: DataSet, seed: int, peers: dict[str, Figures], environments: Path, folder: Path) -> dict[str, Figures]:
    """Return APGR and CPT of the default router and of RouteLLM's matrix factorisation on two of the models."""
    train, test = split_by_group(data.groups, 0.2, seed)
    strong = best_single_model(data.y[train])
    means = np.nanmean(data.y[train], axis=0) if data.costs is None else np.nanmean(data.costs[train], axis=0)
    weak = int(np.argmin(np.where(np.arange(len(means)) == strong, np.inf, means)))
    columns = [strong, weak]
    two = replace(data, names=[data.names[j] for j in columns], y=data.y[:, columns], costs=None)
    known = ~np.isnan(two.y[train]).any(axis=1)
    train = train[known]
    start = time.perf_counter()
    p = default_router(two, train, two.y[train], seed).predict(two.rows[test])
    advantages = {"default router": (p[:, 0] - p[:, 1], time.perf_counter() - start)}
    plain = two.plain.astype(np.float32)
    np.savez(folder / "pair.npz", train_x=plain[train], train_y=two.y[train], test_x=plain[test])
    if ask(peers, environments, "routellm", "peer_routellm.py", str(folder)):
        its = dict(np.load(folder / "routellm MF.npz"))
        advantages["RouteLLM MF"] = its["wins"], float(its["train_s"])
    found = {}
    for name, (advantage, seconds) in advantages.items():
        gaps = recover_gap(advantage, two.y[test][:, 0], two.y[test][:, 1])
        if gaps is not None:
            found[name] = {"APGR": gaps.apgr, "CPT(50 %)": gaps.cpt(0.5), "CPT(80 %)": gaps.cpt(0.8), "train s": seconds}
    return found


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="Compare this router with others, each in its own environment.")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--sets", nargs="+", choices=SETS, default=("combined5", "llmrouter14"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[20, 21, 22])
    parser.add_argument("--environments", type=Path, default=cache_folder() / "peers")
    parser.add_argument("--patience", type=float, default=300.0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--prompts-only", action="store_true", help="only the last table, from a prompt to a route")
    arguments = parser.parse_args(argv)
    folder = arguments.environments / "work"
    folder.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    threadpool_limits(1)
    names = KINDS if arguments.prompts_only else tuple(PEERS)
    peers = {name: environment(name, arguments.environments, arguments.patience) for name in names}
    every: dict[str, Any] = {}
    for title, measure in (("quality", quality), ("two models", pair)):
        for name in () if arguments.prompts_only else arguments.sets:
            data = DataSet.load(arguments.data / name)
            runs = [measure(data, seed, peers, arguments.environments, folder) for seed in arguments.seeds]
            whole = [who for who in runs[0] if all(who in r for r in runs)]
            means = {who: {key: float(np.mean([r[who][key] for r in runs])) for key in runs[0][who]} for who in whole}
            every[f"{title}, {name}"] = means
            keys = [key for key in next(iter(means.values())) if key not in ("ece", "best single", "oracle")]
            print(f"\n{title}, {name}, mean of {len(runs)} splits")
            print(
                tabulate([[who, *(m.get(key) for key in keys)] for who, m in means.items()], ["", *keys], floatfmt=".3f"),
                flush=True,
            )
    records = load_records(arguments.data / "combined5" / "data.json.gz")
    every["prompt to route"] = from_prompts(
        peers, arguments.environments, folder, records, default_artifact(arguments.data / "combined5")
    )
    every["environments"] = peers
    headers = ["version", "install s", "MB", "import s", "error", "note"]
    rows = [[name, *(figures.get(key, "") for key in headers)] for name, figures in peers.items()]
    print("\n" + tabulate(rows, ["", *headers], floatfmt=".2f"))
    if arguments.json:
        write_json(arguments.json, every)


if __name__ == "__main__":
    sys.exit(run(main))
