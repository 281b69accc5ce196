"""The centre: forward models, uncertainty, imagination, training, checkpoints, tracking, the command line."""
