"""An operator on the network: discover, request, account."""
