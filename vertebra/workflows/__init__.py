"""The Temporal shell around the engine: it carries out commands and turns results into events."""
