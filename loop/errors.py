"""Errors the loop raises on purpose; anything else that escapes is a bug.

LoopError
├── NotFound              an id or digest that the store or the depot does not hold
├── StoreError            a store that cannot be used as it is
├── SettingsError         a setting that does not fit what is asked of it
├── DepotError            bytes that do not match their name, or a key that is taken by other bytes
├── DepotAway             an object store that gives no usable answer, whatever the key
├── SpoolError            intake cannot keep an upload durably right now
├── CertificateError      a certificate and key that intake cannot serve TLS with
├── TranscriptError       an upload that is not a usable transcript
├── UnreadableError       a kept transcript that a rule of today's code fails over
├── PrivacyError          a transcript that still carries what its phone promised to strip
├── FactsError            a table of facts that cannot be used as written
├── RecipeError           a recipe that cannot be used as written
├── ScenarioError         a scenario that cannot be used as written
├── LabelError            a judgement that contradicts itself or the whitelist
├── DatasetError          labels that cannot make a dataset
├── CycleError            a cycle that cannot be opened, continued or changed as asked
├── JobError              a child process that ended badly, was stopped or left an incomplete output
├── EndpointError         a served model that did not answer as a chat endpoint
├── MergeError            an adapter that cannot be merged exactly
├── ConversionError       a converter that left no usable .rkllm or GGUF file
├── ManifestError         a manifest that some device would not read as meant
└── ReleaseError          a release that sign-off, evidence or repository rules forbid
"""

from collections.abc import Mapping
from typing import Literal

AwayReason = Literal["unavailable", "denied", "no_bucket", "clock", "full"]
"""No answer, or an error of the store's own; credentials or policy; name, region or endpoint;
this machine's clock is too far from the store's; no room there, or none that we may have."""


class LoopError(Exception):
    """Something went wrong that a person can act on; the message says what and where."""


class NotFound(LoopError):
    """An id or digest that the store or the depot does not hold."""


class StoreError(LoopError):
    """A store that cannot be used as it is."""


class SettingsError(LoopError):
    """A setting that does not fit what is asked of it."""


class DepotError(LoopError):
    """Bytes that do not match their name, or a key that is taken by other bytes."""


class DepotAway(LoopError):
    """An object store that gives no usable answer; its text names no key and may be logged.

    No DepotError: that one says what lies there, this one that nobody knows.
    """

    def __init__(self, reason: AwayReason, place: str, said: str) -> None:
        super().__init__(reason, place, said)
        self.reason, self.place, self.said = reason, place, said

    def __str__(self) -> str:
        return f"{self.place}: {_WHAT_TO_DO[self.reason]} (it said: {self.said})"


_WHAT_TO_DO: dict[AwayReason, str] = {
    "unavailable": "expected an answer, got none or an error of the store's own; look at it and "
    "at the network between",
    "denied": "expected to be let in; look at the credentials, their policy and the bucket's key",
    "no_bucket": "expected a bucket of that name; look at name, region and endpoint",
    "clock": "expected this machine's clock to be the store's; set it",
    "full": "expected room for more; give it some, or raise the quota",
}


class SpoolError(LoopError):
    """Intake cannot keep an upload durably right now."""


class CertificateError(LoopError):
    """A certificate and key that intake cannot serve TLS with."""


class TranscriptError(LoopError):
    """An upload that is not a usable transcript; `reason` is a code from the closed list."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason, self.detail = reason, detail

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason


class UnreadableError(LoopError):
    """A kept transcript that a rule of today's code fails over; `fault` is the error's type."""

    def __init__(self, transcript: str, fault: str) -> None:
        super().__init__(transcript, fault)
        self.transcript, self.fault = transcript, fault

    def __str__(self) -> str:
        return f"transcript {self.transcript} cannot be read by this version: {self.fault}"


class PrivacyError(LoopError):
    """A transcript that still carries what its phone promised to strip; names rules, never text."""

    def __init__(self, rules: tuple[str, ...]) -> None:
        super().__init__(rules)
        self.rules = rules

    def __str__(self) -> str:
        return f"identifiers found by rules {', '.join(self.rules)}, expected none"


class FactsError(LoopError):
    """A table of facts that cannot be used as written."""


class RecipeError(LoopError):
    """A recipe that cannot be used as written."""


class ScenarioError(LoopError):
    """A scenario that cannot be used as written."""


class LabelError(LoopError):
    """A judgement that contradicts itself or the whitelist; `problems` are sentences by field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(dict(problems))
        self.problems = dict(problems)

    def __str__(self) -> str:
        return "; ".join(f"{field}: {sentence}" for field, sentence in self.problems.items())


class DatasetError(LoopError):
    """Labels that cannot make a dataset."""


class CycleError(LoopError):
    """A cycle that cannot be opened, continued or changed as asked."""


class JobError(LoopError):
    """A child process that ended badly, was stopped or left an incomplete output."""

    def __init__(self, program: str, status: int | None, tail: str) -> None:
        super().__init__(program, status, tail)
        self.program, self.status, self.tail = program, status, tail

    def __str__(self) -> str:
        how = "was stopped" if self.status is None else f"exited {self.status}, expected 0"
        how = how if self.status != 0 else "left no complete output"
        last = (self.tail.strip().splitlines() or ["(no output)"])[-1]
        return f"{self.program} {how}: {last}"


class EndpointError(LoopError):
    """A served model that did not answer as a chat endpoint."""


class MergeError(LoopError):
    """An adapter that cannot be merged exactly."""


class ConversionError(LoopError):
    """A converter that left no usable .rkllm or GGUF file."""


class ManifestError(LoopError):
    """A manifest that some device would not read as meant."""


class ReleaseError(LoopError):
    """A release that sign-off, evidence or repository rules forbid."""
