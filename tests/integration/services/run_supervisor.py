"""Program of the tests: supervises the folder it is given, says what runs, and stays until it is told to end."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path

from vertebra.services.options import ServiceOptions
from vertebra.services.process import ChildSpec
from vertebra.services.supervisor import Supervisor

_STUBBORN = "trap '' INT TERM; echo deaf; while :; do sleep 0.2; done"


async def main() -> None:
    """Print the services as one line of JSON, then wait."""
    options = replace(ServiceOptions.from_environ(os.environ), usual_ports=False)
    async with Supervisor(Path(sys.argv[1]), options) as supervisor:
        if "stubborn" in sys.argv:
            env = {"PATH": "/usr/bin:/bin"}
            await supervisor.add(ChildSpec("stubborn", ("/bin/sh", "-c", _STUBBORN), env, stop_timeout_s=1))
        sys.stdout.write(supervisor.services.model_dump_json() + "\n")
        sys.stdout.flush()
        if "once" not in sys.argv:
            await asyncio.sleep(600)


if __name__ == "__main__":
    code = 0
    try:
        asyncio.run(main())
    except KeyboardInterrupt:
        code = 130
    # as the console script ends: threads of Temporal's client may abort or hold up the interpreter's clean-up
    sys.stdout.flush()
    os._exit(code)
