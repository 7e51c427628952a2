"""Why a request is not answered, as an HTTP status and a sentence."""


class Refusal(Exception):
    """A request that is not answered.

    Attributes:
        status: of the response.
        message: what is wrong, and what to do.
        retry_after: seconds after which to try again; None if it would be refused again.
    """

    def __init__(self, status: int, message: str, *, retry_after: int | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.retry_after = retry_after


def too_large(what: str, most: int, option: str) -> Refusal:
    """413, for more than an option allows."""
    return Refusal(413, f"{what}, and the most is {most:,}; send less, or start the server with a larger {option}.")
