# weir's images: docker build --target cpu . (the default) or docker build --target cuda .
#
# Both run on Debian 12 with nothing but run-time libraries, as a user without rights, under
# scripts/supervisor as process 1. The exec form matters: a shell in front would keep SIGTERM to
# itself. The cuda image adds the encoder module and cuBLASLt; the driver comes from the host.

FROM docker.io/library/debian:12-slim AS build
WORKDIR /src
COPY scripts/packages.txt scripts/install_packages scripts/
RUN scripts/install_packages build
COPY . .
RUN cmake --preset release -DBUILD_TESTING=OFF \
    && scripts/build release weir-worker weir-frontend shm_inspect \
    && mkdir /opt/weir \
    && strip --strip-debug -o /opt/weir/weir-worker build/release/bin/weir-worker \
    && strip --strip-debug -o /opt/weir/weir-frontend build/release/bin/weir-frontend \
    && strip --strip-debug -o /opt/weir/shm_inspect build/release/bin/shm_inspect \
    && cp -r scripts/supervisor scripts/settings.sh scripts/children.sh scripts/backoff.sh \
        scripts/healthcheck models /opt/weir/ \
    && find /opt/weir/models -maxdepth 1 -type f -delete

FROM docker.io/library/debian:12-slim AS run
COPY scripts/packages.txt scripts/install_packages /tmp/
RUN /tmp/install_packages run && rm -rf /tmp/* /var/lib/apt/lists/* /var/cache/apt/*
COPY --from=build /opt/weir /opt/weir
# models/tiny-sst2 of the default --model-id lies here
WORKDIR /opt/weir
USER 65532:65532
ENV PORT=8080
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s CMD ["/opt/weir/healthcheck"]
ENTRYPOINT ["/opt/weir/supervisor"]

# CUDA 12.9 serves drivers from 525 on: SASS for each card is in the module, nothing is left to the
# driver's compiler. The toolkit is copied into Debian's stage, so both images have one libc.
FROM docker.io/nvidia/cuda:12.9.1-devel-ubuntu22.04 AS toolkit

FROM build AS build-cuda
COPY --from=toolkit /usr/local/cuda-12.9 /usr/local/cuda-12.9
RUN cmake --preset release -DBUILD_TESTING=OFF -DWEIR_CUDA_HOME=/usr/local/cuda-12.9 \
        -DWEIR_NVCC=/usr/local/cuda-12.9/bin/nvcc \
    && scripts/build release weir_encoder_cuda \
    && mkdir /opt/cuda \
    && cp build/release/lib/weir_encoder_cuda.so /opt/cuda/ \
    && cp -L /usr/local/cuda-12.9/lib64/libcublasLt.so.12 /opt/cuda/

FROM run AS cuda
COPY --from=build-cuda /opt/cuda/weir_encoder_cuda.so /opt/weir/
COPY --from=build-cuda /opt/cuda/libcublasLt.so.12 /usr/local/lib/x86_64-linux-gnu/
USER root
RUN ldconfig
USER 65532:65532
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility

FROM run AS cpu
