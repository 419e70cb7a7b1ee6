"""With this folder on PYTHONPATH, a process of ours gets quick stages when it imports its tasks."""

import sys
from importlib.abc import MetaPathFinder


class BeforeTasks(MetaPathFinder):
    """Puts the doubles in place just before `tasks.data` is imported; finds nothing itself."""

    def find_spec(self, name, path=None, target=None):
        if name == "tasks.data":
            sys.meta_path.remove(self)
            from tests.flows.doubles import install

            install(setattr)


sys.meta_path.insert(0, BeforeTasks())
