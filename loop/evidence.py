"""The evidence a release rests on: passed gate and canary reports that name exactly these bytes."""

from sqlmodel import Session, col, select

from loop.errors import ReleaseError
from loop.tables import CanaryReport, GateReport
from loop.values import Digest, FormRef, short


def require_gate(session: Session, inputs: Digest, artifact: FormRef, suite: str) -> GateReport:
    """The passed gate report on exactly the bytes that ship, and no newer one that held them.

    Raises:
        ReleaseError: It is missing, held the model, or judged something else.
    """
    row = find_gate(session, inputs)
    judged, expected = (
        (row.form, row.digest, row.suite),
        (artifact.form, artifact.digest, suite),
    )
    if judged != expected:
        raise ReleaseError(f"gate {short(inputs)}: expected it to judge {expected}, got {judged}")
    newest = session.exec(
        select(GateReport)
        .where(GateReport.digest == artifact.digest, GateReport.suite == suite)
        .order_by(col(GateReport.at).desc())
    ).first()
    if not (row.passed and newest and newest.passed):
        raise ReleaseError(f"gate of {artifact.version}: expected passed, got held")
    return row


def find_gate(session: Session, inputs: Digest) -> GateReport:
    """One gate report by its primary key, or ReleaseError."""
    if (found := session.get(GateReport, inputs)) is None:
        raise ReleaseError(f"gate report {short(inputs)}: expected one in the store, found none")
    return found


def require_canary(session: Session, inputs: Digest, artifact: FormRef) -> CanaryReport:
    """The passed canary report on exactly the bytes that ship, and no newer one that failed them.

    Raises:
        ReleaseError: It is missing, failed, or ran other bytes.
    """
    if (row := session.get(CanaryReport, inputs)) is None:
        raise ReleaseError(f"canary report {short(inputs)}: expected one in the store, found none")
    if row.sha256 != artifact.sha256:
        raise ReleaseError(
            f"canary {short(inputs)}: expected it to run {artifact.sha256}, got {row.sha256}"
        )
    newest = session.exec(
        select(CanaryReport)
        .where(CanaryReport.sha256 == artifact.sha256)
        .order_by(col(CanaryReport.at).desc())
    ).first()
    if not (row.passed and newest and newest.passed):
        raise ReleaseError(f"canary of {artifact.version}: expected passed, got failed")
    return row
