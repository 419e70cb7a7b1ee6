import json
import os
import signal
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest

from loop.endpoint import CONTEXT, InProcess, LlamaServer, measure_stream, serving
from loop.errors import EndpointError
from loop.leash import descendants
from loop.protocol import Message, render_chat
from loop.settings import Settings
from tests.processes import gone, until

pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"  # peft 0.21 still asks it
)
SESSIONS: list[list[Message]] = [
    [{"role": "user", "content": "Instructions:\ncall a tool\n\nRequest: my blox is offline"}],
    [{"role": "user", "content": "hello"}],
    [
        {"role": "user", "content": "Request: Größe 12:30, it's  \n\n done"},
        {"role": "assistant", "content": '<tool_call>{"name":"diag/summary"}</tool_call>'},
        {"role": "user", "content": '<tool_response>{"name":"diag/summary"}</tool_response>'},
    ],
]
TOO_LONG: list[Message] = [{"role": "user", "content": "offline " * CONTEXT}]


@pytest.fixture(scope="module")
def served(tiny_gguf, llama_settings, tmp_path_factory):
    log = tmp_path_factory.mktemp("server") / "log.txt"
    with serving(tiny_gguf, llama_settings, 8, log, slots=2) as found:
        yield found


@pytest.fixture(scope="module")
def loaded(tiny_base):
    return InProcess(tiny_base, None, 8, threads=2)


def test_weights_in_process_answer_the_same_alone_and_in_a_batch(loaded):
    together = loaded.answer(SESSIONS)
    alone = [loaded.answer([session])[0] for session in SESSIONS]

    assert together == alone
    assert len(set(together)) == len(SESSIONS)


def test_an_adapter_changes_the_answers(loaded, tiny_base, tiny_adapter):
    adapted = InProcess(tiny_base, tiny_adapter, 8, threads=2)

    assert adapted.answer(SESSIONS) != loaded.answer(SESSIONS)


def test_a_served_file_answers_as_its_weights_do(served, loaded):
    assert served.model.answer(SESSIONS) == loaded.answer(SESSIONS)


def test_a_conversation_beyond_the_context_is_answered_with_nothing(served, loaded):
    sessions = [SESSIONS[0], TOO_LONG]

    assert served.model.answer(sessions) == [loaded.answer(SESSIONS[:1])[0], ""]
    assert loaded.answer(sessions) == [loaded.answer(SESSIONS[:1])[0], ""]


def test_the_server_and_the_folder_tokenise_alike(served, tiny_base):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_base)
    for session in SESSIONS:
        text = render_chat(session)
        asked = {"content": text, "parse_special": True}
        found = httpx.post(f"{served.model.url}/tokenize", json=asked).json()["tokens"]

        assert found == tokenizer.encode(text, add_special_tokens=False)


def test_the_template_in_the_file_renders_what_we_ask_with(served):
    for session in SESSIONS:
        asked = {"messages": session}
        found = httpx.post(f"{served.model.url}/apply-template", json=asked).json()["prompt"]

        assert found == render_chat(session)


def test_speed_and_memory_are_measured(served):
    speed = measure_stream(served.model.url, SESSIONS[0], tokens=16)

    assert speed.first_token_s > 0
    assert speed.tokens_per_s > 0
    assert served.peak_bytes() > 2**20


def test_a_server_listens_on_loopback_only(served):
    assert served.model.url.startswith("http://127.0.0.1:")


def test_a_server_is_gone_after_its_block_even_if_that_failed(tiny_gguf, llama_settings, tmp_path):
    def break_inside():
        with serving(tiny_gguf, llama_settings, 4, tmp_path / "log") as found:
            below.extend(descendants(found.server.process.pid))
            raise InterruptedError

    below: list[int] = []
    with pytest.raises(InterruptedError):
        break_inside()

    assert len(below) == 1
    assert gone(below[0])


HOLDER = """
import sys, time
from pathlib import Path
from loop.endpoint import serving
from loop.settings import Settings
settings = Settings(llama_cpp=sys.argv[3])
with serving(Path(sys.argv[1]), settings, 4, Path(sys.argv[2])) as served:
    print(served.model.url, flush=True)
    time.sleep(600)
"""


def test_a_server_is_gone_after_its_holder_was_killed(tiny_gguf, llama_settings, tmp_path):
    named = tiny_gguf, tmp_path / "log", llama_settings.llama_root
    command = [sys.executable, "-c", HOLDER, *map(str, named)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        url = (holder.stdout or sys.stdin).readline().strip()
        below = descendants(holder.pid)
        alive = httpx.get(f"{url}/health").status_code
        os.kill(holder.pid, signal.SIGKILL)

    assert alive == 200
    assert len(below) == 2
    assert until(lambda: all(gone(pid) for pid in below))
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/health")


def test_a_file_that_is_no_model_is_an_error_with_the_servers_words(llama_settings, tmp_path):
    (tmp_path / "model.gguf").write_bytes(b"not a model")
    with (
        pytest.raises(EndpointError, match="ended while loading"),
        serving(tmp_path / "model.gguf", llama_settings, 4, tmp_path / "log"),
    ):
        pass


def test_a_missing_llama_server_says_how_to_build_it(tmp_path):
    with (
        pytest.raises(EndpointError, match=r"python -m deployments\.build_llama"),
        serving(Path("m"), Settings(llama_cpp=tmp_path), 4, tmp_path / "log"),
    ):
        pass


class Odd(BaseHTTPRequestHandler):
    """A server that is not llama-server: the path says what it answers."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        status = int(self.path.split("/")[1])
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps({"text": "something else"}).encode())

    def log_message(self, *said):
        pass


@pytest.fixture
def odd():
    with HTTPServer(("127.0.0.1", 0), Odd) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 400, 500])
def test_an_answer_of_another_kind_is_an_error(odd, status):
    with pytest.raises(EndpointError, match=odd):
        LlamaServer(f"{odd}/{status}", 4).answer(SESSIONS[:1])


def test_nobody_there_is_an_error():
    with pytest.raises(EndpointError, match="no answer"):
        LlamaServer("http://127.0.0.1:9", 4).answer(SESSIONS[:1])
