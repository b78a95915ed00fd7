//! The types of problem that only a client of the proxy can meet.

rest::kinds! {
    UNAUTHORIZED = UNAUTHORIZED "unauthorized", "Not without valid credentials",
        "An API key (Bearer), or for the admin's routes its password (Basic), is missing, wrong or revoked.";
    WRONG_CSRF_TOKEN = FORBIDDEN "wrong-csrf-token", "The request does not come from a page of this session",
        "Load the page anew.";
    UNKNOWN_TOPIC = UNPROCESSABLE_ENTITY "unknown-topic", "There is no such topic",
        "No topic is made of itself here: ask whoever runs the proxy for it.";
    TOO_MANY_TOPICS = UNPROCESSABLE_ENTITY "too-many-topics", "There may be no more topics",
        "The event is the first of its service and type, and the limit on topics is reached.";
    LOG_FULL = TOO_MANY_REQUESTS "log-full", "The log has no room at the moment",
        "Nothing was taken; send it again after Retry-After seconds.";
    TOPIC_BUSY = CONFLICT "topic-busy", "The topic is in use",
        "Events of it are on their way to Kafka, or are sent again. Delete it when there are none.";
    FORGOTTEN = GONE "forgotten", "The receipt is forgotten",
        "It was given out here, and what became of its event is not known any more.";
}
