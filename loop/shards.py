"""Folders of safetensors weights, read and written tensor by tensor."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from loop.errors import MergeError

INDEX = "model.safetensors.index.json"


def base_tensors(base: Path) -> dict[str, Path]:
    """The file of each tensor of a folder of weights, file by file.

    Raises:
        MergeError: The folder has no safetensors weights, or quantised ones.
    """
    from safetensors import safe_open

    if "quantization_config" in json.loads((base / "config.json").read_bytes()):
        raise MergeError(f"{base}: expected plain weights, got quantised ones; merge into those")
    files = sorted(base.glob("model*.safetensors"))
    if not files:
        raise MergeError(f"{base}: expected model*.safetensors, found none")
    found = {}
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            found.update(dict.fromkeys(tensors.keys(), file))
    return found


def read_tensor(file: Path, name: str) -> Any:
    """A copy; the file is closed again, so what the system mapped of it can go."""
    from safetensors import safe_open

    with safe_open(file, framework="pt") as tensors:
        return tensors.get_tensor(name).clone()


@dataclass
class Shards:
    """Safetensors files that hold no more than a limit, named and indexed as transformers does."""

    folder: Path
    limit: int
    _held: dict[str, Any] = field(default_factory=dict)
    _bytes: int = 0
    _total: int = 0
    _names: list[list[str]] = field(default_factory=list)

    def add(self, name: str, tensor: Any) -> None:
        """Take one tensor; full files are written at once."""
        size = tensor.numel() * tensor.element_size()
        if self._held and self._bytes + size > self.limit:
            self._write()
        self._held[name] = tensor.contiguous()
        self._bytes += size
        self._total += size

    def close(self) -> None:
        """Write the rest, give the files their names, and write the index if there are several."""
        self._write()
        count = len(self._names)
        files = [f"model-{i:05d}-of-{count:05d}.safetensors" for i in range(1, count + 1)]
        files = files if count > 1 else ["model.safetensors"]
        for number, file in enumerate(files):
            (self.folder / f"part-{number}").rename(self.folder / file)
        if count > 1:
            table = {n: f for f, names in zip(files, self._names, strict=True) for n in names}
            index = {"metadata": {"total_size": self._total}, "weight_map": table}
            (self.folder / INDEX).write_text(json.dumps(index, indent=2, sort_keys=True))

    def _write(self) -> None:
        from safetensors.torch import save_file

        save_file(self._held, self.folder / f"part-{len(self._names)}", metadata={"format": "pt"})
        self._names.append(list(self._held))
        self._held, self._bytes = {}, 0
