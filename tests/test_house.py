"""The rules of the house: who imports whom, what importing costs, how long a module may be, what is exported."""

from __future__ import annotations

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FACES = ["prepare_hf_data", "generate_embeddings", "nn_router", "model_router", "router_usage_examples"]
PACKAGE = sorted((ROOT / "auto_router").rglob("*.py"))

BASE = {"arrays", "cluster", "errors", "files", "forks", "terminal"}
WORK = {"collect", "encode", "learn", "decide"}  # these four do not know each other
MAY_IMPORT: dict[str, set[str]] = {
    **dict.fromkeys(BASE, BASE),
    "data": BASE | {"data"},
    **{room: BASE | {"data", room} for room in WORK},
    "artifact_files": BASE,
    "artifacts": BASE | {"data", "artifact_files"} | WORK,
    "assess": BASE | {"data", "artifacts", "assess"} | WORK,
    "route": BASE | {"data", "artifacts", "route"} | WORK,
    "select_prompts": BASE | {"data", "select_prompts"} | WORK,
    "train": BASE | {"data", "artifacts", "assess", "route", "train"} | WORK,
    "retrain": BASE | {"data", "artifacts", "assess", "route", "train", "retrain"} | WORK,
    "edit": BASE | {"data", "artifacts", "assess", "route", "edit"} | WORK,
    "serve": BASE | {"data", "artifacts", "assess", "route", "serve"} | WORK,
    "client": BASE | {"data", "artifacts", "route", "serve"} | WORK,
    "doctor": BASE | {"data", "artifacts", "route"} | WORK,
    "init_pool": BASE | {"data"},
    "completion": BASE | {"cli", "__init__"},  # and, through it, every command by its name
    "cli": BASE | {"__init__"},  # and the faces, by name
    "__main__": {"cli"},
    "__init__": {"route", "decide", "encode", "client"},  # only where a name of theirs is asked for
}


def imported(path: Path) -> set[str]:
    """Every module name a file imports, at the top or inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} uses a relative import"
            names.add(node.module or "")
    return names


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else "__init__"


@pytest.mark.parametrize("path", PACKAGE, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_one_way(path: Path) -> None:
    names = imported(path)
    assert not names & set(FACES), "the package never imports a face"
    room = path.relative_to(ROOT / "auto_router").parts[0].removesuffix(".py")
    used = {room_of(name) for name in names if name.split(".")[0] == "auto_router"}
    assert used <= MAY_IMPORT[room], f"{room} may not import {used - MAY_IMPORT[room]}"


@pytest.mark.parametrize("face", FACES)
def test_faces_stand_alone(face: str) -> None:
    """A face imports the package; only the examples may use another face, as its users do."""
    others = imported(ROOT / f"{face}.py") & set(FACES)
    assert others <= ({"model_router"} if face == "router_usage_examples" else set())


def fresh(code: str) -> str:
    """Run code in a fresh process, in the project's root, and return what it printed."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_router_is_light() -> None:
    heavy = (
        "datasets",
        "openai",
        "aiohttp",
        "jinja2",
        "sklearn",
        "pandas",
        "matplotlib",
        "jina",
        "clip_client",
        "onnxruntime",
        "pyarrow",
        "prometheus_client",
        "fastapi",
        "litellm",
        "nat",
    )
    assert fresh(f"import sys, model_router; print([m for m in {heavy!r} if m in sys.modules])") == "[]"


@pytest.mark.parametrize("face", [*FACES, "auto_router"])
def test_importing_does_nothing(face: str) -> None:
    """No print, no seed, no device or thread setting, no network."""
    code = f"""
import random, socket, sys, numpy, torch
def forbidden(*a): sys.exit(f"called on import with {{a}}")
socket.socket.connect = random.seed = numpy.random.seed = torch.manual_seed = torch.set_num_threads = forbidden
threads = torch.get_num_threads()
import {face}
print(threads == torch.get_num_threads() and not torch.cuda.is_initialized())
"""
    assert fresh(code) == "True"


