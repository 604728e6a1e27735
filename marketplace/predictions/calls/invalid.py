"""What is wrong with a prediction that somebody asks for."""


class InputInvalid(ValueError):
    """The input is not what the model takes. ``param`` is the path of the field."""

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.param = param
