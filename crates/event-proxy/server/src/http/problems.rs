//! Problem types of the proxy alone.

rest::kinds! {
    UNAUTHORIZED = UNAUTHORIZED "unauthorized", "Not without valid credentials",
        "An API key (Bearer, or the password of Basic), or for the admin's routes its password (Basic), is missing, wrong or revoked.";
    WRONG_CSRF_TOKEN = FORBIDDEN "wrong-csrf-token", "The request does not come from a page of this session",
        "Load the page anew.";
    SERVICE_NOT_ALLOWED = FORBIDDEN "service-not-allowed", "The API key is for other services",
        "The event was not taken. The key is for the services that the admin named at its creation.";
    NOT_ALLOWED_WITHOUT_KEYS = FORBIDDEN "not-allowed-without-keys", "Not while no API key is required",
        "Without API keys the proxy answers only programs of the same machine; the detail names the rule that the request breaks.";
    QUOTA_EXCEEDED = TOO_MANY_REQUESTS "quota-exceeded", "The API key's quota is used up",
        "Nothing was taken; the same request succeeds after Retry-After seconds. RateLimit gives the unused quota.";
    PEER_AWAY = SERVICE_UNAVAILABLE "peer-away", "The proxy that gave the receipt out is out of reach",
        "The event is safe in the log of that proxy; ask again after Retry-After seconds.";
    UNKNOWN_TOPIC = UNPROCESSABLE_ENTITY "unknown-topic", "There is no such topic",
        "The proxy does not create topics by itself: ask the operator of the proxy for the topic.";
    TOO_MANY_TOPICS = UNPROCESSABLE_ENTITY "too-many-topics", "There may be no more topics",
        "The event is the first of its service and type, and the limit on topics is reached.";
    TOPIC_REFUSED = UNPROCESSABLE_ENTITY "topic-refused", "Kafka refuses the topic",
        "No event is taken until Kafka has the topic; the detail is its reason. Tell whoever runs the proxy.";
    LOG_FULL = TOO_MANY_REQUESTS "log-full", "The log has no room at the moment",
        "Nothing was taken; send the request again after Retry-After seconds.";
    TOPIC_BUSY = CONFLICT "topic-busy", "The topic is in use",
        "Events of the topic are on their way to Kafka, or are sent again. Delete the topic when no event waits, or with `discard`.";
    ID_REUSED = CONFLICT "id-reused", "The id was used for another event",
        "Another event of the same service, type and source has this id, with another key or other data. Nothing was taken.";
    REFUSED_BY_KAFKA = UNPROCESSABLE_ENTITY "refused-by-kafka", "Kafka refused the event",
        "The proxy keeps the event and sends it to Kafka again; after the last refusal the event is a dead letter. Do not post the event again: ask for the `receipt`.";
    FORGOTTEN = GONE "forgotten", "The receipt is forgotten",
        "This proxy gave out the receipt, and no longer knows the state of the event.";
}
