"""Command lines for checkpoints and tokenizers, and the scripts that made the bundled models and samples."""
