"""The time of an optimizer step on a GPU, estimated without one from the operators that it dispatches."""
