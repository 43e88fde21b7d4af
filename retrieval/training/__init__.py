"""Training encoders: data sets, batches, losses, the trainer and its checkpoints."""
