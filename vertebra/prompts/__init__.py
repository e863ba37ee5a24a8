"""Text for a model: prompt files, the template language, and the reading of replies."""
