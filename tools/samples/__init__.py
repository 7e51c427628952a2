"""The scripts and the material that wrote the bundled samples in ``tasks/samples``."""
