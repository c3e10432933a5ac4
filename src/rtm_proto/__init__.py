"""RTM's File API over FPNN as a sans-IO protocol framework: the pure core.

    errors, codes, payload, package       what the bytes mean
    link, websocket                       bytes on the wire <-> packages
    session, connection, desk             quests, answers, timers, who waits for what
    flows                                 login and file sending, as scripts
    gate                                  the server side

Importing this loads the standard library's pure parts and msgpack. ``rtm_proto.websocket`` needs
wsproto and h11, ``rtm_proto.download``, ``rtm_proto.proxies`` and ``rtm_proto.gate`` need h11. To
use it over real sockets import ``rtm_trio`` or ``rtm_asyncio``.
"""

from __future__ import annotations

from .address import Address, FileRoute, parse_url
from .codes import RETRY, Code, Retry, describe
from .connection import Connection, State
from .desk import Desk, Inbox, Ticket
from .errors import (
    ConnectFailed,
    ConnectionLost,
    DownloadFailed,
    FileNotSent,
    FileRefused,
    FileUnusable,
    LocalProtocolError,
    LoginFailed,
    OutcomeUnknown,
    PayloadError,
    QuestError,
    QuestRefused,
    QuestTimeout,
    RemoteFault,
    RtmError,
    SendFailed,
    StoreFault,
    outcome_of,
)
from .events import (
    Answered,
    Closed,
    CloseKind,
    CloseReason,
    Dropped,
    Event,
    Lost,
    OnewayReceived,
    Opened,
    QuestReceived,
    Refused,
    TimedOut,
)
from .flows.steps import Progress, Stage
from .flows.transfer import FileSent, FileToken, FileUploaded, Sender, Transfer, Upload
from .link import Link, StreamLink
from .mids import MidFilter, MidGenerator
from .package import Package, Splitter
from .received import (
    ClientEvent,
    Conversation,
    Disconnected,
    EventsLost,
    FileReceived,
    FileType,
    KickedOut,
    KickedOutOfRoom,
    MessageReceived,
    Reconnected,
    UnknownPush,
)
from .signs import Signer

__version__ = "0.1.0"

__all__ = [
    "RETRY",
    "Address",
    "Answered",
    "ClientEvent",
    "CloseKind",
    "CloseReason",
    "Closed",
    "Code",
    "ConnectFailed",
    "Connection",
    "ConnectionLost",
    "Conversation",
    "Desk",
    "Disconnected",
    "DownloadFailed",
    "Dropped",
    "Event",
    "EventsLost",
    "FileNotSent",
    "FileReceived",
    "FileRefused",
    "FileRoute",
    "FileSent",
    "FileToken",
    "FileType",
    "FileUnusable",
    "FileUploaded",
    "Inbox",
    "KickedOut",
    "KickedOutOfRoom",
    "Link",
    "LocalProtocolError",
    "LoginFailed",
    "Lost",
    "MessageReceived",
    "MidFilter",
    "MidGenerator",
    "OnewayReceived",
    "Opened",
    "OutcomeUnknown",
    "Package",
    "PayloadError",
    "Progress",
    "QuestError",
    "QuestReceived",
    "QuestRefused",
    "QuestTimeout",
    "Reconnected",
    "Refused",
    "RemoteFault",
    "Retry",
    "RtmError",
    "SendFailed",
    "Sender",
    "Signer",
    "Splitter",
    "Stage",
    "State",
    "StoreFault",
    "StreamLink",
    "Ticket",
    "TimedOut",
    "Transfer",
    "UnknownPush",
    "Upload",
    "describe",
    "outcome_of",
    "parse_url",
]
