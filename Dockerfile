# PEFT Lab for those who host it themselves; docs/deployment.md says how to build and run it.
#   docker build -t peft-lab .
#   docker build -t peft-lab --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu126 .    # for an NVIDIA GPU
# The build for CUDA 12.6 runs on every driver from 525 on, that for CUDA 13 (cu130) only from 580 on.
FROM python:3.11-slim

# libgomp is what bitsandbytes' CPU library links to.
RUN apt-get update \
    && apt-get install -y --no-install-recommends libgomp1 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 1000 lab \
    && install -d -o lab -g lab /app /store /cache

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    GRADIO_SERVER_NAME=0.0.0.0 \
    GRADIO_SERVER_PORT=7860 \
    GRADIO_ANALYTICS_ENABLED=False \
    ADAPTERS_STORE=/store \
    PEFT_LAB_CACHE=/cache \
    HF_HOME=/store/.huggingface \
    PEFT_LAB_BUNDLED=1

WORKDIR /app

# torch first, from an index of its own: the default build of PyPI brings gigabytes of CUDA.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
COPY requirements.txt ./
RUN grep '^torch' requirements.txt > /tmp/torch.txt \
    && pip install --index-url "$TORCH_INDEX" -r /tmp/torch.txt \
    && pip install -r requirements.txt \
    && rm /tmp/torch.txt

COPY --chown=lab:lab app.py pyproject.toml LICENSE README.md ./
COPY --chown=lab:lab trainer ./trainer
# The page links to them.
COPY --chown=lab:lab docs ./docs
COPY --chown=lab:lab adapters_store ./adapters_store

USER 1000
# The embedded backbone and sentences (95 MB): the container then needs no network.
RUN python -m trainer fetch

VOLUME /store
EXPOSE 7860
# A status other than 200 is an error to urlopen: /health answers 503 while the app is not ready.
HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['GRADIO_SERVER_PORT'] + '/health', timeout=9)"]
CMD ["python", "app.py"]
