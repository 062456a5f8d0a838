# The relay in a container: docs/install.md explains each step, and how to run it.
#
#   docker build --tag relay .
#
# BASE is any Linux with Python 3.11 or newer, and venv.
ARG BASE=python:3.13-slim-bookworm

FROM ${BASE} AS build
COPY constraints.txt pyproject.toml README.md LICENSE /src/
COPY relay /src/relay
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /opt/relay \
 && /build/bin/pip --python /opt/relay/bin/python --disable-pip-version-check --no-cache-dir \
        install --constraint /src/constraints.txt /src

FROM ${BASE}
LABEL org.opencontainers.image.title="relay" \
      org.opencontainers.image.description="A local SMTP relay: takes mail, keeps it, hands it to each tenant's provider" \
      org.opencontainers.image.licenses="MIT"
COPY --from=build /opt/relay /opt/relay
# No pip; a user by number; the bytecode of what is imported, since nothing can be written later.
RUN python3 -m pip uninstall --yes pip 2> /dev/null || true; \
    ln -s /opt/relay/bin/relay /opt/relay/bin/relay-sendmail /usr/local/bin/ \
 && echo 'relay:x:10025:10025::/var/lib/relay:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'relay:x:10025:' >> /etc/group \
 && install -d -m 755 /etc/relay \
 && install -d -m 2770 -o 10025 -g 10025 /var/lib/relay \
 && /opt/relay/bin/python -c 'import relay, pkgutil; [__import__(m.name) for m in pkgutil.walk_packages(relay.__path__, "relay.") if not m.name.endswith("__main__")]'
ENV PYTHONDONTWRITEBYTECODE=1 \
    TMPDIR=/var/lib/relay \
    RELAY_IMAGE_LISTEN=[0.0.0.0:25] \
    RELAY_IMAGE_HTTP__LISTEN=127.0.0.1:8025
USER 10025:10025
VOLUME /var/lib/relay
EXPOSE 25
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=15s --start-period=15s --retries=3 CMD ["relay", "health"]
ENTRYPOINT ["relay"]
CMD ["serve"]
