"""Models as graphs for other run times: ONNX files and ``torch.export`` programs, and answers from ONNX Runtime."""
