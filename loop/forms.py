"""Forms of model versions: finding the row behind a reference, making and keeping a new form."""

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlmodel import Session, col, select

from loop.errors import NotFound
from loop.jobs import locked, read_complete
from loop.places import Places
from loop.store import find_form, writing
from loop.tables import ModelForm
from loop.values import Digest, Form, FormRef, Json, digest_json, short

PATIENCE = 24 * 3600.0
"""Seconds to wait for another process that makes the very same form."""


def row_of(places: Places, ref: FormRef) -> ModelForm:
    """The newest row that made exactly these bytes of this version.

    Raises:
        NotFound: No such row.
    """
    with Session(places.store) as session:
        found = session.exec(
            select(ModelForm)
            .where(ModelForm.form == ref.form, ModelForm.digest == ref.digest)
            .where(ModelForm.version == ref.version)
            .order_by(col(ModelForm.at).desc())
        ).first()
    if found is None:
        raise NotFound(f"{ref.form} {ref.digest} of version {ref.version} is not in the store")
    return found


@dataclass(frozen=True)
class Lineage:
    """Where a new version begins: its name, and the digest of what it is made from, if anything."""

    version: str
    digest: Digest | None = None


def make_form(
    places: Places,
    form: Form,
    source: ModelForm | Lineage,
    made_from: Mapping[str, Json],
    run: Callable[[Path], Path],
    more_facts: Mapping[str, Json] | None = None,
) -> FormRef:
    """The form that a job makes from `source`, or made from the very same inputs before.

    Two processes that ask for the same form at the same time make it once.

    Args:
        places: Store, depot and scratch.
        form: What is made.
        source: What it is made from; the form belongs to the same version.
        made_from: Everything else that its bytes depend on.
        run: Runs the job in the folder it is given; returns the finished output, with the form's
            files in `form/` and, for converted bytes, their `sha256` among the facts.
        more_facts: Facts that the job does not know.
    """
    origin = {"form": form, "source": source.digest, "version": source.version}
    inputs = digest_json({**made_from, **origin})
    name = f"{form}-{short(inputs)}"
    with locked(places.settings.scratch / "locks" / name, name, PATIENCE):
        with Session(places.store) as session:
            if found := find_form(session, inputs):
                return found.ref()
        work = places.settings.scratch / name
        out = run(work)
        facts = {**read_complete(out), **(more_facts or {})}
        kept = keep_form(places, inputs, form, out / "form", source, facts)
        shutil.rmtree(work)
        return kept


def keep_form(
    places: Places,
    inputs: Digest,
    form: Form,
    folder: Path,
    source: ModelForm | Lineage,
    facts: Mapping[str, Json],
) -> FormRef:
    """Keep a folder as a form made from `source`: bytes first, the row last."""
    digest = places.depot.put_tree("forms", folder)
    made = ModelForm(
        inputs=inputs,
        form=form,
        digest=digest,
        sha256=facts.get("sha256", digest),
        parent=source.digest,
        version=source.version,
        facts=dict(facts),
    )
    with writing(places.store) as session:
        if found := find_form(session, inputs):  # another process was faster
            return found.ref()
        session.add(made)
    return made.ref()
