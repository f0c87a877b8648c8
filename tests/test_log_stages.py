"""A log of each form goes through all stages by the commands of docs/logs.md, as printed; what is secret in it gets nowhere.

    AUTO_ROUTER_LOG_ROWS=2000 python -m pytest tests/test_log_stages.py

runs the same on logs of 2,000 conversations.
"""

from __future__ import annotations

import gzip
import importlib
import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

import model_router
from auto_router import cli
from auto_router.collect.question import Question
from tests.log_rows import EMAIL, KEY, MAKERS
from tests.stage1 import ChatServer, Reply, completion, read_evaluations, write_pool

ROWS = int(os.environ.get("AUTO_ROUTER_LOG_ROWS", "60"))
FORMS = {"LiteLLM": "litellm", "Langfuse": "langfuse", "Phoenix": "phoenix", "OpenTelemetry": "otel", "OpenAI": "stored"}
ROOT = Path(__file__).parent.parent
MAINS = ("auto_router.collect.importer", "prepare_hf_data", "generate_embeddings", "nn_router")
CHEAPEST = ["--threshold=small=0.5", "--threshold=gpt-5=0.5", "--cost=small=1", "--cost=gpt-5=10"]
TOPICS = ("Add two small numbers.", "Write a poem on the sea.", "Translate a proverb into Welsh.")
PRICES = {"input_usd_per_mtok": 1.0, "output_usd_per_mtok": 4.0}


def write_log(path: Path, form: str, rows: int = ROWS) -> Path:
    """A log of ``rows`` conversations of one request each; every tenth holds a key and an address, in prompt and answer."""
    lines = []
    for i in range(rows):
        secret = f" My key is {KEY}, write to {EMAIL}." if i % 10 == 0 else ""
        line = json.dumps(MAKERS[FORMS[form]](2 * i, TOPICS[i % 3] + secret))
        lines.append(line.replace(f"Answer {2 * i}", f"Answer {2 * i}{secret}"))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def answer(body: dict[str, Any]) -> Reply:
    """The small model can add, and no more."""
    return completion("right" if TOPICS[0] in body["messages"][-1]["content"] else "wrong")


def score(question: Question, response: str) -> float:
    """What a user's own scorer would say: the strong model, whose answers are in the log, cannot write poems."""
    return float(response == "right" or (response.startswith("Answer") and TOPICS[1] not in question.prompt))


def written(folder: Path) -> dict[Path, bytes]:
    """What stands in every file, packed ones unpacked."""
    found = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {path: gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data for path, data in found.items()}


def run_collect(folder: Path, form: str) -> ChatServer:
    """The first two commands: the log becomes prompts, the pool's models are asked."""
    log = write_log(folder / "log.jsonl", form)
    cli.main(["import", str(log), "--output", str(folder / "out" / "prompts.jsonl"), "--redact"])
    with ChatServer(answer) as chat:
        models = [{"name": "gpt-5", "base_url": chat.url, **PRICES}, {"name": "small", "base_url": chat.url, **PRICES}]
        flags = {"--dataset": folder / "out" / "prompts.jsonl", "--pool": write_pool(folder / "pool.yaml", models)}
        flags |= {"--output-dir": folder / "out"}
        scorer = ["--scorer", "tests.test_log_stages:score"]
        cli.main(["collect", *[str(part) for flag in flags.items() for part in flag], *scorer])
    return chat


def check_nothing_leaked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    said = capsys.readouterr()
    for secret in (KEY, EMAIL):
        assert secret not in said.out + said.err
        for path, data in written(folder / "out").items():
            assert secret.encode() not in data, path


@pytest.fixture(autouse=True)
def folder_of_the_run(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()


@pytest.mark.parametrize("form", FORMS)
def test_the_logged_model_is_not_asked_and_no_secret_is_written(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chat = run_collect(tmp_path, form)
    assert dict(chat.asked) == {"small": ROWS}
    records = read_evaluations(tmp_path / "out")
    assert len(records) == ROWS
    for record in records:
        topic = TOPICS.index(next(topic for topic in TOPICS if topic in record["prompt"]))
        assert record["model_scores"] == {"gpt-5": float(topic != 1), "small": float(topic == 0)}
        assert record["model_costs"]["gpt-5"] == pytest.approx(0.002 if form != "OpenAI" else (11 + 3 * 4) / 1e6)
    check_nothing_leaked(tmp_path, capsys)


def printed_commands() -> list[list[str]]:
    """The commands of docs/logs.md as they are printed, one a list."""
    text = (ROOT / "docs" / "logs.md").read_text(encoding="utf-8")
    section = text.split("## Train on your own logs in three commands", 1)[1]
    block = section.split("```bash\n", 1)[1].split("```", 1)[0].replace("\\\n", " ").replace("&&", "\n")
    return [shlex.split(line, comments=True) for line in block.splitlines() if shlex.split(line, comments=True)]


def judge(body: dict[str, Any]) -> Reply:
    """A judge that knows who can do what: the small model can add, the strong one all but poems."""
    document = json.loads(body["messages"][-1]["content"])
    good = document["answer"] == "right" or (document["answer"].startswith("Answer") and TOPICS[1] not in document["question"])
    return completion(json.dumps({"id": document["id"], "why": "", "score": float(good)}))


@pytest.mark.parametrize("form", FORMS if ROWS > 60 else ["LiteLLM"])
@pytest.mark.timeout(900)
def test_the_three_commands_of_the_page_as_printed(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a small log one form goes all the way: behind the first command nothing knows which it was."""
    folder = tmp_path / "out"
    monkeypatch.chdir(folder)
    log = write_log(folder / "spend_logs.jsonl", form)
    with ChatServer(lambda body: judge(body) if body["model"] == "judge" else answer(body)) as chat:
        models = [{"name": name, "base_url": chat.url, **PRICES} for name in ("gpt-5", "small")]
        write_pool(folder / "pool.yaml", models, judge={"name": "judge", "base_url": chat.url, "temperature": 0, **PRICES})
        for command in printed_commands():
            mains = [name for name in MAINS if command[1:3] == ["-m", name] or command[1] == f"{name}.py"]
            assert command[0] == "python"
            importlib.import_module(mains[0]).main(command[3 if command[1] == "-m" else 2 :])
        assert set(chat.asked) == {"small", "judge"}
        assert chat.asked["small"] == ROWS
    log.unlink()  # it is the user's own, and stays as it was
    check_nothing_leaked(tmp_path, capsys)
    assert (folder / "router_artifacts" / "report.html").exists()
    chosen = []
    for prompt in (f"Question 2? {TOPICS[0]}", f"Question 4? {TOPICS[2]}"):
        model_router.main([prompt, "--json", *CHEAPEST])
        chosen.append(json.loads(capsys.readouterr().out)["model"])
    assert chosen == ["small", "gpt-5"], "what the small model can do as well goes to it"


def test_the_search_for_secrets_finds_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out" / "x.gz").write_bytes(gzip.compress(f"a {EMAIL}".encode()))
    with pytest.raises(AssertionError, match=r"x\.gz"):
        check_nothing_leaked(tmp_path, capsys)
