# The runtime alone: libvitrify.so, vitrify-run and vitrify-inspect on Debian 12 without LLVM or Python.
#   docker build -f docker/runtime.Dockerfile -t vitrify-runtime .
#   docker run --rm -v "$PWD":/data vitrify-runtime /data/vit.vitrify --input /data/cat.jpg --top-k 5
FROM debian:12-slim AS build
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends g++ cmake ninja-build nlohmann-json3-dev libssl-dev libpng-dev libjpeg-dev zlib1g-dev \
 && rm -rf /var/lib/apt/lists/*
COPY . /src
RUN cmake -S /src -B /build -G Ninja -DCMAKE_BUILD_TYPE=Release -DVITRIFY_BUILD_COMPILER=OFF -DVITRIFY_BUILD_EMULATOR=OFF -DVITRIFY_BUILD_TESTS=OFF \
 && ninja -C /build vitrify vitrify-run vitrify-inspect \
 && cmake --install /build --component runtime --prefix /opt/vitrify

FROM debian:12-slim
RUN apt-get update -qq \
 && apt-get install -y -qq --no-install-recommends libssl3 libpng16-16 libjpeg62-turbo \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/vitrify /opt/vitrify
ENV PATH=/opt/vitrify/bin:$PATH
USER nobody
ENTRYPOINT ["vitrify-run"]
