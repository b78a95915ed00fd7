# syntax=docker/dockerfile:1
# One image for all programs; the command says which of them runs: `shop` unless given, or `settlement`, say.

FROM rust:1.95-bookworm AS build
WORKDIR /build
COPY . .
# label `commit` of the metric build_info
ARG BUILD_COMMIT=
# What was compiled and downloaded stays in the caches of the builder, so that a change of ours compiles only ours.
# `tls` is what managed Kafka clusters ask for.
RUN --mount=type=cache,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,target=/build/target,sharing=locked \
    cargo build --release --locked --package shop --package workers --package event-proxy --bins --features tls && \
    find target/release -maxdepth 1 -type f -executable -exec scripts/strip /programs {} + && \
    mkdir /symbols && mv /programs/*.debug /symbols/

# `docker build --target symbols`: the debug symbols, for perf and stack traces
FROM scratch AS symbols
COPY --from=build /symbols/ /

FROM debian:bookworm-slim
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates zlib1g && \
    rm -rf /var/lib/apt/lists/* && \
    useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin shop && \
    install -d -o shop -g shop /data
COPY --from=build /programs/ /usr/local/bin/
COPY deploy/healthcheck /usr/local/bin/healthcheck
# a library that is missing is better found here
RUN for program in /usr/local/bin/*; do ! ldd "$program" 2>/dev/null | grep 'not found' || exit 1; done

USER shop
WORKDIR /data
# Health and metrics of a worker are on the port that the API of a shop is on, so that one check does for all.
ENV SHOP__DATA_DIR=/data \
    SHOP__LOG__FORMAT=json \
    SHOP__HTTP__ADDRESS=0.0.0.0:8080 \
    SHOP__WORKER__HTTP__ADDRESS=0.0.0.0:8080 \
    EVENT_PROXY__DATA_DIR=/data \
    EVENT_PROXY__LOG__FORMAT=json \
    EVENT_PROXY__HTTP__ADDRESS=0.0.0.0:8090
VOLUME /data
EXPOSE 8080 8090
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=5 CMD ["healthcheck"]
CMD ["shop"]
