"""Multiple choice: the right answer to a question among several."""
