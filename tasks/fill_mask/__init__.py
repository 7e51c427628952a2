"""What a pre-trained model expects in a gap: ``python -m tasks.fill_mask``."""
