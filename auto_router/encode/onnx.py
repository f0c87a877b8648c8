"""Text models on onnxruntime, without torch: tokens, windows, batches of like length, pooling. The embedded one and any folder.

A folder holds ``model.onnx`` (or ``onnx/model.onnx``) and ``tokenizer.json``, as sentence-transformers and optimum export
them; what lies beside them says how long a text may be and how its states are pooled.

onnxruntime is imported so that it reports nothing: its recent Linux wheels send a device id and session events by default.
"""

from __future__ import annotations

import hashlib
import json
import os
from abc import abstractmethod
from functools import cached_property, lru_cache
from pathlib import Path
from threading import BoundedSemaphore
from typing import Any

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from auto_router.arrays import Array
from auto_router.data.embeddings import PROBE_TEXT, Spec
from auto_router.encode.encoder import Encoder
from auto_router.encode.windows import MAX_WINDOWS
from auto_router.errors import ConfigError, EncoderError
from auto_router.files import sha256_of
from auto_router.forks import after_fork

MAX_CHARACTERS = 200_000  # what is longer is not tokenized as a whole (2 s a million): its windows are evenly spaced stretches
REMEMBERED = 8_192  # characters of the longest text whose tokens are kept
# On a CPU many take as long as few one after the other. Few need less padding, and less memory, which is never given back.
TEXTS_AT_ONCE = 4
POOLINGS = ("mean", "cls", "last")
LONGEST_WINDOW = 512  # longer ones are asked for: time grows with the square
MODEL_FILES = ("model.onnx", "onnx/model.onnx")
INPUTS = ("input_ids", "attention_mask", "token_type_ids", "position_ids")
CUDA = "CUDAExecutionProvider"


def import_onnxruntime() -> Any:
    """Return the package; what it would send to its maker is switched off before it is loaded for the first time."""
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    return onnxruntime


def open_session(path: Path, threads: int = 0) -> Any:
    """Open a model file, on CUDA where that is offered; ``threads``: cores one call may use, 0 leaves the choice to it."""
    onnxruntime = import_onnxruntime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # It would keep a block for every shape of a batch, and hardly two are alike.
    options.enable_mem_pattern = False
    # Threads that spin between calls take the cores from decoding, from the router and from everyone else.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(str(path), options, providers=providers())


def open_tokenizer(path: Path) -> Tokenizer:
    """Return a tokenizer that neither pads nor cuts. Raises EncoderError where the file cannot be read."""
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:
        raise EncoderError(f"{path} cannot be read ({error})") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def providers() -> list[str]:
    """Return where onnxruntime can compute here, the best first."""
    offered = import_onnxruntime().get_available_providers()
    return [name for name in (CUDA, "CPUExecutionProvider") if name in offered]


