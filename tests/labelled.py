"""A store with generated sessions and the labels they deserve, or those of other sessions."""

import random

from loop.cycles import ref_of
from loop.labels import check_label
from loop.recipe import read_recipe
from loop.sessions import Generated, generate
from loop.store import keep
from loop.tables import Cycle, LabelIn
from loop.tables import Transcript as Row
from loop.transcript import transcript_of
from loop.upload import read_upload
from loop.values import digest_json, utc_now


def cycle(places, number):
    recipe = read_recipe("tiny-cpu")
    row = Cycle(
        model=recipe.model,
        number=number,
        recipe="tiny-cpu",
        recipe_digest=recipe.digest,
        suite="core",
        suite_digest="0" * 64,
        labels_wanted=10,
        dry_run=True,
    )
    keep(places.store, row)
    return ref_of(row)


def labelled(places, seed, count, shuffled=False):
    """Keep sessions with their labels; `shuffled`: each has the answer that another deserves."""
    generated = generate(seed, count)
    for one, truth in zip(generated, truths(generated, shuffled), strict=True):
        body = transcript_of(read_upload(one.upload))
        row = Row(
            id=one.upload["upload_id"],
            digest=body.digest(),
            record=digest_json(one.upload),
            received=utc_now().date(),
            origin=body.origin,
            source="upload",
            privacy="1",
            reasons=[],
            body=body.as_json(),
        )
        keep(places.store, row)
        keep(places.store, check_label(truth, made_by="simulated-labeller"))
    return generated


ANSWER = ("severity", "root_cause", "actions", "summary")


def truths(generated: tuple[Generated, ...], shuffled: bool) -> list[LabelIn]:
    """The labels in order, or with the answers of all of them dealt out anew."""
    found = [one.truth for one in generated]
    if not shuffled:
        return found
    answers = [{name: getattr(truth, name) for name in ANSWER} for truth in found]
    random.Random(0).shuffle(answers)
    return [truth.model_copy(update=answer) for truth, answer in zip(found, answers, strict=True)]
