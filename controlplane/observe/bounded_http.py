"""A `requests` session whose answers are bounded in time and size.

The timeout of `requests` is for each read of the socket: a server that sends a byte now and then
is waited for without end. Here the whole body has one deadline and a greatest size.
"""

from __future__ import annotations

import time
from typing import Any

import requests
from urllib3.exceptions import ReadTimeoutError

CHUNK = 64 * 1024


class TooSlowError(requests.exceptions.Timeout):
    """The body was not complete at the deadline."""


class TooLargeError(requests.exceptions.RequestException):
    """The body was larger than we are ready to read."""


class BoundedSession(requests.Session):
    """Reads each answer as a whole, within `deadline_s` and `max_bytes`."""

    def __init__(self, deadline_s: float, max_bytes: int) -> None:
        super().__init__()
        self._deadline_s = deadline_s
        self._max_bytes = max_bytes

    def request(self, *arguments: Any, **options: Any) -> requests.Response:  # noqa: ANN401
        """As `requests` has it, with the body already read."""
        end_s = time.monotonic() + self._deadline_s
        options.update(stream=True, timeout=self._deadline_s, allow_redirects=False)
        response = super().request(*arguments, **options)
        try:
            body = bytearray()
            for chunk in response.iter_content(CHUNK):
                body += chunk
                if len(body) > self._max_bytes:
                    raise TooLargeError(f"more than {self._max_bytes} bytes")
                if time.monotonic() > end_s:
                    raise TooSlowError(f"not complete after {self._deadline_s:.2f} s")
        except requests.exceptions.ConnectionError as error:  # its name for a read that timed out
            response.close()
            if any(isinstance(cause, ReadTimeoutError) for cause in error.args):
                raise TooSlowError(str(error)) from error
            raise
        except requests.exceptions.RequestException:
            response.close()
            raise
        response._content = bytes(body)
        return response
