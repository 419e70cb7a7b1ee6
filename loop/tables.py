"""The facts of the loop as append-only rows; "current" is always a query, never an update.

Two exceptions hold no fact: `OpenCycle` is a lock and is deleted when its cycle ends, and a
transcript's `quarantined` reason is set when a rescan finds something in it, or cannot read it.
The third is what a person entrusted to us: the rows of an upload are deleted when its period is
over or its user asks, and `Forgotten` is the fact that stays.
"""

from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import uuid4

from sqlalchemy import JSON, Column, UniqueConstraint
from sqlmodel import Field, SQLModel

from loop.values import Action, Digest, Form, FormRef, Origin, Severity, utc_now


def new_id() -> str:
    """A fresh random id."""
    return str(uuid4())


def _json() -> Any:
    return Field(default=None, sa_column=Column(JSON, nullable=False))


class Decision(StrEnum):
    """What a person made of the device's answer as a whole."""

    ACCEPT = "accept"
    PARTIAL = "partial"
    REJECT = "reject"


class Transcript(SQLModel, table=True):
    """One anonymised troubleshooting session; the first body that came under its upload id."""

    id: str = Field(primary_key=True)
    """The phone's `upload_id`."""
    digest: Digest = Field(index=True)
    """Of the content without the id: equal sessions under two ids have equal digests."""
    record: Digest
    """Of the exact bytes in the depot."""
    received: date
    """The UTC day of receipt; the time of day is not kept."""
    origin: Origin
    source: str
    """`upload`, or `import:<file name>`."""
    model_version: str | None = None
    privacy: str
    """The version of the privacy engine that passed it."""
    reasons: list[str] = _json()
    """Codes of what was repaired or flagged on the way in."""
    body: dict[str, Any] = _json()
    """`loop.transcript.Transcript` as JSON."""
    quarantined: str | None = None
    quarantined_at: datetime | None = None
    """When a rescan found something in it; None where it is in quarantine for another reason."""


class Forgotten(SQLModel, table=True):
    """One upload that was here: everything of it goes, and a copy that arrives later goes too."""

    upload: Digest = Field(primary_key=True)
    """The sha256 of the upload id, which itself is not kept."""
    why: str
    """`asked`, or `retention`."""
    made_by: str
    at: datetime = Field(default_factory=utc_now)
    learnt: list[dict[str, Any]] = _json()
    """`loop.derived.Derived` as JSON: what had learnt from it, or from others that went with it."""


