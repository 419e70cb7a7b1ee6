"""Chat models that answer here: weights in this process, or a GGUF file behind llama-server.

Both are given `render_chat`'s text and nothing else, so that every form of a model is asked what
it was trained on, token by token, and both return its raw text, markers of blocks included. The
server is asked directly, whatever proxy the environment names.
"""

import json
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from loop.errors import EndpointError
from loop.jobs import Server, start_server, tail_of
from loop.protocol import Message, render_chat
from loop.settings import Settings
from loop.values import Json

CONTEXT = 4096
"""Tokens of context per conversation, as on the device (functionland/blox-ai 6bf006a)."""
LOAD_SECONDS = 900.0
"""A 3B model from a cold disk takes a minute or two."""
ANSWER_SECONDS = 1800.0
POLL_SECONDS = 0.1
GREEDY: dict[str, Json] = {"temperature": 0.0, "top_k": 1, "seed": 0}


@dataclass(frozen=True)
class LlamaServer:
    """A running llama-server as a chat model."""

    url: str
    max_new_tokens: int
    slots: int = 1
    """Conversations that it answers at the same time."""

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The next turn of each conversation; empty where one has outgrown the context.

        Raises:
            EndpointError: The server did not answer as llama-server does.
        """
        with (
            httpx.Client(base_url=self.url, timeout=ANSWER_SECONDS, trust_env=False) as client,
            ThreadPoolExecutor(self.slots) as pool,
        ):
            return list(pool.map(lambda messages: self._one(client, messages), conversations))

    def _one(self, client: httpx.Client, messages: Sequence[Message]) -> str:
        asked = {"prompt": render_chat(messages), "n_predict": self.max_new_tokens, **GREEDY}
        try:
            response = client.post("/completion", json={**asked, "cache_prompt": True})
        except httpx.HTTPError as error:
            raise EndpointError(f"{self.url}: no answer: {error!r}") from error
        if response.status_code == 400 and "exceed_context_size" in response.text:
            return ""  # the device's runtime has nothing to say then either
        return _content(self.url, response)


def _content(url: str, response: httpx.Response) -> str:
    if response.status_code != 200:
        raise EndpointError(
            f"{url}: expected status 200, got {response.status_code}: {response.text[:300]}"
        )
    try:
        return str(response.json()["content"])
    except (ValueError, KeyError, TypeError) as error:
        raise EndpointError(f"{url}: expected JSON with `content`, got {error!r}") from error


@dataclass(frozen=True)
class Served:
    """A model file behind a server of ours, for as long as the block lasts."""

    model: LlamaServer
    server: Server

    def peak_bytes(self) -> int:
        """The most memory the server has held so far (VmHWM)."""
        return self.server.peak_bytes()


@contextmanager
def serving(
    gguf: Path,
    settings: Settings,
    max_new_tokens: int,
    log: Path,
    *,
    slots: int = 1,
    context: int = CONTEXT,
) -> Iterator[Served]:
    """llama-server on a free loopback port, until the block ends or this process dies.

    The block starts once the model is loaded and has completed a first text.

    Args:
        gguf: The model file.
        settings: Where llama.cpp is, and how many threads.
        max_new_tokens: Per answer.
        log: Gets the server's output.
        slots: Conversations answered at the same time, each with the whole `context`.
        context: Tokens of prompt and answer together.

    Raises:
        EndpointError: There is no llama-server, or it did not come up.
    """
    program = settings.llama_root / "bin" / "llama-server"
    if not program.is_file():
        raise EndpointError(
            f"{program}: no such file; build it with `python -m deployments.build_llama`, "
            "or point LOOP_LLAMA_CPP at a build"
        )
    log.unlink(missing_ok=True)  # the address is read from it
    command = _command(program, gguf, settings.threads, slots, context)
    with start_server(command, log) as server:
        url = _wait_until_up(server)
        yield Served(LlamaServer(url, max_new_tokens, slots), server)


def _command(program: Path, gguf: Path, threads: int, slots: int, context: int) -> list[str]:
    options = {
        "model": gguf,
        "host": "127.0.0.1",
        "port": 0,  # the system chooses: no race for a port that was free a moment ago
        "threads": threads,
        "threads-http": slots + 2,
        "parallel": slots,
        "ctx-size": context * slots,
        "cache-ram": 0,  # only the slots' own prefix: memory figures compare models, not caches
        "fit": "off",
        "verbosity": 3,
    }
    flags = ["--offline", "--no-ui", "--no-slots", "--no-kv-unified"]
    return [str(program), *(str(x) for k, v in options.items() for x in (f"--{k}", v)), *flags]


def _wait_until_up(server: Server) -> str:
    """Its URL, once it has loaded the model and completed something."""
    deadline = time.monotonic() + LOAD_SECONDS
    while time.monotonic() < deadline:
        if not server.running:
            raise EndpointError(f"llama-server ended while loading: {_complaint(server.log)}")
        if (url := _address(server.log)) and _healthy(url):
            LlamaServer(url, 1).answer([[{"role": "user", "content": "hello"}]])
            return url
        time.sleep(POLL_SECONDS)
    raise EndpointError(f"llama-server not ready after {LOAD_SECONDS:.0f} s; see {server.log}")


def _complaint(log: Path) -> str:
    """The first error in the log, which names the cause; later ones only repeat it."""
    said = tail_of(log).splitlines() or ["(no output)"]
    errors = [line.partition(" E ")[2] for line in said if " E " in line]
    return f"{(errors or said[-1:])[0].strip()}; see {log}"


def _address(log: Path) -> str | None:
    found = re.search(rb"listening on (http://127\.0\.0\.1:[0-9]+)", log.read_bytes())
    return found[1].decode() if found else None


def _healthy(url: str) -> bool:
    try:
        return httpx.get(f"{url}/health", timeout=10, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


@dataclass(frozen=True)
class Speed:
    """How fast one conversation was answered."""

    first_token_s: float
    """From the request until the first token arrived here."""
    tokens_per_s: float
    """As the server timed it: tokens of a small model arrive many at once."""


def measure_stream(url: str, messages: Sequence[Message], tokens: int = 64) -> Speed:
    """Time one answer of exactly `tokens` tokens, prompt not cached, end marker ignored.

    Raises:
        EndpointError: The stream broke, or ended without the server's timings.
    """
    asked = {
        "prompt": render_chat(messages),
        "n_predict": tokens,
        "stream": True,
        "ignore_eos": True,
        "cache_prompt": False,
    }
    started = time.monotonic()
    try:
        first, *_, last = _events(url, {**asked, **GREEDY})
        return Speed(first["at"] - started, last["timings"]["predicted_per_second"])
    except httpx.HTTPError as error:
        raise EndpointError(f"{url}: the stream broke: {error!r}") from error
    except (ValueError, KeyError) as error:
        raise EndpointError(f"{url}: expected streamed tokens, then timings: {error!r}") from error


def _events(url: str, asked: dict[str, Json]) -> Iterator[dict[str, Any]]:
    """What the server says, token by token, and `at` which moment it came."""
    with (
        httpx.Client(base_url=url, timeout=ANSWER_SECONDS, trust_env=False) as client,
        client.stream("POST", "/completion", json=asked) as stream,
    ):
        for line in stream.iter_lines():
            if line.startswith("data: "):
                yield {**json.loads(line.removeprefix("data: ")), "at": time.monotonic()}


@dataclass
class InProcess:
    """A folder of weights, with or without an adapter, loaded into this process."""

    folder: Path
    adapter: Path | None
    max_new_tokens: int
    threads: int
    batch: int = 16
    context: int = CONTEXT
    _model: Any = field(init=False, repr=False)
    _tokenizer: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        torch.set_num_threads(self.threads)
        self._tokenizer = AutoTokenizer.from_pretrained(self.folder, local_files_only=True)
        self._tokenizer.padding_side = "left"
        model = AutoModelForCausalLM.from_pretrained(self.folder, local_files_only=True)
        if self.adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, self.adapter)
        self._model = model.eval()

    def answer(self, conversations: Sequence[Sequence[Message]]) -> list[str]:
        """The next turn of each conversation; empty where one has outgrown the context."""
        prompts = [
            self._tokenizer.encode(render_chat(c), add_special_tokens=False) for c in conversations
        ]
        answers = [""] * len(prompts)
        fitting = [i for i, ids in enumerate(prompts) if len(ids) < self.context]
        fitting.sort(key=lambda i: len(prompts[i]))  # equal lengths together: little padding
        for start in range(0, len(fitting), self.batch):
            part = fitting[start : start + self.batch]
            for i, text in zip(part, self._generate([prompts[i] for i in part]), strict=True):
                answers[i] = text
        return answers

    def _generate(self, prompts: list[list[int]]) -> list[str]:
        import torch

        padded = self._tokenizer.pad({"input_ids": prompts}, return_tensors="pt")
        with torch.inference_mode():
            generated = self._model.generate(**padded, generation_config=self._greedy())
        width = padded["input_ids"].shape[1]
        return [self._text(row) for row in generated[:, width:].tolist()]

    def _greedy(self) -> Any:
        """Ours alone: the folder's own settings may sample or punish repetition."""
        from transformers import GenerationConfig

        return GenerationConfig(
            max_new_tokens=self.max_new_tokens,
            do_sample=False,
            eos_token_id=self._ends(),
            pad_token_id=self._tokenizer.pad_token_id,
        )

    def _ends(self) -> list[int]:
        return [self._tokenizer.eos_token_id, self._tokenizer.pad_token_id]

    def _text(self, ids: list[int]) -> str:
        """Up to the end marker; other special tokens stay."""
        stop = next((at for at, token in enumerate(ids) if token in self._ends()), len(ids))
        return str(self._tokenizer.decode(ids[:stop], clean_up_tokenization_spaces=False))
