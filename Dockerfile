# The image of vertebra: the command, and with it the gate worker and its tool host.
#
# Built with buildah 1.28, on a base that debootstrap made of bookworm, for no registry of images was at hand; run with podman 4.3
# and runc as docker-compose.yml says. hadolint finds nothing, and tests/acceptance/test_image.py takes the same steps by hand in an
# empty folder: sdist, wheel from the sdist, locked libraries with checked hashes, `vertebra doctor` without the sources.
# Not run: Docker itself, and the base image of its registry.

FROM debian:bookworm-slim AS build
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY requirements-bootstrap.lock requirements.lock pyproject.toml README.md LICENSE ./
# libraries first, for they change least; each version and hash comes from the lock
RUN python3 -m venv /tools \
    && /tools/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements-bootstrap.lock \
    && python3 -m venv --without-pip /opt/vertebra \
    && /tools/bin/uv pip install --no-cache --python /opt/vertebra/bin/python --require-hashes --only-binary :all: \
        --constraints requirements.lock -r pyproject.toml --extra anthropic --extra openai --extra telemetry
COPY vertebra vertebra
# the wheel comes from the sdist, so that what the sdist lacks is missing here and not at a user's
RUN /tools/bin/uv build --no-cache --python /usr/bin/python3 --require-hashes --build-constraints requirements.lock \
        --out-dir /dist \
    && /tools/bin/uv pip install --no-cache --python /opt/vertebra/bin/python --no-deps /dist/*.whl

FROM debian:bookworm-slim
# bubblewrap, libseccomp2 and util-linux are the sandbox; the system's python3 runs inside it too
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends bubblewrap ca-certificates libseccomp2 python3 util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 vertebra \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/vertebra vertebra \
    && install -d -o vertebra -g vertebra -m 0700 /var/lib/vertebra /var/lib/vertebra/keys /var/lib/vertebra/artifacts \
    && install -d -m 0755 /project
COPY --from=build /opt/vertebra /opt/vertebra
ENV PATH=/opt/vertebra/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    VERTEBRA_PROJECT=/project \
    VERTEBRA_KEYS=/var/lib/vertebra/keys \
    VERTEBRA_ARTIFACTS=/var/lib/vertebra/artifacts \
    VERTEBRA_MAILDIR=/var/lib/vertebra/mail \
    VERTEBRA_SALES=/var/lib/vertebra/sales.jsonl
USER 10001:10001
WORKDIR /project
# everything that is written lies under these two; the rest may be read-only
VOLUME ["/var/lib/vertebra", "/tmp"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s --retries=3 CMD ["vertebra", "worker", "--check"]
ENTRYPOINT ["vertebra"]
CMD ["worker"]