class OnnxTextEncoder(Encoder):
    """What text models on onnxruntime share. Sessions are opened at first use and may be shared by threads."""

    window = 256  # tokens, those at start and end included
    served_tokens = 256  # of the one window that stands for a long prompt while somebody waits
    overlap = 32
    specials = 2  # tokens at start and end
    prefix = ""
    pooling = "mean"
    pad_id = 0

    def __init__(self, threads: int | None = None) -> None:
        """``threads``: cores one call may use; 0 or None leaves the choice to onnxruntime."""
        self._threads = threads or 0
        self._at_once = self.batch_size if CUDA in providers() else TEXTS_AT_ONCE
        # windows() and embed_texts() both need a prompt's tokens; a chunk of Stage 2 fits.
        self._remembered = lru_cache(maxsize=2048)(self._tokenize)
        self._parents: list[Any] = []
        self._begin()
        after_fork(self, OnnxTextEncoder._begin)

    def _begin(self) -> None:
        # More at once than there are cores for would only hold more memory, which is never given back.
        self._turns = BoundedSemaphore(max((os.cpu_count() or 1) // self._threads, 1) if self._threads else 1)
        # In a child their threads are the parent's. They are opened anew, and kept: closing one waits for its threads.
        self._parents += [self.__dict__.pop(name) for name in ("_text_session", "_image_session") if name in self.__dict__]

    @property
    @abstractmethod
    def _text_session(self) -> Any:
        """The model: token ids to states ``[N, T, D]``, or to vectors ``[N, D]``."""

    @property
    @abstractmethod
    def _tokenizer(self) -> Tokenizer:
        """Its tokenizer, which neither pads nor cuts: windows() must see the whole text; what it returns needs no cutting."""

    def windows(self, text: str) -> list[str]:
        room = self.window - self.specials - self._prefix_tokens
        # A token covers at least one character.
        if len(text) <= room or (len(text) <= REMEMBERED and len(self._ids(text)) <= room + self.specials):
            return [text]
        if len(text) > MAX_CHARACTERS:
            return [self._first_window(text[start : start + 8 * room], room) for start in _spread(len(text) - 8 * room)]
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= room:
            return [text]
        starts = np.arange(0, len(offsets) - self.overlap, room - self.overlap)
        if len(starts) > MAX_WINDOWS:
            starts = _spread(len(offsets) - room)
        return [text[offsets[start][0] : offsets[min(start + room, len(offsets)) - 1][1]] for start in starts.tolist()]

    def some_windows(self, text: str, most: int) -> list[str]:
        """As :meth:`Encoder.some_windows`; one window has the first and the last tokens, where requests stand."""
        if most > 1:
            return super().some_windows(text, most)
        text = text.strip()
        text = text if len(text) <= 2 * self.stretch else f"{text[: self.stretch]}\n{text[-self.stretch :]}"
        room = min(self.served_tokens, self.window) - self.specials - self._prefix_tokens
        offsets: list[tuple[int, int]] = self._tokenizer.encode(text, add_special_tokens=False).offsets
        if len(offsets) <= room:
            return [text]
        half = (room - 1) // 2  # some tokenizers make a token of the line end
        return [f"{text[: offsets[half - 1][1]]}\n{text[offsets[-half][0] :]}"]

    def embed_texts(self, texts: list[str]) -> Array:
        tokens = [self._ids(self.prefix + text) for text in texts]
        by_length = sorted(range(len(texts)), key=lambda i: len(tokens[i]))
        parts = [by_length[start : start + self._at_once] for start in range(0, len(texts), self._at_once)]
        vectors = np.concatenate([self._pool([tokens[i] for i in part]) for part in parts])
        found = np.empty_like(vectors)
        found[by_length] = vectors
        return found

    def _pool(self, tokens: list[npt.NDArray[np.int64]]) -> Array:
        """Return one vector for each text: its last states pooled, or what the model itself pooled."""
        ids = np.full((len(tokens), max(map(len, tokens))), self.pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, found in enumerate(tokens):
            ids[row, : len(found)] = found
            mask[row, : len(found)] = 1
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._run(self._text_session, self._inputs(given))
        if states.ndim == 2:
            return states
        if self.pooling == "cls":
            return states[:, 0]
        if self.pooling == "last":
            return states[np.arange(len(tokens)), [len(found) - 1 for found in tokens]]
        weights = mask[:, :, None].astype(np.float32)
        return np.asarray((states * weights).sum(axis=1) / weights.sum(axis=1), dtype=np.float32)

    def _inputs(self, given: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        """Return those that the model takes."""
        return given

    def _run(self, session: Any, inputs: dict[str, Any]) -> Array:
        with self._turns:
            return np.asarray(session.run(None, inputs)[0], dtype=np.float32)

    def _first_window(self, stretch: str, room: int) -> str:
        offsets = self._tokenizer.encode(stretch, add_special_tokens=False).offsets
        return stretch[: offsets[:room][-1][1]] if offsets else stretch[:1]

    def _ids(self, text: str) -> npt.NDArray[np.int64]:
        return self._remembered(text) if len(text) <= REMEMBERED else self._tokenize(text)

    def _tokenize(self, text: str) -> npt.NDArray[np.int64]:
        return np.array(self._tokenizer.encode(text).ids, dtype=np.int64)

    @cached_property
    def _prefix_tokens(self) -> int:
        return len(self._tokenizer.encode(self.prefix, add_special_tokens=False).ids) if self.prefix else 0


class OnnxEncoder(OnnxTextEncoder):
    """The text model of a folder. Images are not looked at: join another encoder for them."""

    def __init__(
        self, model: str, threads: int | None = None, prefix: str = "", window: int | None = None, pooling: str | None = None
    ) -> None:
        """Load.

        Args:
            model: the folder.
            threads: cores one call may use; None leaves the choice to onnxruntime.
            prefix: put before every window of a text, such as ``query: `` for e5.
            window: tokens of a window; None: what the model was made for, at most 512.
            pooling: ``mean``, ``cls`` or ``last``; None: what the folder says, else mean.

        Raises:
            ConfigError: the folder is none, or an option is impossible.
            EncoderError: the model cannot be loaded, or needs other inputs than a text's tokens.
        """
        super().__init__(threads)
        self._folder = Path(model)
        found = [self._folder / name for name in MODEL_FILES if (self._folder / name).is_file()]
        if not found or not (self._folder / "tokenizer.json").is_file():
            raise ConfigError(f"{model!r} is no folder with model.onnx (or onnx/model.onnx) and tokenizer.json")
        self._file = found[0]
        self.prefix, self.pooling = prefix, pooling or self._said_pooling()
        self.specials = len(self._tokenizer.encode("").ids)
        self.window = window or min([LONGEST_WINDOW, *self._said_windows()])
        if self.pooling not in POOLINGS or self.window < 16 + self._prefix_tokens:
            raise ConfigError(
                f"the onnx encoder takes a pooling of {', '.join(POOLINGS)} and a window from 16 tokens beside the prefix; got "
                f"{self.pooling!r} and {self.window}"
            )
        self.overlap = self.window // 8
        self.pad_id = int(self._read("config.json").get("pad_token_id") or 0)
        self.text_dim = int(self.embed_texts([PROBE_TEXT]).shape[1])

    @property
    def spec(self) -> Spec:
        return {
            "backend": "onnx",
            "text_sha256": self._digests[0],
            "tokenizer_sha256": self._digests[1],
            "pooling": self.pooling,
            **({"prefix": self.prefix} if self.prefix else {}),
            "text_window": {"tokens": self.window, "overlap": self.overlap, "max_windows": MAX_WINDOWS},
        }

    @cached_property
    def _tokenizer(self) -> Tokenizer:
        return open_tokenizer(self._folder / "tokenizer.json")

    @cached_property
    def _text_session(self) -> Any:
        try:
            session = open_session(self._file, self._threads)
        except Exception as error:
            raise EncoderError(f"{self._file} cannot be loaded ({' '.join(str(error).split())[:300]})") from error
        unknown = [one.name for one in session.get_inputs() if one.name not in INPUTS]
        if unknown:
            raise EncoderError(f"{self._file} needs the inputs {unknown}, which a text does not have; export the encoder alone")
        return session

    @cached_property
    def _names(self) -> tuple[list[str], str]:
        """Inputs that the model takes, and the output that is read: a vector that it pooled itself, else the states."""
        outputs = {one.name: one for one in self._text_session.get_outputs()}
        pooled = [name for name in ("sentence_embedding", "text_embeds") if name in outputs]
        return [one.name for one in self._text_session.get_inputs()], (pooled or list(outputs))[0]

    def _inputs(self, given: dict[str, npt.NDArray[np.int64]]) -> dict[str, npt.NDArray[np.int64]]:
        ids = given["input_ids"]
        every = {**given, "position_ids": np.broadcast_to(np.arange(ids.shape[1]), ids.shape).copy()}
        return {name: every[name] for name in self._names[0]}

    def _run(self, session: Any, inputs: dict[str, Any]) -> Array:
        with self._turns:
            return np.asarray(session.run([self._names[1]], inputs)[0], dtype=np.float32)

    @cached_property
    def _digests(self) -> tuple[str, str]:
        parts = sorted(path for path in self._file.parent.glob(f"{self._file.name}*") if path.is_file())  # with its weights
        model = hashlib.sha256("".join(sha256_of(path) for path in parts).encode()).hexdigest()
        return model, sha256_of(self._folder / "tokenizer.json")

    def _read(self, name: str) -> dict[str, Any]:
        """Return a JSON file of the folder; what is not there says nothing."""
        path = self._folder / name
        if not path.is_file():
            return {}
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (ValueError, RecursionError) as error:
            raise EncoderError(f"{path} is no JSON ({error})") from error
        return found if isinstance(found, dict) else {}

    def _said_pooling(self) -> str:
        said = self._read("1_Pooling/config.json")
        if said.get("pooling_mode_cls_token") or said.get("pooling_mode") == "cls":
            return "cls"
        return "last" if said.get("pooling_mode_lasttoken") or said.get("pooling_mode") == "lasttoken" else "mean"

    def _said_windows(self) -> list[int]:
        config = self._read("config.json")
        places = config.get("max_position_embeddings", 0)
        if "roberta" in str(config.get("model_type")):
            places -= 2  # its first positions stand for padding
        said = [
            self._read("sentence_bert_config.json").get("max_seq_length"),
            self._read("tokenizer_config.json").get("model_max_length"),
            places,
        ]
        return [int(one) for one in said if isinstance(one, int | float) and 0 < one < 1e9]


def _spread(last: int) -> npt.NDArray[np.int64]:
    """Return the starts of ``MAX_WINDOWS`` windows, evenly spaced from 0 to ``last``."""
    return np.linspace(0, last, MAX_WINDOWS).round().astype(np.int64)
