"""First on the path of a process that a test starts: no matplotlib, since plots would take longer than the rest."""

import sys

sys.modules["matplotlib"] = None  # type: ignore[assignment]  # what an import of a missing package meets
