"""The stages: a module each, with ``run(report, plan)``, in the order and with the limits of :mod:`benchmarks.gpu`."""
