"""No byte of an answer before the disk has what it says: bytes, name, folder, answer."""

import os
import stat

import pytest
from fastapi.testclient import TestClient

from intake.app import create_app
from intake.parts import make_parts
from tests.factories import upload
from tests.intake.served import NEAR, settings_in


class Watched:
    """An app that notes when its answer begins, on a disk that notes what it synced."""

    def __init__(self, home):
        parts = make_parts(settings_in(home))
        self.spool, self.steps = parts.spool.root, []
        self._app, parts.spool._sync = create_app(parts), self._sync

    async def __call__(self, scope, receive, send):
        async def sending(message):
            if message["type"] == "http.response.start":
                self.steps.append(f"answer {message['status']}")
            await send(message)

        await self._app(scope, receive, sending)

    def _sync(self, handle):
        kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
        named = len(list(self.spool.glob("*.json")))
        os.fsync(handle)
        self.steps.append(f"{kind} synced, {named} named")


@pytest.fixture
def watched(tmp_path):
    (tmp_path / "spool").mkdir()
    (tmp_path / "depot").write_text("away, so that nothing leaves the spool")
    return Watched(tmp_path)


def test_an_answer_begins_after_file_name_and_folder_are_durable(watched):
    with TestClient(watched, client=NEAR) as client:
        client.post("/transcripts", json=upload())

    assert watched.steps == ["file synced, 0 named", "folder synced, 1 named", "answer 200"]


def test_so_does_the_answer_to_a_repeat_and_to_another_body_under_one_id(watched):
    with TestClient(watched, client=NEAR) as client:
        client.post("/transcripts", json=upload())
        client.post("/transcripts", json=upload())
        client.post("/transcripts", json=upload(user_comment="another"))

    assert watched.steps[3:6] == ["file synced, 1 named", "folder synced, 1 named", "answer 200"]
    assert watched.steps[6:] == ["file synced, 1 named", "folder synced, 2 named", "answer 200"]
