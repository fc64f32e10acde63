"""What a request can be refused for; `status` is the answer's HTTP status."""


class Refused(Exception):
    def __init__(self, status: int, message: str):
        super().__init__(message)
        self.status = status
        self.message = message
