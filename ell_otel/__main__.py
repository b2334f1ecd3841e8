"""``python -m ell_otel`` and the ``ell-otel`` command."""

from __future__ import annotations

import sys

from ell_otel.cli import main

if __name__ == "__main__":
    sys.exit(main())
