"""What ends a session: errors that may be logged, because they say nothing but numbers and our own words."""

from recon.errors import ReconError


class ProtocolError(ReconError):
    """The peer broke the protocol or a limit. The message never quotes text of the peer: it goes into the log."""
