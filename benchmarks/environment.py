"""The environment of processes that are measured: as this process found it, before it set up its own threads."""

import os

ENVIRONMENT = dict(os.environ)
