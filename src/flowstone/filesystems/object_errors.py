"""What an object store's failure means and what to do about it."""

from __future__ import annotations

import re
from typing import Final

from flowstone.exceptions import StoreError

_LONGEST = 400
_SIGNATURE = re.compile(r"(?i)\b(sig|signature|x-amz-signature|x-amz-security-token)=[^&\s\"']+")
_CODE = re.compile(r"<Code>([^<]+)</Code>")

_MISSING_BUCKET: Final = (
    "NoSuchBucket",
    "ContainerNotFound",
    "The specified bucket does not exist",
    "The specified container does not exist",
)

# First match wins: what the text or the class of the error holds, and the advice that goes with it.
_ADVICE: Final = (
    (_MISSING_BUCKET, "The bucket or container does not exist: create it, or correct the name in the URL."),
    (
        ("SignatureDoesNotMatch", "InvalidAccessKeyId", "AuthenticationFailed", "UnauthenticatedError", "ExpiredToken"),
        "The credentials are wrong or expired: check the access key and secret, or the account key.",
    ),
    (
        ("token request", "metadata/identity", "latest/meta-data", "latest/api/token", "CredentialsError"),
        "No credentials were found: set them in the environment or pass them as options.",
    ),
    (
        ("PermissionDeniedError", "403 Forbidden", "AccessDenied", "AuthorizationFailure"),
        "Access is denied: the credentials need the rights to read, write, list and delete under this prefix "
        "(without the right to list, S3 denies what is merely missing).",
    ),
    (("301 Moved", "PermanentRedirect", "AuthorizationHeaderMalformed"), "The region is wrong: set region=."),
    (
        ("429 Too Many", "SlowDown", "ServerBusy", "503 Service", "503 Slow"),
        "The store throttles or is overloaded: run fewer workers, or raise retries=.",
    ),
    (("EntityTooLarge", "RequestBodyTooLarge"), "The record is larger than the store takes in one conditional write."),
    (("InsufficientStorage", "507 ", "XMinioStorageFull", "QuotaExceeded"), "The store is full: prune it."),
    (
        ("error sending request", "operation timed out", "HTTP error", "request or response body", "Connect"),
        "The store cannot be reached or does not answer in time: check the network and the endpoint, "
        "or raise timeout=.",
    ),
)
_OTHERWISE = "See the store's own message."


def is_missing_bucket(error: BaseException) -> bool:
    """Say whether "not found" speaks of the whole bucket rather than of one object."""
    text = str(error)
    return any(sign in text for sign in _MISSING_BUCKET)


def store_error(error: BaseException, doing: str, place: str) -> StoreError:
    """Return the StoreError that tells what failed and what to do, without secrets of signed addresses."""
    text = f"{type(error).__name__} {error}"
    advice = next((advice for signs, advice in _ADVICE if any(sign in text for sign in signs)), _OTHERWISE)
    return StoreError(f"Cannot {doing} {place}. {advice} ({_summary(str(error))})")


def _summary(text: str) -> str:
    """Return the message's first paragraph on one line; the rest is the client library's debugging aid."""
    paragraph = " ".join(text.partition("\n\nDebug source")[0].split())
    if code := _CODE.search(paragraph):
        paragraph = f"{paragraph.partition('<')[0].strip()} {code[1]}"
    paragraph = _SIGNATURE.sub(r"\1=***", paragraph)
    return paragraph if len(paragraph) <= _LONGEST else paragraph[:_LONGEST] + "..."
