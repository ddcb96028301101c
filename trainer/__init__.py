"""PEFT Lab's engine: train, store, compare and question fine-tuning methods. Imports no Gradio."""

__version__ = "0.1.0"
