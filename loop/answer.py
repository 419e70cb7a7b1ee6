"""Program: a folder of weights, with or without an adapter, answers a suite of scenarios.

`python -m loop.answer job.json` writes answers.json: for each scenario the texts of its turns.
Judging them is `gating`'s business, so that every form is judged by the same code.
"""

import json
from pathlib import Path

from pydantic import BaseModel

from loop import jobs
from loop.endpoint import InProcess
from loop.protocol import Conversation, converse


class Asked(BaseModel):
    """One scenario, as far as a model may see it."""

    id: str
    user: str
    diagnostics: dict[str, object]


class AnswerJob(BaseModel):
    """Who is asked what."""

    folder: Path
    adapter: Path | None
    rules: str
    thinking: bool
    max_new_tokens: int
    threads: int
    scenarios: list[Asked]


def answer(job: AnswerJob, out: Path) -> None:
    """Every scenario to its end, all of them together."""
    model = InProcess(job.folder, job.adapter, job.max_new_tokens, job.threads)
    played = [Conversation(s.user, s.diagnostics, job.rules, job.thinking) for s in job.scenarios]
    converse(model, played, lambda done: jobs.report(done, len(played)))
    texts = {s.id: c.texts for s, c in zip(job.scenarios, played, strict=True)}
    (out / "answers.json").write_text(json.dumps(texts))
    jobs.finish(out, {})


if __name__ == "__main__":
    answer(*jobs.open_job(AnswerJob))
