"""Every value that crosses a process, history, file or HTTP boundary, and nothing else."""
