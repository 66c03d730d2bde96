"""What goes wrong on the way of a request, as its client is told."""

from orchestrator.web.wire.error_answers import ErrorAnswer, WebCode, clip


def broken(model: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.SERVER_FAILED,
        detail=f"The server of {model} ended in the middle of its answer.",
        remedy="Ask again: it is started anew. GET /models/NAME/logs has its last words.",
    )


def our_mistake() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.INTERNAL,
        detail="The daemon made a mistake.",
        remedy="Its log has the details. Models that run are not affected.",
    )


def ended_by_operator() -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.ENDED,
        detail="An operator has ended this request.",
        remedy="Ask again if that was not meant.",
    )


def no_answer(model: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.SERVER_FAILED,
        detail=f"The server of {model} ended before it answered.",
        remedy=f"GET /models/{model}/logs has its last words; the request itself may be the cause.",
        headers={"X-Model": model},
    )


def not_there(id_: str) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.NOT_FOUND,
        detail=f"There is no answer or conversation {clip(id_)} of your key.",
        remedy="Ask on with the key that it was made with; a new conversation has its own id.",
    )


def no_status(model: str, status: int) -> ErrorAnswer:
    return ErrorAnswer(
        code=WebCode.SERVER_FAILED,
        detail=f"The server of {model} answered with {status}, which is the status of no answer.",
        remedy=f"GET /models/{model}/logs has its last words; is it a model server at all?",
        headers={"X-Model": model},
    )
