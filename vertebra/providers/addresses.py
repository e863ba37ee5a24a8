"""Where a vendor's requests may go, and which key goes there: the key of one address is never sent to another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from vertebra.providers.errors import failure


@dataclass(frozen=True)
class Addresses:
    """One vendor's own address and those that the operator lists."""

    own: str
    own_secret: str
    """The name of the secret that holds the vendor's own key: `secret://env/NAME`."""
    listed: Mapping[str, str | None] = field(default_factory=dict)
    """Address to the name of its secret; None: it is asked without a key. The vendor's own may stand here, too."""

    def secret(self, endpoint: str | None) -> str | None:
        """The name of the secret that is sent there; None where no key is, or nothing may be sent at all."""
        address = endpoint or self.own
        return self.listed.get(address, self.own_secret if address == self.own else None)

    def url(self, endpoint: str | None, at: str) -> str:
        """The address to send to. Raises ProviderFailure where nobody has listed it."""
        address = endpoint or self.own
        if address != self.own and address not in self.listed:
            do = f"ask the operator to list it: VERTEBRA_ENDPOINTS='{address} secret://env/NAME', or without a key"
            raise failure("bad_request", at, f"the endpoint {address!r} is not allowed here", do=do)
        return address