MAX_MODULE, MAX_FUNCTION = 400, 60
CODE = [*PACKAGE, *ROOT.glob("*.py"), *ROOT.glob("examples/**/*.py"), *ROOT.glob("benchmarks/**/*.py")]
Function = ast.FunctionDef | ast.AsyncFunctionDef

# Names that two modules define, each for a reason.
SAME_NAME = {
    "main": "every command's own recipe",
    "parse_arguments": "every command's own flags",
    "EXAMPLES": "what each command's --help shows",
    "log": "each module's logger",
    "FORMAT": "journal and artifact count their formats apart",
    "Client": "of a pool, for users; of one address, for Stage 1",
    "FAILURES": "what a transport raises: of openai's client here, of aiohttp's in Stage 1",
}
# Irregular participles and odd words that stood for functions once; regular ones are found by their ending.
PARTICIPLES = re.compile(
    r"_*([a-z]+ed|asked|drawn|told|beyond|look|kept|made|found|given|said|shown|taken|sent|chosen|speaking|opening|seen|known|held)"
)
# Properties and fields read as adjectives, and these are verbs.
VERBS = {"embed", "_embed", "seed", "_embed_batch"}


def functions(path: Path) -> list[Function]:
    return [node for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if isinstance(node, Function)]


@pytest.mark.parametrize("path", CODE, ids=lambda p: str(p.relative_to(ROOT)))
def test_modules_and_functions_are_of_a_size_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE
    lengths = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions(path)}
    assert not {name: length for name, length in lengths.items() if length > MAX_FUNCTION}


def public_names(path: Path) -> set[str]:
    """What a module defines at its top under a public name."""
    names: set[str] = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, Function | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return {name for name in names if not name.startswith("_")}


def test_no_two_modules_define_the_same_public_name() -> None:
    homes: dict[str, list[str]] = {}
    for path in PACKAGE:
        for name in public_names(path) - set(SAME_NAME):
            homes.setdefault(name, []).append(str(path.relative_to(ROOT)))
    assert not {name: where for name, where in homes.items() if len(where) > 1}


def test_functions_are_verbs() -> None:
    """No function or method is named by a participle alone; properties, which are read as adjectives, may be."""
    odd = []
    for path in [*PACKAGE, *ROOT.glob("*.py")]:
        for node in functions(path):
            is_property = any("property" in ast.unparse(decorator) for decorator in node.decorator_list)
            if PARTICIPLES.fullmatch(node.name) and not is_property and node.name not in VERBS:
                odd.append(f"{path.relative_to(ROOT)}:{node.lineno} {node.name}")
    assert not odd


def test_the_checkout_is_a_package_that_exports_the_public_names(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = importlib.util.spec_from_file_location("checkout", ROOT / "__init__.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    import model_router

    assert (
        set(module.__all__) == set(model_router.__all__) == {"Decision", "EmbeddingGenerator", "ModelRouter", "RouterNetwork"}
    )
    assert all(getattr(module, name) is getattr(model_router, name) for name in module.__all__)


def test_no_machine_paths_or_pickles_on_the_routing_path() -> None:
    for path in [*PACKAGE, *ROOT.glob("*.py")]:
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(?<![\w.])/(?:home|root|Users|work)/", text), "a path of somebody's machine"
        assert "weights_only=False" not in text
        assert "allow_pickle=True" not in text
    assert not any("joblib" in imported(path) for path in PACKAGE if path.name in ("artifacts.py", "router.py"))


@pytest.mark.parametrize("name", [".venv", ".venv-copy"])
def test_an_environment_is_ignored_as_a_folder_and_as_a_link(tmp_path: Path, name: str) -> None:
    subprocess.run(["git", "init", "--quiet", tmp_path], check=True)
    (tmp_path / ".gitignore").write_text((ROOT / ".gitignore").read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / name).symlink_to(tmp_path)
    ignored = ["git", "-C", str(tmp_path), "check-ignore", "--quiet", name]
    assert subprocess.run(ignored, check=False).returncode == 0
