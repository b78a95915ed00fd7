-- What the event proxies share: API keys, topics, the audit log. Run once, when PostgreSQL's volume is empty.
CREATE DATABASE event_proxy;
