"""Python models that Triton runs; model_repository/<name>/1/model.py loads each."""
