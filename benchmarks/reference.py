"""Imports transformers, an optional extra; without it, a benchmark exits with one sentence."""

import sys

try:
    import transformers as transformers
except ModuleNotFoundError:
    print(
        "error: this benchmark compares with transformers, which is missing: pip install -e '.[bench]'", file=sys.stderr
    )
    sys.exit(2)

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
