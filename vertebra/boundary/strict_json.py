"""The strict JSON reader under the name by which whoever reads from outside looks for it.

It is defined in `schemas`, because prompts and the engine, which stand beside or below this folder, need it too.
"""

from vertebra.schemas.strict_json import MAX_BYTES, MAX_DEPTH, check_value, read_json

__all__ = ["MAX_BYTES", "MAX_DEPTH", "check_value", "read_json"]