class Quarantined(SQLModel, table=True):
    """One thing that ingest or import set aside, and why; the bytes stay where they were."""

    __table_args__ = (UniqueConstraint("name", "record"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    name: str
    """The depot key or file name."""
    record: Digest
    reason: str = Field(index=True)
    detail: str = ""
    at: datetime = Field(default_factory=utc_now)


class LabelIn(SQLModel):
    """What a labeller sends: the judgement of one transcript and, where needed, the correction."""

    model_config = {"extra": "forbid"}  # a misspelt field would be a lost correction

    transcript_id: str
    decision: Decision
    severity_correct: bool
    root_cause_correct: bool
    actions_correct: bool
    tools_correct: bool = True
    """False: the device's tool calls are context to learn from, never something to imitate."""
    severity: Severity
    root_cause: str
    """An id or alias of the root-cause vocabulary."""
    actions: list[Action]
    """Exactly what should have been recommended; empty: recommend nothing."""
    summary: str = Field(default="", max_length=500)
    """The labeller's own words; empty: the device's where right, else the cause's template."""
    reasoning: str = Field(default="", max_length=1000)
    note: str = Field(default="", max_length=2000)


class Label(SQLModel, table=True):
    """One judgement of one transcript by one person; a changed mind is a new row."""

    id: str = Field(default_factory=new_id, primary_key=True)
    transcript_id: str = Field(foreign_key="transcript.id", index=True)
    decision: Decision
    severity_correct: bool
    root_cause_correct: bool
    actions_correct: bool
    tools_correct: bool = True
    severity: Severity
    root_cause: str
    actions: list[dict[str, Any]] = _json()
    summary: str = ""
    reasoning: str = ""
    note: str = ""
    made_by: str
    made_at: datetime = Field(default_factory=utc_now, index=True)


class Cycle(SQLModel, table=True):
    """One attempt to improve one model."""

    __table_args__ = (UniqueConstraint("model", "number"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    model: str
    number: int
    """1 for the first cycle of a model, without gaps."""
    recipe: str
    """The recipe's file name without its suffix."""
    recipe_digest: Digest
    suite: str
    suite_digest: Digest
    labels_wanted: int
    dry_run: bool
    opened_at: datetime = Field(default_factory=utc_now)


class OpenCycle(SQLModel, table=True):
    """The lock: at most one open cycle per model; inserting the row takes it."""

    model: str = Field(primary_key=True)
    cycle_id: str = Field(foreign_key="cycle.id")
    flow_run_id: str | None = None
    taken_at: datetime = Field(default_factory=utc_now)


class CycleOutcome(StrEnum):
    """How a cycle ended."""

    RELEASED = "released"
    REHEARSED = "rehearsed"
    """Everything but the publication, which `dry_run` left out."""
    REJECTED = "rejected"
    """A gate, the canary or the approver said no: an answer, not an error."""
    UNCHANGED = "unchanged"
    """The labels made the very bytes that are released already."""
    CANCELLED = "cancelled"


class CycleEnd(SQLModel, table=True):
    """How, when and why one cycle ended."""

    cycle_id: str = Field(foreign_key="cycle.id", primary_key=True)
    outcome: CycleOutcome
    reason: str
    at: datetime = Field(default_factory=utc_now)


class StageMark(SQLModel, table=True):
    """When a stage of a cycle started, finished, waited or failed; for estimates and `status`."""

    id: str = Field(default_factory=new_id, primary_key=True)
    cycle_id: str = Field(foreign_key="cycle.id", index=True)
    stage: str
    mark: str
    """`started`, `finished`, `waiting` or `failed`."""
    detail: str = ""
    at: datetime = Field(default_factory=utc_now)


class WaitDecision(SQLModel, table=True):
    """What a person decided about the labelling wait: go on with the labels there are, or stop."""

    id: str = Field(default_factory=new_id, primary_key=True)
    cycle_id: str = Field(foreign_key="cycle.id", index=True)
    decision: str
    """`go on` or `stop`."""
    made_by: str
    made_at: datetime = Field(default_factory=utc_now)


class Dataset(SQLModel, table=True):
    """One frozen dataset: its files lie in the depot under its digest."""

    cycle_id: str = Field(foreign_key="cycle.id", primary_key=True)
    digest: Digest = Field(index=True)
    card: dict[str, Any] = _json()
    """`loop.dataset.DatasetCard` as JSON."""
    at: datetime = Field(default_factory=utc_now)


class CycleTranscript(SQLModel, table=True):
    """A transcript that a cycle froze into its dataset."""

    cycle_id: str = Field(foreign_key="cycle.id", primary_key=True)
    transcript_id: str = Field(foreign_key="transcript.id", primary_key=True)


class ModelForm(SQLModel, table=True):
    """One form of a model version: base, adapter, merged weights or converted bytes."""

    inputs: Digest = Field(primary_key=True)
    """Digest of everything it was made from; the same inputs are never worked on twice."""
    form: Form
    digest: Digest = Field(index=True)
    """Names the folder forms/<digest> in the depot."""
    sha256: Digest = Field(index=True)
    """Of the one file of converted bytes; of other forms the digest again."""
    parent: Digest | None = None
    """The form it was made from."""
    version: str = Field(index=True)
    """The model version it belongs to."""
    facts: dict[str, Any] = _json()
    """Toolchain, sizes, losses, parity: whatever the making measured."""
    at: datetime = Field(default_factory=utc_now)

    def ref(self) -> FormRef:
        """What stages hand to each other."""
        return FormRef(Form(self.form), self.digest, self.version, self.sha256)


class GateReport(SQLModel, table=True):
    """What one form of a model version did on one suite, and whether that passed."""

    inputs: Digest = Field(primary_key=True)
    question: Digest = Field(index=True)
    """The form, the suite and how it was asked; `inputs` adds the incumbent."""
    form: Form
    digest: Digest = Field(index=True)
    """Of the form that was scored."""
    suite: str
    passed: bool
    report: dict[str, Any] = _json()
    """`loop.gate.Report` as JSON."""
    at: datetime = Field(default_factory=utc_now)


class CanaryReport(SQLModel, table=True):
    """What the canary's host measured, candidate against incumbent."""

    inputs: Digest = Field(primary_key=True)
    sha256: Digest = Field(index=True)
    """Of the candidate's bytes."""
    incumbent: Digest
    passed: bool
    report: dict[str, Any] = _json()
    """`loop.canary.Report` as JSON."""
    at: datetime = Field(default_factory=utc_now)


class Card(SQLModel, table=True):
    """One sign-off card; what a person approves is its digest."""

    digest: Digest = Field(primary_key=True)
    cycle_id: str = Field(foreign_key="cycle.id", index=True)
    sha256: Digest
    """Of the bytes that would be published."""
    card: dict[str, Any] = _json()
    """`loop.card.Card` as JSON; its canonical bytes hash to `digest`."""
    at: datetime = Field(default_factory=utc_now)


class SignOff(SQLModel, table=True):
    """A named person's yes or no to one card."""

    id: str = Field(default_factory=new_id, primary_key=True)
    card: Digest = Field(foreign_key="card.digest", index=True)
    sha256: Digest
    decision: str
    """`approve` or `reject`."""
    made_by: str
    via: str
    """`command` or `form`; a form counts for rehearsal repositories only."""
    made_at: datetime = Field(default_factory=utc_now)


class Release(SQLModel, table=True):
    """One publication in one repository: the manifest that devices then read."""

    __table_args__ = (UniqueConstraint("repository", "number"),)

    id: str = Field(default_factory=new_id, primary_key=True)
    repository: str
    """The repository's id, from its `repository.json`."""
    number: int
    """`manifest_version`; 0 for the factory entry, which has no manifest of its own."""
    verb: str
    """`factory`, `publish`, `rollback` or `unrollback`."""
    model_version: str
    """What devices are told to run from then on."""
    sha256: Digest
    card: Digest | None = None
    manifest: dict[str, Any] = _json()
    made_by: str
    at: datetime = Field(default_factory=utc_now)
