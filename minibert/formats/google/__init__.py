"""Google's TensorFlow checkpoints, read and written without TensorFlow."""
