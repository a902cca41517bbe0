"""What the API server refuses, or does not answer."""

from __future__ import annotations

from controlplane.errors import WeirError


class ApiError(WeirError):
    """An answer other than good, or none."""

    def __init__(self, status: int, message: str, retry_after_s: float = 0.0) -> None:
        super().__init__(f"{status} {message}" if status else message)
        self.status = status
        """Of HTTP; 0 where there was no answer, or none that can be read."""
        self.retry_after_s = retry_after_s
        """It wants not to be asked for so long; 0: it did not say."""

    @property
    def gone(self) -> bool:
        """The version asked for is too old: list again."""
        return self.status == 410

    @property
    def conflict(self) -> bool:
        """Somebody else was faster."""
        return self.status == 409

    @property
    def missing(self) -> bool:
        """It is not there, or no such kind is."""
        return self.status == 404

    @property
    def forbidden(self) -> bool:
        """It knows who we are, and we may not."""
        return self.status == 403

    @property
    def unknown(self) -> bool:
        """It does not know who we are: a token or a certificate is not good any more."""
        return self.status == 401
