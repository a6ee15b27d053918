"""What an optimizer costs: the bytes that it keeps and moves, by parameter and by device, before anything is run."""
