"""The `vertebra` command: one file per noun. Each is imported when it is asked for, so that help is fast."""
