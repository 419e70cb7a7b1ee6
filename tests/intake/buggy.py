"""The real program with bugs whose messages quote the upload: `python -m tests.intake.buggy`."""

import argparse
import logging
from dataclasses import replace

from intake.parts import make_parts
from intake.serving import LOOPBACK, Listening, serve
from intake.shipper import Shipper
from intake.spool import Spool
from loop.depot import FolderDepot
from loop.settings import get_settings


class BuggySpool(Spool):
    """Fails over one of two, as a KeyError may: with the text in its message."""

    def keep(self, record):
        if "bug" in record.upload["user_comment"]:
            raise KeyError(record.upload["user_comment"])
        return super().keep(record)


class BuggyDepot(FolderDepot):
    """Fails with what it was given to keep."""

    def put(self, _key, data):
        raise KeyError(data)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--private-port", type=int)
    where = Listening(LOOPBACK, **vars(parser.parse_args()))
    logging.basicConfig(level=logging.DEBUG)
    settings = get_settings()
    parts = make_parts(settings)
    spool = BuggySpool(parts.spool.root, parts.spool.room)
    shipper = Shipper(spool, BuggyDepot(settings.home / "depot"))
    serve(replace(parts, spool=spool, shipper=shipper), where)


if __name__ == "__main__":
    main()
