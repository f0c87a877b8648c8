"""llmrouter-lib's kNN, MLP, SVM and MF routers on given embeddings; run by peers.py in that package's own environment.

    python peer_llmrouter.py FOLDER

Reads ``data.npz`` of FOLDER (train_x, train_y, test_x) and writes ``llmrouter NAME.npz`` (scores [N, M], figures). Their
routers and trainers are used as they are, from files in their formats, with the settings of their training configurations.
Their ``route_single`` loads the model anew and embeds by a Longformer from a model hub for every prompt; a decision here is
what it does between the two.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SETTINGS: dict[str, dict[str, Any]] = {
    "kNN": {"n_neighbors": 5, "metric": "cosine"},
    "MLP": {"hidden_layer_sizes": [128, 64], "activation": "relu", "lr": 0.001, "epochs": 100, "batch_size": 32, "alpha": 1e-4},
    "SVM": {"kernel": "rbf", "C": 1.0, "gamma": "scale", "probability": True},
    "MF": {"latent_dim": 128, "lr": 0.001, "epochs": 5, "noise_alpha": 0.0},
}


def write(folder: Path, data: dict[str, Any]) -> Path:
    """Write the training rows in the package's formats and return the folder."""
    import torch

    torch.save(torch.from_numpy(data["train_x"]), folder / "embeddings.pt")
    with (folder / "routing.jsonl").open("w") as file:
        for row, labels in enumerate(data["train_y"].tolist()):
            for model, label in enumerate(labels):
                if label == label:  # unknown ones are left out
                    line = {"query": f"{row:06d}", "embedding_id": row, "model_name": str(model), "performance": label}
                    file.write(json.dumps(line) + "\n")
    return folder


def scorer(name: str, router: Any, trainer: Any, models: int) -> Callable[[Any], Any]:
    """Return rows -> [N, M]: what the trained router orders the models by."""
    import torch

    if name in ("kNN", "SVM"):
        columns = [int(label) for label in trainer.model.classes_]
        predict = trainer.model.predict_proba
    else:
        columns = [int(router.idx_to_model[i]) for i in range(len(router.idx_to_model))]
        network = trainer.model.eval()

        @torch.no_grad()
        def predict(rows: Any) -> Any:
            x = torch.from_numpy(rows)
            if name == "MLP":
                return torch.softmax(network(x), dim=1).numpy()
            return torch.sigmoid(
                torch.stack([network.score_all(row) for row in network.project_text(x).reshape(len(x), -1)])
            ).numpy()

    def scores(rows: Any) -> Any:
        found = np.zeros((len(rows), models))
        found[:, columns] = predict(rows)
        return found

    return scores


def main() -> None:
    folder = Path(sys.argv[1])
    start = time.perf_counter()
    import yaml
    from llmrouter.models.knnrouter import KNNRouter, KNNRouterTrainer
    from llmrouter.models.mfrouter import MFRouter, MFRouterTrainer
    from llmrouter.models.mlprouter import MLPRouter, MLPTrainer
    from llmrouter.models.svmrouter import SVMRouter, SVMRouterTrainer

    imported = time.perf_counter() - start
    kinds = {
        "kNN": (KNNRouter, KNNRouterTrainer), "MLP": (MLPRouter, MLPTrainer),
        "SVM": (SVMRouter, SVMRouterTrainer), "MF": (MFRouter, MFRouterTrainer),
    }  # fmt: skip
    data = dict(np.load(folder / "data.npz"))
    write(folder, data)
    for name, (router_of, trainer_of) in kinds.items():
        hparam = SETTINGS[name] | ({"text_dim": data["train_x"].shape[1]} if name == "MF" else {})
        paths = {"routing_data_train": str(folder / "routing.jsonl"), "query_embedding_data": str(folder / "embeddings.pt")}
        models = {"ini_model_path": "", "save_model_path": str(folder / f"{name}.pkl"), "load_model_path": ""}
        (folder / "config.yaml").write_text(yaml.safe_dump({"data_path": paths, "model_path": models, "hparam": hparam}))
        start = time.perf_counter()
        router = router_of(str(folder / "config.yaml"))
        trainer = trainer_of(router)
        trainer.train()
        trained = time.perf_counter() - start
        scores = scorer(name, router, trainer, data["train_y"].shape[1])
        start = time.perf_counter()
        found = scores(data["test_x"])
        batch = time.perf_counter() - start
        single = []
        for row in data["test_x"][:200]:
            start = time.perf_counter()
            scores(row[None]).argmax()
            single.append(time.perf_counter() - start)
        np.savez(
            folder / f"llmrouter {name}.npz", scores=found, train_s=trained, import_s=imported,
            decision_ms=1000 * np.median(single), rows_per_s=len(found) / batch,
        )  # fmt: skip


if __name__ == "__main__":
    main()
