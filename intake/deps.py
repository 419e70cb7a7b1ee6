"""What a request needs: the parts of the intake that serves it."""

from typing import Annotated

from fastapi import Depends, Request

from intake.parts import Parts


async def parts_of(request: Request) -> Parts:
    """The parts behind the app that got this request; async, or FastAPI would ask a thread."""
    return parts_behind(request)


def parts_behind(request: Request) -> Parts:
    """The same, where no dependency is."""
    parts: Parts = request.app.state.parts
    return parts


PartsDep = Annotated[Parts, Depends(parts_of)]
