# docker build -t portway .        How to run it: docs/install.md.
FROM python:3.11-slim AS build
WORKDIR /src
COPY requirements/server.txt requirements/
RUN python -m venv /opt/portway \
    && /opt/portway/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/server.txt
COPY requirements/demo.txt requirements/
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The build backend is pinned and hashed, too; it stays in this stage.
RUN python -m venv /build \
    && /build/bin/pip install --no-cache-dir --require-hashes --no-deps -r requirements/demo.txt \
    && /build/bin/pip wheel --no-deps --no-build-isolation --no-index -w /wheel . \
    && /opt/portway/bin/pip install --no-deps --no-index /wheel/*.whl

FROM python:3.11-slim
COPY --from=build /opt/portway /opt/portway
RUN useradd --system --uid 10001 --home-dir /var/lib/portway --create-home portway
USER portway
ENV PATH=/opt/portway/bin:$PATH PORTWAY_DATA=/var/lib/portway
VOLUME /var/lib/portway
EXPOSE 80 443 4443
STOPSIGNAL SIGTERM
ENTRYPOINT ["portway"]
CMD ["--help"]
