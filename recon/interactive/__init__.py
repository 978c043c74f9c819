"""What acceleration costs a task: clicks that an interactive segmentation of a lesion needs."""
