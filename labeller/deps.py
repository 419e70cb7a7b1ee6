"""What routes ask for: the places, a session of the store, and who is judging."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Header, Request
from sqlmodel import Session

from loop.places import Places

Simulated = Annotated[
    str | None,
    Header(alias="X-Simulated-Person", pattern=r"^simulated-[a-z0-9-]{1,40}$"),
]
"""A program that plays a person says so; no other name can be claimed."""


def _places(request: Request) -> Places:
    places: Places = request.app.state.places
    return places


PlacesDep = Annotated[Places, Depends(_places)]


def _reading(places: PlacesDep) -> Iterator[Session]:
    with Session(places.store) as session:
        yield session


SessionDep = Annotated[Session, Depends(_reading)]


def _person(request: Request, simulated: Simulated = None) -> str:
    person: str = request.app.state.person
    return simulated or person


PersonDep = Annotated[str, Depends(_person)]
