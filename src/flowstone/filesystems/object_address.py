"""Where an object store is and how to reach it: a URL, options and the usual environment variables."""

from __future__ import annotations

import os
from collections.abc import Mapping
from copy import copy
from datetime import timedelta
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final, cast
from urllib.parse import urlsplit

from flowstone.exceptions import ConfigurationError

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_SERVICES: Final = {
    "s3": "s3",
    "s3a": "s3",
    "gs": "gs",
    "gcs": "gs",
    "az": "az",
    "azure": "az",
    "abfs": "az",
    "abfss": "az",
}
_ENDPOINT_VARIABLES: Final = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": (),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}
_ENDPOINT_OPTIONS: Final = {
    "s3": ("endpoint", "endpoint_url", "aws_endpoint", "aws_endpoint_url"),
    "gs": ("base_url",),
    "az": ("endpoint", "azure_endpoint", "azure_storage_endpoint"),
}
_ACCOUNT_VARIABLES: Final = ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT")
_CONNECT_SECONDS: Final = 10.0
_WHOLE_REQUEST: Final = timedelta(hours=1)  # for a server that trickles; a silent one is given up after `timeout`

SCHEMES: Final = tuple(_SERVICES)


class ObjectAddress:
    """One place in an object store and the options to reach it.

    `options` are what obstore's store classes take (`region`, `access_key_id`, `account_name`, ...), besides
    `client_options` and `credential_provider`. An endpoint named by the environment is taken down here, so that a
    pickled copy on another machine speaks of the same place; credentials in the environment are left there.
    """

    __slots__ = ("account", "bucket", "endpoint", "options", "prefix", "retries", "service", "timeout")

    def __init__(
        self,
        url: str,
        options: Mapping[str, object],
        *,
        timeout: float,
        retries: int,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        if timeout <= 0 or retries < 0:
            raise ConfigurationError(f"timeout must be positive and retries not negative, got {timeout} and {retries}.")
        if find_spec("obstore") is None:
            raise ConfigurationError(f"{url} needs the package obstore: pip install 'flowstone[cloud]'.")
        variables = os.environ if environ is None else environ
        self.service, self.bucket, self.prefix, account = _parse(url)
        self.options = dict(options)
        self.timeout = timeout
        self.retries = retries
        self.endpoint = _endpoint(self.service, self.options, variables)
        self.account = account or _account(self.service, self.options, variables)

    def with_timeout(self, timeout: float) -> ObjectAddress:
        """Return the same place with another timeout."""
        other = copy(self)
        other.timeout = timeout
        return other

    @property
    def url(self) -> str:
        return f"{self.service}://{self.bucket}" + (f"/{self.prefix}" if self.prefix else "")

    @property
    def identity(self) -> str:
        """Name the place: the URL, and what else tells it from a place of the same name elsewhere."""
        named = (("endpoint", self.endpoint), ("account", self.account))
        where = "&".join(f"{name}={value}" for name, value in named if value)
        return f"{self.url}?{where}" if where else self.url

    def connect(self, patience: float = 0.0) -> ObjectStore:
        """Make a client; a silent server is given up after the timeout plus `patience` seconds."""
        from obstore.exceptions import BaseError  # optional dependency
        from obstore.store import AzureStore, GCSStore, S3Store

        options = dict(self.options)
        provider = options.pop("credential_provider", None)
        client = self._client_options(patience, options.pop("client_options", None))
        given: dict[str, object] = {"client_options": client, "retry_config": self._retry_config(), **options}
        if provider is not None:
            given["credential_provider"] = provider
        if self.endpoint:
            given.setdefault("endpoint" if self.service != "gs" else "base_url", self.endpoint)
        if self.account:
            given.setdefault("account_name", self.account)
        make = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}[self.service]
        try:
            return cast("ObjectStore", make(self.bucket, prefix=self.prefix or None, **given))
        except (BaseError, TypeError, ValueError) as error:
            raise ConfigurationError(f"The options for {self.url} cannot work: {_first_line(error)}") from error

    def _client_options(self, patience: float, extra: object) -> dict[str, object]:
        options: dict[str, object] = {
            "connect_timeout": timedelta(seconds=min(_CONNECT_SECONDS, self.timeout)),
            "read_timeout": timedelta(seconds=self.timeout + patience),
            "timeout": _WHOLE_REQUEST,
            "allow_http": self.endpoint.startswith("http://"),
        }
        if isinstance(extra, Mapping):
            options.update(extra)
        return options

    def _retry_config(self) -> dict[str, object]:
        return {
            "max_retries": self.retries,
            "retry_timeout": timedelta(seconds=2 * self.timeout),
            "backoff": {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2},
        }


def _parse(url: str) -> tuple[str, str, str, str]:
    """Split `url` into service, bucket or container, prefix and (for abfs) account."""
    parts = urlsplit(url)
    service = _SERVICES.get(parts.scheme)
    if service is None:
        raise ConfigurationError(f"{url!r} is not an object store; use one of {', '.join(SCHEMES)} as the scheme.")
    if parts.query or parts.fragment:
        raise ConfigurationError(f"{url!r} holds a query or fragment; pass options as keyword arguments.")
    container, _, host = parts.netloc.partition("@")
    if not container or ":" in parts.netloc:
        raise ConfigurationError(f"{url!r} names no bucket; write {parts.scheme}://bucket/prefix.")
    prefix = parts.path.strip("/")
    if any(segment in ("", ".", "..") for segment in prefix.split("/")) and prefix:
        raise ConfigurationError(f"The prefix of {url!r} has an empty, '.' or '..' part.")
    return service, container, prefix, host.partition(".")[0]


def _endpoint(service: str, options: dict[str, object], variables: Mapping[str, str]) -> str:
    for name in _ENDPOINT_OPTIONS[service]:
        if (given := options.pop(name, None)) is not None:
            return str(given).rstrip("/")
    for name in _ENDPOINT_VARIABLES[service]:
        if variables.get(name):
            return variables[name].rstrip("/")
    return ""


def _account(service: str, options: dict[str, object], variables: Mapping[str, str]) -> str:
    if service != "az":
        return ""
    for name in ("account_name", "azure_storage_account_name"):
        if (given := options.pop(name, None)) is not None:
            return str(given)
    return next((variables[name] for name in _ACCOUNT_VARIABLES if variables.get(name)), "")


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
