"""Writes the dashboards and alert rules below the folder given."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ell_otel.dashboards import files


def main(folder: Path) -> None:
    """Write every file, where it is not what it should be."""
    for path, content in files().items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
