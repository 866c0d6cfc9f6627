"""The demo on a real language model: three tasks of a support desk on SmolLM2-135M-Instruct."""
