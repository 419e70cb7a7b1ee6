"""A folder depot in the middle of whose work something else happens, once."""

from loop.depot import FolderDepot


class LateDepot(FolderDepot):
    """Does something else right after a put of a tree, or right before a deletion."""

    def __init__(self, places, call, late):
        super().__init__(places.settings.depot_place)
        self.call, self.late = call, late

    def put_tree(self, prefix, folder):
        digest = super().put_tree(prefix, folder)
        self._meanwhile("put_tree")
        return digest

    def delete(self, key):
        self._meanwhile("delete")
        return super().delete(key)

    def _meanwhile(self, call):
        if call == self.call and (late := self.late):
            self.late = None
            late()
