# Two images: `conexus` (conexusd) and `conexus-sidecar`.
#
#   docker build --target conexus -t conexus:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#   docker build --target conexus-sidecar -t conexus-sidecar:0.1.0 --build-arg REVISION="$(git rev-parse HEAD)" .
#
# Both share one build. It needs BuildKit, which keeps crates and what was made of them for the next one.
# Both run as user 65532, need no shell and no writable root: what they write is below the volumes. To build them from
# programs made elsewhere, give an image with both and their .dwp files in /out: --build-arg BINARIES=that-image.
ARG BUILD_IMAGE=rust:1.95.0-bookworm
ARG RUNTIME_IMAGE=gcr.io/distroless/cc-debian12:nonroot
ARG BINARIES=build

FROM ${BUILD_IMAGE} AS build
WORKDIR /src
COPY . .
ARG REVISION=
# Cargo goes by the age of files: those of this checkout may be older than what another one left in the cache.
# What tells functions, files and lines is compressed and kept, in the programs and in the .dwp files beside them: error reports need it.
RUN --mount=type=cache,id=conexus-crates,target=/usr/local/cargo/registry,sharing=locked \
    --mount=type=cache,id=conexus-target,target=/src/target,sharing=locked \
    find . -path ./target -prune -o -type f -exec touch {} + \
 && CONEXUS_BUILD_COMMIT="$REVISION" CONEXUS_BUILD_RUSTC="$(rustc --version)" \
      cargo build --release --locked --bin conexusd --bin conexus-sidecar \
 && mkdir -p /out/empty \
 && for program in conexusd conexusd.dwp conexus-sidecar conexus-sidecar.dwp; do \
      objcopy --compress-debug-sections "target/release/$program" "/out/$program" || exit 1; \
    done

FROM ${BINARIES} AS programs

# What both have in common. The base has the C and C++ libraries, certificates and the user, and nothing to run.
FROM ${RUNTIME_IMAGE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.source="https://github.com/conexus/conexus" \
      org.opencontainers.image.documentation="https://github.com/conexus/conexus/blob/main/docs/deployment.md" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="Conexus" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY LICENSE NOTICE /usr/share/doc/conexus/
# A volume that is mounted here first takes over the folder's owner.
COPY --from=programs --chown=65532:65532 /out/empty/ /run/conexus/
# Both must say the same user and socket: the socket is for its user alone.
USER 65532:65532
ENV CONEXUS_TELEMETRY_SOCKET=/run/conexus/telemetry.sock
STOPSIGNAL SIGTERM

FROM runtime AS conexus
LABEL org.opencontainers.image.title="conexus" \
      org.opencontainers.image.description="Indexes code and answers AI coding agents over MCP"
COPY --from=programs /out/conexusd /out/conexusd.dwp /usr/local/bin/
COPY --from=programs --chown=65532:65532 /out/empty/ /var/lib/conexus/
COPY --from=programs --chown=65532:65532 /out/empty/ /workspace/
# Without auth.tokens or server.allow_unauthenticated it refuses to start: it is not on loopback.
ENV CONEXUS_HOST=0.0.0.0 \
    CONEXUS_SERVER_ALLOWED_HOSTS=localhost,conexus \
    CONEXUS_METRICS_HOST=0.0.0.0 \
    CONEXUS_ROOT_PATH=/workspace \
    CONEXUS_DB_PATH=/var/lib/conexus
VOLUME ["/var/lib/conexus"]
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["/usr/local/bin/conexusd", "health", "--ready"]
ENTRYPOINT ["/usr/local/bin/conexusd"]
CMD ["serve"]

FROM runtime AS conexus-sidecar
LABEL org.opencontainers.image.title="conexus-sidecar" \
      org.opencontainers.image.description="Turns what conexusd reports into metrics, traces, logs and error reports"
COPY --from=programs /out/conexus-sidecar /out/conexus-sidecar.dwp /usr/local/bin/
COPY --from=programs --chown=65532:65532 /out/empty/ /var/lib/conexus-sidecar/
ENV CONEXUS_METRICS_HOST=0.0.0.0 \
    CONEXUS_TELEMETRY_STATE_DIR=/var/lib/conexus-sidecar \
    CONEXUS_LOG_DIR=/var/lib/conexus-sidecar/logs
VOLUME ["/var/lib/conexus-sidecar"]
EXPOSE 9091
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["/usr/local/bin/conexus-sidecar", "health", "--ready", "--quiet"]
ENTRYPOINT ["/usr/local/bin/conexus-sidecar"]
CMD ["run"]
