//! Problem types of the proxy alone.

rest::kinds! {
    UNAUTHORIZED = UNAUTHORIZED "unauthorized", "Not without valid credentials",
        "An API key (Bearer), or for the admin's routes its password (Basic), is missing, wrong or revoked.";
    WRONG_CSRF_TOKEN = FORBIDDEN "wrong-csrf-token", "The request does not come from a page of this session",
        "Load the page anew.";
    SERVICE_NOT_ALLOWED = FORBIDDEN "service-not-allowed", "The API key is for other services",
        "The event was not taken; the key's services are those that it was made for.";
    NOT_ALLOWED_WITHOUT_KEYS = FORBIDDEN "not-allowed-without-keys", "Not while no API key is required",
        "Without API keys only programs of the same machine are answered; the detail says what speaks against it.";
    QUOTA_EXCEEDED = TOO_MANY_REQUESTS "quota-exceeded", "The API key's quota is used up",
        "Nothing was taken; the same goes through after Retry-After seconds. RateLimit says what is left.";
    PEER_AWAY = SERVICE_UNAVAILABLE "peer-away", "The proxy that gave the receipt out is out of reach",
        "Its event is safe in its log; ask again after Retry-After seconds.";
    UNKNOWN_TOPIC = UNPROCESSABLE_ENTITY "unknown-topic", "There is no such topic",
        "No topic is made of itself here: ask whoever runs the proxy for it.";
    TOO_MANY_TOPICS = UNPROCESSABLE_ENTITY "too-many-topics", "There may be no more topics",
        "The event is the first of its service and type, and the limit on topics is reached.";
    LOG_FULL = TOO_MANY_REQUESTS "log-full", "The log has no room at the moment",
        "Nothing was taken; send it again after Retry-After seconds.";
    TOPIC_BUSY = CONFLICT "topic-busy", "The topic is in use",
        "Events of it are on their way to Kafka, or are sent again. Delete it when there are none.";
    ID_REUSED = CONFLICT "id-reused", "The id was used for another event",
        "An event of the same service, type and source has the id, with another key or other data. Nothing was taken.";
    REFUSED_BY_KAFKA = UNPROCESSABLE_ENTITY "refused-by-kafka", "Kafka refused the event",
        "The event is kept and sent to Kafka again, then it is a dead letter: do not post it again, ask the `receipt`.";
    FORGOTTEN = GONE "forgotten", "The receipt is forgotten",
        "It was given out here, and what became of its event is not known any more.";
}
