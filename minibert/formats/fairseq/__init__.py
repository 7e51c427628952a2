"""fairseq's checkpoints, read and written without fairseq."""
