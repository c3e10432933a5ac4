"""The gate: the server side, pure. Decisions, tokens, the store's interface, the front door."""
