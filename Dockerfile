# Millrace with the extras `ai` and `milvus`. Everything it keeps is in /data, unless POSTGRES_DSN names a database.
FROM python:3.12-slim AS build
COPY requirements-image.lock /
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --require-hashes --only-binary :all: -r /requirements-image.lock

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --shell /usr/sbin/nologin millrace \
    && install -d -o millrace -g millrace /data
WORKDIR /app
COPY --from=build /venv /venv
COPY app.py cli.py config.py LICENSE ./
COPY composition composition
COPY controllers controllers
COPY services services
COPY models models
COPY migrations migrations
COPY packs packs
RUN /venv/bin/python -m compileall -q app.py cli.py config.py composition controllers services models
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 HOST=0.0.0.0 PORT=8070 DATA_DIR=/data PACKS_DIR=/app/packs
USER 10001
VOLUME /data
EXPOSE 8070
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=4s --start-period=20s \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen('http://127.0.0.1:' + os.environ['PORT'] + '/health', timeout=3)"]
CMD ["python", "-m", "cli", "serve"]
