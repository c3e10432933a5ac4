"""The published error codes of FPNN and RTM, what they mean and when to try again.

Codes are plain integers on the wire and in every exception; :class:`Code` only names those that
are known, so an unknown code is kept as the number it is.

Sources: FPNN codes from framework 1.3.1; RTM codes from the published documents of 2018 and the
official client libraries.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, IntEnum
from types import MappingProxyType


class Code(IntEnum):
    """The error codes that have a published meaning."""

    # FPNN: the protocol
    PROTOCOL_UNKNOWN = 10001
    NOT_SUPPORTED = 10002
    INVALID_PACKAGE = 10003
    JSON_CONVERSION = 10004
    MAP_KEY_NOT_STRING = 10005
    MAP_VALUE = 10006
    METHOD_TYPE = 10007
    PROTOCOL_TYPE = 10008
    KEY_NOT_FOUND = 10009
    TYPE_CONVERSION = 10010
    FILE_SIGN = 10011
    FILE_NOT_EXIST = 10012
    # FPNN: the core
    UNKNOWN = 20001
    CONNECTION_CLOSED = 20002
    TIMEOUT = 20003
    UNKNOWN_METHOD = 20004
    ENCODING = 20005
    DECODING = 20006
    SEND_ERROR = 20007
    RECEIVE_ERROR = 20008
    INVALID_PACKAGE_CORE = 20009
    HTTP_ERROR = 20010
    WORK_QUEUE_FULL = 20011
    INVALID_CONNECTION = 20012
    FORBIDDEN = 20013
    SERVER_STOPPING = 20014
    CANCELLED = 20015
    ZIP_COMPRESS = 30001
    ZIP_DECOMPRESS = 30002
    # RTM: the dispatch
    DISPATCH_BAD_PARAMETER = 100001
    # RTM: the gate
    BAD_PROJECT_OR_USER = 200001
    BAD_PROJECT_OR_SIGN = 200002
    BAD_FILE_SIGN_OR_TOKEN = 200003
    ATTRS_LACK_SIGN_OR_EXT = 200004
    BAD_MTYPE = 200005
    SAME_SIGN = 200006
    BAD_FILE_MTYPE = 200007
    CLOCK_MISMATCH = 200008
    RATE_LIMIT = 200010
    FLOODING = 200011
    KICKING_ONESELF = 200012
    METHOD_FORBIDDEN = 200020
    PERMISSION_DENIED = 200021
    NOT_LOGGED_IN = 200022
    ALREADY_LOGGED_IN = 200023
    LOGIN_DENIED = 200024
    ADMIN_LOGIN_FORBIDDEN = 200025
    ADMIN_ONLY = 200026
    BAD_LOGIN_TOKEN = 200027
    MESSAGE_TOO_LARGE = 200030
    FILE_TOO_LARGE = 200031
    TOO_MANY_ITEMS = 200032
    EMPTY_PARAMETER = 200033
    INVALID_PARAMETER = 200034
    DATA_TOO_LARGE = 200035
    NOT_IN_ROOM = 200040
    NOT_GROUP_MEMBER = 200041
    GROUP_FULL = 200042
    NOT_A_FRIEND = 200043
    BANNED_IN_GROUP = 200044
    BANNED_IN_ROOM = 200045
    EMPTY_GROUP = 200046
    TOO_MANY_ROOMS = 200047
    TOO_MANY_FRIENDS = 200048
    BLOCKED_USER = 200049
    TRANSLATION_LANGUAGE = 200050
    TRANSLATION_FAILED = 200051
    SEND_TO_ONESELF = 200052
    DUPLICATE_MID = 200053
    SENSITIVE_WORDS = 200054
    NOT_ONLINE = 200055
    TRANSLATION_ERROR = 200056
    REVIEW_REFUSED = 200057
    CONSOLE_SWITCH = 200060
    TRANSCRIPTION_TYPE = 200061
    PEER_BLOCKED = 200062
    MESSAGE_NOT_FOUND = 200070
    UNKNOWN_RTM_2018 = 200099
    UNKNOWN_RTM = 200999


_MEANINGS: dict[int, str] = {
    Code.PROTOCOL_UNKNOWN: "protocol error",
    Code.NOT_SUPPORTED: "protocol or flag not supported",
    Code.INVALID_PACKAGE: "invalid package",
    Code.JSON_CONVERSION: "JSON conversion failed",
    Code.MAP_KEY_NOT_STRING: "a map key is not a string",
    Code.MAP_VALUE: "bad map value",
    Code.METHOD_TYPE: "bad message kind",
    Code.PROTOCOL_TYPE: "bad protocol type",
    Code.KEY_NOT_FOUND: "a required key is missing",
    Code.TYPE_CONVERSION: "a value has the wrong type",
    Code.FILE_SIGN: "bad file sign",
    Code.FILE_NOT_EXIST: "file does not exist",
    Code.UNKNOWN: "unknown error of the framework",
    Code.CONNECTION_CLOSED: "connection closed",
    Code.TIMEOUT: "timeout",
    Code.UNKNOWN_METHOD: "unknown method",
    Code.ENCODING: "encoding failed",
    Code.DECODING: "decoding failed",
    Code.SEND_ERROR: "sending failed",
    Code.RECEIVE_ERROR: "receiving failed",
    Code.INVALID_PACKAGE_CORE: "invalid package (core)",
    Code.HTTP_ERROR: "HTTP error",
    Code.WORK_QUEUE_FULL: "work queue full, not processed",
    Code.INVALID_CONNECTION: "invalid connection",
    Code.FORBIDDEN: "forbidden: encryption required or internal method",
    Code.SERVER_STOPPING: "the server is stopping",
    Code.CANCELLED: "cancelled",
    Code.ZIP_COMPRESS: "compression failed",
    Code.ZIP_DECOMPRESS: "decompression failed",
    Code.DISPATCH_BAD_PARAMETER: "bad parameter for the dispatch",
    Code.BAD_PROJECT_OR_USER: "bad project or user id",
    Code.BAD_PROJECT_OR_SIGN: "bad project or sign",
    Code.BAD_FILE_SIGN_OR_TOKEN: "bad file, sign or token",
    Code.ATTRS_LACK_SIGN_OR_EXT: "attrs lack sign or ext",
    Code.BAD_MTYPE: "bad mtype",
    Code.SAME_SIGN: "the same sign was used again",
    Code.BAD_FILE_MTYPE: "bad file mtype",
    Code.CLOCK_MISMATCH: "clock mismatch",
    Code.RATE_LIMIT: "rate limit",
    Code.FLOODING: "flooding",
    Code.KICKING_ONESELF: "kicking oneself",
    Code.METHOD_FORBIDDEN: "method forbidden",
    Code.PERMISSION_DENIED: "permission denied",
    Code.NOT_LOGGED_IN: "not logged in",
    Code.ALREADY_LOGGED_IN: "already logged in",
    Code.LOGIN_DENIED: "login denied",
    Code.ADMIN_LOGIN_FORBIDDEN: "an admin may not log in",
    Code.ADMIN_ONLY: "admins only",
    Code.BAD_LOGIN_TOKEN: "bad login token",
    Code.MESSAGE_TOO_LARGE: "message or attrs too large",
    Code.FILE_TOO_LARGE: "file or attrs too large",
    Code.TOO_MANY_ITEMS: "too many list items",
    Code.EMPTY_PARAMETER: "empty parameter",
    Code.INVALID_PARAMETER: "invalid parameter",
    Code.DATA_TOO_LARGE: "data too large",
    Code.NOT_IN_ROOM: "not in the room",
    Code.NOT_GROUP_MEMBER: "not a member of the group",
    Code.GROUP_FULL: "group full",
    Code.NOT_A_FRIEND: "not a friend",
    Code.BANNED_IN_GROUP: "banned in the group",
    Code.BANNED_IN_ROOM: "banned in the room",
    Code.EMPTY_GROUP: "empty group",
    Code.TOO_MANY_ROOMS: "too many rooms",
    Code.TOO_MANY_FRIENDS: "too many friends",
    Code.BLOCKED_USER: "blocked user",
    Code.TRANSLATION_LANGUAGE: "translation: language not supported",
    Code.TRANSLATION_FAILED: "translation failed",
    Code.SEND_TO_ONESELF: "sending to oneself",
    Code.DUPLICATE_MID: "duplicate mid",
    Code.SENSITIVE_WORDS: "sensitive words",
    Code.NOT_ONLINE: "not online",
    Code.TRANSLATION_ERROR: "translation error",
    Code.REVIEW_REFUSED: "refused by review",
    Code.CONSOLE_SWITCH: "switched off in the console",
    Code.TRANSCRIPTION_TYPE: "transcription type not supported",
    Code.PEER_BLOCKED: "the peer is on one's own block list",
    Code.MESSAGE_NOT_FOUND: "message not found",
    Code.UNKNOWN_RTM_2018: "unknown error",
    Code.UNKNOWN_RTM: "unknown error",
}


class Retry(Enum):
    """What a refusal means for trying again (with the same mid, inside the deadline)."""

    NEVER = "never"
    NEW_TOKEN = "once more with a new file token"
    AFTER_PAUSE = "not processed: again after a pause"
    NEW_CONNECTION = "not processed: again on a new connection"
    UNKNOWN = "outcome unknown: once more with the same mid"
    AFTER_LOGIN = "again after a new login"
    USER_ACTION = "again once the user has joined"
    DELIVERED = "delivered, if this was a repeat"


RETRY: Mapping[int, Retry] = MappingProxyType(
    {
        Code.UNKNOWN: Retry.UNKNOWN,
        Code.CONNECTION_CLOSED: Retry.UNKNOWN,
        Code.TIMEOUT: Retry.UNKNOWN,
        Code.RECEIVE_ERROR: Retry.UNKNOWN,
        Code.SEND_ERROR: Retry.NEW_CONNECTION,
        Code.WORK_QUEUE_FULL: Retry.AFTER_PAUSE,
        Code.INVALID_CONNECTION: Retry.NEW_CONNECTION,
        Code.SERVER_STOPPING: Retry.NEW_CONNECTION,
        Code.BAD_FILE_SIGN_OR_TOKEN: Retry.NEW_TOKEN,
        Code.SAME_SIGN: Retry.NEW_TOKEN,  # a new token makes a new sign
        Code.RATE_LIMIT: Retry.AFTER_PAUSE,
        Code.NOT_LOGGED_IN: Retry.AFTER_LOGIN,
        Code.NOT_IN_ROOM: Retry.USER_ACTION,
        Code.NOT_GROUP_MEMBER: Retry.USER_ACTION,
        Code.DUPLICATE_MID: Retry.DELIVERED,
        Code.UNKNOWN_RTM: Retry.UNKNOWN,
        Code.UNKNOWN_RTM_2018: Retry.UNKNOWN,
    }
)
"""The retry table. A code that is absent, or unknown, is ``Retry.NEVER``."""

LOGIN_STOP_CODES: frozenset[int] = frozenset(
    {
        Code.FORBIDDEN,
        Code.BAD_PROJECT_OR_USER,
        Code.BAD_PROJECT_OR_SIGN,
        Code.PERMISSION_DENIED,
        Code.LOGIN_DENIED,
        Code.ADMIN_LOGIN_FORBIDDEN,
        Code.ADMIN_ONLY,
        Code.BAD_LOGIN_TOKEN,
        Code.BLOCKED_USER,
    }
)
"""An ``auth`` refused with one of these is not tried again (source: the C# and Unity SDKs)."""


def describe(code: int) -> str:
    """The published meaning of *code*, or ``"unknown code"``."""
    return _MEANINGS.get(code, "unknown code")


def retry(code: int) -> Retry:
    """What *code* means for trying again; ``Retry.NEVER`` for unknown codes."""
    return RETRY.get(code, Retry.NEVER)
