"""transformers, an extra: what the benchmarks hold minibert against; without it they end in one sentence."""

import sys

try:
    import transformers as transformers
except ModuleNotFoundError:
    print(
        "error: transformers is missing, which is measured beside minibert: pip install -e '.[bench]'", file=sys.stderr
    )
    sys.exit(2)

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()
